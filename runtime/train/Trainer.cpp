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
namespace data = tidegate::data;

namespace {

using Clock = std::chrono::steady_clock;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string lossText(const TextLoss &loss) {
  char text[96];
  std::snprintf(text, sizeof text, "held-out loss %.4f nats, %.4f bits per byte (%lld bytes)", loss.nats,
                loss.bitsPerByte, (long long)loss.bytes);
  return text;
}

/// Seconds a step takes, recent steps counting more: each step's weight is
/// 0.95 of the next one's. The first step, in which the model is compiled, counts
/// only until there is another.
class StepTime {
public:
  void add(double seconds) {
    constexpr double kKeep = 0.95;
    if (++steps == 2)
      sum = weight = 0;
    sum = kKeep * sum + seconds;
    weight = kKeep * weight + 1;
  }
  double seconds() const { return sum / weight; }

private:
  double sum = 0, weight = 0;
  int64_t steps = 0;
};

/// One run from its first to its last step.
class Run {
public:
  Run(Model &model, data::OpenedData &opened, const TrainSettings &settings, RunState &state, RunSurroundings &run)
      : model(model), opened(opened), settings(settings), state(state), run(run), saver(run.directory) {
    summary.trainLoss = kNan;
  }

  TrainSummary whole() {
    while (state.step < steps && !(summary.interrupted = run.stop())) {
      step();
      if (settings.evalEvery && state.step % settings.evalEvery == 0 && state.step < steps)
        evaluate(settings.evalTokens);
      if (settings.saveEvery && state.step % settings.saveEvery == 0 && state.step < steps)
        save();
      report(saver.poll());
    }
    save();
    report(saver.finish());
    if (!summary.interrupted)
      summary.heldOut = evaluate(std::numeric_limits<int64_t>::max());
    summary.step = state.step;
    summary.skipped = state.skipped;
    if (stepsDone == 1)
      summary.tokensPerSecond = double(settings.tokensPerStep()) / summary.seconds;
    else if (stepsDone > 1) // All but the first, in which the model is compiled.
      summary.tokensPerSecond = double(settings.tokensPerStep() * (stepsDone - 1)) / (summary.seconds - firstSeconds);
    return summary;
  }

private:
  void step() {
    const auto start = Clock::now();
    const int64_t step = ++state.step;
    const data::Batch batch = opened.training->next(settings.batch * settings.accumulate, settings.seq);
    const double waited = secondsSince(start);
    const StepConfig config{settings.schedule.rate(step), settings.beta1,  settings.beta2,         settings.eps,
                            settings.weightDecay,         settings.maxNorm, step - state.skipped};
    const StepResult result = model.trainStep(microBatchesOf(batch), config);
    state.tokens += settings.tokensPerStep();
    state.skipped += result.skipped;
    state.skippedInARow = result.skipped ? state.skippedInARow + 1 : 0;
    account(result, config.lr, secondsSince(start), waited);
    if (settings.maxSkipped && state.skippedInARow >= settings.maxSkipped)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "the gradient was not finite for " + std::to_string(state.skippedInARow) +
                             " steps in a row, the last of them step " + std::to_string(step) +
                             "; try a lower learning rate");
  }

  std::vector<TokenBatch> microBatchesOf(const data::Batch &batch) const {
    const int64_t tokens = settings.batch * settings.seq;
    std::vector<TokenBatch> microBatches;
    for (int64_t i = 0; i < settings.accumulate; ++i) {
      auto part = [&](const std::vector<int32_t> &all) {
        return all.empty() ? std::span<const int32_t>() : std::span(all).subspan(i * tokens, tokens);
      };
      microBatches.push_back({part(batch.ids), part(batch.labels), settings.batch, settings.seq, part(batch.positions)});
    }
    return microBatches;
  }

  /// Everything that is said about a step.
  void account(const StepResult &result, double lr, double seconds, double waited) {
    summary.trainLoss = result.loss;
    summary.seconds += seconds;
    summary.dataSeconds += waited;
    if (++stepsDone == 1)
      firstSeconds = seconds;
    time.add(seconds);
    if (std::isfinite(result.loss))
      lossSum += result.loss, ++losses;
    const bool line = state.step == 1 || state.step == steps || state.step % settings.logEvery == 0;
    const double perStep = time.seconds(), left = double(steps - state.step) * perStep;
    auto utilisation = [&](double flops) {
      return flops > 0 && run.work.peakFlops > 0 ? flops / perStep / run.work.peakFlops : kNan;
    };
    const ProcessMemory memory = line ? processMemory() : lastMemory; // Reading it is a system call or two.
    lastMemory = memory;
    const double tokensPerSecond = double(settings.tokensPerStep()) / perStep;
    run.log.step({state.step, result.loss, lr, result.gradNorm, state.tokens, tokensPerSecond, seconds, waited,
                  utilisation(run.work.flopsPerStep), utilisation(run.work.referenceFlopsPerStep), memory.now,
                  memory.peak, state.skipped, left},
                 line);
    run.progress.report({state.step, steps, losses ? lossSum / double(losses) : kNan, lr, result.gradNorm,
                         tokensPerSecond, left, state.skipped, utilisation(run.work.flopsPerStep)},
                        line);
    if (line)
      lossSum = 0, losses = 0;
  }

  std::optional<TextLoss> evaluate(int64_t tokens) {
    if (opened.heldOut.ids.size() < 2)
      return std::nullopt;
    const TextLoss loss = evaluateText(model, opened.heldOut, opened.vocab, tokens, settings.batch, settings.seq);
    run.progress.note("step " + std::to_string(state.step) + "  " + lossText(loss));
    run.log.evaluation(state.step, loss);
    return loss;
  }

  void save() {
    const auto start = Clock::now();
    run.log.sync();
    report(saver.finish());
    state.data = opened.training->state();
    saver.save(model, state);
    summary.saveSeconds += secondsSince(start);
  }

  void report(const std::optional<std::string> &saved) {
    if (!saved)
      return;
    summary.checkpoint = *saved;
    run.progress.note("saved " + *saved);
  }

  Model &model;
  data::OpenedData &opened;
  const TrainSettings &settings;
  RunState &state;
  RunSurroundings &run;
  CheckpointWriter saver;
  const int64_t steps = settings.schedule.steps;
  TrainSummary summary;
  StepTime time;
  ProcessMemory lastMemory;
  double lossSum = 0; ///< Since the last plain line.
  double firstSeconds = 0;
  int64_t losses = 0, stepsDone = 0;
};

} // namespace

nlohmann::ordered_json TrainSettings::toJson() const {
  static const char *const kShapes[] = {"linear", "sqrt", "cosine"};
  nlohmann::ordered_json json = {{"batch", batch},
                                 {"accumulate", accumulate},
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

TrainSummary tidegate::train::train(Model &model, data::OpenedData &data, const TrainSettings &settings, RunState &state,
                                    RunSurroundings &run) {
  settings.schedule.validate();
  return Run(model, data, settings, state, run).whole();
}
