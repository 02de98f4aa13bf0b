//===- Attention.cpp - Causal softmax attention in a window -----*- C++ -*-===//
// A task is one block of queries of one head; it walks the keys that its block
// sees in tiles, past and sequence each by itself, with a running maximum. The
// backward has one task per group of heads and sums in the order of its loops.
// A tile that all its queries see whole is a product; in any other a query
// touches only what it sees, so that inf and NaN elsewhere stay there.
//===----------------------------------------------------------------------===//
#include "runtime/core/Attention.h"

#include "runtime/core/Blas.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

using namespace tidegate::runtime;

namespace {
constexpr int64_t kQueries = 64, kKeys = 64; // of a tile

/// One batch row and query head: where its rows lie, who sees whom.
template <typename Real>
class Head {
public:
  Head(const AttentionSizes &n, const AttentionInputs<Real> &in, int64_t b, int64_t h)
      : n(n), in(in), b(b), h(h), g(h / (n.H / n.G)) {}

  const AttentionSizes &n;
  const AttentionInputs<Real> &in;
  int64_t b, h, g;

  /// Elements from one row to the next.
  int64_t queryStride() const { return n.H * n.K; }
  int64_t resultStride() const { return n.H * n.V; }
  int64_t keyStride() const { return n.G * n.K; }
  int64_t valueStride() const { return n.G * n.V; }

  int64_t query(int64_t t) const { return ((b * n.T + t) * n.H + h) * n.K; }
  int64_t result(int64_t t) const { return ((b * n.T + t) * n.H + h) * n.V; }
  int64_t lse(int64_t t) const { return (b * n.T + t) * n.H + h; }
  /// Row s, which is in the past if s < 0; the rows of a tile are on one side.
  int64_t key(int64_t s) const { return row(s) * n.K; }
  int64_t value(int64_t s) const { return row(s) * n.V; }
  const Real *keys(int64_t s) const { return (s < 0 ? in.pastKey : in.key) + key(s); }
  const Real *values(int64_t s) const { return (s < 0 ? in.pastValue : in.value) + value(s); }

  /// The first row that token t sees; itself it sees always.
  int64_t first(int64_t t) const {
    int64_t lo = std::max(t - (n.W - 1), in.pastKey ? -(n.W - 1) : int64_t(0));
    if (in.positions)
      lo = std::max(lo, t - in.positions[b * n.T + t]);
    return std::min(lo, t);
  }

  /// Calls `visit(first row, number of rows)` for the tiles of keys that tokens
  /// t0 to t1 - 1 see, in ascending order.
  template <typename Visit>
  void forEachTile(int64_t t0, int64_t t1, Visit visit) const {
    int64_t lo = t0;
    for (int64_t t = t0; t < t1; ++t)
      lo = std::min(lo, first(t));
    while (lo < t1) {
      int64_t end = std::min(lo + kKeys, lo < 0 ? 0 : t1);
      visit(lo, end - lo);
      lo = end;
    }
  }

  /// True if tokens t0 to t1 - 1 all see the `count` rows from s on.
  bool isSeenWhole(int64_t t0, int64_t t1, int64_t s, int64_t count) const {
    if (t0 + 1 < s + count)
      return false;
    for (int64_t t = t0; t < t1; ++t)
      if (first(t) > s)
        return false;
    return true;
  }

  /// The columns of the tile at row `s` that token t sees.
  std::pair<int64_t, int64_t> columns(int64_t t, int64_t s, int64_t count) const {
    return {std::clamp<int64_t>(first(t) - s, 0, count), std::clamp<int64_t>(t + 1 - s, 0, count)};
  }

private:
  int64_t row(int64_t s) const { return (s < 0 ? b * (n.W - 1) + s + n.W - 1 : b * n.T + s) * n.G + g; }
};

/// e^x to 1.1 ulp for x <= 88, in operations that vectorise: 2^n e^r with |r| below
/// ln(2) / 2 and the series of e^r; below e^-87 it is 0.
inline float exponential(float x) {
  constexpr float kRound = 12582912; // 1.5 * 2^23: an addend that leaves the nearest integer in the low bits
  constexpr float kLog2High = 0.693359375f, kLog2Low = -2.12194440e-4f; // their sum is ln 2
  const float bounded = std::min(std::max(x, -87.0f), 88.0f);
  const float shifted = bounded * 1.44269504f + kRound, n = shifted - kRound;
  const float r = (bounded - n * kLog2High) - n * kLog2Low;
  float series = 1.0f / 5040 * r + 1.0f / 720;
  series = ((series * r + 1.0f / 120) * r + 1.0f / 24) * r + 1.0f / 6;
  series = ((series * r + 1.0f / 2) * r + 1) * r + 1;
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound) + 127;
  return x < -87.0f ? 0.0f : series * std::bit_cast<float>(exponent << 23);
}
inline double exponential(double x) { return std::exp(x); }

