//===- Plan.cpp - tidegate plan ---------------------------------*- C++ -*-===//
// What a training step will need, known before it runs.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/TrainPlan.h"

#include <cstdio>
#include <iostream>

using namespace tidegate;
using namespace tidegate::tool;

ExitCode tool::runPlan(std::span<const std::string> args) {
  CommandLine line("plan", "FILE", "Peak memory, work and steps of one training step at the given sizes.");
  addProgramOptions(line);
  line.option<int64_t>("batch", "B", "rows of a batch (default 8)");
  line.option<int64_t>("seq", "T", "tokens of a row (default 256)");
  addStepOptions(line);
  line.flag("steps", "also the table of steps");
  addCompileOptions(line);
  addFormatOption(line);
  if (!line.parse(args))
    return kDone;
  const bool json = wantsJson(line);
  const int64_t B = line.integer("batch", 8, 1), T = line.integer("seq", 256, 1);
  const int64_t microBatches = accumulateOf(line);
  const ProgramSource source = programOf(line);
  CompileOptions options = compileOptionsOf(line);
  chooseActivations(line, source, B, T, microBatches, options);
  const PlanReport report = planModel(source, B, T, options, microBatches);
  if (json) {
    std::cout << report.json << "\n";
    return kDone;
  }
  auto mebibytes = [](int64_t bytes) { return double(bytes) / (1 << 20); };
  if (line.has("steps"))
    std::cout << report.table << "\n";
  std::printf("batch %lld x %lld tokens: %lld steps, %.4g GFLOP (%.4g MFLOP a token)\n", (long long)B, (long long)T,
              (long long)report.steps, report.flops / 1e9, report.flops / 1e6 / double(B * T * microBatches));
  std::printf("%s", report.memory.c_str());
  if (options.recomputedLayers > 0) {
    CompileOptions keeping = options;
    keeping.recomputedLayers = 0;
    const PlanReport none = planModel(source, B, T, keeping, microBatches);
    std::printf("%lld of %lld layers are run again: %.2f MiB less than %.2f MiB, %.1f %% more work\n",
                (long long)std::min(options.recomputedLayers, report.layers), (long long)report.layers,
                mebibytes(none.peakBytes - report.peakBytes), mebibytes(none.peakBytes),
                100 * (report.flops / none.flops - 1));
  }
  std::fflush(stdout);
  return kDone;
}
