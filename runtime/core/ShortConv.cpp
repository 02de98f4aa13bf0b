//===- ShortConv.cpp - Depth-wise causal convolutions over time -*- C++ -*-===//
// Channels are contiguous, so every inner loop runs over channels: a row of the
// result is a sum of W rows, each times a row of the transposed weight.
//===----------------------------------------------------------------------===//
#include "runtime/core/ShortConv.h"

#include <algorithm>
#include <vector>

using namespace tidegate::runtime;

namespace {
constexpr int64_t kParallelElements = 1 << 14; // below it, threads cost more than they save

/// Row s of x', or null where it is zeros.
template <typename Real>
const Real *extendedRow(const ShortConvSizes &n, const Real *x, const Real *past, int64_t b, int64_t s) {
  if (s >= n.W - 1)
    return x + (b * n.T + s - (n.W - 1)) * n.C;
  return past ? past + (b * (n.W - 1) + s) * n.C : nullptr;
}

/// The first tap that counts at token t of row b.
int64_t firstTap(const ShortConvSizes &n, const int32_t *positions, int64_t b, int64_t t) {
  return positions ? std::max<int64_t>(0, n.W - 1 - positions[b * n.T + t]) : 0;
}

/// w as W x C.
template <typename Real>
std::vector<Real> taps(const ShortConvSizes &n, const Real *w) {
  std::vector<Real> rows(n.C * n.W);
  for (int64_t c = 0; c < n.C; ++c)
    for (int64_t j = 0; j < n.W; ++j)
      rows[j * n.C + c] = w[c * n.W + j];
  return rows;
}

template <typename Real>
void addProduct(int64_t count, const Real *x, const Real *w, Real *sum) {
#pragma omp simd
  for (int64_t c = 0; c < count; ++c)
    sum[c] += w[c] * x[c];
}
} // namespace

template <typename Real>
void tidegate::runtime::shortConv(const ShortConvSizes &n, const Real *x, const Real *w, const Real *past,
                                  const int32_t *positions, Real *y, Real *next) {
  const std::vector<Real> tap = taps(n, w);
#pragma omp parallel for collapse(2) schedule(static) if (n.B * n.T * n.C > kParallelElements)
  for (int64_t b = 0; b < n.B; ++b)
    for (int64_t t = 0; t < n.T; ++t) {
      Real *row = y + (b * n.T + t) * n.C;
      std::fill_n(row, n.C, Real(0));
      for (int64_t j = firstTap(n, positions, b, t); j < n.W; ++j)
        if (const Real *from = extendedRow(n, x, past, b, t + j))
          addProduct(n.C, from, tap.data() + j * n.C, row);
    }
  if (!next)
    return;
  for (int64_t b = 0; b < n.B; ++b)
    for (int64_t s = 0; s < n.W - 1; ++s) {
      Real *row = next + (b * (n.W - 1) + s) * n.C;
      if (const Real *from = extendedRow(n, x, past, b, n.T + s))
        std::copy_n(from, n.C, row);
      else
        std::fill_n(row, n.C, Real(0));
    }
}

template <typename Real>
void tidegate::runtime::shortConvInputGrad(const ShortConvSizes &n, const Real *dy, const Real *w, const Real *dnext,
                                           const int32_t *positions, Real *dx, Real *dpast) {
  const std::vector<Real> tap = taps(n, w);
  const int64_t edge = n.W - 1;
#pragma omp parallel for collapse(2) schedule(static) if (n.B * n.T * n.C > kParallelElements)
  for (int64_t b = 0; b < n.B; ++b)
    for (int64_t s = 0; s < n.T + edge; ++s) {
      if (s < edge && !dpast)
        continue;
      Real *row = s < edge ? dpast + (b * edge + s) * n.C : dx + (b * n.T + s - edge) * n.C;
      if (s >= n.T && dnext)
        std::copy_n(dnext + (b * edge + s - n.T) * n.C, n.C, row);
      else
        std::fill_n(row, n.C, Real(0));
      for (int64_t j = std::max<int64_t>(0, s - n.T + 1); j <= std::min(s, edge); ++j)
        if (j >= firstTap(n, positions, b, s - j))
          addProduct(n.C, dy + (b * n.T + s - j) * n.C, tap.data() + j * n.C, row);
    }
}

template <typename Real>
void tidegate::runtime::shortConvWeightGrad(const ShortConvSizes &n, const Real *x, const Real *dy, const Real *past,
                                            const int32_t *positions, Real *dw) {
  constexpr int64_t kSlice = 64; // channels of one task
  const int64_t slices = (n.C + kSlice - 1) / kSlice;
#pragma omp parallel for schedule(dynamic, 1) if (n.B * n.T * n.C > kParallelElements)
  for (int64_t slice = 0; slice < slices; ++slice) {
    const int64_t first = slice * kSlice, count = std::min(kSlice, n.C - first);
    std::vector<double> sums(n.W * kSlice, 0.0);
    for (int64_t b = 0; b < n.B; ++b)
      for (int64_t t = 0; t < n.T; ++t) {
        const Real *cotangent = dy + (b * n.T + t) * n.C + first;
        for (int64_t j = firstTap(n, positions, b, t); j < n.W; ++j) {
          const Real *from = extendedRow(n, x, past, b, t + j);
          if (!from)
            continue;
          double *sum = sums.data() + j * kSlice;
#pragma omp simd
          for (int64_t c = 0; c < count; ++c)
            sum[c] += double(from[first + c]) * double(cotangent[c]);
        }
      }
    for (int64_t c = 0; c < count; ++c)
      for (int64_t j = 0; j < n.W; ++j)
        dw[(first + c) * n.W + j] = static_cast<Real>(sums[j * kSlice + c]);
  }
}

namespace tidegate::runtime {
#define TIDEGATE_SHORT_CONV(Real)                                                                                     \
  template void shortConv(const ShortConvSizes &, const Real *, const Real *, const Real *, const int32_t *, Real *,   \
                          Real *);                                                                                     \
  template void shortConvInputGrad(const ShortConvSizes &, const Real *, const Real *, const Real *, const int32_t *,  \
                                   Real *, Real *);                                                                    \
  template void shortConvWeightGrad(const ShortConvSizes &, const Real *, const Real *, const Real *,                  \
                                    const int32_t *, Real *);
TIDEGATE_SHORT_CONV(float)
TIDEGATE_SHORT_CONV(double)
#undef TIDEGATE_SHORT_CONV
} // namespace tidegate::runtime
