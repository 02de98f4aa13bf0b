//===- Trainer.h - The training loop ----------------------------*- C++ -*-===//
// Schedule, batch, step, log, evaluate, save. Everything random or timed by
// the step number is a function of it, so a run that was stopped and resumed
// computes the same bits as one that was not.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/BatchSource.h"
#include "runtime/train/CheckpointWriter.h"
#include "runtime/train/Evaluate.h"
#include "runtime/train/LrSchedule.h"
#include "runtime/train/Progress.h"
#include "runtime/train/RunLog.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tidegate::train {

struct TrainSettings {
  int64_t batch = 8, seq = 256; ///< B windows of T tokens a micro-batch.
  int64_t accumulate = 1;       ///< Micro-batches a step.
  LrSchedule schedule;          ///< Its `steps` is the length of the run.
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-15, weightDecay = 0.1, maxNorm = 1.0;
  int64_t logEvery = 10;       ///< Steps between plain progress lines.
  int64_t saveEvery = 0;       ///< Steps between checkpoints; 0: only the last.
  int64_t evalEvery = 0;       ///< Steps between losses on held-out text; 0: only the last.
  int64_t evalTokens = 1 << 16; ///< Held-out tokens used in between; the last uses all.
  int64_t maxSkipped = 100;    ///< Skipped steps in a row that end the run; 0: never.

  int64_t tokensPerStep() const { return batch * accumulate * seq; }

  /// What decides the numbers a run computes, for run.json and for comparison on resume.
  nlohmann::ordered_json toJson() const;
};

/// Work of a step and what the machine could do, for utilisation; 0: not known.
struct WorkFigures {
  double flopsPerStep = 0;          ///< Of the model: nothing that is done twice.
  double referenceFlopsPerStep = 0; ///< As the reference trainer counts (spec/architectures 8.7).
  double peakFlops = 0;             ///< FLOP/s.
};

/// Where a run reports to, saves to, and hears that it should stop.
struct RunSurroundings {
  CheckpointDirectory &directory;
  Progress &progress;
  RunLog &log; ///< begun
  WorkFigures work;
  std::function<bool()> stop = [] { return false; };
};

struct TrainSummary {
  int64_t step = 0, skipped = 0;
  double trainLoss = 0; ///< Of the last step done now; NaN when there was none.
  bool interrupted = false;
  double seconds = 0;         ///< Of training steps only, those done now.
  double tokensPerSecond = 0; ///< Of them without the first, in which the model is compiled.
  double dataSeconds = 0, saveSeconds = 0; ///< Waiting for batches; for copies and unfinished saves.
  std::optional<TextLoss> heldOut;         ///< Over all held-out bytes; none when interrupted or nothing is held out.
  std::string checkpoint;                  ///< Path of the last one.
};

/// Trains `model` from `state` (with its weights and moments loaded, and the
/// source of the data at the position that belongs to it) to the end
/// of the schedule, or until `stop` says so between two steps; saves then.
/// Errors: RuntimeError, a failed save's at the next step; InvalidArgument after
/// `maxSkipped` skipped steps in a row.
TrainSummary train(Model &model, data::OpenedData &data, const TrainSettings &settings, RunState &state,
                   RunSurroundings &run);

} // namespace tidegate::train
