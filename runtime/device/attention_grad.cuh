//===- attention_grad.cuh - The gradients of attention ----------*- C++ -*-===//
// With p[t, s] = exp(query[t] . key[s] - lse[t]) computed again from the scores and
// ds[t, s] = p[t, s] (outGrad[t] . value[s] - base[t]): the gradient by queries has
// a block per tile of queries, which walks over the keys they see; those by keys
// and values have a block per tile of keys, which walks over the heads of the group
// and the queries that see them. No two blocks write the same place, and each sum
// runs in the order of its loop.
//
// Launches, in order: attentionBaseBlock; then attentionQueryGradBlock and
// attentionKeyGradBlock. Weights and slopes are rounded to bfloat16 before they meet
// bfloat16 operands; all else is as in attention.cuh.
//
// Source: T. Dao, "FlashAttention-2", arXiv 2307.08691.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/attention.cuh"

namespace tidegate::device {

/// What the tokens of a group need beside their rows, for all heads: the group is
/// `block` counted over the batch. Scope: block, one barrier.
template <typename Out, typename OutGrad, typename Lse, typename LseGrad, int valueWidth>
TIDEGATE_DEVICE void attentionBaseBlock(const AttentionGradArguments &a, long long block) {
  constexpr int kTeam = 8; // lanes of a row
  constexpr int kUnit = valueWidth % 8 == 0 ? 8 : valueWidth % 4 == 0 ? 4 : valueWidth % 2 == 0 ? 2 : 1;
  const long long groups = a.padded / kAttentionGroup, batch = block / groups;
  const int t0 = static_cast<int>(block % groups) * kAttentionGroup, heads = static_cast<int>(a.of.heads);
  const Window window = Window::of(a.of, batch);
  const int valid = smaller(kAttentionGroup, window.tokens - t0);
  int *first = a.first + batch * a.padded + t0;
  for (int i = threadIndex(); i < kAttentionGroup; i += kThreads)
    first[i] = window.first(t0 + i);
  const int lane = threadIndex() % kTeam;
  for (int i = threadIndex() / kTeam; i < kAttentionGroup * heads; i += kThreads / kTeam) {
    const int head = i / kAttentionGroup, t = t0 + i % kAttentionGroup;
    const long long row = (batch * a.of.tokens + t) * heads + head;
    float sum = 0;
    if (t < window.tokens)
      for (int col = lane * kUnit; col < valueWidth; col += kTeam * kUnit) {
        float y[kUnit], dy[kUnit];
        loadVector(y, static_cast<const Out *>(a.of.out) + row * valueWidth + col);
        loadVector(dy, static_cast<const OutGrad *>(a.outGrad) + row * valueWidth + col);
#pragma unroll
        for (int e = 0; e < kUnit; ++e)
          sum += y[e] * dy[e];
      }
#pragma unroll
    for (int mask = 1; mask < kTeam; mask *= 2)
      sum += shuffleXor(sum, mask);
    if (lane != 0)
      continue;
    const long long to = (batch * heads + head) * a.padded + t;
    const bool exists = t < window.tokens;
    if (exists && a.lseGrad)
      sum -= toFloat(static_cast<const LseGrad *>(a.lseGrad)[row]);
    a.base[to] = exists ? sum : 0;
    a.scaledLse[to] = exists ? toFloat(static_cast<const Lse *>(a.of.lse)[row]) * kLog2E : infinity();
  }
  syncBlock();
  if (threadIndex() == 0) {
    int lowest = first[0], highest = first[0];
    for (int i = 1; i < valid; ++i) {
      lowest = first[i] < lowest ? first[i] : lowest;
      highest = first[i] > highest ? first[i] : highest;
    }
    a.groups[2 * block] = lowest;
    a.groups[2 * block + 1] = highest;
  }
}

/// The gradient by a tile of queries of one head. Scope: block; `shared` is
/// queryGradShared(...) bytes aligned to 1024.
template <typename Query, typename Key, typename Value, typename PastKey, typename PastValue, typename OutGrad,
          typename QueryGrad, int keyWidth, int valueWidth>
TIDEGATE_DEVICE void attentionQueryGradBlock(const AttentionGradArguments &a, int block, int head, int batch,
                                             unsigned char *shared) {
  using T = typename CommonElement<Query, Key, Value, PastKey, PastValue, OutGrad>::Type;
  constexpr AttentionShape kShape = queryGradShape(sizeof(T), larger(keyWidth, valueWidth));
  constexpr int kQueries = kShape.own, kKeys = kShape.others, kStages = kShape.stages;
  constexpr int kKeyCols = paddedWidth(keyWidth), kValueCols = paddedWidth(valueWidth);
  constexpr bool kPacked = sizeof(T) == 2;
  static_assert(kQueries == kAttentionGroup, "expects the tiles that groups describe");
  using Scores = Fragment<kQueries, kKeys>;
  using KeyTile = SharedTile<T, kKeys, kKeyCols>;
  using ValueTile = SharedTile<T, kKeys, kValueCols>;

  const AttentionArguments &of = a.of;
  const Window window = Window::of(of, batch);
  const int t = block * kQueries, valid = smaller(kQueries, window.tokens - t);
  const int group = head / static_cast<int>(of.heads / of.keyHeads);
  const int *seen = a.groups + 2 * (batch * (a.padded / kAttentionGroup) + block);
  const int lowest = seen[0], highest = seen[1], end = window.last(t + valid - 1) + 1;

  Pieces pieces{shared};
  const auto queryTile = pieces.tile<SharedTile<T, kQueries, kKeyCols>>();
  const auto outGradTile = pieces.tile<SharedTile<T, kQueries, kValueCols>>();
  const Stages<KeyTile, ValueTile> stages{
      pieces.template array<unsigned char>(kStages * (KeyTile::kBytes + ValueTile::kBytes))};
  const SharedTile<T, kQueries, kKeys> slopeTile{pieces.next}; // of floats

  startTokens<keyWidth>(queryTile,
                        static_cast<const Query *>(of.query) + ((batch * of.tokens + t) * of.heads + head) * keyWidth,
                        of.heads * keyWidth, valid);
  startTokens<valueWidth>(
      outGradTile, static_cast<const OutGrad *>(a.outGrad) + ((batch * of.tokens + t) * of.heads + head) * valueWidth,
      of.heads * valueWidth, valid);
  auto startTile = [&](int tile, int stage) {
    const auto keys = ExtendedRows<Key, PastKey>::of(of, of.key, of.pastKey, keyWidth, recomputed(batch), group);
    keys.template start<T, kKeys, kKeyCols, keyWidth>(stages.first(stage), tile * kKeys, lowest, end);
    const auto values =
        ExtendedRows<Value, PastValue>::of(of, of.value, of.pastValue, valueWidth, recomputed(batch), group);
    values.template start<T, kKeys, kValueCols, valueWidth>(stages.second(stage), tile * kKeys, lowest, end);
    commitCopies();
  };

  float lse[Scores::kBlockRows][2], base[Scores::kBlockRows][2];
#pragma unroll
  for (int i = 0; i < Scores::kBlockRows; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const long long at = (batch * of.heads + head) * a.padded + t + Scores::blockRow(i) + Scores::rowIn(2 * half);
      lse[i][half] = a.scaledLse[at];
      base[i][half] = a.base[at];
    }

  LeftOperand<T, kQueries, kKeyCols, kShape.inRegisters> query;
  LeftOperand<T, kQueries, kValueCols, kShape.inRegisters> outGrad;
  LeftOperand<T, kQueries, kKeys, kPacked> left;
  Fragment<kQueries, kKeyCols> sums;
  sums.fill(0);
  auto add = [&](int tile, int stage) {
    Scores scores, slopes;
    scores.fill(0);
    product<As::Transposed>(scores, query, stages.first(stage));
    if (tile * kKeys < highest || tile * kKeys + kKeys - 1 > window.last(t))
      hideUnseen(scores, Window::of(of, recomputed(batch)), t, tile * kKeys, -infinity());
    slopes.fill(0);
    product<As::Transposed>(slopes, outGrad, stages.second(stage));
#pragma unroll
    for (int i = 0; i < Scores::kBlockRows; ++i)
#pragma unroll
      for (int j = 0; j < Scores::kBlockCols; ++j)
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          const float p = exp2Fast(scores.v[i][j][e] * kLog2E - lse[i][e / 2 % 2]);
          slopes.v[i][j][e] = p * (slopes.v[i][j][e] - base[i][e / 2 % 2]);
        }
    left.pack(slopes, slopeTile);
    product<As::Stored>(sums, left, stages.first(stage));
  };
  auto load = [&] {
    query.load(queryTile);
    outGrad.load(outGradTile);
  };
  walkTiles<kStages>(
      lowest / kKeys, (end - 1) / kKeys + 1, [](int tile) { return tile + 1; }, startTile, load, add);

