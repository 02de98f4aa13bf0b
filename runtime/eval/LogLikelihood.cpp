//===- LogLikelihood.cpp - How likely a model finds tokens ------*- C++ -*-===//
// The longest batch comes first: if memory is short, that shows at once.
//===----------------------------------------------------------------------===//
#include "runtime/eval/LogLikelihood.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace tidegate;
using namespace tidegate::eval;
using runtime::RuntimeError;

namespace {

void checkSequence(const ScoredSequence &sequence, size_t index) {
  const int64_t length = static_cast<int64_t>(sequence.ids.size());
  if (sequence.scored < 1 || sequence.scored >= length)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected 1 to " + std::to_string(length - 1) + " scored tokens of the " +
                           std::to_string(length) + " of sequence " + std::to_string(index) + ", but got " +
                           std::to_string(sequence.scored));
}

/// The scored tokens of a sequence; InvalidArgument unless all are in the vocabulary.
std::span<const int32_t> scoredTokens(const ScoredSequence &sequence, int64_t vocab) {
  const auto tokens = std::span(sequence.ids).last(sequence.scored);
  for (int32_t token : tokens)
    if (token < 0 || token >= vocab)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "id " + std::to_string(token) + " is not in the vocabulary of " + std::to_string(vocab));
  return tokens;
}

SequenceScore sumOf(const train::LabelScores &scores, int64_t first, int64_t count) {
  SequenceScore sum;
  for (int64_t i = first; i < first + count; ++i) {
    if (std::isnan(scores.logProbability[i]))
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "the model's logits are not finite, so there is no likelihood");
    sum.logLikelihood += scores.logProbability[i];
    sum.greedy &= scores.isLikeliest[i];
  }
  return sum;
}

} // namespace

std::vector<SequenceScore> tidegate::eval::logLikelihoods(train::Model &model,
                                                          std::span<const ScoredSequence> sequences, int64_t B,
                                                          const Advance &advance) {
  if (B < 1)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected at least 1 sequence at a time, but got " + std::to_string(B));
  for (size_t i = 0; i < sequences.size(); ++i)
    checkSequence(sequences[i], i);
  std::vector<size_t> order(sequences.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sequences[a].ids.size() > sequences[b].ids.size(); });

  const int64_t vocab = model.vocab();
  std::vector<SequenceScore> scores(sequences.size());
  std::vector<int32_t> ids, labels;
  for (size_t first = 0; first < order.size(); first += B) {
    const int64_t rows = std::min<int64_t>(B, order.size() - first);
    // The last token of a sequence is predicted and never fed.
    const int64_t T = static_cast<int64_t>(sequences[order[first]].ids.size()) - 1;
    ids.assign(rows * T, 0);
    labels.assign(rows * T, train::kIgnoredLabel);
    std::vector<int64_t> firstLabels; // index of each sequence's first one
    for (int64_t b = 0; b < rows; ++b) {
      const ScoredSequence &sequence = sequences[order[first + b]];
      std::copy(sequence.ids.begin(), sequence.ids.end() - 1, ids.begin() + b * T);
      firstLabels.push_back(b * T + static_cast<int64_t>(sequence.ids.size()) - 1 - sequence.scored);
      std::ranges::copy(scoredTokens(sequence, vocab), labels.begin() + firstLabels.back());
    }
    const train::LabelScores found = model.scores({ids, labels, rows, T});
    for (int64_t b = 0; b < rows; ++b)
      scores[order[first + b]] = sumOf(found, firstLabels[b], sequences[order[first + b]].scored);
    if (advance)
      advance(static_cast<int64_t>(first) + rows, static_cast<int64_t>(order.size()));
  }
  return scores;
}
