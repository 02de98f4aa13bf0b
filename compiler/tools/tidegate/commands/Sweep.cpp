//===- Sweep.cpp - tidegate sweep -------------------------------*- C++ -*-===//
// Trains the cells of a file one after the other. What is finished stays
// finished, what was interrupted goes on from its checkpoint.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/sweep/Cell.h"
#include "compiler/tools/tidegate/sweep/SweepFile.h"
#include "compiler/tools/tidegate/sweep/Table.h"
#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/train/Interrupt.h"

#include <filesystem>
#include <iostream>

using namespace tidegate;
using namespace tidegate::tool;
using runtime::FileWriter;
using runtime::RuntimeError;
using nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

std::vector<std::string> argumentsOf(const SweepCell &cell, const std::string &data, const std::string &directory) {
  std::vector<std::string> arguments{"train", cell.program, "--out=" + directory, "--resume=auto"};
  bool hasData = false;
  for (const auto &[name, value] : cell.options) {
    arguments.push_back("--" + name + "=" + value);
    hasData |= name == "data";
  }
  if (!hasData && !data.empty())
    arguments.push_back("--data=" + data);
  return arguments;
}

void writeTables(const std::string &out, const std::vector<SweepRow> &rows) {
  runtime::writeFileAtomically(out + "/sweep.md", [&](FileWriter &to) { to.write(markdownTable(rows)); });
  runtime::writeFileAtomically(out + "/sweep.csv", [&](FileWriter &to) { to.write(csvTable(rows)); });
}

std::string shown(const ordered_json &result, const char *key) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", result.contains(key) && result[key].is_number() ? result[key].get<double>() : NAN);
  return text;
}

/// The last lines of a cell's messages.
std::string lastMessage(const std::string &log) {
  constexpr size_t kMost = 2000; // The list of valid options has to fit.
  if (!fs::exists(log + ".err"))
    return "";
  runtime::MappedFile file(log + ".err");
  std::string text(file.text().substr(file.text().size() - std::min(file.text().size(), kMost)));
  return text.substr(text.size() == kMost ? text.find('\n') + 1 : 0);
}

} // namespace

ExitCode tool::runSweep(std::span<const std::string> args) {
  CommandLine line("sweep", "FILE",
                   "Trains every cell of FILE, each into a directory of its own, and writes sweep.md and sweep.csv.\n"
                   "The same command goes on after an interruption.");
  line.option<std::string>("data", "PATH", "text for all cells, instead of the file's");
  line.option<std::string>("out", "DIR", "directory of the cells and tables (default: the file's, or out/FILE's name)");
  line.flag("list", "print each cell's command line, and train nothing");
  if (!line.parse(args))
    return kDone;
  const SweepFile sweep = readSweep(line.operand());
  std::string out = line.get<std::string>("out", sweep.out);
  if (out.empty())
    out = "out/" + fs::path(line.operand()).stem().string();
  const std::string data = line.get<std::string>("data", sweep.data);

  std::vector<SweepRow> rows;
  std::vector<std::vector<std::string>> arguments;
  for (const SweepCell &cell : sweep.cells) {
    const std::string directory = out + "/" + cell.name;
    arguments.push_back(argumentsOf(cell, data, directory));
    const auto stored = storedResult(directory, arguments.back());
    rows.push_back({cell.name, stored ? "done" : "waiting", stored.value_or(ordered_json())});
  }
  if (line.has("list")) {
    for (const auto &words : arguments) {
      std::cout << "tidegate";
      for (const std::string &word : words)
        std::cout << " " << word;
      std::cout << "\n";
    }
    return kDone;
  }

  runtime::makeWritableDirectory(out);
  const train::InterruptGuard guard;
  bool failed = false;
  for (size_t i = 0; i < rows.size() && !guard.requested(); ++i) {
    SweepRow &row = rows[i];
    const std::string place = "cell " + std::to_string(i + 1) + "/" + std::to_string(rows.size()) + " " + row.cell;
    if (row.state == "done")
      continue;
    const std::string log = out + "/" + row.cell;
    std::cerr << place << ": training (messages in " << log << ".err)\n";
    const CellOutcome outcome = runCell(arguments[i], log, train::InterruptGuard::requested);
    if (outcome.code == kDone && outcome.result.is_object() && outcome.result.value("status", "") == "done") {
      storeResult(log, arguments[i], outcome.result);
      row = {row.cell, "done", outcome.result};
      std::cerr << place << ": held-out loss " << shown(outcome.result, "valid_loss") << ", train loss "
                << shown(outcome.result, "train_loss") << "\n";
    } else if (outcome.code == kBadUsage) {
      throw UsageError("cell '" + row.cell + "' has a bad command line:\n" + lastMessage(log));
    } else if (outcome.code != kDone) {
      row.state = "failed";
      failed = true;
      std::cerr << place << ": failed with exit code " << outcome.code << ":\n" << lastMessage(log);
    }
    writeTables(out, rows);
  }
  writeTables(out, rows);
  std::cout << markdownTable(rows);
  const auto waiting = std::ranges::count(rows, "waiting", &SweepRow::state);
  if (waiting)
    std::cerr << "interrupted with " << waiting << " of " << rows.size() << " cells to go; the same command goes on\n";
  return failed || waiting ? kBadInput : kDone;
}
