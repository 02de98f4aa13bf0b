//===- Train.cpp - tidegate train -------------------------------*- C++ -*-===//
// Cheap checks first (command line, text, program, output directory), then the
// compilation, then the run.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/MqarOptions.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "compiler/tools/tidegate/RunRecord.h"
#include "compiler/tools/tidegate/RunTokenizer.h"
#include "compiler/tools/tidegate/StepTrace.h"
#include "compiler/tools/tidegate/TrainPlan.h"
#include "runtime/core/Error.h"
#include "runtime/eval/MqarData.h"
#include "runtime/train/Generate.h"
#include "runtime/train/Init.h"
#include "runtime/train/Interrupt.h"
#include "runtime/train/Trainer.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <limits>
#include <unistd.h>

using namespace tidegate;
using namespace tidegate::tool;
using runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kWarmSteps = 2; // Before a profile.
constexpr int64_t kDefaultHeldOut = 256 << 10; // Tokens; evaluated in seconds by any model worth training.

void declareOptions(CommandLine &line) {
  addProgramOptions(line);
  line.allowConfigFile();
  line.list("data", "PATH", "what to learn: a text, a directory of shards, an address of one, - for shards on stdin; "
                            "PATH=WEIGHT mixes several");
  line.option<std::string>("task", "NAME", "learn a made-up task and no text: mqar (associative recall)");
  line.option<std::string>("tokenizer", "NAME", "bytes, a *.model, a tokenizer.json, or a directory with one (default: "
                                                "that of the shards; bytes for a text)");
  line.option<std::string>("shuffle", "S", "of shards: window (default), document, or none");
  line.option<std::string>("shuffle-within", "S", "shuffle in all (default) or in one shard after the other; shards that "
                                                  "are still arriving are always shuffled one by one");
  line.option<std::string>("cache", "DIR", "for downloads and prepared texts (default out/data-cache)");
  line.option<std::string>("out", "DIR", "directory of checkpoints and metrics (default out/NAME, a name made of program, "
                                         "size, rank, sequences a step, rate and steps)");
  line.option<std::string>("resume", "auto|DIR", "go on from the newest checkpoint of --out, or of DIR");
  line.option<int64_t>("steps", "N", "steps of the whole run (default 1000)");
  line.option<int64_t>("batch", "B", "windows a micro-batch (default 8)");
  addStepOptions(line);
  line.option<int64_t>("global-batch", "N", "windows a step, in micro-batches of --batch; instead of --accumulate");
  line.option<int64_t>("seq", "T", "tokens of a window (default 256)");
  line.option<double>("lr", "X", "peak learning rate (default 1e-3)");
  line.option<int64_t>("warmup", "N", "steps of linear warm-up (default: a tenth of the steps, at most 512)");
  line.option<std::string>("decay", "SHAPE", "cosine (default), linear or sqrt");
  line.option<double>("decay-ratio", "X", "share of the steps that decay, after a flat part (default: all after the "
                                          "warm-up)");
  line.option<double>("lr-floor", "X", "lowest learning rate, as a share of the peak (default 0.1)");
  line.option<double>("beta1", "X", "AdamW (default 0.9)");
  line.option<double>("beta2", "X", "AdamW (default 0.95)");
  line.option<double>("eps", "X", "AdamW (default 1e-15)");
  line.option<double>("weight-decay", "X", "decoupled (default 0.1)");
  line.option<double>("max-norm", "X", "global gradient norm to clip to, 0: never (default 1)");
  line.option<int64_t>("max-skipped", "N", "end after N steps in a row whose gradient was not finite (default 100; 0: "
                                           "never)");
  line.option<double>("peak-flops", "X", "FLOP/s of the machine, for utilisation (default: measured, a product)");
  line.option<std::string>("scale", "TEXT", "size of the model in the run's name (default: its number of weights)");
  line.option<int64_t>("seed", "N", "of weights and windows (default 42)");
  line.option<int64_t>("save-every", "N", "steps between checkpoints (default 0: only the last)");
  line.option<int64_t>("keep", "N", "checkpoints to keep, 0 or at least 2 (default 3; 0: all)");
  line.option<int64_t>("log-every", "N", "steps between plain progress lines (default 10)");
  line.option<int64_t>("eval-every", "N", "steps between held-out losses (default 0: only at the end)");
  line.option<int64_t>("eval-tokens", "N", "held-out tokens of those in between (default 65536)");
  line.option<double>("held-out", "X", "share of the tokens that is held out, their end (default 0.05)");
  line.option<int64_t>("held-out-max", "N", "most tokens held out (default 262144)");
  line.list("sample-prompt", "TEXT", "print a sample that continues TEXT at the end");
  line.flag("dry-run", "print the settings, memory and work as a JSON object, and train nothing");
  line.option<int64_t>("sample-tokens", "N", "tokens of a sample (default 200)");
  line.option<double>("temperature", "X", "of samples (default 0.8)");
  line.option<double>("top-p", "X", "of samples (default 0.95)");
  line.option<std::string>("profile", "FILE", "write a trace of a few steps, kernel by kernel, for chrome://tracing or "
                                              "Perfetto");
  line.option<int64_t>("profile-steps", "N", "how many, after two to warm up (default 3)");
  addMqarOptions(line);
  addCompileOptions(line);
}

