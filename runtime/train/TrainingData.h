//===- TrainingData.h - Data that is made, not read -------------*- C++ -*-===//
// Rows that are a function of (seed, step, row): nothing has to be remembered
// but the step.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/BatchSource.h"

#include <cstdint>
#include <memory>
#include <span>

namespace tidegate::train {

class TrainingData {
public:
  virtual ~TrainingData() = default;

  /// InvalidArgument when rows of T tokens cannot be made.
  virtual void checkWindow(int64_t T) const = 0;
  /// Fills B x T ids and labels, row-major; `step` counts from 1. Labels are
  /// aligned with the ids: what a position has to predict, or kIgnoredLabel.
  virtual void batch(uint64_t seed, int64_t step, int64_t B, int64_t T, std::span<int32_t> ids,
                     std::span<int32_t> labels) const = 0;
};

/// Hands out the batches of the steps 1, 2, ...
std::unique_ptr<data::BatchSource> sourceOf(std::unique_ptr<TrainingData> made, uint64_t seed);

} // namespace tidegate::train
