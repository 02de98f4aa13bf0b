//===- MqarData.h - Associative recall to train on --------------*- C++ -*-===//
// New examples at every step; a row's number of pairs is drawn.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/eval/Mqar.h"
#include "runtime/train/TrainingData.h"

#include <vector>

namespace tidegate::eval {

class MqarData : public train::TrainingData {
public:
  /// Tasks that differ in their pairs only. InvalidArgument for none, for
  /// others, and for sizes that do not fit.
  explicit MqarData(std::vector<MqarTask> tasks);

  /// T has to be that of the tasks.
  void checkWindow(int64_t T) const override;
  /// Each row an example of the stream "train" of one of the tasks, all equally likely.
  void batch(uint64_t seed, int64_t step, int64_t B, int64_t T, std::span<int32_t> ids,
             std::span<int32_t> labels) const override;

private:
  std::vector<MqarTask> tasks;
};

} // namespace tidegate::eval
