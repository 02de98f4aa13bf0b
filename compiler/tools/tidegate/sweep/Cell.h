//===- Cell.h - One run of a sweep ------------------------------*- C++ -*-===//
// A cell is trained by a process of its own: its memory is its own, and a crash
// ends it alone.
//===----------------------------------------------------------------------===//
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace tidegate::tool {

struct CellOutcome {
  int code = 0;                  ///< The process's exit code; 128 + signal when one ended it.
  nlohmann::ordered_json result; ///< The last line of its output; null if it is no JSON object.
};

/// Runs `tidegate ARGUMENTS...` with its output in `log`.out and its messages
/// in `log`.err. When `stop` says so, the process gets one SIGTERM, so that it
/// saves and ends; it gets one too when this process dies.
/// Errors: RuntimeError when no process can be started.
CellOutcome runCell(const std::vector<std::string> &arguments, const std::string &log,
                    const std::function<bool()> &stop);

/// A finished cell's result, if it was trained with these arguments.
std::optional<nlohmann::ordered_json> storedResult(const std::string &directory,
                                                   const std::vector<std::string> &arguments);
void storeResult(const std::string &directory, const std::vector<std::string> &arguments,
                 const nlohmann::ordered_json &result);

} // namespace tidegate::tool