/// Where checkpoints go, and the one to start from.
struct Place {
  std::string out;
  std::optional<train::FoundCheckpoint> from;
};

Place placeOf(const CommandLine &line, const std::string &name) {
  Place place;
  place.out = line.get<std::string>("out", "out/" + name);
  const std::string resume = line.get<std::string>("resume", "");
  auto holdsCheckpoints = [&] {
    if (!fs::is_directory(place.out))
      return false;
    train::FoundCheckpoint found = train::findCheckpoint(place.out);
    return found.path || !found.skipped.empty();
  };
  if (resume == "auto") {
    if (holdsCheckpoints())
      place.from = findUsableCheckpoint(place.out);
    else
      std::cerr << "no checkpoint in '" << place.out << "' yet, starting from the beginning\n";
  } else if (line.has("resume")) {
    place.from = findUsableCheckpoint(resume);
    if (!line.has("out"))
      place.out = fs::path(*place.from->path).parent_path().string();
    if (place.out.empty())
      place.out = ".";
  } else if (holdsCheckpoints()) {
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "'" + place.out + "' already holds checkpoints; pass --resume auto to go on from them, or "
                                         "another --out");
  }
  return place;
}

/// Of --task: rows of --seq tokens, or as many as the task needs.
data::OpenedData openTask(const CommandLine &line, train::TrainSettings &settings) {
  if (!line.all("data").empty())
    throw UsageError("expected --data or --task, but got both");
  line.choice<bool>("task", {{"mqar", true}});
  std::vector<eval::MqarTask> tasks = mqarTasksOf(line, {}, eval::MqarTask().vocab);
  settings.seq = 0;
  for (const eval::MqarTask &task : tasks)
    settings.seq = std::max(settings.seq, task.T);
  for (eval::MqarTask &task : tasks)
    task.T = settings.seq;
  data::OpenedData opened;
  opened.vocab = tasks.front().vocab;
  opened.description = {{"task", "mqar"}, {"mqar", toJson(tasks)}};
  opened.training = train::sourceOf(std::make_unique<eval::MqarData>(tasks), uint64_t(line.integer("seed", 42, 0)));
  return opened;
}

