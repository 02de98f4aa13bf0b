//===- MqarScore.cpp - How well a model recalls -----------------*- C++ -*-===//
#include "runtime/eval/MqarScore.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <cmath>

using namespace tidegate;
using namespace tidegate::eval;
using runtime::RuntimeError;

MqarScore tidegate::eval::scoreMqar(train::Model &model, const MqarGenerator &generator, int64_t examples, int64_t B,
                                    const Advance &advance) {
  const MqarTask &task = generator.task();
  if (examples < 1 || B < 1)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected at least 1 example and 1 row at a time, but got " + std::to_string(examples) +
                           " and " + std::to_string(B));
  if (model.vocab() < task.vocab)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "the task uses " + std::to_string(task.vocab) + " ids, but the model's vocabulary is " +
                           std::to_string(model.vocab()));
  const int64_t T = task.T;
  std::vector<int32_t> ids, labels;
  double sum = 0, squares = 0, nats = 0;
  for (int64_t first = 0; first < examples; first += B) {
    const int64_t rows = std::min(B, examples - first);
    ids.resize(rows * T);
    labels.resize(rows * T);
    for (int64_t b = 0; b < rows; ++b)
      generator.example(first + b, std::span(ids).subspan(b * T, T), std::span(labels).subspan(b * T, T));
    const train::LabelScores scores = model.scores({ids, labels, rows, T});
    for (int64_t b = 0; b < rows; ++b) {
      int64_t right = 0;
      for (int64_t i = b * T; i < (b + 1) * T; ++i) { // 0 where there is no label
        right += scores.isLikeliest[i];
        nats -= scores.logProbability[i];
      }
      const double share = static_cast<double>(right) / static_cast<double>(task.pairs);
      sum += share;
      squares += share * share;
    }
    if (advance)
      advance(first + rows, examples);
  }
  const double n = static_cast<double>(examples), mean = sum / n;
  const double variance = std::max(0.0, squares - n * mean * mean) / (n - 1); // 0 / 0 for a single example
  return {examples, mean, std::sqrt(variance / n), nats / (n * static_cast<double>(task.pairs))};
}
