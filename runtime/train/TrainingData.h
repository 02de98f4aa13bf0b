//===- TrainingData.h - What a run learns -----------------------*- C++ -*-===//
// A batch is a function of (seed, step, row), so a resumed run sees the batches
// it would have seen, without any saved position.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

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
  /// Text that is never trained on; may be empty.
  virtual std::string_view heldOut() const { return {}; }
};

} // namespace tidegate::train
