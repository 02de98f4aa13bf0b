//===- Runs.cpp - tidegate runs ---------------------------------*- C++ -*-===//
// One line a run: how it stands, how far it is, how well it does.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "runtime/train/Progress.h"
#include "runtime/train/RunStatus.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

using namespace tidegate;
using namespace tidegate::tool;

namespace {

std::string lossText(double loss) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", loss);
  return std::isfinite(loss) ? text : "-";
}

nlohmann::ordered_json jsonOf(const train::RunStatus &run) {
  return {{"path", run.path},
          {"state", run.state},
          {"message", run.message},
          {"step", run.step},
          {"steps", run.steps},
          {"loss", run.loss},
          {"held_out_loss", run.heldOut},
          {"tokens_per_second", run.tokensPerSecond},
          {"seconds_left", run.secondsLeft},
          {"time", run.time},
          {"checkpoint", run.checkpoint}};
}

} // namespace

ExitCode tool::runRuns(std::span<const std::string> args) {
  CommandLine line("runs", "DIR", "Lists the training runs in a directory and below it: running, done, interrupted by a\n"
                                  "signal, failed with an error, or killed.");
  addFormatOption(line);
  if (!line.parse(args))
    return kDone;
  const bool json = wantsJson(line);
  const auto runs = train::findRuns(line.operand());
  if (json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const auto &run : runs)
      list.push_back(jsonOf(run));
    std::cout << nlohmann::ordered_json{{"runs", list}}.dump(-1, ' ', false,
                                                            nlohmann::json::error_handler_t::replace)
              << "\n";
    return kDone;
  }
  size_t width = 3;
  for (const auto &run : runs)
    width = std::max(width, run.path.size());
  std::printf("%-*s  %-11s %15s %8s %8s %10s %9s  %s\n", int(width), "run", "state", "step", "loss", "held out",
              "tokens/s", "left", "checkpoint");
  for (const auto &run : runs) {
    const std::string step = std::to_string(run.step) + "/" + std::to_string(run.steps);
    const std::string left = run.state == "running" ? train::durationText(run.secondsLeft) : "-";
    std::printf("%-*s  %-11s %15s %8s %8s %10.0f %9s  %s\n", int(width), run.path.c_str(), run.state.c_str(),
                step.c_str(), lossText(run.loss).c_str(), lossText(run.heldOut).c_str(),
                std::isfinite(run.tokensPerSecond) ? run.tokensPerSecond : 0, left.c_str(),
                run.checkpoint.empty() ? "-" : run.checkpoint.c_str());
    if (!run.message.empty())
      std::printf("%-*s  %s\n", int(width), "", run.message.c_str());
  }
  std::fflush(stdout);
  return kDone;
}
