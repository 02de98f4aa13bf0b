//===- attention.cuh - Causal softmax attention in a window -----*- C++ -*-===//
// What it computes: runtime/core/Attention.h. A block has one tile of queries of
// one head and walks over the keys they see in tiles, with a running maximum; the
// scores of a tile stay in registers. Keys are counted from the first row of the
// past, so that row `edge` is token 0. bfloat16 operands go through the tensor
// cores with float accumulation and float softmax; the weights are rounded to
// bfloat16 before they meet the values. If one operand is float, all are.
//
// A row that no query of the tile sees is read as zeros; a value that is not
// finite reaches every query of a tile of which one sees it.
//
// Source: T. Dao, "FlashAttention-2", arXiv 2307.08691.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/arguments.cuh"
#include "runtime/device/attention_shape.cuh"
#include "runtime/device/memory.cuh"
#include "runtime/device/operand.cuh"
#include "runtime/device/stream.cuh"

namespace tidegate::device {

static_assert(kWarps == kBuiltinWarps, "expects the block that the host launches");

constexpr float kLog2E = 1.44269504f, kLn2 = 0.69314718f;

TIDEGATE_DEVICE float infinity() { return bitsToFloat(0x7f800000u); }

/// bfloat16 if all of them are, else float.
template <typename... T>
struct CommonElement {
  using Type = bf16;
};
template <typename First, typename... T>
struct CommonElement<First, T...> {
  using Type = typename CommonElement<T...>::Type;
};
template <typename... T>
struct CommonElement<float, T...> {
  using Type = float;
};

/// Hands out aligned pieces of a block's shared memory.
struct Pieces {
  unsigned char *next;
  template <typename Tile>
  TIDEGATE_DEVICE Tile tile() {
    Tile tile{next};
    next += Tile::kBytes;
    return tile;
  }
  template <typename T>
  TIDEGATE_DEVICE T *array(int count) {
    T *place = reinterpret_cast<T *>(next);
    next += count * sizeof(T);
    return place;
  }
};

/// Whom the tokens of one batch row see. Rows of keys count from the past's first.
struct Window {
  int tokens, edge, before; ///< edge: rows of the past that exist; before: W - 1
  const int *positions;     ///< of the batch row, or null

  TIDEGATE_DEVICE static Window of(const AttentionArguments &a, long long batch) {
    const int before = static_cast<int>(a.window) - 1;
    return {static_cast<int>(a.tokens), a.pastKey ? before : 0, before,
            a.positions ? a.positions + batch * a.tokens : nullptr};
  }
  TIDEGATE_DEVICE int rows() const { return edge + tokens; }
  /// The last row that token t sees: its own.
  TIDEGATE_DEVICE int last(int t) const { return edge + t; }
  /// The first one; tokens beyond the end count as the last.
  TIDEGATE_DEVICE int first(int t) const {
    t = t < tokens ? t : tokens - 1;
    int back = before < edge + t ? before : edge + t; // rows back
    if (positions && positions[t] < back)
      back = positions[t] < 0 ? 0 : positions[t];
    return edge + t - back;
  }
};

/// Buffers for pairs of tiles, one after the other.
template <typename First, typename Second>
struct Stages {
  unsigned char *base;
  TIDEGATE_DEVICE First first(int stage) const { return {base + stage * (First::kBytes + Second::kBytes)}; }
  TIDEGATE_DEVICE Second second(int stage) const {
    return {base + stage * (First::kBytes + Second::kBytes) + First::kBytes};
  }
};

/// Keys or values of one head: `edge` rows of the past, then those of the sequence.
template <typename Row, typename Past>
struct ExtendedRows {
  const Row *rows;
  const Past *past;
  long long stride;
  int edge;

  /// Those of a head group of one batch row.
  TIDEGATE_DEVICE static ExtendedRows of(const AttentionArguments &a, const void *rows, const void *past, int width,
                                         long long batch, int group) {
    const int edge = a.pastKey ? static_cast<int>(a.window) - 1 : 0;
    return {static_cast<const Row *>(rows) + (batch * a.tokens * a.keyHeads + group) * width,
            static_cast<const Past *>(past) + (batch * edge * a.keyHeads + group) * width, a.keyHeads * width, edge};
  }

  TIDEGATE_DEVICE void copyUnit(void *place, int s, int col, int low, int high, bool isColumn) const {
    const bool exists = s >= low && s < high && isColumn;
    const void *from = s < edge ? static_cast<const void *>(past + s * stride + col) : rows + (s - edge) * stride + col;
    startCopy16(place, from, exists);
  }

