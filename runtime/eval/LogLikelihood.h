//===- LogLikelihood.h - How likely a model finds tokens --------*- C++ -*-===//
// Sequences of any lengths, batched with others of about their length. Rows
// are padded at the end, which a causal model cannot see.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/eval/Advance.h"
#include "runtime/train/Model.h"

namespace tidegate::eval {

/// Tokens of which the last `scored` are to be predicted, each from all before it.
struct ScoredSequence {
  std::vector<int32_t> ids;
  int64_t scored = 0; ///< At least 1 and less than the number of ids.
};

struct SequenceScore {
  double logLikelihood = 0; ///< Sum over the scored tokens, nats.
  bool greedy = true;       ///< Every scored token is the likeliest at its position.
};

/// One score a sequence, in their order. Batches hold up to B sequences; neither
/// B nor the order of the sequences changes a score by more than the rounding
/// of the model's own products.
/// Errors: InvalidArgument for sequences without a scored token or without one
///         before it, ids outside the vocabulary, and logits that are not finite.
std::vector<SequenceScore> logLikelihoods(train::Model &model, std::span<const ScoredSequence> sequences, int64_t B,
                                          const Advance &advance = {});

} // namespace tidegate::eval
