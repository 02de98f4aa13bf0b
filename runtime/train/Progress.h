//===- Progress.h - Saying how a run goes -----------------------*- C++ -*-===//
// On a terminal one line that rewrites itself; otherwise a plain line at every
// report that asks for one. Remarks always get a line of their own.
//===----------------------------------------------------------------------===//
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>

namespace tidegate::train {

/// What a progress line shows.
struct ProgressReport {
  int64_t step = 0, steps = 0;
  double loss = 0; ///< Mean since the last plain line.
  double lr = 0, gradNorm = 0;
  double tokensPerSecond = 0;
  double secondsLeft = 0;
  int64_t skipped = 0;
  double mfu = std::numeric_limits<double>::quiet_NaN(); ///< In [0, 1]; NaN: not shown.
};

/// "step 120/1000  loss 1.8342  lr 3.00e-04  norm 0.91  18.4k tokens/s  MFU 41.2 %  ETA 1:05".
std::string progressText(const ProgressReport &report);
/// "1:05", "2:03:04".
std::string durationText(double seconds);

class Progress {
public:
  /// Writes to `stream`; `terminal` is usually isatty() of it.
  Progress(std::FILE *stream, bool terminal) : stream(stream), terminal(terminal) {}
  ~Progress() { finishLine(); }

  /// Once a step; `plain` asks for a line that stays when there is no terminal.
  void report(const ProgressReport &report, bool plain);
  /// A line of its own.
  void note(const std::string &text);

private:
  void finishLine();

  std::FILE *stream;
  bool terminal, lineOpen = false;
  std::chrono::steady_clock::time_point shown{};
};

} // namespace tidegate::train
