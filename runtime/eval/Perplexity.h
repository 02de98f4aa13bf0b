//===- Perplexity.h - Perplexity over windows of tokens ---------*- C++ -*-===//
// The token stream is cut into windows of the training length. A window starts
// from the zero state, so its first token is not predicted.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/eval/Advance.h"
#include "runtime/train/Model.h"

namespace tidegate::eval {

/// A stream of tokens that need not be in memory at once.
struct TokenStream {
  int64_t size = 0;
  /// Fills `out` with the tokens from `first` on; they exist.
  std::function<void(int64_t first, std::span<int32_t> out)> read;
  /// Likewise their positions in their documents; none: nothing starts inside the stream.
  std::function<void(int64_t first, std::span<int32_t> out)> positions = {};

  /// Of tokens that outlive it.
  static TokenStream of(std::span<const int32_t> tokens);
};

struct PerplexityResult {
  double nats = 0;       ///< Sum of the negative log-likelihoods.
  int64_t predicted = 0; ///< Tokens in that sum.
  int64_t tokens = 0, windows = 0;

  double meanNats() const { return nats / static_cast<double>(predicted); }
  double perplexity() const;
};

/// exp(sum of nats / predicted tokens) over windows of T tokens that neither
/// overlap nor share a state, B at a time; B is a matter of speed only. A last,
/// shorter window counts like the others.
/// Errors: InvalidArgument for B < 1, T < 2, fewer than 2 tokens, and tokens
///         outside the model's vocabulary; for positions that the model cannot take.
PerplexityResult perplexity(train::Model &model, const TokenStream &tokens, int64_t B, int64_t T,
                            const Advance &advance = {});

} // namespace tidegate::eval