/// Opens the data and checks that it has a batch. Unless another tokenizer is
/// named, a run that goes on keeps its own.
data::OpenedData openData(const CommandLine &line, train::TrainSettings &settings, const Place &place) {
  if (line.has("task"))
    return openTask(line, settings);
  data::DataOptions options;
  options.paths = line.all("data");
  if (options.paths.empty())
    line.required("data"); // Says so.
  const auto recorded = place.from ? place.from->state.tokenizer : std::nullopt;
  if (recorded)
    options.tokenizer = recorded->files.empty() ? recorded->name : *place.from->path;
  options.tokenizer = line.get<std::string>("tokenizer", options.tokenizer);
  options.shardwise = line.choice<bool>("shuffle-within", {{"all", false}, {"shard", true}});
  options.shuffle = line.choice<data::Shuffle>("shuffle", {{"window", data::Shuffle::Window},
                                                           {"document", data::Shuffle::Document},
                                                           {"none", data::Shuffle::None}});
  options.cache = line.get<std::string>("cache", options.cache);
  options.documents = line.has("documents");
  options.seed = static_cast<uint64_t>(line.integer("seed", 42, 0));
  options.heldOut = line.real("held-out", 0.05, 0, 0.9);
  options.maxHeldOut = line.integer("held-out-max", kDefaultHeldOut, 0);
  data::OpenedData data = data::openData(options);
  if (recorded && !line.has("tokenizer"))
    data.tokenizerName = recorded->name;
  const nlohmann::json start = data.training->state();
  data.training->next(settings.batch * settings.accumulate, settings.seq);
  data.training->restore(start);
  return data;
}

/// Goes on where the checkpoint's data stopped, if this is the same data.
void restoreData(const train::RunState &state, data::OpenedData &data) {
  if (state.data.is_null())
    return;
  const nlohmann::json start = data.training->state();
  try {
    data.training->restore(state.data);
  } catch (const RuntimeError &error) {
    if (error.kind() != RuntimeError::Kind::InvalidArgument)
      throw;
    std::cerr << "note: the data starts from its beginning: " << error.what() << "\n";
    data.training->restore(start);
  }
}

/// The held-out text, when tokens are its bytes.
std::optional<std::string> heldOutBytes(const data::OpenedData &data) {
  if (data.tokenizerName != "bytes")
    return std::nullopt;
  return data.tokenizer->decode(data.heldOut.ids);
}

train::TrainSettings settingsOf(const CommandLine &line) {
  const double anything = std::numeric_limits<double>::infinity();
  using train::DecayShape;
  train::TrainSettings settings;
  settings.batch = line.integer("batch", 8, 1);
  settings.seq = line.integer("seq", 256, 1);
  settings.accumulate = accumulateOf(line);
  if (line.has("global-batch")) {
    const int64_t whole = line.integer("global-batch", 0, 1);
    if (line.has("accumulate") || whole % settings.batch != 0)
      throw UsageError(line.has("accumulate")
                           ? "options '--global-batch' and '--accumulate' cannot both be given"
                           : "option '--global-batch' expects a multiple of the micro-batch of " +
                                 std::to_string(settings.batch) + " windows, but got " + std::to_string(whole));
    settings.accumulate = whole / settings.batch;
  }
  settings.maxSkipped = line.integer("max-skipped", 100, 0);
  train::LrSchedule &schedule = settings.schedule;
  schedule.steps = line.integer("steps", 1000, 1);
  schedule.peak = line.real("lr", 1e-3, 0, anything);
  schedule.warmup = line.integer("warmup", std::min<int64_t>(512, schedule.steps / 10), 0);
  if (schedule.warmup > schedule.steps)
    throw UsageError("option '--warmup' expects at most the " + std::to_string(schedule.steps) +
                     " steps of the run, but got " + std::to_string(schedule.warmup));
  schedule.shape = line.choice<DecayShape>(
      "decay", {{"cosine", DecayShape::Cosine}, {"linear", DecayShape::Linear}, {"sqrt", DecayShape::Sqrt}});
  schedule.floor = line.real("lr-floor", 0.1, 0, 1);
  if (line.has("decay-ratio"))
    schedule.decayRatio = line.real("decay-ratio", 1, 0, 1);
  const double below1 = std::nextafter(1.0, 0.0);
  settings.beta1 = line.real("beta1", 0.9, 0, below1);
  settings.beta2 = line.real("beta2", 0.95, 0, below1);
  settings.eps = line.real("eps", 1e-15, 0, anything);
  settings.weightDecay = line.real("weight-decay", 0.1, 0, anything);
  settings.maxNorm = line.real("max-norm", 1, 0, anything);
  settings.saveEvery = line.integer("save-every", 0, 0);
  settings.logEvery = line.integer("log-every", 10, 1);
  settings.evalEvery = line.integer("eval-every", 0, 0);
  settings.evalTokens = line.integer("eval-tokens", 1 << 16, 2);
  return settings;
}

