//===- RunLog.h - What a run writes about itself ----------------*- C++ -*-===//
// DIR/metrics.jsonl, one JSON object a line, and DIR/tensorboard/ with an event
// file of each process.
//
//   {"event":"begin","step":0,...}       a process starts after that step
//   {"step":1,"loss":5.6,...}            a training step
//   {"step":100,"held_out_loss":1.8,...} an evaluation after that step
//   {"event":"end","step":850,...}       the process ends, with its status
//
// A run that goes on from step N keeps the lines of steps up to N and drops
// those after it, which will be computed again: no step is there twice.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/train/Evaluate.h"
#include "runtime/train/EventFile.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace tidegate::train {

inline constexpr const char *kMetricsFile = "metrics.jsonl";

/// One training step. Numbers that do not exist are NaN.
struct StepRecord {
  int64_t step = 0;
  double loss = 0, lr = 0, gradNorm = 0; ///< nats; of this step; before clipping
  int64_t tokens = 0;                    ///< trained on so far
  double tokensPerSecond = 0;            ///< moving average
  double stepSeconds = 0, dataSeconds = 0; ///< of this step; waiting for its batch
  double mfu = 0;          ///< model FLOP/s (products, nothing done twice) over the peak, in [0, 1]
  double referenceMfu = 0; ///< by the reference trainer's count of FLOP (spec/architectures 8.7)
  int64_t memoryBytes = 0, peakMemoryBytes = 0; ///< resident: now, most so far
  int64_t skippedSteps = 0; ///< so far
  double secondsLeft = 0;
};

class RunLog {
public:
  using Observer = std::function<void(const nlohmann::ordered_json &)>;

  /// Nothing is written before begin(). `step`: done so far. `observer`, when
  /// given, sees every record that goes into the metrics file.
  RunLog(std::string directory, int64_t step, Observer observer = {})
      : directory(std::move(directory)), firstStep(step), observer(std::move(observer)) {}

  /// Drops what a run that ended unexpectedly wrote beyond its checkpoint, and
  /// starts with `facts`. Errors, here and below: RuntimeError of kind Io.
  void begin(const nlohmann::ordered_json &facts);
  /// `curves`: also into the event file.
  void step(const StepRecord &record, bool curves);
  void evaluation(int64_t step, const TextLoss &loss);
  void end(int64_t step, const std::string &status, const std::string &message = "");
  /// Makes everything so far durable; before a checkpoint claims these steps.
  void sync();

private:
  void line(nlohmann::ordered_json json);

  std::string directory;
  int64_t firstStep, evaluatedStep = -1; ///< evaluated: by what is kept
  Observer observer;
  std::optional<runtime::AppendFile> metrics;
  std::optional<EventFile> events;
};

/// The records of a metrics file, oldest first. Lines that are no JSON objects
/// with a step (the end of one that was being written) are left out.
/// Errors: NotFound, Io.
std::vector<nlohmann::json> readMetrics(const std::string &path);

/// Resident memory of this process, bytes: now and at most; 0 where the system does not say.
struct ProcessMemory {
  int64_t now = 0, peak = 0;
};
ProcessMemory processMemory();

} // namespace tidegate::train