  /// Starts to copy rows `first` and on; those outside [low, high) and columns
  /// beyond `width` become zeros. With a commit and a wait by the caller. Scope: block.
  template <typename T, int count, int cols, int width>
  TIDEGATE_DEVICE void start(const SharedTile<T, count, cols> &to, int first, int low, int high) const {
    if constexpr (sizeof(Row) == sizeof(T) && sizeof(Past) == sizeof(T) && width * sizeof(T) % 16 == 0) {
      constexpr int kUnit = 16 / sizeof(T), kRowUnits = cols / kUnit, kUnits = count * kRowUnits;
      const int thread = recomputed(threadIndex());
      if constexpr (kThreads % kRowUnits == 0 && kThreads / kRowUnits % 8 == 0 && kUnits % kThreads == 0) {
        // A thread's units lie below each other, a multiple of the swizzle's period apart.
        constexpr int kStep = kThreads / kRowUnits;
        const int row = thread / kRowUnits, col = thread % kRowUnits * kUnit;
        T *place = to.at(row, col);
#pragma unroll
        for (int i = 0; i < kUnits / kThreads; ++i)
          copyUnit(place + i * kStep * SharedTile<T, count, cols>::kPanel, first + row + i * kStep, col, low, high,
                   col < width);
      } else {
#pragma unroll 1
        for (int i = thread; i < kUnits; i += kThreads) {
          const int row = i / kRowUnits, col = i % kRowUnits * kUnit;
          copyUnit(to.at(row, col), first + row, col, low, high, col < width);
        }
      }
    } else {
      for (int i = threadIndex(); i < count * cols; i += kThreads) {
        const int row = i / cols, col = i % cols, s = first + row;
        float x = 0;
        if (s >= low && s < high && col < width)
          x = s < edge ? toFloat(past[s * stride + col]) : toFloat(rows[(s - edge) * stride + col]);
        to.set(row, col, x);
      }
    }
  }
};

/// Starts to copy rows of queries or of what has their shape. Scope: block.
template <int width, typename T, typename Row, int count, int cols>
TIDEGATE_DEVICE void startTokens(const SharedTile<T, count, cols> &to, const Row *from, long long stride, int valid) {
  if constexpr (sizeof(Row) == sizeof(T) && width * sizeof(T) % 16 == 0)
    startRows(to, from, stride, valid, width);
  else
    loadRows(to, from, stride, valid, width);
}

/// The lowest and the highest first row of `count` tokens from `t` on; `work`
/// holds `count` ints of shared memory. Scope: block, one barrier if there are positions.
struct FirstRows {
  int lowest, highest;
  TIDEGATE_DEVICE static FirstRows of(const Window &window, int t, int count, int *work) {
    if (!window.positions)
      return {window.first(t), window.first(t + count - 1)};
    for (int i = threadIndex(); i < count; i += kThreads)
      work[i] = window.first(t + i);
    syncBlock();
    FirstRows result{work[0], work[0]};
    for (int i = 1; i < count; ++i) {
      result.lowest = work[i] < result.lowest ? work[i] : result.lowest;
      result.highest = work[i] > result.highest ? work[i] : result.highest;
    }
    return result;
  }
};

/// x = value(i, half, column) element by element, for fragments whose warps own
/// whole rows: `half` says which of the lane's two rows of block row i. Scope: thread.
template <int rows, int cols, typename F>
TIDEGATE_DEVICE void forEachHalf(Fragment<rows, cols> &x, F f) {
  static_assert(Fragment<rows, cols>::kWholeRows, "expects warps that own whole rows");
#pragma unroll
  for (int i = 0; i < Fragment<rows, cols>::kBlockRows; ++i)
#pragma unroll
    for (int j = 0; j < cols / 16; ++j)
#pragma unroll
      for (int e = 0; e < 8; ++e)
        f(i, e / 2 % 2, 16 * j + Fragment<rows, cols>::colIn(e), x.v[i][j][e]);
}

/// Scores of tokens from `t` on and rows from `first` on become `hidden` where the token does not see the row. Scope:
/// thread.
template <int rows, int cols>
TIDEGATE_DEVICE void hideUnseen(Fragment<rows, cols> &scores, const Window &window, int t, int first, float hidden) {
  using F = Fragment<rows, cols>;
  static_assert(F::kWholeRows, "expects warps that own whole rows");
#pragma unroll
  for (int i = 0; i < F::kBlockRows; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = t + F::blockRow(i) + F::rowIn(2 * half);
      const int low = window.first(token) - first, high = window.last(token) - first;
#pragma unroll
      for (int j = 0; j < F::kBlockCols; ++j)
#pragma unroll
        for (int e = 0; e < 8; ++e)
          if (e / 2 % 2 == half) {
            const int col = 16 * j + F::colIn(e);
            if (col < low || col > high)
              scores.v[i][j][e] = hidden;
          }
    }
}

/// Calls f(row, column, element, its right neighbour) for every second element. Scope: thread.
template <int rows, int cols, typename F>
TIDEGATE_DEVICE void forEachPair(const Fragment<rows, cols> &x, F f) {
#pragma unroll
  for (int i = 0; i < Fragment<rows, cols>::kBlockRows; ++i)
#pragma unroll
    for (int j = 0; j < Fragment<rows, cols>::kBlockCols; ++j)
#pragma unroll
      for (int e = 0; e < 8; e += 2)
        f(x.blockRow(i) + x.rowIn(e), x.blockCol(j) + x.colIn(e), x.v[i][j][e], x.v[i][j][e + 1]);
}

/// Writes two neighbours of a row of `width`, in one access where that is aligned. Scope: thread.
template <int width, typename T>
TIDEGATE_DEVICE void storePair(T *row, int col, float first, float second) {
  if (col >= width)
    return;
  if constexpr (width % 2 == 0) {
    const float pair[2] = {first, second};
    storeVector(row + col, pair);
  } else {
    row[col] = Converter<T>::from(first);
    if (col + 1 < width)
      row[col + 1] = Converter<T>::from(second);
  }
}

/// Walks from tile `first` over next(first), ... to `end`: start(tile, stage) starts
/// copies and commits them, use(tile, stage) works on what they brought. The copies
/// that were started before are there when `load` runs, once, before the first use.
/// With two stages a tile is on its way while the one before it is used. Scope: block.
template <int stages, typename Next, typename Start, typename Load, typename Use>
TIDEGATE_DEVICE void walkTiles(int first, int end, Next next, Start start, Load load, Use use) {
  static_assert(stages == 1 || stages == 2, "expects one or two buffers");
  if (stages == 2 && first < end)
    start(first, 0);
  else
    commitCopies();
  waitCopies<0>();
  syncBlock();
  load();
  for (int tile = first, stage = 0; tile < end;) {
    const int following = next(tile);
    if (stages == 1) {
      start(tile, 0);
      waitCopies<0>();
      syncBlock();
    } else if (following < end) {
      start(following, 1 - stage);
    }
    use(tile, stage);
    tile = following;
    if (tile >= end)
      break;
    if (stages == 2) {
      stage = 1 - stage;
      waitCopies<0>();
    }
    syncBlock(); // the next tile is there, and nobody uses this one
  }
}

/// A number as a type.
template <int n>
struct Constant {
  static constexpr int value = n;
};

/// The running softmax of the rows that a lane shares: the largest score so far,
/// and its own share of the sum of exponentials below it.
template <int blockRows>
struct RunningSoftmax {
  float most[blockRows][2], total[blockRows][2];

