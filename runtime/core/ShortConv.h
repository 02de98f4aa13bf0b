//===- ShortConv.h - Depth-wise causal convolutions over time ---*- C++ -*-===//
// With `past` put before `x`, row s of x' is past[s] for s < W-1, then x[s-(W-1)].
// With `positions` (B x T, the places of the tokens in their documents; null: one
// document) the terms of tap j count only where positions[t] >= W-1-j.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>

namespace tidegate::runtime {

/// Sizes: x, y and their gradients are B x T x C, w is C x W, what precedes a
/// sequence and what it leaves to the next is B x W-1 x C. T may be below W.
struct ShortConvSizes {
  int64_t B, T, C, W;
};

/// y[t, c] = sum over j of w[c, j] x'[t+j, c], and next = the last W-1 rows of x'.
/// A null `past` is zeros; a null `next` is not stored. Real is float or double.
template <typename Real>
void shortConv(const ShortConvSizes &sizes, const Real *x, const Real *w, const Real *past,
               const int32_t *positions, Real *y, Real *next);

/// The adjoint of the rows: dx'[s, c] = sum over j of w[c, j] dy[s-j, c], plus
/// `dnext` (null: zeros) on the last W-1 rows. `dpast` (null: not stored) takes
/// the first W-1 rows, `dx` the T rows after them.
template <typename Real>
void shortConvInputGrad(const ShortConvSizes &sizes, const Real *dy, const Real *w, const Real *dnext,
                        const int32_t *positions, Real *dx, Real *dpast);

/// dw[c, j] = sum over b, t of x'[b, t+j, c] dy[b, t, c], in double precision and
/// in the order of b and t, whatever the number of threads.
template <typename Real>
void shortConvWeightGrad(const ShortConvSizes &sizes, const Real *x, const Real *dy, const Real *past,
                         const int32_t *positions, Real *dw);

} // namespace tidegate::runtime