/// Says what differs from the run that is resumed; the command line counts.
/// Errors: InvalidArgument when ids would mean something else than before.
void compareRuns(const train::RunState &old, const train::RunState &now) {
  if (old.tokenizer && now.tokenizer && old.tokenizer->hash != now.tokenizer->hash)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "the checkpoint was trained with tokenizer '" + old.tokenizer->name + "' (" + old.tokenizer->hash +
                           "), but the data has '" + now.tokenizer->name + "' (" + now.tokenizer->hash + ")");
  auto differs = [](const std::string &what, const std::string &before, const std::string &after) {
    std::cerr << "note: " << what << " was " << before << " in the checkpoint and is " << after << " now\n";
  };
  for (const auto &[name, value] : now.settings.items())
    if (!old.settings.contains(name))
      differs(name, "absent", value.dump());
    else if (old.settings[name] != value)
      differs(name, old.settings[name].dump(), value.dump());
  if (old.seed != now.seed)
    differs("seed", std::to_string(old.seed), std::to_string(now.seed));
  if (old.program.params != now.program.params || old.program.files != now.program.files)
    std::cerr << "note: the program or its parameters differ from the checkpoint's\n";
}

/// The program's files and everything that decides the run's numbers.
train::RunState startState(const CommandLine &line, const ProgramSource &source, const train::TrainSettings &settings,
                           const CompileOptions &options, const data::OpenedData &data) {
  train::RunState state;
  state.seed = static_cast<uint64_t>(line.integer("seed", 42, 0));
  state.program = recordOf(source);
  state.settings = settings.toJson();
  state.settings["precision"] = precisionName(options.precision);
  state.settings["form"] = options.form == ScanForm::Chunk ? "chunk" : "token";
  state.settings["chunk"] = options.chunk;
  state.settings["recomputed-layers"] = options.recomputedLayers;
  if (options.recomputedLayers == CompileOptions::kAllLayers)
    state.settings["recomputed-layers"] = "all";
  if (data.tokenizer) {
    state.tokenizer = recordOf(*data.tokenizer, data.tokenizerName, data.prefixed);
    state.settings["tokenizer"] = data.tokenizerName;
  }
  state.settings.update(nlohmann::ordered_json(data.description));
  state.settings["held-out-tokens"] = data.heldOut.ids.size();
  return state;
}

/// What is known of a step before the first.
struct Step {
  train::WorkFigures work;
  std::string text;
};

Step stepOf(const ProgramSource &source, const CompileOptions &options, const train::TrainSettings &settings,
            const PlanReport &planned, const std::vector<train::ParameterSpec> &parameters, int64_t vocab,
            double peakFlops) {
  Step step;
  step.work.flopsPerStep = planned.flops;
  if (options.recomputedLayers > 0) { // What is done twice is no work of the model.
    CompileOptions keeping = options;
    keeping.recomputedLayers = 0;
    step.work.flopsPerStep = planModel(source, settings.batch, settings.seq, keeping, settings.accumulate).flops;
  }
  step.work.referenceFlopsPerStep =
      referenceFlops(parameters, vocab, planned.layers, settings.seq, settings.tokensPerStep());
  step.work.peakFlops = peakFlops > 0 ? peakFlops : measureProductRate(options);
  char text[256];
  std::snprintf(text, sizeof text,
                "a step: %lld x %lld x %lld tokens, %.4g GFLOP, at most %.1f MiB; %lld of %lld layers run again; the "
                "machine: %.4g GFLOP/s",
                (long long)settings.accumulate, (long long)settings.batch, (long long)settings.seq,
                planned.flops / 1e9, double(planned.peakBytes) / (1 << 20),
                (long long)std::min(options.recomputedLayers, planned.layers), (long long)planned.layers,
                step.work.peakFlops / 1e9);
  step.text = text;
  return step;
}

