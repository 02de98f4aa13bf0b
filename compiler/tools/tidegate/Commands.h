//===- Commands.h - The table of commands -----------------------*- C++ -*-===//
// One row a command; each lives in commands/<Name>.cpp.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/tools/tidegate/CommandLine.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

namespace tidegate::tool {

ExitCode runTrain(std::span<const std::string> args);
ExitCode runData(std::span<const std::string> args);
ExitCode runEval(std::span<const std::string> args);
ExitCode runGenerate(std::span<const std::string> args);
ExitCode runParams(std::span<const std::string> args);
ExitCode runEmit(std::span<const std::string> args);
ExitCode runEntry(std::span<const std::string> args);
ExitCode runVerify(std::span<const std::string> args);
ExitCode runPlan(std::span<const std::string> args);
ExitCode runBench(std::span<const std::string> args);
ExitCode runImport(std::span<const std::string> args);
ExitCode runExport(std::span<const std::string> args);
ExitCode runPlot(std::span<const std::string> args);
ExitCode runRuns(std::span<const std::string> args);
ExitCode runSweep(std::span<const std::string> args);

struct Command {
  std::string_view name, summary; ///< The summary is one line for `tidegate help`.
  ExitCode (*run)(std::span<const std::string> args);
};

inline constexpr Command kCommands[] = {
    {"train", "Train a program's model on a text file", runTrain},
    {"generate", "Write text with a trained checkpoint", runGenerate},
    {"data", "Make shards of tokens out of texts, describe and check them", runData},
    {"eval", "Perplexity, log-likelihood requests, or recall of a checkpoint", runEval},
    {"params", "Count a model's parameters", runParams},
    {"emit", "Compile to a chosen stage and print it", runEmit},
    {"run", "Execute one function or layer on tensors from a file", runEntry},
    {"verify", "Check a model against stored values, or its compiled forms against each other", runVerify},
    {"plan", "Memory and work of a training step, before running it", runPlan},
    {"import", "Make a run of a checkpoint of the reference library", runImport},
    {"export", "Write a checkpoint as the reference library reads it", runExport},
    {"bench", "Time a training step, kernel by kernel", runBench},
    {"plot", "Draw loss curves of training runs", runPlot},
    {"runs", "List training runs and how they stand", runRuns},
    {"sweep", "Train every cell of a table of programs and params", runSweep},
};

/// The whole tool: picks the command, runs it, and turns every exception into
/// a message on stderr and an exit code.
ExitCode runTool(std::span<const std::string> args);
/// runTool as a whole process: also a crash becomes an exit code.
ExitCode runProcess(std::span<const std::string> args);

/// What a caller other than the command line wants of a run.
struct TrainHooks {
  std::function<void(const nlohmann::ordered_json &)> record; ///< Sees every line of metrics.jsonl.
  std::function<bool()> stop;                                 ///< Asked between steps: save and return now?
};
/// `tidegate train`: the object of its last line, or nothing when it trained nothing. Errors are thrown.
std::optional<nlohmann::ordered_json> trainRun(std::span<const std::string> args, const TrainHooks &hooks);
/// `tidegate verify --format json`, without a verdict; empty for --help. Errors are thrown.
std::string verifyJson(std::span<const std::string> args);

} // namespace tidegate::tool
