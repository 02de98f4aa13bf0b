//===- lookup.cuh - Rows of a table, and the sums back into it --*- C++ -*-===//
// The gradient of a lookup adds the rows of equal ids. Ids are sorted first, by
// a stable sort on digits, so that a run of the sorted order holds the places of
// one id, ascending. The order is cut into pieces of kPieceRows; a block adds the
// rows of a piece in order, and the parts of a run that crosses pieces are added
// afterwards in the order of the pieces. Nothing depends on who runs first.
//
// Launches, in order: for each digit digitCountsBlock, digitPlacesBlock; then
// runStartsBlock, runSumsBlock, runTotalsBlock.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/arguments.cuh"
#include "runtime/device/stream.cuh"
#include "runtime/device/tile.cuh"

namespace tidegate::device {

static_assert(kWarps == kBuiltinWarps, "expects the block that the host launches");

/// Rows of the table, one per warp; `width` is a multiple of `unit`. Scope: block, no barriers.
template <typename Table, typename Out, int unit>
TIDEGATE_DEVICE void lookupBlock(const LookupArguments &a, long long block) {
  const long long i = block * kWarps + warpIndex();
  if (i >= a.count)
    return;
  const int id = a.ids[i];
  const bool exists = id >= 0 && id < a.rows;
  const auto *from = static_cast<const Table *>(a.table) + id * a.width;
  auto *to = static_cast<Out *>(a.out) + i * a.width;
#pragma unroll 4
  for (long long col = laneIndex() * unit; col < a.width; col += 32 * unit) {
    float x[unit];
    loadOrZero(x, from + col, exists);
    storeVector(to + col, x);
  }
}

//===----------------------------------------------------------------------===//
// Sort by id
//===----------------------------------------------------------------------===//

/// Counts of each digit among each thread's keys: kCounterBytes of shared memory.
struct DigitCounters {
  unsigned short *base;
  TIDEGATE_DEVICE unsigned short &at(int digit, int thread) const { return base[digit * kCounterStride + thread]; }
};

/// Reads the calling thread's keys, an id outside the table as key `rows`, and
/// counts their digits. Starts and ends with a barrier. Scope: block.
TIDEGATE_DEVICE void countDigits(const SortArguments &a, long long block, DigitCounters counters,
                                 int (&keys)[kSortEach]) {
  for (int i = threadIndex(); i < kDigits * kCounterStride; i += kThreads)
    counters.base[i] = 0;
  syncBlock();
  const long long first = block * kSortRows + threadIndex() * kSortEach;
#pragma unroll
  for (int i = 0; i < kSortEach; ++i) {
    keys[i] = first + i < a.count ? a.keys[first + i] : 0;
    if (keys[i] < 0 || keys[i] > a.rows)
      keys[i] = static_cast<int>(a.rows);
  }
#pragma unroll
  for (int i = 0; i < kSortEach; ++i)
    if (first + i < a.count)
      ++counters.at(keys[i] >> a.shift & (kDigits - 1), threadIndex());
  syncBlock();
}

/// counts[block, digit] of the block's kSortRows keys. `counters` is shared
/// memory. Scope: block, barriers inside.
TIDEGATE_DEVICE void digitCountsBlock(const SortArguments &a, long long block, DigitCounters counters) {
  int keys[kSortEach];
  countDigits(a, block, counters, keys);
  for (int digit = threadIndex(); digit < kDigits; digit += kThreads) {
    int sum = 0;
    for (int t = 0; t < kThreads; ++t)
      sum += counters.at(digit, t);
    a.counts[block * kDigits + digit] = sum;
  }
}

/// Moves the block's keys, and the places they came from, to where the digit
/// puts them: behind all keys of smaller digits, and behind earlier ones of the
/// same. `counters` and `begins`, kDigits ints, are shared memory. Scope: block,
/// barriers inside.
TIDEGATE_DEVICE void digitPlacesBlock(const SortArguments &a, long long block, DigitCounters counters, int *begins) {
  constexpr int kEach = ceilDiv(kDigits, kThreads);
  const long long blocks = (a.count + kSortRows - 1) / kSortRows;
  int keys[kSortEach], before[kEach];
  countDigits(a, block, counters, keys);
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int digit = threadIndex() + e * kThreads;
    if (digit < kDigits) {
      int earlier = 0, all = 0;
#pragma unroll 8
      for (long long other = 0; other < blocks; ++other) {
        const int count = a.counts[other * kDigits + digit];
        earlier += other < block ? count : 0;
        all += count;
      }
      before[e] = earlier - all;
      begins[digit] = all;
      int sum = 0;
      for (int t = 0; t < kThreads; ++t) {
        const int own = counters.at(digit, t);
        counters.at(digit, t) = static_cast<unsigned short>(sum);
        sum += own;
      }
    }
  }
  syncBlock();
  for (int delta = 1; delta < kDigits; delta *= 2) { // inclusive sums over the digits
    int add[kEach];
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int digit = threadIndex() + e * kThreads;
      add[e] = digit >= delta && digit < kDigits ? begins[digit - delta] : 0;
    }
    syncBlock();
#pragma unroll
    for (int e = 0; e < kEach; ++e)
      if (threadIndex() + e * kThreads < kDigits)
        begins[threadIndex() + e * kThreads] += add[e];
    syncBlock();
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e)
    if (threadIndex() + e * kThreads < kDigits)
      begins[threadIndex() + e * kThreads] += before[e];
  syncBlock();
  const long long first = block * kSortRows + threadIndex() * kSortEach;
