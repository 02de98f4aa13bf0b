//===- Eval.cpp - tidegate eval ---------------------------------*- C++ -*-===//
// One measure of a checkpoint a call: perplexity, log-likelihood requests, or
// associative recall. Input is read and checked before anything is compiled.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/EvalTokens.h"
#include "compiler/tools/tidegate/MqarOptions.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "compiler/tools/tidegate/RunRecord.h"
#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/eval/MqarScore.h"
#include "runtime/eval/RequestScores.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <limits>
#include <numbers>
#include <unistd.h>

using namespace tidegate;
using namespace tidegate::tool;
using nlohmann::ordered_json;
using runtime::RuntimeError;

namespace {

void declareOptions(CommandLine &line) {
  line.option<std::string>("data", "PATH", "perplexity: the text, or the directory of shards, that is predicted");
  addTokenizerOption(line);
  line.option<std::string>("requests", "FILE", "log-likelihood requests, one JSON object a line; - is standard input");
  line.option<std::string>("task", "NAME", "a made-up task: mqar (associative recall)");
  line.option<int64_t>("batch", "B", "rows at a time; changes the speed only (default 8)");
  line.option<int64_t>("seq", "T", "tokens of a window, or most tokens of a request (default: the run's --seq); of an "
                                   "example of the task (default: 64, or 4 a pair)");
  line.option<int64_t>("max-tokens", "N", "perplexity: only the first N tokens");
  line.option<std::string>("out", "FILE", "requests: write the results here and not to standard output");
  addMqarOptions(line);
  line.option<int64_t>("examples", "N", "mqar: examples of each number of pairs (default 1000)");
  line.option<int64_t>("seed", "N", "mqar: of the examples (default 0)");
  addCompileOptions(line);
}

/// Lines on stderr while one waits: a line that rewrites itself on a terminal,
/// one every ten seconds elsewhere.
class Waiting {
public:
  ~Waiting() {
    if (open)
      std::fprintf(stderr, "\n");
  }
  void operator()(const std::string &what, int64_t done, int64_t all) {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - shown).count();
    if (seconds < (terminal ? 0.2 : 10) && !(terminal && done == all))
      return;
    shown = now;
    std::fprintf(stderr, terminal ? "\r%s %lld/%lld" : "%s %lld/%lld\n", what.c_str(), (long long)done,
                 (long long)all);
    open = terminal;
  }

private:
  bool terminal = isatty(STDERR_FILENO) != 0, open = false;
  std::chrono::steady_clock::time_point shown = std::chrono::steady_clock::now();
};

/// The checkpoint, compiled and loaded.
struct Subject {
  train::FoundCheckpoint found;
  std::unique_ptr<train::Model> model;

  Subject(train::FoundCheckpoint checkpoint, const CompileOptions &options)
      : found(std::move(checkpoint)), model(compileModel(sourceOf(found.state.program), options)) {
    train::loadWeights(*found.path + "/model.safetensors", *model);
  }
};

/// --seq, or the length of the windows the run was trained on.
int64_t lengthOf(const CommandLine &line, const train::FoundCheckpoint &found, int64_t least) {
  if (line.has("seq"))
    return line.integer("seq", 0, least);
  const ordered_json &settings = found.state.settings;
  if (settings.contains("seq") && settings["seq"].is_number_integer() && settings["seq"] >= least)
    return settings["seq"];
  throw UsageError("the checkpoint '" + *found.path +
                   "' does not say the length of its training windows; pass --seq");
}

void print(const ordered_json &json) {
  std::cout << json.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << "\n";
}

ExitCode evaluatePerplexity(const CommandLine &line, train::FoundCheckpoint found, CompileOptions options, int64_t B) {
  const int64_t T = lengthOf(line, found, 2);
  if (const ordered_json documents = found.state.settings.value("documents", ordered_json()); documents == true)
    options.documents = true; // As trained.
  const EvalTokens tokens =
      openTokens(line.required("data"), tokenizerOf(line, found),
                 line.integer("max-tokens", std::numeric_limits<int64_t>::max(), 2), options.documents);
  Subject subject(std::move(found), options);
  Waiting waiting;
  const eval::PerplexityResult result = eval::perplexity(
      *subject.model, tokens.stream, B, T, [&](int64_t done, int64_t all) { waiting("windows", done, all); });
  // What is not predicted counts like the mean of what is.
  const double bits = result.meanNats() * static_cast<double>(result.tokens) / (tokens.bytes * std::numbers::ln2);
  std::printf("perplexity     %.4f per token (%lld predicted, %lld windows of %lld)\nloss           %.4f nats per "
              "token\nbits per byte  %.4f\n",
              result.perplexity(), (long long)result.predicted, (long long)result.windows, (long long)T,
              result.meanNats(), bits);
  std::fflush(stdout);
  print({{"perplexity", result.perplexity()},
         {"nats_per_token", result.meanNats()},
         {"bits_per_byte", bits},
         {"byte_perplexity", std::exp2(bits)},
         {"tokens", result.tokens},
         {"predicted", result.predicted},
         {"bytes", std::llround(tokens.bytes)},
         {"windows", result.windows},
         {"seq", T},
         {"data", line.required("data")},
         {"checkpoint", *subject.found.path}});
  return kDone;
}

std::string rateText(const eval::Rate &rate) {
  if (!rate.count)
    return "-";
  char text[48];
  const auto error = rate.standardError();
  if (error)
    std::snprintf(text, sizeof text, "%.4f +- %.4f", rate.mean(), *error);
  else
    std::snprintf(text, sizeof text, "%.4f", rate.mean());
  return text;
}

