//===- StepTrace.h - Where the time of training steps goes ------*- C++ -*-===//
// A file for chrome://tracing and Perfetto: a track of steps, and one of their
// parts under the names of `tidegate bench`, each with its place in the program.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Driver/Driver.h"

#include <chrono>
#include <nlohmann/json.hpp>

namespace tidegate::tool {

/// Traces steps first .. last of the process, counted from 1, and writes them when the last is done.
class StepTrace {
public:
  /// Errors: RuntimeError Io if `path` cannot be written.
  StepTrace(train::Model &model, std::string path, int64_t first, int64_t last);
  ~StepTrace();

  /// To be called after every step with its record of metrics.jsonl.
  void onRecord(const nlohmann::ordered_json &record);

private:
  using Clock = std::chrono::steady_clock;
  void begin();
  void write();

  train::Model &model;
  std::string path;
  int64_t first, last, steps = 0;
  Clock::time_point origin = Clock::now();
  double stepStart = 0, at = 0; ///< seconds since `origin`
  nlohmann::ordered_json events = nlohmann::ordered_json::array();
};

} // namespace tidegate::tool