#pragma unroll
  for (int i = 0; i < kSortEach; ++i)
    if (first + i < a.count) {
      const int digit = keys[i] >> a.shift & (kDigits - 1);
      const int place = begins[digit] + counters.at(digit, threadIndex())++;
      a.sortedKeys[place] = keys[i];
      a.sortedOrder[place] = a.order ? a.order[first + i] : static_cast<int>(first + i);
    }
}

//===----------------------------------------------------------------------===//
// Sums of runs
//===----------------------------------------------------------------------===//

/// starts[id] = number of keys below id, for kThreads ids of [0, rows] per block. Scope: block, no barriers.
TIDEGATE_DEVICE void runStartsBlock(const RunArguments &a, long long block) {
  const long long id = block * kThreads + threadIndex();
  if (id > a.rows)
    return;
  long long low = 0, high = a.count;
  while (low < high) {
    const long long middle = (low + high) / 2;
    if (a.keys[middle] < id)
      low = middle + 1;
    else
      high = middle;
  }
  a.starts[id] = static_cast<int>(low);
}

/// Adds the rows of a piece; `slice` counts the kThreads * unit columns. A run
/// inside the piece goes to its row of the table; one that comes from an earlier
/// piece to the first of the piece's two parts, one that only goes on to the
/// second. `shared` is kPieceBytes. Scope: block, one barrier.
template <typename In, typename Out, int unit>
TIDEGATE_DEVICE void runSumsBlock(const RunArguments &a, long long piece, long long slice, int *shared) {
  constexpr int kAhead = 8; // loads under way
  const long long first = piece * kPieceRows;
  const int valid = a.count - first < kPieceRows ? static_cast<int>(a.count - first) : kPieceRows;
  int *keys = shared + 1, *order = shared + kPieceRows + 2; // keys[-1] and keys[valid] belong to the neighbours
  for (int i = threadIndex() - 1; i <= valid; i += kThreads)
    keys[i] = first + i >= 0 && first + i < a.count ? a.keys[first + i] : -1;
  for (int i = threadIndex(); i < valid; i += kThreads)
    order[i] = a.order[first + i];
  syncBlock();
  const long long col = (slice * kThreads + threadIndex()) * unit;
  if (col >= a.width)
    return;
  const auto *in = static_cast<const In *>(a.in) + col;
  float sum[unit] = {};
  bool isFirstRun = true;
  for (int i = 0; i < valid; i += kAhead) {
    float x[kAhead][unit];
#pragma unroll
    for (int u = 0; u < kAhead; ++u)
      loadOrZero(x[u], in + (i + u < valid ? order[i + u] : 0) * a.width, i + u < valid && keys[i + u] < a.rows);
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      if (i + u >= valid)
        continue;
#pragma unroll
      for (int e = 0; e < unit; ++e)
        sum[e] += x[u][e];
      const int key = keys[i + u];
      const bool isLast = i + u == valid - 1, goesOn = keys[i + u + 1] == key;
      if (goesOn && !isLast)
        continue;
      const bool isFromBefore = isFirstRun && keys[-1] == key;
      if (key < a.rows) {
        if (isFromBefore || goesOn)
          storeVector(a.parts + (2 * piece + (isFromBefore ? 0 : 1)) * a.width + col, sum);
        else
          storeVector(static_cast<Out *>(a.out) + key * a.width + col, sum);
      }
      isFirstRun = false;
#pragma unroll
      for (int e = 0; e < unit; ++e)
        sum[e] = 0;
    }
  }
}

/// The rows of the table that no piece wrote: zeros for ids that do not occur,
/// and the sums of the parts. One id per warp. Scope: block, no barriers.
template <typename Out, int unit>
TIDEGATE_DEVICE void runTotalsBlock(const RunArguments &a, long long block) {
  const long long id = block * kWarps + warpIndex();
  if (id >= a.rows)
    return;
  const int begin = a.starts[id], end = a.starts[id + 1];
  const long long first = begin / kPieceRows, last = (end - 1) / kPieceRows;
  if (begin < end && first == last)
    return;
  for (long long col = laneIndex() * unit; col < a.width; col += 32 * unit) {
    float sum[unit];
    loadOrZero(sum, a.parts + (2 * first + 1) * a.width + col, begin < end);
    if (begin < end) {
#pragma unroll 4
      for (long long piece = first + 1; piece <= last; ++piece) {
        float x[unit];
        loadVector(x, a.parts + 2 * piece * a.width + col);
#pragma unroll
        for (int e = 0; e < unit; ++e)
          sum[e] += x[e];
      }
    }
    storeVector(static_cast<Out *>(a.out) + id * a.width + col, sum);
  }
}

} // namespace tidegate::device