  auto *to = static_cast<QueryGrad *>(a.queryGrad) + ((batch * of.tokens + t) * of.heads + head) * keyWidth;
  forEachPair(sums, [&](int row, int col, float x, float y) {
    if (row < valid)
      storePair<keyWidth>(to + row * of.heads * keyWidth, col, x, y);
  });
}

/// The gradients by a tile of keys and their values, of one group of heads, or only
/// one of the two. Past rows whose gradient is not stored are left out. Scope:
/// block; `shared` is keyGradShared(...) bytes aligned to 1024.
template <typename Query, typename Key, typename Value, typename PastKey, typename PastValue, typename OutGrad,
          typename KeyGrad, typename ValueGrad, typename PastKeyGrad, typename PastValueGrad, int keyWidth,
          int valueWidth, bool byKeys, bool byValues>
TIDEGATE_DEVICE void attentionKeyGradBlock(const AttentionGradArguments &a, int block, int group, int batch,
                                           unsigned char *shared) {
  using T = typename CommonElement<Query, Key, Value, PastKey, PastValue, OutGrad>::Type;
  constexpr AttentionShape kShape = keyGradShape(sizeof(T), larger(keyWidth, valueWidth));
  constexpr int kKeys = kShape.own, kQueries = kShape.others, kStages = kShape.stages;
  constexpr int kKeyCols = paddedWidth(keyWidth), kValueCols = paddedWidth(valueWidth);
  constexpr bool kPacked = sizeof(T) == 2;
  static_assert(kAttentionGroup % kQueries == 0 && kQueries % 4 == 0, "expects tiles inside groups");
  using Scores = Fragment<kKeys, kQueries>; // a row per key
  using QueryTile = SharedTile<T, kQueries, kKeyCols>;
  using OutGradTile = SharedTile<T, kQueries, kValueCols>;

  const AttentionArguments &of = a.of;
  const Window window = Window::of(of, batch);
  const int s0 = block * kKeys, end = smaller(s0 + kKeys, window.rows()); // own rows
  if (end <= window.edge && !a.pastKeyGrad && !a.pastValueGrad)
    return;

  Pieces pieces{shared};
  const auto keyTile = pieces.tile<SharedTile<T, kKeys, kKeyCols>>();
  const auto valueTile = pieces.tile<SharedTile<T, kKeys, kValueCols>>();
  const Stages<QueryTile, OutGradTile> stages{
      pieces.template array<unsigned char>(kStages * (QueryTile::kBytes + OutGradTile::kBytes))};
  const SharedTile<T, kKeys, kQueries> leftTile{pieces.next}; // of floats
  if constexpr (!kPacked)
    pieces.next += SharedTile<T, kKeys, kQueries>::kBytes;
  float *const numbers = pieces.template array<float>(3 * kStages * kQueries); // lse, base, first of each buffer

  ExtendedRows<Key, PastKey>::of(of, of.key, of.pastKey, keyWidth, batch, group)
      .template start<T, kKeys, kKeyCols, keyWidth>(keyTile, s0, 0, end);
  ExtendedRows<Value, PastValue>::of(of, of.value, of.pastValue, valueWidth, batch, group)
      .template start<T, kKeys, kValueCols, valueWidth>(valueTile, s0, 0, end);

  // Steps count tiles of queries, head after head.
  const int firstToken = larger(0, s0 - window.edge),
            lastToken = smaller(window.tokens, end - window.edge + window.before) - 1;
  const int firstTile = firstToken / kQueries, tiles = lastToken / kQueries + 1 - firstTile;
  const int members = static_cast<int>(of.heads / of.keyHeads), steps = members * tiles;
  const int *groups = a.groups + 2 * batch * (a.padded / kAttentionGroup);
  auto tokenOf = [&](int step) { return (firstTile + step % tiles) * kQueries; };
  auto next = [&](int step) {
    do
      ++step;
    while (of.positions && step < steps && groups[2 * (tokenOf(step) / kAttentionGroup)] >= end);
    return step;
  };
  auto startTile = [&](int step, int stage) {
    const int t = tokenOf(step), head = group * members + step / tiles, valid = smaller(kQueries, window.tokens - t);
    const long long row = (recomputed(batch) * of.tokens + t) * of.heads + head;
    startTokens<keyWidth>(stages.first(stage), static_cast<const Query *>(of.query) + row * keyWidth,
                          of.heads * keyWidth, valid);
    startTokens<valueWidth>(stages.second(stage), static_cast<const OutGrad *>(a.outGrad) + row * valueWidth,
                            of.heads * valueWidth, valid);
    const int i = recomputed(threadIndex()), kind = i / (kQueries / 4), at = i % (kQueries / 4) * 4;
    const long long place = (recomputed(batch) * of.heads + head) * a.padded + t + at;
    if (kind < 3)
      startCopy16(numbers + (3 * stage + kind) * kQueries + at,
                  kind == 0   ? static_cast<const void *>(a.scaledLse + place)
                  : kind == 1 ? static_cast<const void *>(a.base + place)
                              : static_cast<const void *>(a.first + recomputed(batch) * a.padded + t + at),
                  true);
    commitCopies();
  };

  LeftOperand<T, kKeys, kKeyCols, kShape.inRegisters> keys;
  LeftOperand<T, kKeys, kValueCols, kShape.inRegisters> values;
  LeftOperand<T, kKeys, kQueries, kPacked> left;
  Fragment<kKeys, kKeyCols> keySums;
  Fragment<kKeys, kValueCols> valueSums;
  keySums.fill(0);
  valueSums.fill(0);
  auto add = [&](int step, int stage) {
    const int t = tokenOf(step);
    const float *lse = numbers + 3 * stage * kQueries, *base = lse + kQueries;
    const int *first = reinterpret_cast<const int *>(base + kQueries);
    Scores weights;
    weights.fill(0);
    product<As::Transposed>(weights, keys, stages.first(stage));
    if (groups[2 * (t / kAttentionGroup) + 1] > s0 || window.last(t) < end - 1) {
#pragma unroll
      for (int j = 0; j < Scores::kBlockCols; ++j)
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          const int col = Scores::blockCol(j) + Scores::colIn(e);
#pragma unroll
          for (int i = 0; i < Scores::kBlockRows; ++i) {
            const int s = s0 + Scores::blockRow(i) + Scores::rowIn(e);
            if (s < first[col] || s > window.last(t + col))
              weights.v[i][j][e] = -infinity();
          }
        }
    }
#pragma unroll
    for (int j = 0; j < Scores::kBlockCols; ++j)
#pragma unroll
      for (int e = 0; e < 8; e += 2) {
        const auto shift = *reinterpret_cast<const Pair *>(lse + Scores::blockCol(j) + Scores::colIn(e));
#pragma unroll
        for (int i = 0; i < Scores::kBlockRows; ++i) {
          weights.v[i][j][e] = exp2Fast(weights.v[i][j][e] * kLog2E - shift.first);
          weights.v[i][j][e + 1] = exp2Fast(weights.v[i][j][e + 1] * kLog2E - shift.second);
        }
      }
    if constexpr (byValues) {
      left.pack(weights, leftTile);
      product<As::Stored>(valueSums, left, stages.second(stage));
    }
    if constexpr (byKeys) {
      Scores slopes;
      slopes.fill(0);
      product<As::Transposed>(slopes, values, stages.second(stage));
#pragma unroll
      for (int j = 0; j < Scores::kBlockCols; ++j)
#pragma unroll
        for (int e = 0; e < 8; e += 2) {
          const auto shift = *reinterpret_cast<const Pair *>(base + Scores::blockCol(j) + Scores::colIn(e));
#pragma unroll
          for (int i = 0; i < Scores::kBlockRows; ++i) {
            slopes.v[i][j][e] = weights.v[i][j][e] * (slopes.v[i][j][e] - shift.first);
            slopes.v[i][j][e + 1] = weights.v[i][j][e + 1] * (slopes.v[i][j][e + 1] - shift.second);
          }
        }
      left.pack(slopes, leftTile);
      product<As::Stored>(keySums, left, stages.first(stage));
    }
  };
  auto load = [&] {
    keys.load(keyTile);
    values.load(valueTile);
  };
  walkTiles<kStages>(next(-1), steps, next, startTile, load, add);

  auto put = [&](auto &sums, auto *rows, auto *past, auto width) {
    forEachPair(sums, [&](int row, int col, float x, float y) {
      const int s = s0 + row;
      if (s >= end)
        return;
      if (s >= window.edge)
        storePair<decltype(width)::value>(
            rows + ((batch * of.tokens + s - window.edge) * of.keyHeads + group) * width.value, col, x, y);
      else if (past)
        storePair<decltype(width)::value>(
            past + ((static_cast<long long>(batch) * window.edge + s) * of.keyHeads + group) * width.value, col, x, y);
    });
  };
  if constexpr (byKeys)
    put(keySums, static_cast<KeyGrad *>(a.keyGrad), static_cast<PastKeyGrad *>(a.pastKeyGrad), Constant<keyWidth>());
  if constexpr (byValues)
    put(valueSums, static_cast<ValueGrad *>(a.valueGrad), static_cast<PastValueGrad *>(a.pastValueGrad),
        Constant<valueWidth>());
}

} // namespace tidegate::device
