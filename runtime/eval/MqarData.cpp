//===- MqarData.cpp - Associative recall to train on ------------*- C++ -*-===//
#include "runtime/eval/MqarData.h"

#include "runtime/core/Error.h"

#include <string>

using namespace tidegate;
using namespace tidegate::eval;
using runtime::RuntimeError;

MqarData::MqarData(std::vector<MqarTask> given) : tasks(std::move(given)) {
  if (tasks.empty())
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected at least 1 number of pairs, but got none");
  for (const MqarTask &task : tasks) {
    task.validate();
    if (task.T != tasks.front().T || task.vocab != tasks.front().vocab)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "expected examples of one length and vocabulary to train on, but got " +
                             std::to_string(tasks.front().T) + " and " + std::to_string(task.T) + " tokens, " +
                             std::to_string(tasks.front().vocab) + " and " + std::to_string(task.vocab) + " ids");
  }
}

void MqarData::checkWindow(int64_t T) const {
  if (T != tasks.front().T)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected sequences of the task's " + std::to_string(tasks.front().T) + " tokens, but got " +
                           std::to_string(T));
}

void MqarData::batch(uint64_t seed, int64_t step, int64_t B, int64_t T, std::span<int32_t> ids,
                     std::span<int32_t> labels) const {
  checkWindow(T);
  std::vector<MqarGenerator> generators;
  for (const MqarTask &task : tasks)
    generators.emplace_back(task, seed, "train");
  const runtime::RandomStream which(seed, "associative recall, pairs");
  for (int64_t b = 0; b < B; ++b) {
    const uint64_t index = static_cast<uint64_t>(step) * B + b;
    generators[which.below(tasks.size(), index)].example(index, ids.subspan(b * T, T), labels.subspan(b * T, T));
  }
}
