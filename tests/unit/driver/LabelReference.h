//===- LabelReference.h - Scores of labels from whole logits ----*- C++ -*-===//
#pragma once

#include "runtime/train/Model.h"

#include <algorithm>
#include <cmath>

namespace tidegate::test {

/// What Model::scores says, from logits B x T x vocab, with sums in f64.
inline train::LabelScores scoresOfLogits(runtime::HostTensor logits, std::span<const int32_t> labels) {
  const int64_t vocab = logits.shape().back();
  train::LabelScores scores;
  for (size_t i = 0; i < labels.size(); ++i) {
    std::vector<double> row(vocab);
    for (int64_t v = 0; v < vocab; ++v)
      row[v] = logits.view().get(int64_t(i) * vocab + v);
    const auto top = std::max_element(row.begin(), row.end()); // the first of equals
    double sum = 0;
    for (double z : row)
      sum += std::exp(z - *top);
    const bool counts = labels[i] != train::kIgnoredLabel;
    scores.logProbability.push_back(counts ? row[labels[i]] - *top - std::log(sum) : 0);
    scores.isLikeliest.push_back(counts && top - row.begin() == labels[i]);
  }
  return scores;
}

/// Every third label is ignored, the next is the likeliest id of the logits, the last of equals where there are such,
/// and one in six is what it was.
inline void chooseLabels(runtime::HostTensor logits, std::vector<int32_t> &labels) {
  const int64_t vocab = logits.shape().back();
  for (size_t i = 0; i < labels.size(); ++i) {
    auto at = [&](int64_t v) { return logits.view().get(int64_t(i) * vocab + v); };
    int32_t first = 0, last = 0;
    for (int64_t v = 1; v < vocab; ++v) {
      first = at(v) > at(first) ? int32_t(v) : first;
      last = at(v) >= at(last) ? int32_t(v) : last;
    }
    const int32_t choices[] = {train::kIgnoredLabel, first, last, train::kIgnoredLabel, first, labels[i]};
    labels[i] = choices[i % 6];
  }
}

} // namespace tidegate::test
