//===- short_conv.cuh - Depth-wise causal convolutions ----------*- C++ -*-===//
// y[t, c] = sum over j of w[c, j] x'[t+j, c] and its gradients, where x' is the
// past followed by x: see runtime/core/ShortConv.h for edges and positions. A
// thread owns `unit` neighbouring channels and walks over kConvRun tokens in
// rounds; the last `taps` rows stay in its registers, in a ring whose indices are
// constants, as a round turns it whole times, and the next round's rows are under way. Sums of the forward and of the input gradient run
// in the order of the taps, in float.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/arguments.cuh"
#include "runtime/device/stream.cuh"
#include "runtime/device/tile.cuh"

namespace tidegate::device {

static_assert(kWarps == kBuiltinWarps, "expects the block that the host launches");

constexpr int kConvAhead = 4; ///< rows that are loaded together, at least
/// Rows of a round: after it the ring stands as before.
template <int taps>
constexpr int convRound = ceilDiv(kConvAhead, taps) * taps;

/// Which channels and which run of rows of which batch row a thread has, when a
/// row has `rows` of them. Scope: thread.
struct ConvPlace {
  bool exists;
  long long batch, first, channel;

  template <int unit>
  TIDEGATE_DEVICE static ConvPlace of(const ShortConvArguments &a, long long block, long long rows) {
    const unsigned long long units = a.channels / unit, runs = (rows + kConvRun - 1) / kConvRun;
    const unsigned long long i = block * kThreads + threadIndex(), run = i / units;
    return {run < runs * a.batch, static_cast<long long>(run / runs), static_cast<long long>(run % runs * kConvRun),
            static_cast<long long>(i % units * unit)};
  }
};

/// w[j] = tap j of `unit` channels, from channels x taps. Scope: thread.
template <int taps, int unit, typename Weight>
TIDEGATE_DEVICE void loadTaps(float (&w)[taps][unit], const Weight *from) {
#pragma unroll
  for (int e = 0; e < unit; ++e) {
    float channel[taps];
    if constexpr ((taps & (taps - 1)) == 0)
      loadVector(channel, from + e * taps);
    else
      for (int j = 0; j < taps; ++j)
        channel[j] = toFloat(from[e * taps + j]);
#pragma unroll
    for (int j = 0; j < taps; ++j)
      w[j][e] = channel[j];
  }
}

/// x = row t of the sequence, which is in the past if t < 0; zeros beyond the end or without a past. Scope: thread.
template <int taps, int unit, typename Rows, typename Edge>
TIDEGATE_DEVICE void loadExtended(float (&x)[unit], const Rows *rows, const Edge *edge, const ShortConvArguments &a,
                                  const ConvPlace &at, long long t) {
  if (t >= 0)
    loadOrZero(x, rows + (at.batch * a.tokens + t) * a.channels + at.channel, t < a.tokens);
  else
    loadOrZero(x, edge + (at.batch * (taps - 1) + t + taps - 1) * a.channels + at.channel, edge != nullptr);
}

/// The rows of the result. Block: kThreads runs of `unit` channels. Scope: block, no barriers.
template <typename X, typename Weight, typename Past, typename Out, int taps, int unit>
TIDEGATE_DEVICE void shortConvBlock(const ShortConvArguments &a, long long block) {
  const ConvPlace at = ConvPlace::of<unit>(a, block, a.tokens);
  if (!at.exists)
    return;
  const auto *x = static_cast<const X *>(a.rows);
  const auto *past = static_cast<const Past *>(a.edge);
  auto *out = static_cast<Out *>(a.out) + at.batch * a.tokens * a.channels + at.channel;
  float w[taps][unit], ring[taps][unit];
  loadTaps(w, static_cast<const Weight *>(a.with) + at.channel * taps);
#pragma unroll
  for (int s = 0; s < taps - 1; ++s)
    loadExtended<taps>(ring[s], x, past, a, at, at.first + s - (taps - 1));
  constexpr int kRound = convRound<taps>;
  struct Rows {
    float x[kRound][unit];
    int first[kRound]; // tap that counts
  } next;
  auto read = [&](int begin) { // a round ahead
#pragma unroll
    for (int i = 0; i < kRound; ++i) {
      const long long t = at.first + begin + i;
      loadExtended<taps>(next.x[i], x, past, a, at, t);
      next.first[i] = a.positions && t < a.tokens ? taps - 1 - a.positions[at.batch * a.tokens + t] : 0;
    }
  };
  read(0);
#pragma unroll 1
  for (int begin = 0; begin < kConvRun && at.first + begin < a.tokens; begin += kRound) {
    const Rows rows = next;
    if (begin + kRound < kConvRun)
      read(begin + kRound);
#pragma unroll
    for (int i = 0; i < kRound; ++i) {
      const long long t = at.first + begin + i;
      float sum[unit] = {};
#pragma unroll
      for (int e = 0; e < unit; ++e)
        ring[(i + taps - 1) % taps][e] = rows.x[i][e];
#pragma unroll
      for (int j = 0; j < taps; ++j)
#pragma unroll
        for (int e = 0; e < unit; ++e)
          sum[e] = j >= rows.first[i] ? sum[e] + w[j][e] * ring[(i + j) % taps][e] : sum[e];
      if (t < a.tokens && begin + i < kConvRun)
        storeVector(out + t * a.channels, sum);
    }
  }
}

/// The cotangent of x', to `out` and, if it is stored, `outEdge`: `rows` is dy,
/// `edge` is dnext. Block: kThreads runs of `unit` channels of tokens + (taps - 1
/// if outEdge) rows. Scope: block, no barriers.
template <typename Dy, typename Weight, typename Edge, typename Out, typename OutEdge, int taps, int unit>
TIDEGATE_DEVICE void shortConvInputGradBlock(const ShortConvArguments &a, long long block) {
  constexpr int edge = taps - 1;
  const long long begin = a.outEdge ? -edge : 0; // row of the first result; rows below 0 are the past
  const ConvPlace at = ConvPlace::of<unit>(a, block, a.tokens - begin);
  if (!at.exists)
    return;
  const auto *dy = static_cast<const Dy *>(a.rows) + at.batch * a.tokens * a.channels + at.channel;
  const auto *next = static_cast<const Edge *>(a.edge) + at.batch * edge * a.channels + at.channel;
  auto *out = static_cast<Out *>(a.out) + at.batch * a.tokens * a.channels + at.channel;
  auto *past = static_cast<OutEdge *>(a.outEdge) + at.batch * edge * a.channels + at.channel;
  const long long row = begin + at.first;
  float w[taps][unit], ring[taps][unit];
  int reach[taps]; // rows before each row of the ring that it depends on
  auto read = [&](float(&x)[unit], int &back, long long t) {
    const bool exists = t >= 0 && t < a.tokens;
    loadOrZero(x, dy + t * a.channels, exists);
    back = a.positions && exists ? a.positions[at.batch * a.tokens + t] : edge;
  };
  loadTaps(w, static_cast<const Weight *>(a.with) + at.channel * taps);
#pragma unroll
  for (int i = 0; i < edge; ++i)
    read(ring[i], reach[i], row + i);
  constexpr int kRound = convRound<taps>;
  struct Rows {
    float dy[kRound][unit];
    int reach[kRound];
  } ahead;
  auto readRound = [&](int first) {
#pragma unroll
    for (int i = 0; i < kRound; ++i)
      read(ahead.dy[i], ahead.reach[i], row + first + i + edge);
  };
  readRound(0);
#pragma unroll 1
  for (int first = 0; first < kConvRun && row + first < a.tokens; first += kRound) {
    const Rows rows = ahead;
    if (first + kRound < kConvRun)
      readRound(first + kRound);
#pragma unroll
    for (int i = 0; i < kRound; ++i) {
      const long long r = row + first + i;
      float sum[unit];
      loadOrZero(sum, next + (r + edge - a.tokens) * a.channels,
                 a.edge != nullptr && r + edge >= a.tokens && r < a.tokens);
      reach[(i + edge) % taps] = rows.reach[i];
#pragma unroll
      for (int e = 0; e < unit; ++e)
        ring[(i + edge) % taps][e] = rows.dy[i][e];
#pragma unroll
      for (int j = 0; j < taps; ++j) { // tap j of the token edge - j rows on
        const int from = (i + edge - j) % taps;
#pragma unroll
        for (int e = 0; e < unit; ++e)
          sum[e] = edge - j <= reach[from] ? sum[e] + w[j][e] * ring[from][e] : sum[e];
      }
      if (first + i >= kConvRun)
        continue;
      if (r < 0)
        storeVector(past + (r + edge) * a.channels, sum);
      else if (r < a.tokens)
        storeVector(out + r * a.channels, sum);
    }
  }
}

/// The part of the weight gradient of kWeightTokens tokens and 32 x unit
/// channels: `rows` is x, `with` is dy, `edge` is past. Blocks count channels,
/// then tokens, then batch rows; the parts, channels x taps each, are added by
/// sumPartsBlock. A lane adds products in the order of tokens, then the shares of
/// the warps are added in theirs, all in float. `shared` holds kThreads x taps x
/// unit floats. Scope: block, one barrier.
template <typename X, typename Dy, typename Past, int taps, int unit>
TIDEGATE_DEVICE void shortConvWeightGradBlock(const ShortConvArguments &a, long long block, float *shared) {
  const long long groups = (a.channels + 32 * unit - 1) / (32 * unit);
  const long long chunks = (a.tokens + kWeightTokens - 1) / kWeightTokens;
  const long long part = block / groups, first = part % chunks * kWeightTokens + warpIndex() * kWeightRun;
  const ConvPlace at{true, part / chunks, first, (block % groups * 32 + laneIndex()) * unit};
  const auto *x = static_cast<const X *>(a.rows);
  const auto *past = static_cast<const Past *>(a.edge);
  const auto *dy = static_cast<const Dy *>(a.with) + at.batch * a.tokens * a.channels + at.channel;
  float sum[taps][unit] = {}, ring[taps][unit];
  if (at.channel < a.channels) {
#pragma unroll
    for (int s = 0; s < taps - 1; ++s)
      loadExtended<taps>(ring[s], x, past, a, at, first + s - (taps - 1));
    constexpr int kRound = convRound<taps>;
#pragma unroll 1
    for (int begin = 0; begin < kWeightRun && first + begin < a.tokens; begin += kRound) {
      float next[kRound][unit], slope[kRound][unit];
      int tap[kRound]; // first that counts
#pragma unroll
      for (int i = 0; i < kRound; ++i) {
        const long long t = first + begin + i;
        const bool exists = t < a.tokens && begin + i < kWeightRun;
        loadExtended<taps>(next[i], x, past, a, at, t);
        loadOrZero(slope[i], dy + t * a.channels, exists);
        tap[i] = !exists ? taps : a.positions ? taps - 1 - a.positions[at.batch * a.tokens + t] : 0;
      }
#pragma unroll
      for (int i = 0; i < kRound; ++i) {
#pragma unroll
        for (int e = 0; e < unit; ++e)
          ring[(i + taps - 1) % taps][e] = next[i][e];
#pragma unroll
        for (int j = 0; j < taps; ++j)
#pragma unroll
          for (int e = 0; e < unit; ++e)
            sum[j][e] = j >= tap[i] ? sum[j][e] + slope[i][e] * ring[(i + j) % taps][e] : sum[j][e];
      }
    }
  }
#pragma unroll
  for (int j = 0; j < taps; ++j)
#pragma unroll
    for (int e = 0; e < unit; ++e)
      shared[(j * unit + e) * kThreads + threadIndex()] = sum[j][e];
  syncBlock();
  float *to = a.parts + part * a.channels * taps + block % groups * 32 * unit * taps;
  const long long left = (a.channels - block % groups * 32 * unit) * taps;
  for (int i = threadIndex(); i < 32 * unit * taps && i < left; i += kThreads) {
    const int lane = i / taps / unit, e = i / taps % unit, j = i % taps;
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w)
      total += shared[(j * unit + e) * kThreads + 32 * w + lane];
    to[i] = total;
  }
}

} // namespace tidegate::device
