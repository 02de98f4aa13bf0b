//===- CommandLine.h - Options of one command -------------------*- C++ -*-===//
// A layer over Boost.Program_options that fixes the tool's manners: an unknown
// option or value lists the valid ones, a number out of range says the range,
// and options may also come from an INI file, which the command line overrides.
//===----------------------------------------------------------------------===//
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tidegate::tool {

/// The stable exit codes of every command.
enum ExitCode { kDone = 0, kBadInput = 1, kBadUsage = 2, kOurBug = 3 };

/// The command line is wrong (exit code 2).
class UsageError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

enum class Operands { One, Several };

class CommandLine {
public:
  /// `operand` names the positional argument in help and messages.
  CommandLine(std::string command, std::string operand, std::string summary, Operands count = Operands::One);

  /// A flag, or an option with a value; `help` states default and unit.
  void flag(const std::string &name, const std::string &help);
  template <typename T>
  void option(const std::string &name, const std::string &value, const std::string &help) {
    add(name, boost::program_options::value<T>()->value_name(value), help);
  }
  /// May be given several times.
  void list(const std::string &name, const std::string &value, const std::string &help);
  /// Adds --config FILE, which takes every other option as `name = value`.
  void allowConfigFile();

  /// False when --help was asked for and printed. Errors: UsageError; RuntimeError for the config file.
  bool parse(std::span<const std::string> args);

  const std::string &operand() const { return operandValues.front(); }
  const std::vector<std::string> &operands() const { return operandValues; }
  bool has(const std::string &name) const { return values.count(name) != 0; }
  template <typename T>
  T get(const std::string &name, T otherwise) const {
    return has(name) ? values[name].as<T>() : otherwise;
  }
  /// UsageError when the option is missing.
  std::string required(const std::string &name) const;
  /// Every value of a list, the config file's first.
  const std::vector<std::string> &all(const std::string &name) const;

  /// An integer of at least `least`, a real in [low, high]; UsageError otherwise.
  int64_t integer(const std::string &name, int64_t otherwise, int64_t least) const;
  double real(const std::string &name, double otherwise, double low, double high) const;
  /// One of the named values; the first is the default.
  template <typename T>
  T choice(const std::string &name, std::initializer_list<std::pair<const char *, T>> choices) const {
    if (!has(name))
      return choices.begin()->second;
    std::string given = get<std::string>(name, "");
    std::vector<std::string> valid;
    for (const auto &[text, value] : choices) {
      if (given == text)
        return value;
      valid.push_back(text);
    }
    refuse("option '--" + name + "'", given, valid);
  }
  /// Throws UsageError: `what` cannot be `given`, with the valid values and the nearest one.
  [[noreturn]] static void refuse(const std::string &what, const std::string &given,
                                  const std::vector<std::string> &valid);

private:
  void add(const std::string &name, const boost::program_options::value_semantic *semantic, const std::string &help);
  void readConfigFile(const std::string &path);
  [[noreturn]] void unknownOption(const std::string &given, const std::string &where) const;
  std::vector<std::string> optionNames() const;
  void printHelp() const;

  std::string command, operandName, summary;
  Operands operandCount;
  std::vector<std::string> operandValues;
  boost::program_options::options_description options;
  boost::program_options::variables_map values;
  std::vector<std::pair<std::string, std::vector<std::string>>> lists;
};

} // namespace tidegate::tool
