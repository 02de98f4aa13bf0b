//===- LrSchedule.h - Learning rate over the steps of a run -----*- C++ -*-===//
// Linear warm-up, a flat part, and a decay to a floor. Without a decay ratio
// the decay takes all steps after the warm-up; with one it is warm-up, stable,
// decay.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tidegate::train {

enum class DecayShape { Linear, Sqrt, Cosine };

struct LrSchedule {
  double peak = 1e-3;
  int64_t steps = 1;  ///< Of the whole run.
  int64_t warmup = 0; ///< At most `steps`.
  DecayShape shape = DecayShape::Cosine;
  double floor = 0.1;               ///< Lowest factor.
  std::optional<double> decayRatio; ///< Share of the steps that decay, in [0, 1].

  /// Of the peak, at optimizer index t, which counts from 0.
  double factor(int64_t t) const;
  /// The rate of step n, which counts from 1.
  double rate(int64_t n) const { return peak * factor(n - 1); }
  /// InvalidArgument for values out of range.
  void validate() const;
};

} // namespace tidegate::train