/// x[i] = e^(x[i] - shift).
template <typename Real>
void exponentials(int64_t count, Real shift, Real *x) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i)
    x[i] = exponential(x[i] - shift);
}

template <typename Real>
void addScaled(int64_t count, Real factor, const Real *x, Real *sum) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i)
    sum[i] += factor * x[i];
}

int64_t blocksOf(const AttentionSizes &n) { return (n.T + kQueries - 1) / kQueries; }

/// Tokens t0 to t1 - 1 of one head.
template <typename Real>
void attendBlock(const Head<Real> &head, int64_t t0, int64_t t1, Real *out, Real *lse) {
  const AttentionSizes &n = head.n;
  const int64_t rows = t1 - t0;
  std::vector<Real> scores(kQueries * kKeys), sums(kQueries * n.V, Real(0));
  std::vector<Real> most(kQueries, -std::numeric_limits<Real>::infinity()), total(kQueries, Real(0));
  head.forEachTile(t0, t1, [&](int64_t s, int64_t count) {
    const bool isWhole = head.isSeenWhole(t0, t1, s, count);
    const Real *values = head.values(s);
    gemm(false, true, rows, count, n.K, Real(1), head.in.query + head.query(t0), head.queryStride(), head.keys(s),
         head.keyStride(), Real(0), scores.data(), kKeys);
    for (int64_t i = 0; i < rows; ++i) {
      Real *row = scores.data() + i * kKeys;
      auto [begin, end] = head.columns(t0 + i, s, count);
      if (begin >= end)
        continue;
      const Real before = most[i];
      most[i] = std::max(before, *std::max_element(row + begin, row + end));
      const Real kept = std::exp(before - most[i]);
      exponentials(end - begin, most[i], row + begin);
      Real sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t j = begin; j < end; ++j)
        sum += row[j];
      total[i] = total[i] * kept + sum;
      for (int64_t d = 0; d < n.V; ++d)
        sums[i * n.V + d] *= kept;
      for (int64_t j = begin; j < end && !isWhole; ++j)
        addScaled(n.V, row[j], values + j * head.valueStride(), sums.data() + i * n.V);
    }
    if (isWhole)
      gemm(false, false, rows, n.V, count, Real(1), scores.data(), kKeys, values, head.valueStride(), Real(1),
           sums.data(), n.V);
  });
  for (int64_t i = 0; i < rows; ++i) {
    Real *to = out + head.result(t0 + i);
    for (int64_t d = 0; d < n.V; ++d)
      to[d] = sums[i * n.V + d] / total[i];
    if (lse)
      lse[head.lse(t0 + i)] = most[i] + std::log(total[i]);
  }
}

