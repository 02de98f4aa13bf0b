//===- LogitRows.h - Logits read row by row, in f64 -------------*- C++ -*-===//
#pragma once

#include "runtime/core/HostTensor.h"

#include <algorithm>
#include <cmath>

namespace tidegate::eval {

class LogitRows {
public:
  /// Of a tensor of logits, B x T x vocab, f32 or f64.
  explicit LogitRows(runtime::HostTensor logits)
      : logits(std::move(logits)), values(static_cast<size_t>(this->logits.shape().back())) {}

  /// Row b * T + t; valid until the next call.
  std::span<const double> row(int64_t index) {
    const int64_t vocab = static_cast<int64_t>(values.size());
    if (logits.dtype() == runtime::Dtype::F32)
      std::copy_n(logits.as<float>().begin() + index * vocab, vocab, values.begin());
    else
      std::copy_n(logits.as<double>().begin() + index * vocab, vocab, values.begin());
    return values;
  }

private:
  runtime::HostTensor logits;
  std::vector<double> values;
};

/// Index of the largest element; the first of equals, as reference harnesses take it.
inline int64_t argMax(std::span<const double> values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

/// log softmax(logits)[id], at most 0; NaN or infinite for logits that are.
inline double logProbability(std::span<const double> logits, int32_t id) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (double logit : logits)
    total += std::exp(logit - top);
  return logits[id] - top - std::log(total);
}

} // namespace tidegate::eval
