//===- RunStatus.h - How a run in a directory stands ------------*- C++ -*-===//
// Read from outside: its metrics, its checkpoints, and the lock that a running
// process holds.
//===----------------------------------------------------------------------===//
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tidegate::train {

struct RunStatus {
  std::string path;
  /// "running", "done", "interrupted" (a signal), "failed" (an error), "killed"
  /// (ended without a word).
  std::string state;
  std::string message;         ///< Of a failure.
  int64_t step = 0, steps = 0; ///< The last step recorded; of the whole run.
  double loss = NAN, heldOut = NAN; ///< Latest; nats.
  double tokensPerSecond = NAN, secondsLeft = NAN;
  double time = 0;        ///< Of the last record, seconds since 1970.
  std::string checkpoint; ///< Name of the newest, checked or not; empty: none.
};

/// Nothing when the directory holds no metrics.
std::optional<RunStatus> statusOf(const std::string &directory);

/// Runs in `root` and below it, by path. Errors: NotFound when it is no directory.
std::vector<RunStatus> findRuns(const std::string &root);

} // namespace tidegate::train