/// Trains with progress, metrics and signals; the log says how it ended.
train::TrainSummary trainLogged(train::Model &model, data::OpenedData &data, const train::TrainSettings &settings,
                                train::RunState &state, train::CheckpointDirectory &directory, const Step &step,
                                int64_t weights, const TrainHooks &hooks) {
  train::Progress progress(stderr, isatty(STDERR_FILENO) != 0);
  train::InterruptGuard guard;
  train::RunLog log(directory.path(), state.step, hooks.record);
  log.begin({{"steps", settings.schedule.steps},
             {"parameters", weights},
             {"tokens_per_step", settings.tokensPerStep()},
             {"flops_per_step", step.work.flopsPerStep},
             {"reference_flops_per_step", step.work.referenceFlopsPerStep},
             {"peak_flops", step.work.peakFlops}});
  train::RunSurroundings run{directory, progress, log, step.work,
                             [&] { return train::InterruptGuard::requested() || (hooks.stop && hooks.stop()); }};
  try {
    train::TrainSummary summary = train::train(model, data, settings, state, run);
    log.end(summary.step, summary.interrupted ? "interrupted" : "done");
    return summary;
  } catch (const RuntimeError &error) {
    try {
      log.end(state.step, "failed", error.what());
    } catch (const RuntimeError &) { // The disk may be full; the first error counts.
    }
    throw;
  }
}

void printSamples(const CommandLine &line, train::Model &model, const data::TextCodec &codec,
                  const train::SamplerConfig &sampler, int64_t count) {
  for (const std::string &prompt : line.all("sample-prompt"))
    std::cout << "--- sample\n" << prompt << train::generateText(model, codec, prompt, count, sampler) << "\n";
  if (!line.all("sample-prompt").empty())
    std::cout << "---\n";
}

} // namespace

ExitCode tool::runTrain(std::span<const std::string> args) {
  if (const auto result = tool::trainRun(args, {}))
    std::cout << result->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  return kDone;
}

