//===- CommandLine.cpp - Parsing, help and refusals -------------*- C++ -*-===//
// Boost throws an exception type per mistake; each becomes one message.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/CommandLine.h"

#include "runtime/core/FileIo.h"
#include "runtime/core/Suggest.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <sstream>

using namespace tidegate::tool;
namespace po = boost::program_options;

namespace {

constexpr unsigned kHelpWidth = 110;

std::string joined(const std::vector<std::string> &words, const std::string &prefix = "") {
  std::string text;
  for (const std::string &word : words)
    text += (text.empty() ? "" : ", ") + prefix + word;
  return text;
}

std::string shortest(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

} // namespace

CommandLine::CommandLine(std::string command, std::string operand, std::string summary, Operands count)
    : command(std::move(command)), operandName(std::move(operand)), summary(std::move(summary)), operandCount(count),
      options("Options", kHelpWidth, kHelpWidth / 2) {
  flag("help", "print this and exit");
}

void CommandLine::add(const std::string &name, const po::value_semantic *semantic, const std::string &help) {
  options.add_options()(name.c_str(), semantic, help.c_str());
}

void CommandLine::flag(const std::string &name, const std::string &help) {
  add(name, po::value<bool>()->zero_tokens()->implicit_value(true), help);
}

void CommandLine::list(const std::string &name, const std::string &value, const std::string &help) {
  add(name, po::value<std::vector<std::string>>()->composing()->value_name(value), help + " (may be repeated)");
  lists.push_back({name, {}});
}

void CommandLine::allowConfigFile() {
  option<std::string>("config", "FILE", "INI file of lines `option = value`; the command line wins");
}

std::vector<std::string> CommandLine::optionNames() const {
  std::vector<std::string> names;
  for (const auto &option : options.options())
    names.push_back(option->long_name());
  return names;
}

void CommandLine::unknownOption(const std::string &given, const std::string &where) const {
  std::string bare = given.substr(std::min(given.find_first_not_of('-'), given.size()));
  bare = bare.substr(0, bare.find('='));
  auto names = optionNames();
  throw UsageError(where + "unknown option '" + given + "'" + runtime::didYouMean(bare, names) +
                   "\nvalid options: " + joined(names, "--"));
}

void CommandLine::refuse(const std::string &what, const std::string &given, const std::vector<std::string> &valid) {
  throw UsageError(what + " cannot be '" + given + "'" + runtime::didYouMean(given, valid) +
                   "\nvalid values: " + joined(valid));
}

void CommandLine::printHelp() const {
  std::cout << "usage: tidegate " << command << " " << operandName << " [options]\n" << summary << "\n\n" << options;
}

bool CommandLine::parse(std::span<const std::string> args) {
  const char *const kOperand = "operand";
  po::options_description everything;
  everything.add(options).add_options()(kOperand, po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add(kOperand, operandCount == Operands::One ? 1 : -1);
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing &
                    ~po::command_line_style::allow_short;
  try {
    po::store(po::command_line_parser(std::vector<std::string>(args.begin(), args.end()))
                  .options(everything)
                  .positional(positional)
                  .style(style)
                  .run(),
              values);
  } catch (const po::unknown_option &error) {
    unknownOption(error.get_option_name(), "");
  } catch (const po::too_many_positional_options_error &) {
    throw UsageError("expected one " + operandName + ", but got several");
  } catch (const po::error &error) {
    throw UsageError(error.what());
  }
  if (has("help")) {
    printHelp();
    return false;
  }
  for (auto &[name, collected] : lists)
    collected = get<std::vector<std::string>>(name, {});
  if (!has(kOperand))
    throw UsageError("expected " + operandName + " (see tidegate " + command + " --help)");
  operandValues = values[kOperand].as<std::vector<std::string>>();
  if (has("config"))
    readConfigFile(get<std::string>("config", ""));
  return true;
}

void CommandLine::readConfigFile(const std::string &path) {
  std::istringstream text(std::string(runtime::MappedFile(path).text()));
  po::variables_map fromFile;
  try {
    po::store(po::parse_config_file(text, options), fromFile);
  } catch (const po::unknown_option &error) {
    unknownOption(error.get_option_name(), "'" + path + "': ");
  } catch (const po::error &error) {
    throw UsageError("'" + path + "': " + error.what());
  }
  for (const char *name : {"config", "help"})
    if (fromFile.count(name))
      throw UsageError("'" + path + "': option '" + name + "' belongs on the command line");
  for (auto &[name, collected] : lists)
    if (fromFile.count(name)) {
      const auto &first = fromFile[name].as<std::vector<std::string>>();
      collected.insert(collected.begin(), first.begin(), first.end());
    }
  for (const auto &[name, value] : fromFile)
    values.insert({name, value}); // Keeps what the command line gave.
}

std::string CommandLine::required(const std::string &name) const {
  if (!has(name))
    throw UsageError("expected option '--" + name + "' (see tidegate " + command + " --help)");
  return get<std::string>(name, "");
}

const std::vector<std::string> &CommandLine::all(const std::string &name) const {
  auto found = std::find_if(lists.begin(), lists.end(), [&](const auto &entry) { return entry.first == name; });
  if (found == lists.end())
    throw std::logic_error("option list '" + name + "' was never declared");
  return found->second;
}

int64_t CommandLine::integer(const std::string &name, int64_t otherwise, int64_t least) const {
  int64_t value = get<int64_t>(name, otherwise);
  if (value < least)
    throw UsageError("option '--" + name + "' expects at least " + std::to_string(least) + ", but got " +
                     std::to_string(value));
  return value;
}

double CommandLine::real(const std::string &name, double otherwise, double low, double high) const {
  double value = get<double>(name, otherwise);
  if (!(value >= low && value <= high))
    throw UsageError("option '--" + name + "' expects a number " +
                     (std::isinf(high) ? "of at least " + shortest(low)
                                       : "from " + shortest(low) + " to " + shortest(high)) +
                     ", but got " + shortest(value));
  return value;
}
