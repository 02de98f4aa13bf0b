//===- Requests.h - Log-likelihood requests from a file ---------*- C++ -*-===//
// One JSON object a line: a context and its possible continuations, as the
// tasks of common harnesses can be written out. docs/evaluation.md has the
// format.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace tidegate::eval {

struct Request {
  std::string task = "default";
  nlohmann::ordered_json id;              ///< As the file gives it; null without.
  std::vector<std::string> contexts;      ///< One for all continuations, or one each.
  std::vector<std::string> continuations; ///< At least one; none is empty.
  std::optional<int64_t> gold;            ///< Index of the right continuation.
  std::string where;                      ///< "FILE:LINE", for messages.

  const std::string &contextOf(size_t continuation) const {
    return contexts[contexts.size() == 1 ? 0 : continuation];
  }
};

/// Reads `path` ("-": standard input). Blank lines are skipped.
/// Errors: NotFound, Io; InvalidArgument, naming file and line, for anything
///         that is not a request, and for a file without one.
std::vector<Request> readRequests(const std::string &path);

} // namespace tidegate::eval
