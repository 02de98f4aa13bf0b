//===- SweepFile.cpp - A table of runs as text ------------------*- C++ -*-===//
#include "compiler/tools/tidegate/sweep/SweepFile.h"

#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

using namespace tidegate;
using namespace tidegate::tool;
using runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

struct Vary {
  std::string param;
  std::vector<std::string> values;
};

struct Section {
  std::string name, program;
  Pairs options;
  std::vector<Vary> varied;
  int line = 0;
};

std::string trimmed(const std::string &text) {
  const char *const kSpace = " \t\r";
  const size_t first = text.find_first_not_of(kSpace);
  return first == text.npos ? "" : text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

class Reader {
public:
  explicit Reader(const std::string &path) : path(path) {}

  SweepFile read() {
    std::istringstream lines(std::string(runtime::MappedFile(path).text()));
    for (std::string text; ++line, std::getline(lines, text);)
      readLine(trimmed(text.substr(0, text.find('#'))));
    if (sections.empty())
      fail("expected a section [NAME] with `program = FILE`, but there is none");
    for (const Section &section : sections)
      addCells(section);
    return file;
  }

private:
  [[noreturn]] void fail(const std::string &message) const {
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "'" + path + "', line " + std::to_string(line) + ": " + message);
  }

  void readLine(const std::string &text) {
    if (text.empty())
      return;
    if (text.front() == '[') {
      const std::string name = text.back() == ']' ? trimmed(text.substr(1, text.size() - 2)) : "";
      if (name.empty() || name.find_first_of("/ ") != name.npos)
        fail("expected [NAME] without spaces or slashes, but got '" + text + "'");
      if (std::ranges::find(sections, name, &Section::name) != sections.end())
        fail("section [" + name + "] is there twice");
      sections.push_back({name, "", {}, {}, line});
      return;
    }
    const size_t equals = text.find('=');
    const std::string name = trimmed(text.substr(0, equals));
    if (equals == text.npos || name.empty())
      fail("expected `option = value` or [NAME], but got '" + text + "'");
    setOption(name, trimmed(text.substr(equals + 1)));
  }

  void setOption(const std::string &name, std::string value) {
    if (name == "program" || name == "data" || name == "out" || name == "config")
      value = (fs::path(path).parent_path() / value).lexically_normal().string();
    if (name == "resume")
      fail("a sweep resumes by itself; leave out 'resume'");
    if (sections.empty()) {
      if (name == "program" || name == "vary")
        fail("'" + name + "' belongs into a section [NAME]");
      if (name == "out")
        file.out = value;
      else if (name == "data")
        file.data = value;
      else
        common.emplace_back(name, value);
      return;
    }
    Section &section = sections.back();
    if (name == "out")
      fail("'out' belongs before the sections: a cell's directory is named after the cell");
    if (name == "program")
      section.program = value;
    else if (name == "vary")
      section.varied.push_back(varyOf(value));
    else
      section.options.emplace_back(name, value);
  }

  Vary varyOf(const std::string &text) const {
    const size_t colon = text.find(':');
    Vary vary{trimmed(text.substr(0, colon)), {}};
    if (colon != text.npos) {
      std::istringstream words(text.substr(colon + 1));
      for (std::string word; words >> word;)
        vary.values.push_back(word);
    }
    if (vary.values.empty() || vary.param.empty())
      fail("expected `vary = PARAM: VALUE...`, but got '" + text + "'");
    return vary;
  }

  void addCells(const Section &section) {
    line = section.line;
    if (section.program.empty())
      fail("section [" + section.name + "] has no `program = FILE`");
    SweepCell cell{section.name, section.name, section.program, {}};
    // An option of the section replaces the common one; `set` adds up.
    for (const auto &[name, value] : common)
      if (name == "set" || std::ranges::find(section.options, name, &Pairs::value_type::first) == section.options.end())
        cell.options.emplace_back(name, value);
    cell.options.insert(cell.options.end(), section.options.begin(), section.options.end());
    vary(section, 0, cell);
  }

  void vary(const Section &section, size_t depth, const SweepCell &cell) {
    if (depth == section.varied.size()) {
      if (!names.insert(cell.name).second)
        fail("two cells have the name '" + cell.name + "'");
      file.cells.push_back(cell);
      return;
    }
    const Vary &varied = section.varied[depth];
    for (const std::string &value : varied.values) {
      SweepCell next = cell;
      next.name += varied.param == "rank" ? "_r" + value : "_" + varied.param + "=" + value;
      std::ranges::replace(next.name, '/', '-');
      next.options.emplace_back("set", varied.param + "=" + value);
      vary(section, depth + 1, next);
    }
  }

  const std::string path;
  int line = 0;
  Pairs common;
  std::vector<Section> sections;
  std::set<std::string> names;
  SweepFile file;
};

} // namespace

SweepFile tool::readSweep(const std::string &path) { return Reader(path).read(); }