/// The block's share of the gradients; those of keys and values are added.
template <typename Real>
void attendBlockBack(const Head<Real> &head, int64_t t0, int64_t t1, const AttentionCotangents<Real> &given,
                     const AttentionGradients<Real> &to) {
  const AttentionSizes &n = head.n;
  const int64_t rows = t1 - t0;
  const Real *queries = head.in.query + head.query(t0), *outGrad = given.outGrad + head.result(t0);
  std::vector<Real> weights(kQueries * kKeys), slopes(kQueries * kKeys), base(kQueries);
  for (int64_t i = 0; i < rows; ++i) {
    const Real *y = given.out + head.result(t0 + i), *dy = given.outGrad + head.result(t0 + i);
    Real sum = given.lseGrad ? -given.lseGrad[head.lse(t0 + i)] : Real(0);
    for (int64_t d = 0; d < n.V; ++d)
      sum += dy[d] * y[d];
    base[i] = sum;
    std::fill_n(to.query + head.query(t0 + i), n.K, Real(0));
  }
  head.forEachTile(t0, t1, [&](int64_t s, int64_t count) {
    const bool isWhole = head.isSeenWhole(t0, t1, s, count);
    const Real *keys = head.keys(s);
    Real *queryGrad = to.query + head.query(t0), *keyGrad = s < 0 ? to.pastKey : to.key,
         *valueGrad = s < 0 ? to.pastValue : to.value;
    if (keyGrad)
      keyGrad += head.key(s);
    if (valueGrad)
      valueGrad += head.value(s);
    gemm(false, true, rows, count, n.K, Real(1), queries, head.queryStride(), keys, head.keyStride(), Real(0),
         weights.data(), kKeys);
    gemm(false, true, rows, count, n.V, Real(1), outGrad, head.resultStride(), head.values(s), head.valueStride(),
         Real(0), slopes.data(), kKeys);
    for (int64_t i = 0; i < rows; ++i) {
      Real *p = weights.data() + i * kKeys, *ds = slopes.data() + i * kKeys;
      const Real lse = given.lse[head.lse(t0 + i)];
      auto [begin, end] = head.columns(t0 + i, s, count);
      exponentials(end - begin, lse, p + begin);
#pragma omp simd
      for (int64_t j = begin; j < end; ++j)
        ds[j] = p[j] * (ds[j] - base[i]);
      for (int64_t j = begin; j < end && !isWhole; ++j) {
        addScaled(n.K, ds[j], keys + j * head.keyStride(), queryGrad + i * head.queryStride());
        if (keyGrad)
          addScaled(n.K, ds[j], queries + i * head.queryStride(), keyGrad + j * head.keyStride());
        if (valueGrad)
          addScaled(n.V, p[j], outGrad + i * head.resultStride(), valueGrad + j * head.valueStride());
      }
    }
    if (!isWhole)
      return;
    gemm(false, false, rows, n.K, count, Real(1), slopes.data(), kKeys, keys, head.keyStride(), Real(1), queryGrad,
         head.queryStride());
    if (keyGrad)
      gemm(true, false, count, n.K, rows, Real(1), slopes.data(), kKeys, queries, head.queryStride(), Real(1), keyGrad,
           head.keyStride());
    if (valueGrad)
      gemm(true, false, count, n.V, rows, Real(1), weights.data(), kKeys, outGrad, head.resultStride(), Real(1),
           valueGrad, head.valueStride());
  });
}
} // namespace

template <typename Real>
void tidegate::runtime::attention(const AttentionSizes &n, const AttentionInputs<Real> &in, Real *out, Real *lse) {
#pragma omp parallel for collapse(3) schedule(dynamic, 1)
  for (int64_t b = 0; b < n.B; ++b)
    for (int64_t block = 0; block < blocksOf(n); ++block)
      for (int64_t h = 0; h < n.H; ++h)
        attendBlock(Head<Real>(n, in, b, h), block * kQueries, std::min((block + 1) * kQueries, n.T), out, lse);
}

template <typename Real>
void tidegate::runtime::attentionGrad(const AttentionSizes &n, const AttentionInputs<Real> &in,
                                      const AttentionCotangents<Real> &given, const AttentionGradients<Real> &to) {
  std::fill_n(to.key, n.B * n.T * n.G * n.K, Real(0));
  std::fill_n(to.value, n.B * n.T * n.G * n.V, Real(0));
  if (to.pastKey)
    std::fill_n(to.pastKey, n.B * (n.W - 1) * n.G * n.K, Real(0));
  if (to.pastValue)
    std::fill_n(to.pastValue, n.B * (n.W - 1) * n.G * n.V, Real(0));
#pragma omp parallel for collapse(2) schedule(dynamic, 1)
  for (int64_t b = 0; b < n.B; ++b)
    for (int64_t g = 0; g < n.G; ++g)
      for (int64_t i = 0; i < n.H / n.G; ++i)
        for (int64_t block = 0; block < blocksOf(n); ++block)
          attendBlockBack(Head<Real>(n, in, b, g * (n.H / n.G) + i), block * kQueries,
                          std::min((block + 1) * kQueries, n.T), given, to);
}

namespace tidegate::runtime {
#define TIDEGATE_ATTENTION(Real)                                                                                       \
  template void attention(const AttentionSizes &, const AttentionInputs<Real> &, Real *, Real *);                     \
  template void attentionGrad(const AttentionSizes &, const AttentionInputs<Real> &,                                  \
                              const AttentionCotangents<Real> &, const AttentionGradients<Real> &);
TIDEGATE_ATTENTION(float)
TIDEGATE_ATTENTION(double)
#undef TIDEGATE_ATTENTION
} // namespace tidegate::runtime
