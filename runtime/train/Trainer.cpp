//===- Trainer.cpp - The training loop --------------------------*- C++ -*-===//
// Adam's t counts applied updates; the schedule counts steps, skipped or not.
//===----------------------------------------------------------------------===//
#include "runtime/train/Trainer.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

using namespace tidegate::train;
using tidegate::runtime::RuntimeError;

namespace {

constexpr int64_t kMaxSkippedInARow = 100;

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string lossText(const TextLoss &loss) {
  char text[96];
  std::snprintf(text, sizeof text, "held-out loss %.4f nats, %.4f bits per byte (%lld bytes)", loss.nats,
                loss.bitsPerByte, (long long)loss.bytes);
  return text;
}

/// Sums of losses and times, for progress lines and the final rate.
struct Meter {
  double lossSum = 0, seconds = 0;
  int64_t losses = 0, steps = 0;

  void add(double loss, double duration) {
    if (std::isfinite(loss))
      lossSum += loss, ++losses;
    seconds += duration, ++steps;
  }
  double meanLoss() const { return losses ? lossSum / double(losses) : std::numeric_limits<double>::quiet_NaN(); }
  double perStep() const { return steps ? seconds / double(steps) : 0; }
};

} // namespace

nlohmann::ordered_json TrainSettings::toJson() const {
  static const char *const kShapes[] = {"linear", "sqrt", "cosine"};
  nlohmann::ordered_json json = {{"batch", batch},
                                 {"seq", seq},
                                 {"steps", schedule.steps},
                                 {"lr", schedule.peak},
                                 {"warmup", schedule.warmup},
                                 {"decay", kShapes[static_cast<int>(schedule.shape)]},
                                 {"lr-floor", schedule.floor},
                                 {"decay-ratio", nullptr},
                                 {"beta1", beta1},
                                 {"beta2", beta2},
                                 {"eps", eps},
                                 {"weight-decay", weightDecay},
                                 {"max-norm", maxNorm}};
  if (schedule.decayRatio)
    json["decay-ratio"] = *schedule.decayRatio;
  return json;
}

TrainSummary tidegate::train::train(Model &model, const TextData &data, const TrainSettings &settings, RunState &state,
                                    CheckpointDirectory &directory, Progress &progress,
                                    const std::function<bool()> &stop) {
  settings.schedule.validate();
  data.checkWindow(settings.seq);
  const int64_t steps = settings.schedule.steps, tokens = settings.batch * settings.seq;
  std::vector<int32_t> ids(tokens), labels(tokens);
  TrainSummary summary;
  summary.trainLoss = std::numeric_limits<double>::quiet_NaN();
  Meter sinceLine, whole;
  int64_t skippedInARow = 0;

  auto save = [&] {
    summary.checkpoint = directory.save(model, state);
    progress.note("saved " + summary.checkpoint);
  };
  while (state.step < steps && !(summary.interrupted = stop())) {
    const auto start = std::chrono::steady_clock::now();
    const int64_t step = ++state.step;
    data.batch(state.seed, step, settings.batch, settings.seq, ids, labels);
    StepConfig config{settings.schedule.rate(step), settings.beta1,  settings.beta2,         settings.eps,
                      settings.weightDecay,         settings.maxNorm, step - state.skipped};
    StepResult result = model.trainStep({ids, labels, settings.batch, settings.seq}, config);
    summary.trainLoss = result.loss;
    state.skipped += result.skipped;
    skippedInARow = result.skipped ? skippedInARow + 1 : 0;
    if (skippedInARow == kMaxSkippedInARow)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "the gradient was not finite for " + std::to_string(kMaxSkippedInARow) +
                             " steps in a row, the last of them step " + std::to_string(step) +
                             "; try a lower learning rate");
    const double duration = secondsSince(start);
    sinceLine.add(result.loss, duration);
    whole.add(result.loss, duration);

    const bool line = step == 1 || step == steps || step % settings.logEvery == 0;
    progress.report({step, steps, sinceLine.meanLoss(), config.lr, result.gradNorm,
                     double(tokens) / sinceLine.perStep(), double(steps - step) * whole.perStep(), state.skipped},
                    line);
    if (line)
      sinceLine = {};
    if (settings.evalEvery && step % settings.evalEvery == 0 && step < steps && data.heldOut().size() > 1)
      progress.note("step " + std::to_string(step) + "  " +
                    lossText(evaluateText(model, data.heldOut().substr(0, settings.evalBytes), settings.batch,
                                          settings.seq)));
    if (settings.saveEvery && step % settings.saveEvery == 0 && step < steps)
      save();
  }
  summary.step = state.step;
  summary.skipped = state.skipped;
  summary.seconds = whole.seconds;
  summary.tokensPerSecond = whole.seconds > 0 ? double(tokens * whole.steps) / whole.seconds : 0;
  save();
  if (!summary.interrupted && data.heldOut().size() > 1) {
    summary.heldOut = evaluateText(model, data.heldOut(), settings.batch, settings.seq);
    progress.note(lossText(*summary.heldOut));
  }
  return summary;
}
