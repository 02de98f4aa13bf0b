//===- LrSchedule.cpp - Warm-up, stable, decay ------------------*- C++ -*-===//
// The formulas of the reference trainer, including its one extra flat step.
//===----------------------------------------------------------------------===//
#include "runtime/train/LrSchedule.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <cmath>
#include <numbers>

using namespace tidegate::train;
using tidegate::runtime::RuntimeError;

double LrSchedule::factor(int64_t t) const {
  if (t < warmup)
    return double(t + 1) / double(warmup);
  int64_t decay = steps - warmup;
  if (decayRatio)
    decay = std::min<int64_t>(decay, std::llrint(double(steps) * *decayRatio));
  const int64_t stable = steps + 1 - warmup - decay;
  if (t < warmup + stable)
    return 1;
  const double p = std::min(1.0, double(t + 1 - warmup - stable) / double(decay));
  const double remaining = shape == DecayShape::Linear ? 1 - p
                           : shape == DecayShape::Sqrt ? 1 - std::sqrt(p)
                                                       : (1 + std::cos(std::numbers::pi * p)) / 2;
  return floor + (1 - floor) * remaining;
}

void LrSchedule::validate() const {
  auto require = [](bool holds, const std::string &message) {
    if (!holds)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, message);
  };
  require(steps >= 1, "expected at least 1 step, but got " + std::to_string(steps));
  require(warmup >= 0 && warmup <= steps, "expected a warm-up of 0 to " + std::to_string(steps) +
                                              " steps (the whole run), but got " + std::to_string(warmup));
  require(std::isfinite(peak) && peak >= 0, "expected a learning rate >= 0, but got " + std::to_string(peak));
  require(floor >= 0 && floor <= 1, "expected a floor in [0, 1], but got " + std::to_string(floor));
  require(!decayRatio || (*decayRatio >= 0 && *decayRatio <= 1),
          "expected a decay ratio in [0, 1], but got " + std::to_string(decayRatio.value_or(0)));
}
