//===- Bench.cpp - tidegate bench -------------------------------*- C++ -*-===//
// Where the time of a training step goes, against the machine's own rate of
// matrix products.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/TrainPlan.h"

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

using namespace tidegate;
using namespace tidegate::tool;

ExitCode tool::runBench(std::span<const std::string> args) {
  CommandLine line("bench", "FILE", "Times a training step on random tokens, kernel by kernel.");
  addProgramOptions(line);
  line.option<int64_t>("batch", "B", "rows of a batch (default 8)");
  line.option<int64_t>("seq", "T", "tokens of a row (default 512)");
  line.option<int64_t>("repeats", "N", "steps measured after one to warm up (default 5)");
  addActivationOptions(line);
  addCompileOptions(line);
  addFormatOption(line);
  if (!line.parse(args))
    return kDone;
  const bool json = wantsJson(line);
  const int64_t B = line.integer("batch", 8, 1), T = line.integer("seq", 512, 1);
  const int64_t repeats = line.integer("repeats", 5, 1);
  const ProgramSource source = programOf(line);
  CompileOptions options = compileOptionsOf(line);
  chooseActivations(line, source, B, T, /*microBatches=*/1, options);
  const BenchReport report = benchModel(source, B, T, int(repeats), options);
  const BenchReport::DeviceBytes &device = report.device;
  if (json) {
    nlohmann::json out{{"batch", B},
                       {"seq", T},
                       {"step_seconds", report.stepSeconds},
                       {"tokens_per_second", double(B * T) / report.stepSeconds},
                       {"flops", report.flops},
                       {"product_flops_per_second", report.productsPerSecond},
                       {"share", report.share()},
                       {"compile_seconds", report.compileSeconds},
                       {"kernels", nlohmann::json::array()}};
    if (device.plan)
      out["device_memory"] = {
          {"driver_peak_bytes", device.driver}, {"plan_peak_bytes", device.plan}, {"bytes_before", device.before}};
    for (const auto &row : report.rows)
      out["kernels"].push_back({{"what", row.what},
                                {"where", row.where},
                                {"calls", row.calls},
                                {"seconds", row.seconds},
                                {"flops", row.flops}});
    std::cout << out.dump() << "\n";
    return kDone;
  }
  std::printf("%-34s %6s %10s %6s %9s  %s\n", "kernel", "calls", "ms", "share", "GFLOP/s", "source");
  for (const auto &row : report.rows) {
    std::printf("%-34s %6lld %10.3f %5.1f%% ", row.what.c_str(), (long long)row.calls, row.seconds * 1e3,
                100 * row.seconds / report.stepSeconds);
    if (row.flops > 0)
      std::printf("%9.1f", row.flops / row.seconds / 1e9);
    else
      std::printf("%9s", "");
    std::printf("  %s\n", row.where.c_str());
  }
  std::printf("batch %lld x %lld tokens: %.1f ms a step, %.0f tokens/s, compiled in %.1f s\n", (long long)B,
              (long long)T, report.stepSeconds * 1e3, double(B * T) / report.stepSeconds, report.compileSeconds);
  std::printf("%.1f GFLOP of products at %.1f GFLOP/s, %.1f %% of the %.1f GFLOP/s of one large product\n",
              report.flops / 1e9, report.flops / report.stepSeconds / 1e9, 100 * report.share(),
              report.productsPerSecond / 1e9);
  if (device.plan) {
    auto mebibytes = [](int64_t bytes) { return double(bytes) / (1 << 20); };
    const double more = double(device.plan) / double(std::max<int64_t>(device.driver, 1)) - 1;
    std::printf("device memory: peak %.1f MiB by the driver, %.1f MiB by the plan (%+.1f %%); before, with this "
                "process's context, %.1f MiB were taken\n",
                mebibytes(device.driver), mebibytes(device.plan), 100 * more, mebibytes(device.before));
  }
  std::fflush(stdout);
  return kDone;
}
