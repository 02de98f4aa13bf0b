//===- Plot.cpp - tidegate plot ---------------------------------*- C++ -*-===//
// Curves of several runs from their metrics: the training loss smoothed, the
// held-out loss as dots.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "runtime/core/Error.h"
#include "runtime/plot/Chart.h"
#include "runtime/train/RunLog.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>

using namespace tidegate;
using namespace tidegate::tool;
using nlohmann::json;
using runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

struct Metric {
  const char *option, *key, *label;
};
constexpr Metric kMetrics[] = {{"loss", "loss", "loss (nats per token)"},
                               {"lr", "lr", "learning rate"},
                               {"grad-norm", "grad_norm", "gradient norm"},
                               {"tokens-per-second", "tokens_per_second", "tokens/s"},
                               {"mfu", "mfu", "share of the machine's peak"},
                               {"memory", "memory_bytes", "resident memory (bytes)"}};

/// "out/a" for "out/a", "out/a/" and "out/a/metrics.jsonl".
std::string runOf(std::string path) {
  if (fs::path(path).filename() == train::kMetricsFile)
    path = fs::path(path).parent_path().string();
  while (path.size() > 1 && path.back() == '/')
    path.pop_back();
  return path.empty() ? "." : path;
}

std::vector<plot::Point> pointsOf(const std::vector<json> &records, const char *x, const char *y) {
  std::vector<plot::Point> points;
  double tokens = 0;
  for (const json &record : records) {
    if (record.contains("tokens"))
      tokens = record["tokens"];
    if (!record.contains(y))
      continue;
    const double at = std::string_view(x) == "tokens" ? tokens : record["step"].get<double>();
    points.push_back({at, record[y].is_number() ? record[y].get<double>() : NAN});
  }
  return points;
}

} // namespace

ExitCode tool::runPlot(std::span<const std::string> args) {
  CommandLine line("plot", "RUN...", "Draws curves of training runs (directories with metrics.jsonl) into one picture.",
                   Operands::Several);
  line.option<std::string>("out", "FILE", "picture to write: .svg or .png (default curves.svg)");
  line.option<std::string>("metric", "NAME", "loss (default, with held-out losses as dots), lr, grad-norm, "
                                             "tokens-per-second, mfu or memory");
  line.option<std::string>("x", "NAME", "steps (default) or tokens");
  line.option<int64_t>("smooth", "N", "moving average over about N steps (default: a hundredth of the run)");
  line.option<std::string>("title", "TEXT", "above the picture (default: the metric)");
  if (!line.parse(args))
    return kDone;
  const Metric *metric = nullptr;
  std::vector<std::string> names;
  for (const Metric &m : kMetrics) {
    names.push_back(m.option);
    if (line.get<std::string>("metric", "loss") == m.option)
      metric = &m;
  }
  if (!metric)
    CommandLine::refuse("option '--metric'", line.get<std::string>("metric", ""), names);
  const char *x = line.choice<const char *>("x", {{"steps", "step"}, {"tokens", "tokens"}});
  const int64_t smooth = line.integer("smooth", 0, line.has("smooth") ? 1 : 0);

  plot::Chart chart;
  chart.title = line.get<std::string>("title", metric->label);
  chart.xLabel = line.get<std::string>("x", "steps");
  chart.yLabel = metric->label;
  int color = 0;
  for (const std::string &operand : line.operands()) {
    constexpr size_t kMostPoints = 1500;
    const std::string run = runOf(operand);
    const auto records = train::readMetrics(run + "/" + train::kMetricsFile);
    const auto points = pointsOf(records, x, metric->key);
    if (points.empty())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "expected steps in '" + run + "/" + train::kMetricsFile + "', but it has none");
    const double length = smooth ? double(smooth) : std::max(1.0, double(points.size()) / 100);
    chart.series.push_back({run, plot::thinned(plot::smoothed(points, length), kMostPoints), false, color});
    if (std::string_view(metric->key) == "loss")
      if (auto heldOut = pointsOf(records, x, "held_out_loss"); !heldOut.empty())
        chart.series.push_back({run, heldOut, true, color});
    ++color;
  }
  const std::string out = line.get<std::string>("out", "curves.svg");
  plot::writeChart(chart, out);
  std::cout << out << "\n";
  return kDone;
}