  TIDEGATE_DEVICE void start() {
#pragma unroll
    for (int i = 0; i < blockRows; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        most[i][half] = -infinity();
        total[i][half] = 0;
      }
  }

  /// Scores become weights relative to the new maximum; `kept` is what earlier
  /// weights and sums must be multiplied with. Scores of -inf have no weight. Scope: warp.
  template <int rows, int cols>
  TIDEGATE_DEVICE void add(Fragment<rows, cols> &scores, float (&kept)[blockRows][2]) {
    float now[blockRows][2];
#pragma unroll
    for (int i = 0; i < blockRows; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        now[i][half] = most[i][half];
    forEachHalf(scores, [&](int i, int half, int, float &x) { now[i][half] = ::fmaxf(now[i][half], x); });
    float shift[blockRows][2];
#pragma unroll
    for (int i = 0; i < blockRows; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float m = now[i][half];
        m = ::fmaxf(m, shuffleXor(m, 1));
        m = ::fmaxf(m, shuffleXor(m, 2));
        shift[i][half] = m == -infinity() ? 0 : m * kLog2E; // nothing seen yet
        kept[i][half] = exp2Fast(most[i][half] * kLog2E - shift[i][half]);
        most[i][half] = m;
        total[i][half] *= kept[i][half];
      }
    forEachHalf(scores, [&](int i, int half, int, float &x) {
      x = exp2Fast(x * kLog2E - shift[i][half]);
      total[i][half] += x;
    });
  }

  /// The sum over all columns. Scope: warp.
  TIDEGATE_DEVICE float sum(int i, int half) const {
    float sum = total[i][half];
    sum += shuffleXor(sum, 1);
    return sum + shuffleXor(sum, 2);
  }
};

/// One tile of queries of one head: `block` counts tiles from the first token.
/// Scope: block; `shared` is attentionShared(...) bytes aligned to 1024.
template <typename Query, typename Key, typename Value, typename PastKey, typename PastValue, typename Out,
          typename Lse, int keyWidth, int valueWidth>
TIDEGATE_DEVICE void attentionBlock(const AttentionArguments &a, int block, int head, int batch,
                                    unsigned char *shared) {
  using T = typename CommonElement<Query, Key, Value, PastKey, PastValue>::Type;
  constexpr AttentionShape kShape = attentionShape(sizeof(T), larger(keyWidth, valueWidth));
  constexpr int kQueries = kShape.own, kKeys = kShape.others, kStages = kShape.stages;
  constexpr int kKeyCols = paddedWidth(keyWidth), kValueCols = paddedWidth(valueWidth);
  constexpr bool kPacked = sizeof(T) == 2; // weights stay in registers
  using Scores = Fragment<kQueries, kKeys>;
  using KeyTile = SharedTile<T, kKeys, kKeyCols>;
  using ValueTile = SharedTile<T, kKeys, kValueCols>;

  const Window window = Window::of(a, batch);
  const int t = block * kQueries, valid = smaller(kQueries, window.tokens - t);
  const int group = head / static_cast<int>(a.heads / a.keyHeads);
  Pieces pieces{shared};
  const auto queryTile = pieces.tile<SharedTile<T, kQueries, kKeyCols>>();
  const Stages<KeyTile, ValueTile> stages{
      pieces.template array<unsigned char>(kStages * (KeyTile::kBytes + ValueTile::kBytes))};
  SharedTile<T, kQueries, kKeys> weightTile{nullptr};
  if constexpr (!kPacked)
    weightTile = pieces.tile<SharedTile<T, kQueries, kKeys>>();
  const FirstRows seen = FirstRows::of(window, t, valid, pieces.array<int>(kQueries));
  const int end = window.last(t + valid - 1) + 1; // of the rows that a query sees
  const int firstTile = seen.lowest / kKeys, tiles = (end - 1) / kKeys + 1;

  startTokens<keyWidth>(queryTile,
                        static_cast<const Query *>(a.query) + ((batch * a.tokens + t) * a.heads + head) * keyWidth,
                        a.heads * keyWidth, valid);
  auto startTile = [&](int tile, int stage) {
    const auto keys = ExtendedRows<Key, PastKey>::of(a, a.key, a.pastKey, keyWidth, recomputed(batch), group);
    keys.template start<T, kKeys, kKeyCols, keyWidth>(stages.first(stage), tile * kKeys, seen.lowest, end);
    const auto values =
        ExtendedRows<Value, PastValue>::of(a, a.value, a.pastValue, valueWidth, recomputed(batch), group);
    values.template start<T, kKeys, kValueCols, valueWidth>(stages.second(stage), tile * kKeys, seen.lowest, end);
    commitCopies();
  };
  LeftOperand<T, kQueries, kKeyCols, kShape.inRegisters> query;
  LeftOperand<T, kQueries, kKeys, kPacked> weights;
  Fragment<kQueries, kValueCols> sums;
  RunningSoftmax<Scores::kBlockRows> softmax;
  sums.fill(0);
  softmax.start();
  auto attend = [&](int tile, int stage) {
    Scores scores;
    scores.fill(0);
    product<As::Transposed>(scores, query, stages.first(stage));
    if (tile * kKeys < seen.highest || tile * kKeys + kKeys - 1 > window.last(t))
      hideUnseen(scores, Window::of(a, recomputed(batch)), t, tile * kKeys, -infinity());
    float kept[Scores::kBlockRows][2];
    softmax.add(scores, kept);
    forEachHalf(sums, [&](int i, int half, int, float &x) { x *= kept[i][half]; });
    weights.pack(scores, weightTile);
    product<As::Stored>(sums, weights, stages.second(stage));
  };

  walkTiles<kStages>(
      firstTile, tiles, [](int tile) { return tile + 1; }, startTile, [&] { query.load(queryTile); }, attend);

  auto *lse = static_cast<Lse *>(a.lse) + (batch * a.tokens + t) * a.heads + head;
  float scale[Scores::kBlockRows][2];
#pragma unroll
  for (int i = 0; i < Scores::kBlockRows; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float total = softmax.sum(i, half);
      const int row = Scores::blockRow(i) + Scores::rowIn(2 * half);
      scale[i][half] = 1 / total;
      if (a.lse && laneIndex() % 4 == 0 && row < valid)
        lse[row * a.heads] = Converter<Lse>::from(softmax.most[i][half] + ::logf(total));
    }
  forEachHalf(sums, [&](int i, int half, int, float &x) { x *= scale[i][half]; });
  auto *out = static_cast<Out *>(a.out) + ((batch * a.tokens + t) * a.heads + head) * valueWidth;
  forEachPair(sums, [&](int row, int col, float x, float y) {
    if (row < valid)
      storePair<valueWidth>(out + row * a.heads * valueWidth, col, x, y);
  });
}

} // namespace tidegate::device
