//===- elements.cuh - Fills, casts, positions, sums, moved rows -*- C++ -*-===//
// Kernels that pass once through memory. `block` is the index of the block; a
// block's share is stated with each. Scope of all: block, no barriers unless
// stated; results do not depend on the order of blocks.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/arguments.cuh"
#include "runtime/device/stream.cuh"
#include "runtime/device/tile.cuh"

namespace tidegate::device {

static_assert(kWarps == kBuiltinWarps, "expects the block that the host launches");

/// to[i] = value, kStreamRounds * kThreads elements per block.
template <typename To>
TIDEGATE_DEVICE void fillBlock(const FillArguments &a, long long block) {
  long long first = block * kStreamRounds * kThreads + threadIndex();
#pragma unroll
  for (int i = 0; i < kStreamRounds; ++i)
    if (first + i * kThreads < a.count)
      static_cast<To *>(a.to)[first + i * kThreads] = Converter<To>::from(a.value);
}

/// to[i] = from[i], rounded to nearest even, kStreamRounds * kThreads * unit
/// elements per block; `count` is a multiple of `unit`.
template <typename From, typename To, int unit>
TIDEGATE_DEVICE void castBlock(const CastArguments &a, long long block) {
  const long long first = (block * kStreamRounds * kThreads + threadIndex()) * unit;
  constexpr int kStep = kThreads * unit;
  float x[kStreamRounds][unit];
#pragma unroll
  for (int i = 0; i < kStreamRounds; ++i)
    if (first + i * kStep < a.count)
      loadVector(x[i], static_cast<const From *>(a.from) + first + i * kStep);
#pragma unroll
  for (int i = 0; i < kStreamRounds; ++i)
    if (first + i * kStep < a.count)
      storeVector(static_cast<To *>(a.to) + first + i * kStep, x[i]);
}

/// out[i] = sum of the parts, 32 elements per block. Each warp adds an equal
/// share of the parts in their order, then the shares are added in theirs: the
/// result depends on the number of parts alone. `shares` holds 32 x kWarps
/// floats of shared memory; one barrier.
template <typename Out>
TIDEGATE_DEVICE void sumPartsBlock(const SumArguments &a, long long block, float *shares) {
  const long long element = block * 32 + laneIndex();
  const bool exists = element < a.elements;
  const long long begin = a.count * warpIndex() / kWarps, end = a.count * (warpIndex() + 1) / kWarps;
  float sum = 0;
  if (exists) {
#pragma unroll 8
    for (long long p = begin; p < end; ++p)
      sum += a.parts[p * a.elements + element];
  }
  shares[warpIndex() * 32 + laneIndex()] = sum;
  syncBlock();
  if (warpIndex() != 0 || !exists)
    return;
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w)
    total += shares[w * 32 + laneIndex()];
  static_cast<Out *>(a.out)[element] = Converter<Out>::from(total);
}

/// Positions of kThreads tokens per block.
TIDEGATE_DEVICE void positionsBlock(const PositionArguments &a, long long block) {
  const long long i = block * kThreads + threadIndex();
  if (i >= a.batch * a.tokens)
    return;
  const long long b = i / a.tokens, t = i % a.tokens;
  const int first = a.first ? a.first[b] : 0;
  if (a.out)
    a.out[i] = first + static_cast<int>(t);
  if (a.next && t == 0)
    a.next[b] = first + static_cast<int>(a.tokens);
}

/// Rows of a chunk to head `head` of batch row `batch`, zeros behind the last token; kThreads * unit elements per
/// block. `width` is a multiple of `unit`.
template <typename Rows, typename Heads, int unit>
TIDEGATE_DEVICE void rowsToHeadsBlock(const ChunkRowsArguments &a, long long block, long long head, long long batch) {
  const unsigned i = static_cast<unsigned>(block * kThreads + threadIndex()) * unit, width = static_cast<unsigned>(a.width);
  const unsigned row = i / width, col = i % width;
  if (row >= a.chunk)
    return;
  const long long token = a.first + row, from = head / (a.numHeads / a.rowHeads);
  const auto *rows = static_cast<const Rows *>(a.rows) + ((batch * a.tokens + token) * a.rowHeads + from) * a.width;
  float x[unit];
  loadOrZero(x, rows + col, token < a.tokens);
  storeVector(static_cast<Heads *>(a.heads) + ((batch * a.numHeads + head) * a.chunk + row) * a.width + col, x);
}

/// The way back to `head` of the rows: sums over the heads that share it, in their order. What lies behind the last
/// token is dropped.
template <typename Rows, typename Heads, int unit>
TIDEGATE_DEVICE void headsToRowsBlock(const ChunkRowsArguments &a, long long block, long long head, long long batch) {
  const unsigned i = static_cast<unsigned>(block * kThreads + threadIndex()) * unit, width = static_cast<unsigned>(a.width);
  const unsigned row = i / width, col = i % width;
  const long long token = a.first + row, group = a.numHeads / a.rowHeads;
  if (row >= a.chunk || token >= a.tokens)
    return;
  float sum[unit] = {};
  for (long long h = head * group; h < (head + 1) * group; ++h) {
    float x[unit];
    loadVector(x, static_cast<const Heads *>(a.heads) + ((batch * a.numHeads + h) * a.chunk + row) * a.width + col);
#pragma unroll
    for (int j = 0; j < unit; ++j)
      sum[j] += x[j];
  }
  storeVector(static_cast<Rows *>(a.rows) + ((batch * a.tokens + token) * a.rowHeads + head) * a.width + col, sum);
}

/// The rows that a sequence leaves to the next, one per warp; `width` is a
/// multiple of `unit`.
template <typename Rows, typename Past, typename Next, int unit>
TIDEGATE_DEVICE void lastRowsBlock(const LastRowsArguments &a, long long block) {
  const long long i = block * kWarps + warpIndex();
  if (i >= a.batch * a.edge)
    return;
  const long long b = i / a.edge, row = i % a.edge + a.tokens; // of past and rows
  const bool isPast = row < a.edge;
  const auto *rows = static_cast<const Rows *>(a.rows) + (b * a.tokens + row - a.edge) * a.width;
  const auto *past = static_cast<const Past *>(a.past) + (b * a.edge + row) * a.width;
  for (long long col = laneIndex() * unit; col < a.width; col += 32 * unit) {
    float x[unit];
    if (isPast)
      loadOrZero(x, past + col, a.past != nullptr);
    else
      loadVector(x, rows + col);
    storeVector(static_cast<Next *>(a.next) + i * a.width + col, x);
  }
}

} // namespace tidegate::device
