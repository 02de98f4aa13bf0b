//===- Attention.h - Causal softmax attention in a window -------*- C++ -*-===//
// Token t sees the tokens from lo[t] to t. Scores exist for one tile of queries
// and keys at a time (M. Rabe, C. Staats, arXiv 2112.05682; T. Dao et al.,
// arXiv 2205.14135): memory does not grow with the window.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>

namespace tidegate::runtime {

/// B rows of T tokens; H query heads and G key heads (G divides H; query head h
/// reads key head h / (H / G)) of key width K and value width V; W tokens in the
/// window, the current one included.
struct AttentionSizes {
  int64_t B, T, H, G, K, V, W;
};

/// What attention reads. Row s < 0 of the past lies at s + W-1.
template <typename Real>
struct AttentionInputs {
  const Real *query; // B x T x H x K
  const Real *key;   // B x T x G x K
  const Real *value; // B x T x G x V
  /// B x T or null: token t looks back at most positions[t] tokens.
  const int32_t *positions = nullptr;
  const Real *pastKey = nullptr;   // B x W-1 x G x K; null: nothing before the sequence
  const Real *pastValue = nullptr; // B x W-1 x G x V
};

/// out[t] = sum over s of softmax(query[t] . key[s]) value[s], B x T x H x V, and
/// the logarithms of the sums of exponentials, B x T x H.
/// Null `lse` is not stored. Real is float or double; sums run in a fixed order.
template <typename Real>
void attention(const AttentionSizes &sizes, const AttentionInputs<Real> &in, Real *out, Real *lse);

/// Results of attention and their cotangents; a null `lseGrad` is zeros.
template <typename Real>
struct AttentionCotangents {
  const Real *out, *lse, *outGrad, *lseGrad = nullptr;
};

/// Cotangents of the inputs, each with the shape of its input. Those of the past
/// may be null (not stored); without a past they are zeros.
template <typename Real>
struct AttentionGradients {
  Real *query, *key, *value, *pastKey = nullptr, *pastValue = nullptr;
};

template <typename Real>
void attentionGrad(const AttentionSizes &sizes, const AttentionInputs<Real> &in, const AttentionCotangents<Real> &given,
                   const AttentionGradients<Real> &to);

} // namespace tidegate::runtime
