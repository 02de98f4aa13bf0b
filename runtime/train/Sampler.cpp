//===- Sampler.cpp - Temperature and nucleus sampling -----------*- C++ -*-===//
// Probabilities are formed relative to the largest logit, so nothing overflows.
//===----------------------------------------------------------------------===//
#include "runtime/train/Sampler.h"

#include "runtime/core/Error.h"
#include "runtime/core/Random.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

using namespace tidegate::train;
using tidegate::runtime::RuntimeError;

int32_t tidegate::train::sampleToken(std::span<const double> logits, const SamplerConfig &config, uint64_t position) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  if (std::any_of(logits.begin(), logits.end(), [](double x) { return std::isnan(x) || x == INFINITY; }))
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "the model's logits are not finite");
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (order.empty() || std::isinf(logits[order[0]]))
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "no token has a finite logit");
  if (config.temperature <= 0)
    return order[0];

  std::vector<double> mass(order.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i)
    total += mass[i] = std::exp((logits[order[i]] - logits[order[0]]) / config.temperature);
  double kept = 0;
  size_t count = 0;
  while (count < order.size() && mass[count] > 0 && (count == 0 || kept < config.topP * total))
    kept += mass[count++];
  double target = runtime::RandomStream(config.seed, "sampling").uniform(position) * kept;
  for (size_t i = 0; i + 1 < count; ++i)
    if ((target -= mass[i]) < 0)
      return order[i];
  return order[count - 1];
}