std::optional<nlohmann::ordered_json> tool::trainRun(std::span<const std::string> args, const TrainHooks &hooks) {
  CommandLine line("train", "FILE",
                   "Trains the model of a program on a text or on shards of tokens. The last line of stdout is a\n"
                   "JSON object with the final losses, the speed and the checkpoint.");
  declareOptions(line);
  if (!line.parse(args))
    return std::nullopt;
  train::TrainSettings settings = settingsOf(line);
  const int64_t keep = line.integer("keep", 3, 0);
  if (keep == 1)
    throw UsageError("option '--keep' expects 0 or at least 2, but got 1");
  const train::SamplerConfig sampler{line.real("temperature", 0.8, 0, std::numeric_limits<double>::infinity()),
                                     line.real("top-p", 0.95, 1e-9, 1),
                                     static_cast<uint64_t>(line.integer("seed", 42, 0))};
  const int64_t sampleTokens = line.integer("sample-tokens", 200, 0);
  CompileOptions options = compileOptionsOf(line);
  const double peakFlops = line.real("peak-flops", 0, 0, std::numeric_limits<double>::infinity());
  const ProgramSource source = programOf(line);

  const auto parameters = modelParameters(source);
  int64_t weights = 0;
  for (const auto &spec : parameters)
    weights += spec.elements();
  const std::string name =
      runName(source, line.get<std::string>("scale", ""), weights, settings) + (line.has("task") ? "_mqar" : "");
  const Place place = line.has("dry-run") ? Place() : placeOf(line, name);
  data::OpenedData data = openData(line, settings, place);
  chooseActivations(line, source, settings.batch, settings.seq, settings.accumulate, options);
  train::RunState state = startState(line, source, settings, options, data);
  const PlanReport plan = planModel(source, settings.batch, settings.seq, options, settings.accumulate);
  if (line.has("dry-run")) {
    std::cout << nlohmann::ordered_json{{"name", name},
                                        {"parameters", weights},
                                        {"tokens_per_step", settings.tokensPerStep()},
                                        {"flops_per_step", plan.flops},
                                        {"peak_bytes", plan.peakBytes},
                                        {"settings", state.settings}}
                     .dump()
              << "\n";
    return std::nullopt;
  }
  if (place.from) {
    compareRuns(place.from->state, state);
    state.step = place.from->state.step;
    state.skipped = place.from->state.skipped;
    state.skippedInARow = place.from->state.skippedInARow;
    state.tokens = place.from->state.tokens;
    state.data = place.from->state.data;
    restoreData(state, data);
  }
  expectRoom(source, settings.batch, settings.seq, options, settings.accumulate, plan);
  train::CheckpointDirectory directory(place.out, keep);

  std::cerr << "compiling " << source.path << ": " << weights << " parameters, " << precisionName(options.precision)
            << "\n";
  auto model = compileModel(source, options);
  if (model->vocab() < data.vocab)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       std::string("training on ") + (line.has("task") ? "the task" : "these tokens") + " needs a vocabulary of at least " + std::to_string(data.vocab) +
                           ", but the model's is " + std::to_string(model->vocab()) +
                           (line.has("task") ? "; see --mqar-vocab" : ""));
  if (place.from) {
    train::loadCheckpoint(*place.from->path, *model);
    std::cerr << "resuming from " << *place.from->path << "\n";
  } else {
    train::initialiseParameters(*model, state.seed);
  }

  const Step step = stepOf(source, options, settings, plan, parameters, model->vocab(), peakFlops);
  std::cerr << step.text << "\n";
  std::optional<StepTrace> trace;
  if (line.has("profile"))
    trace.emplace(*model, line.get<std::string>("profile", ""), kWarmSteps + 1,
                  kWarmSteps + line.integer("profile-steps", 3, 1));
  TrainHooks watched = hooks;
  if (trace)
    watched.record = [&](const nlohmann::ordered_json &record) {
      trace->onRecord(record);
      if (hooks.record)
        hooks.record(record);
    };
  const train::TrainSummary summary = trainLogged(*model, data, settings, state, directory, step, weights, watched);
  trace.reset();
  nlohmann::ordered_json result = {{"status", summary.interrupted ? "interrupted" : "done"},
                                   {"step", summary.step},
                                   {"skipped_steps", summary.skipped},
                                   {"parameters", weights},
                                   {"train_loss", summary.trainLoss},
                                   {"valid_loss", nullptr},
                                   {"valid_bits_per_byte", nullptr},
                                   {"gzip_bits_per_byte", nullptr},
                                   {"tokens_per_second", summary.tokensPerSecond},
                                   {"train_seconds", summary.seconds},
                                   {"data_seconds", summary.dataSeconds},
                                   {"save_seconds", summary.saveSeconds},
                                   {"peak_memory_bytes", train::processMemory().peak},
                                   {"checkpoint", summary.checkpoint}};
  if (summary.heldOut) {
    const auto text = heldOutBytes(data);
    std::printf("held-out loss  %.4f nats per %s\nheld-out text  %.4f bits per byte (%lld bytes)\n",
                summary.heldOut->nats, text ? "byte" : "token", summary.heldOut->bitsPerByte,
                (long long)summary.heldOut->bytes);
    result["valid_loss"] = summary.heldOut->nats;
    result["valid_bits_per_byte"] = summary.heldOut->bitsPerByte;
    if (text) {
      const double gzip = train::gzipBitsPerByte(*text);
      std::printf("gzip -9        %.4f bits per byte of the same text\n", gzip);
      result["gzip_bits_per_byte"] = gzip;
    }
    std::fflush(stdout);
  }
  if (!summary.interrupted && !line.has("task"))
    printSamples(line, *model, {data.tokenizer, data.prefixed}, sampler, sampleTokens);
  return result;
}