void printTable(const std::vector<eval::TaskSummary> &tasks) {
  size_t width = 4;
  for (const eval::TaskSummary &task : tasks)
    width = std::max(width, task.task.size());
  // Beside the results, which may go on to another program.
  std::fprintf(stderr, "%-*s  %9s  %-16s  %-16s  %s\n", int(width), "task", "requests", "acc", "acc_norm",
               "perplexity");
  for (const eval::TaskSummary &task : tasks) {
    const auto perplexity = task.perplexity();
    std::fprintf(stderr, "%-*s  %9lld  %-16s  %-16s  %s\n", int(width), task.task.c_str(), (long long)task.requests,
                 rateText(task.acc).c_str(), rateText(task.accNorm).c_str(),
                 perplexity ? std::to_string(*perplexity).c_str() : "-");
  }
}

ExitCode evaluateRequests(const CommandLine &line, train::FoundCheckpoint found, const CompileOptions &options,
                          int64_t B) {
  eval::EncodeOptions encoding{lengthOf(line, found, 1), std::nullopt};
  const data::TextCodec codec = tokenizerOf(line, found).codec;
  const std::vector<eval::Request> requests = eval::readRequests(line.required("requests"));
  Subject subject(std::move(found), options);
  if (codec.tokenizer->bos() && *codec.tokenizer->bos() < subject.model->vocab())
    encoding.bos = codec.tokenizer->bos();
  Waiting waiting;
  const std::vector<eval::RequestScore> scores =
      eval::scoreRequests(*subject.model, [&](std::string_view text) { return codec.encode(text); }, requests, B,
                          encoding, [&](int64_t done, int64_t all) { waiting("continuations", done, all); });
  std::string results;
  for (size_t i = 0; i < requests.size(); ++i)
    results += eval::toJson(requests[i], scores[i]).dump() + "\n";
  if (line.has("out"))
    runtime::writeFileAtomically(line.required("out"), [&](runtime::FileWriter &out) { out.write(results); });
  else
    std::cout << results;
  const std::vector<eval::TaskSummary> tasks = eval::summarize(requests, scores);
  printTable(tasks);
  ordered_json summary = {{"tasks", ordered_json::array()}, {"seq", encoding.maxTokens}};
  for (const eval::TaskSummary &task : tasks)
    summary["tasks"].push_back(eval::toJson(task));
  summary["checkpoint"] = *subject.found.path;
  print(summary);
  return kDone;
}

ExitCode evaluateMqar(const CommandLine &line, train::FoundCheckpoint found, const CompileOptions &options,
                      int64_t B) {
  const int64_t examples = line.integer("examples", 1000, 1);
  const uint64_t seed = static_cast<uint64_t>(line.integer("seed", 0, 0));
  const ordered_json trained = found.state.settings.value("mqar", ordered_json::object());
  Subject subject(std::move(found), options);
  const std::vector<eval::MqarTask> tasks = mqarTasksOf(line, trained, subject.model->vocab());
  ordered_json results = ordered_json::array();
  std::printf("pairs  tokens  accuracy  std. error  nats\n");
  for (const eval::MqarTask &task : tasks) {
    Waiting waiting;
    const eval::MqarScore score =
        eval::scoreMqar(*subject.model, eval::MqarGenerator(task, seed, "test"), examples, B,
                        [&](int64_t done, int64_t all) {
                          waiting("K = " + std::to_string(task.pairs) + ": examples", done, all);
                        });
    std::printf("%5lld  %6lld  %8.4f  %10.4f  %.4f\n", (long long)task.pairs, (long long)task.T, score.accuracy,
                score.standardError, score.nats);
    std::fflush(stdout);
    results.push_back({{"pairs", task.pairs},
                       {"seq", task.T},
                       {"vocab", task.vocab},
                       {"examples", score.examples},
                       {"accuracy", score.accuracy},
                       {"accuracy_stderr", score.standardError},
                       {"nats", score.nats}});
  }
  print({{"task", "mqar"}, {"results", results}, {"seed", seed}, {"checkpoint", *subject.found.path}});
  return kDone;
}

} // namespace

ExitCode tool::runEval(std::span<const std::string> args) {
  CommandLine line("eval", "CHECKPOINT",
                   "Measures a trained model: --data TEXT its perplexity, --requests FILE the log-likelihoods of\n"
                   "continuations and accuracies, --task mqar its recall. CHECKPOINT is a step-N directory, or a\n"
                   "run's directory, whose newest checkpoint is taken. The last line of stdout is a JSON object.");
  declareOptions(line);
  if (!line.parse(args))
    return kDone;
  if (line.has("data") + line.has("requests") + line.has("task") != 1)
    throw UsageError("expected exactly one of --data, --requests and --task, but got " +
                     std::to_string(line.has("data") + line.has("requests") + line.has("task")));
  const int64_t B = line.integer("batch", 8, 1);
  line.choice<bool>("task", {{"mqar", true}});
  const CompileOptions options = compileOptionsOf(line);
  train::FoundCheckpoint found = findUsableCheckpoint(line.operand());
  if (line.has("data"))
    return evaluatePerplexity(line, std::move(found), options, B);
  if (line.has("requests"))
    return evaluateRequests(line, std::move(found), options, B);
  return evaluateMqar(line, std::move(found), options, B);
}
