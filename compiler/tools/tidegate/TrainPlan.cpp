//===- TrainPlan.cpp - How a training step is laid out ----------*- C++ -*-===//
#include "compiler/tools/tidegate/TrainPlan.h"

#include <charconv>
#include <cmath>
#include <filesystem>

using namespace tidegate;
using namespace tidegate::tool;

void tool::addActivationOptions(CommandLine &line) {
  line.option<std::string>("activations", "P",
                           "what the backward keeps of each layer: none (default; nothing is run again), block (only "
                           "its input), auto (block for as few layers as --memory asks for)");
  line.option<std::string>("memory", "BYTES", "what a step may need, for --activations auto; 12G and 512M are powers "
                                              "of 1024");
}

void tool::addStepOptions(CommandLine &line) {
  line.option<int64_t>("accumulate", "N", "micro-batches of --batch windows in a step (default 1)");
  addActivationOptions(line);
}

int64_t tool::accumulateOf(const CommandLine &line) { return line.integer("accumulate", 1, 1); }

int64_t tool::bytesOf(const std::string &option, const std::string &text) {
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  const size_t power = unit.empty() ? 0 : std::string("KMGT").find(unit) + 1;
  constexpr double kMost = 9e18;
  const double bytes = value * std::pow(1024, double(power));
  if (error != std::errc() || (power == 0 && !unit.empty()) || unit.size() > 1 || !(bytes >= 1) || bytes > kMost)
    throw UsageError("option '--" + option + "' expects bytes such as 12G, 512M or 1000000, but got '" + text + "'");
  return int64_t(bytes);
}

void tool::chooseActivations(const CommandLine &line, const ProgramSource &source, int64_t B, int64_t T,
                             int64_t microBatches, CompileOptions &options) {
  enum class Policy { None, Block, Auto };
  const auto policy = line.choice<Policy>(
      "activations", {{"none", Policy::None}, {"block", Policy::Block}, {"auto", Policy::Auto}});
  if (line.has("memory") != (policy == Policy::Auto))
    throw UsageError(line.has("memory") ? "option '--memory' goes with '--activations auto'"
                                        : "option '--activations auto' needs '--memory BYTES'");
  if (policy == Policy::Block)
    options.recomputedLayers = CompileOptions::kAllLayers;
  if (policy == Policy::Auto)
    options.recomputedLayers =
        layersToRecompute(source, B, T, options, microBatches, bytesOf("memory", line.required("memory")));
}

double tool::referenceFlops(const std::vector<train::ParameterSpec> &parameters, int64_t vocab, int64_t layers,
                            int64_t T, int64_t tokens) {
  int64_t weights = 0, width = 0;
  for (const train::ParameterSpec &spec : parameters) {
    weights += spec.elements();
    if (!width && spec.shape.size() == 2 && spec.shape[0] == vocab)
      width = spec.shape[1]; // The embedding's.
  }
  return (6.0 * double(weights) + 12.0 * double(layers) * double(width) * double(T)) * double(tokens);
}

/// 374M, 3.6M, 42k.
static std::string countText(int64_t count) {
  char text[32];
  if (count >= 1e9)
    std::snprintf(text, sizeof text, "%.3gB", double(count) / 1e9);
  else if (count >= 1e6)
    std::snprintf(text, sizeof text, "%.3gM", double(count) / 1e6);
  else
    std::snprintf(text, sizeof text, "%.3gk", double(count) / 1e3);
  return text;
}

/// 3e-4, 1.5e-3, 0.
static std::string rateText(double rate) {
  if (rate == 0)
    return "0";
  char text[32];
  std::snprintf(text, sizeof text, "%.5e", rate);
  std::string mantissa(text, std::string_view(text).find('e'));
  mantissa.erase(mantissa.find_last_not_of('0') + 1);
  if (mantissa.back() == '.')
    mantissa.pop_back();
  return mantissa + "e" + std::to_string(std::atoi(text + std::string_view(text).find('e') + 1));
}

std::string tool::runName(const ProgramSource &source, const std::string &scale, int64_t weights,
                          const train::TrainSettings &settings) {
  std::string name = std::filesystem::path(source.path).stem().string();
  if (name.empty() || name == "-")
    name = "run";
  name += "_" + (scale.empty() ? countText(weights) : scale);
  for (const auto &[param, value] : programParams(source))
    if (param == "rank")
      name += "_r" + value;
  name += "_bs" + std::to_string(settings.batch * settings.accumulate);
  name += "_lr" + rateText(settings.schedule.peak);
  return name + "_steps" + std::to_string(settings.schedule.steps);
}
