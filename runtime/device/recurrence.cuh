//===- recurrence.cuh - What a chunk of a recurrence needs ------*- C++ -*-===//
// Cumulative sums along the chunk, products of rows under per-channel decay, the
// inverse of a unit lower triangular matrix, and its solve under per-channel decay.
//
// Rows of a chunk are events, token-major: event e belongs to token e / n and has
// the place `Places::of(e % n)` in it. Gates are cumulative log decays (natural
// logarithm), which fall along time; every exponent taken here is <= 0.
//
// Source: the chunk form of affine recurrences; sub-blocks of 16 rows with an
// anchor as in gated linear attention (Yang et al., 2024).
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/product.cuh"

namespace tidegate::device {

/// e^x for x <= 0, relative error below 2^-20 for x > -80; 0 far below.
TIDEGATE_DEVICE float expDecay(float x) { return exp2Fast(x * 1.44269504f); }

/// Places of the events of a token, in the order of their rows.
template <int... places>
struct Places {
  static constexpr int kCount = sizeof...(places);
  TIDEGATE_DEVICE static int of(int index) {
    int i = 0, place = 0;
    ((place = i++ == index ? places : place), ...);
    return place;
  }
  TIDEGATE_DEVICE static int token(int event) { return event / kCount; }
  /// Whether rows of a token stand in the order of time.
  static constexpr bool ascend() {
    int last = -1;
    bool result = true;
    ((result = result && last < places, last = places), ...);
    return result;
  }
};

/// Whether column event m happens before row event j.
template <typename Rows, typename Cols>
TIDEGATE_DEVICE bool isBefore(int m, int j) {
  int tm = Cols::token(m), tj = Rows::token(j);
  return tm < tj || (tm == tj && Cols::of(m % Cols::kCount) < Rows::of(j % Rows::kCount));
}

/// How the 16 columns from `col` lie to the 16 rows from `row`.
enum class Relation { Before, Mixed, After };
template <typename Rows, typename Cols>
TIDEGATE_DEVICE Relation relation(int row, int col) {
  if (Cols::token(col + 15) < Rows::token(row))
    return Relation::Before;
  return Cols::token(col) > Rows::token(row + 15) ? Relation::After : Relation::Mixed;
}

//===----------------------------------------------------------------------===//
// Cumulative sums
//===----------------------------------------------------------------------===//

/// Whether a running sum starts at the last row, and whether it leaves out its own row.
struct Running {
  bool reverse = false, exclusive = false;
};

/// x[row] becomes the running sum, for n floats in shared memory. Ends with a barrier. Scope: block.
template <int n>
TIDEGATE_DEVICE void cumsum(float *x, Running running) {
  constexpr int kEach = ceilDiv(n, 32);
  if (warpIndex() == 0) {
    float own[kEach], sum = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      int at = laneIndex() * kEach + i;
      own[i] = at < n ? x[running.reverse ? n - 1 - at : at] : 0;
      sum += own[i];
    }
    float before = sum;
#pragma unroll
    for (int delta = 1; delta < 32; delta *= 2) {
      float other = shuffleUp(before, delta);
      if (laneIndex() >= delta)
        before += other;
    }
    before -= sum;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      int at = laneIndex() * kEach + i;
      float after = before + own[i];
      if (at < n)
        x[running.reverse ? n - 1 - at : at] = running.exclusive ? before : after;
      before = after;
    }
  }
  syncBlock();
}

/// The same for each column of a tile. `partial` holds 16 x cols floats. Ends with a barrier. Scope: block.
template <int rows, int cols>
TIDEGATE_DEVICE void cumsum(const SharedTile<float, rows, cols> &x, Running running, float *partial) {
  constexpr int kParts = smaller(16, larger(1, powerBelow(larger(1, kThreads / cols)))), kEach = ceilDiv(rows, kParts);
  auto element = [&](int at, int col) { return x.at(running.reverse ? rows - 1 - at : at, col); };
  for (int i = threadIndex(); i < kParts * cols; i += kThreads) {
    int part = i / cols, col = i % cols;
    float sum = 0;
    for (int at = part * kEach; at < smaller(rows, (part + 1) * kEach); ++at)
      sum += *element(at, col);
    partial[i] = sum;
  }
  syncBlock();
  for (int i = threadIndex(); i < kParts * cols; i += kThreads) {
    int part = i / cols, col = i % cols;
    float sum = 0;
    for (int p = 0; p < part; ++p)
      sum += partial[p * cols + col];
    for (int at = part * kEach; at < smaller(rows, (part + 1) * kEach); ++at) {
      float *place = element(at, col), after = sum + *place;
      *place = running.exclusive ? sum : after;
      sum = after;
    }
  }
  syncBlock();
}

//===----------------------------------------------------------------------===//
// Products under per-channel decay
//===----------------------------------------------------------------------===//

/// a e^(b - c), element by element.
TIDEGATE_DEVICE Pair decayed(Pair a, Pair b, Pair c) {
  return {a.first * expDecay(b.first - c.first), a.second * expDecay(b.second - c.second)};
}

/// A left operand of multiplyAdd out of pairs along the contraction, value(row, k), both counted in the block.
/// Scope: thread.
template <typename F>
TIDEGATE_DEVICE void makeLeft(unsigned (&a)[4], F value) {
  int r = laneIndex() / 4, c = laneIndex() % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    int row = r + i % 2 * 8, k = c + i / 2 * 8;
    Pair pair = value(row, k);
    a[i] = packBf16(pair.first, pair.second);
  }
}

/// Calls f(i, k, col) for the pair of register i of two right operands, as loadRight. Scope: thread.
template <typename F>
TIDEGATE_DEVICE void forEachRight(F f) {
  int r = laneIndex() / 4, c = laneIndex() % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    f(i, c + i % 2 * 8, r + i / 2 * 8);
}

/// Two right operands out of pairs along the contraction, value(k, col). Scope: thread.
template <typename F>
TIDEGATE_DEVICE void makeRight(unsigned (&b)[4], F value) {
  forEachRight([&](int i, int k, int col) {
    Pair pair = value(k, col);
    b[i] = packBf16(pair.first, pair.second);
  });
}

/// Two right operands and what rounding takes from them.
struct RightParts {
  unsigned rounded[4], rest[4];
};

/// The same without the error of rounding, 2^-16 remaining. Scope: thread.
template <typename F>
TIDEGATE_DEVICE void makeRight(RightParts &b, F value) {
  forEachRight([&](int i, int k, int col) {
    Pair pair = value(k, col);
    const unsigned rounded = packBf16(pair.first, pair.second);
    b.rounded[i] = rounded;
    b.rest[i] = packBf16(pair.first - bitsToFloat(rounded << 16), pair.second - bitsToFloat(rounded & 0xffff0000u));
  });
}

/// A block of an accumulator += a b. Scope: warp.
TIDEGATE_DEVICE void multiplyBlock(float (&d)[8], const unsigned (&a)[4], const RightParts &b) {
  multiplyBlock(d, a, b.rounded);
  multiplyBlock(d, a, b.rest);
}

/// Log decays of a block of rows and columns that are so far apart are not mild.
constexpr float kMildDecay = 60;

/// Whether 16 channels from `d` decay so little over the rows from `row` and the
/// columns from `col` that e^(gq - gk[col]) and e^(gk[col] - gk) are ordinary numbers
/// for all of them: gates fall along time, so the first column and the last rows
/// tell. The same in all lanes. Scope: warp.
template <int rows, int cols, int width>
TIDEGATE_DEVICE bool isMild(const SharedTile<float, rows, width> &gq, const SharedTile<float, cols, width> &gk, int row,
                            int col, int d) {
  int c = d + laneIndex() % 16;
  float first = *gk.at(col, c), last = ::fminf(*gk.at(col + 15, c), *gq.at(row + 15, c));
  float rise = ::fmaxf(first - last, *gq.at(row, c) - first); // a row may stand before the first column
#pragma unroll
  for (int mask = 1; mask < 16; mask *= 2)
    rise = ::fmaxf(rise, shuffleXor(rise, mask));
  return rise < kMildDecay;
}

/// p[j, m] = sum over d of q[j, d] k[m, d] e^(gq[j, d] - gk[m, d]) where m is
/// before j, else 0. Blocks before each other go through the tensor cores around
/// the gate of the block's last column, others around that of the first one if they
/// decay mildly; the rest, and float operands, are summed in float. Columns of a token stand in the order of time. Scope: block, after
/// syncBlock.
template <typename Rows, typename Cols, typename T, int rows, int cols, int width>
TIDEGATE_DEVICE void decayScores(Fragment<rows, cols> &p, const SharedTile<T, rows, width> &q,
                                 const SharedTile<T, cols, width> &k, const SharedTile<float, rows, width> &gq,
                                 const SharedTile<float, cols, width> &gk) {
  static_assert(Cols::ascend(), "expects columns in the order of time");
  using F = Fragment<rows, cols>;
#pragma unroll
  for (int i = 0; i < F::kBlockRows; ++i)
#pragma unroll
    for (int j = 0; j < F::kBlockCols; ++j) {
      float(&block)[8] = p.v[i][j];
#pragma unroll
      for (int e = 0; e < 8; ++e)
        block[e] = 0;
      if (!F::owns(i, j))
        continue;
      int row = F::blockRow(i), col = F::blockCol(j);
      Relation how = relation<Rows, Cols>(row, col);
      if (how == Relation::After)
        continue;
      if (sizeof(T) == 2 && how == Relation::Before) {
#pragma unroll 1
        for (int d = 0; d < width; d += 16) {
          unsigned a[4], b[4];
          makeLeft(a, [&](int r, int c) {
            return decayed(q.pair(row + r, d + c), gq.pair(row + r, d + c), gk.pair(col + 15, d + c));
          });
          makeRight(b, [&](int c, int m) {
            return decayed(k.pair(col + m, d + c), gk.pair(col + 15, d + c), gk.pair(col + m, d + c));
          });
          multiplyBlock(block, a, b);
        }
        continue;
      }
#pragma unroll 1
      for (int d = 0; d < width; d += 16) {
        if (sizeof(T) == 2 && isMild(gq, gk, row, col, d)) {
          unsigned a[4], b[4];
          makeLeft(a, [&](int r, int c) {
            return decayed(q.pair(row + r, d + c), gq.pair(row + r, d + c), gk.pair(col, d + c));
          });
          makeRight(b, [&](int c, int m) {
            return decayed(k.pair(col + m, d + c), gk.pair(col, d + c), gk.pair(col + m, d + c));
          });
          multiplyBlock(block, a, b);
          continue;
        }
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          int r = row + F::rowIn(e), m = col + F::colIn(e);
          float sum = 0;
          if (isBefore<Rows, Cols>(m, r))
#pragma unroll 1
            for (int c = d; c < d + 16; ++c)
              sum += q.get(r, c) * k.get(m, c) * expDecay(*gq.at(r, c) - *gk.at(m, c));
          block[e] += sum;
        }
      }
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (!isBefore<Rows, Cols>(col + F::colIn(e), row + F::rowIn(e)))
          block[e] = 0;
    }
}

/// y[j, d] += sum over m before j of p[j, m] x[m, d] e^(gq[j, d] - gk[m, d]).
/// Blocks and anchors as in decayScores; entries of `p` that are not before are
/// not used. The decayed rows are not rounded: with this and the transposed mix the gradient of a gate is a running sum
/// of differences that would be zero where no gate lies between, and another rounding on each side adds up along it.
/// Scope: block, after syncBlock.
template <typename Rows, typename Cols, typename P, typename T, int rows, int cols, int width>
TIDEGATE_DEVICE void decayMix(Fragment<rows, width> &y, const SharedTile<P, rows, cols> &p,
                              const SharedTile<T, cols, width> &x, const SharedTile<float, rows, width> &gq,
                              const SharedTile<float, cols, width> &gk) {
  static_assert(Cols::ascend(), "expects columns in the order of time");
  using F = Fragment<rows, width>;
#pragma unroll
  for (int i = 0; i < F::kBlockRows; ++i)
#pragma unroll
    for (int j = 0; j < F::kBlockCols; ++j) {
      if (!F::owns(i, j))
        continue;
      int row = F::blockRow(i), d = F::blockCol(j);
#pragma unroll 1
      for (int col = 0; col < cols; col += 16) {
        Relation how = relation<Rows, Cols>(row, col);
        if (how == Relation::After)
          break;
        if (sizeof(T) == 2 && how == Relation::Before) {
          unsigned a[4];
          RightParts b;
          makeLeft(a, [&](int r, int m) { return p.pair(row + r, col + m); });
          auto left = [&](int m, int c) { // of an add at the block's last one
            return x.get(col + m, d + c) * expDecay(*gk.at(col + 15, d + c) - *gk.at(col + m, d + c));
          };
          makeRight(b, [&](int m, int c) { return Pair{left(m, c), left(m + 1, c)}; });
          float block[8] = {};
          multiplyBlock(block, a, b);
#pragma unroll
          for (int e = 0; e < 8; ++e) {
            int c = d + F::colIn(e);
            y.v[i][j][e] += block[e] * expDecay(*gq.at(row + F::rowIn(e), c) - *gk.at(col + 15, c));
          }
          continue;
        }
        if (sizeof(T) == 2 && isMild(gq, gk, row, col, d)) {
          unsigned a[4];
          RightParts b;
          auto kept = [&](int r, int m) { return isBefore<Rows, Cols>(col + m, row + r) ? p.get(row + r, col + m) : 0.0f; };
          makeLeft(a, [&](int r, int m) { return Pair{kept(r, m), kept(r, m + 1)}; });
          auto since = [&](int m, int c) { // from the block's first add
            return x.get(col + m, d + c) * expDecay(*gk.at(col, d + c) - *gk.at(col + m, d + c));
          };
          makeRight(b, [&](int m, int c) { return Pair{since(m, c), since(m + 1, c)}; });
          float block[8] = {};
          multiplyBlock(block, a, b);
#pragma unroll
          for (int e = 0; e < 8; ++e) {
            int c = d + F::colIn(e);
            y.v[i][j][e] += block[e] * expDecay(*gq.at(row + F::rowIn(e), c) - *gk.at(col, c));
          }
          continue;
        }
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          int r = row + F::rowIn(e), c = d + F::colIn(e);
#pragma unroll 1
          for (int m = col; m < col + 16; ++m)
            if (isBefore<Rows, Cols>(m, r))
              y.v[i][j][e] += p.get(r, m) * x.get(m, c) * expDecay(*gq.at(r, c) - *gk.at(m, c));
        }
      }
    }
}

/// y[m, d] += sum over j after m of p[j, m] x[j, d] e^(gq[j, d] - gk[m, d]).
/// Scope: block, after syncBlock.
template <typename Rows, typename Cols, typename P, typename T, int rows, int cols, int width>
TIDEGATE_DEVICE void decayMixTransposed(Fragment<cols, width> &y, const SharedTile<P, rows, cols> &p,
                                        const SharedTile<T, rows, width> &x,
                                        const SharedTile<float, rows, width> &gq,
                                        const SharedTile<float, cols, width> &gk) {
  static_assert(Cols::ascend(), "expects columns in the order of time");
  using F = Fragment<cols, width>;
#pragma unroll
  for (int i = 0; i < F::kBlockRows; ++i)
#pragma unroll
    for (int j = 0; j < F::kBlockCols; ++j) {
      if (!F::owns(i, j))
        continue;
      int col = F::blockRow(i), d = F::blockCol(j);
      float anchored[8] = {};
#pragma unroll 1
      for (int row = 0; row < rows; row += 16) {
        Relation how = relation<Rows, Cols>(row, col);
        if (how == Relation::After)
          continue;
        if (sizeof(T) == 2 && how == Relation::Before) {
          unsigned a[4];
          RightParts b;
          makeLeft(a, [&](int m, int r) { return Pair{p.get(row + r, col + m), p.get(row + r + 1, col + m)}; });
          auto since = [&](int r, int c) { // from the block's last add
            return x.get(row + r, d + c) * expDecay(*gq.at(row + r, d + c) - *gk.at(col + 15, d + c));
          };
          makeRight(b, [&](int r, int c) { return Pair{since(r, c), since(r + 1, c)}; });
          multiplyBlock(anchored, a, b);
          continue;
        }
        if (sizeof(T) == 2 && isMild(gq, gk, row, col, d)) {
          unsigned a[4];
          RightParts b;
          auto kept = [&](int m, int r) { return isBefore<Rows, Cols>(col + m, row + r) ? p.get(row + r, col + m) : 0.0f; };
          makeLeft(a, [&](int m, int r) { return Pair{kept(m, r), kept(m, r + 1)}; });
          auto since = [&](int r, int c) { // from the block's first add
            return x.get(row + r, d + c) * expDecay(*gq.at(row + r, d + c) - *gk.at(col, d + c));
          };
          makeRight(b, [&](int r, int c) { return Pair{since(r, c), since(r + 1, c)}; });
          float block[8] = {};
          multiplyBlock(block, a, b);
#pragma unroll
          for (int e = 0; e < 8; ++e) {
            int m = col + F::rowIn(e), c = d + F::colIn(e);
            y.v[i][j][e] += block[e] * expDecay(*gk.at(col, c) - *gk.at(m, c));
          }
          continue;
        }
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          int m = col + F::rowIn(e), c = d + F::colIn(e);
#pragma unroll 1
          for (int r = row; r < row + 16; ++r)
            if (isBefore<Rows, Cols>(m, r))
              y.v[i][j][e] += p.get(r, m) * x.get(r, c) * expDecay(*gq.at(r, c) - *gk.at(m, c));
        }
      }
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        int c = d + F::colIn(e);
        y.v[i][j][e] += anchored[e] * expDecay(*gk.at(col + 15, c) - *gk.at(col + F::rowIn(e), c));
      }
    }
}

//===----------------------------------------------------------------------===//
// Unit lower triangular
//===----------------------------------------------------------------------===//

/// t = (I - m)^-1 of the strictly lower part of m, in float, both n x n in shared
/// memory, n a multiple of 16. Diagonal blocks of 16 by substitution; then pairs of
/// inverses A, C of neighbouring blocks become one of twice the size, whose lower
/// left part is C m' A. m' A lies transposed in the upper right part meanwhile.
/// Starts after syncBlock, ends with one. Scope: block.
template <int n>
TIDEGATE_DEVICE void invertUnitLower(const SharedTile<float, n, n> &t, const SharedTile<float, n, n> &m) {
  for (int block = warpIndex(); block < n / 16; block += kWarps) {
    const int first = 16 * block, lane = laneIndex();
    if (lane < 16) {
      float column[16];
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        float sum = i == lane ? 1 : 0;
#pragma unroll
        for (int k = 0; k < i; ++k)
          sum += *m.at(first + i, first + k) * column[k];
        column[i] = sum;
        *t.at(first + i, first + lane) = sum;
      }
    }
  }
#pragma unroll 1
  for (int size = 16; size < n; size *= 2) {
    // Calls f(a, row, col): block A begins at a, C at a + size; four columns of one row of the part below A.
    const auto forEach = [&](auto f) {
      const int perRow = size / 4, perPair = size * perRow, pairs = (n + 2 * size - 1) / (2 * size);
      for (int u = threadIndex(); u < pairs * perPair; u += kThreads) {
        const int a = u / perPair * 2 * size, row = a + size + u % perPair / perRow;
        if (row < n)
          f(a, row, a + u % perRow * 4);
      }
    };
    syncBlock();
    forEach([&](int a, int row, int col) { // m' A
      float sum[4] = {};
#pragma unroll 8
      for (int k = 0; k < size; ++k) {
        float right[4];
        loadVector(right, static_cast<const float *>(t.at(a + k, col)));
        const float left = *m.at(row, a + k);
#pragma unroll
        for (int c = 0; c < 4; ++c)
          sum[c] += left * right[c];
      }
#pragma unroll
      for (int c = 0; c < 4; ++c)
        *t.at(col + c, row) = sum[c];
    });
    syncBlock();
    forEach([&](int a, int row, int col) {
      float sum[4] = {};
      const int from = a + size, to = smaller(from + size, n);
#pragma unroll 2
      for (int k = from; k < to; k += 4) {
        float left[4];
        loadVector(left, static_cast<const float *>(t.at(row, k)));
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          float right[4];
          loadVector(right, static_cast<const float *>(t.at(col + c, k)));
#pragma unroll
          for (int e = 0; e < 4; ++e)
            sum[c] += left[e] * right[e];
        }
      }
      storeVector(t.at(row, col), sum);
    });
    syncBlock();
    forEach([&](int, int row, int col) {
#pragma unroll
      for (int c = 0; c < 4; ++c)
        *t.at(col + c, row) = 0;
    });
  }
  syncBlock();
}

//===----------------------------------------------------------------------===//
// Unit lower triangular under per-channel decay
//===----------------------------------------------------------------------===//

/// No factor: 1 everywhere.
struct NoFactor {
  TIDEGATE_DEVICE float get(int, int) const { return 1; }
};
/// No decay between any two events.
struct NoGates {
  static constexpr bool kDecays = false;
  TIDEGATE_DEVICE float row(int, int) const { return 0; }
  TIDEGATE_DEVICE float col(int, int) const { return 0; }
};
/// Cumulative log decays of events as rows, and as columns.
template <int n, int width>
struct Gates {
  static constexpr bool kDecays = true;
  SharedTile<float, n, width> rows, cols;
  TIDEGATE_DEVICE float row(int event, int d) const { return *rows.at(event, d); }
  TIDEGATE_DEVICE float col(int event, int d) const { return *cols.at(event, d); }
};

/// Floats that decaySolve works in: 16 events and their anchor.
template <int width>
constexpr int kSolveWork = 17 * width;

/// x becomes, in place and in float, the y of
///   y[j, d] = x[j, d] + f[j, d] sum over m before j of p[j, m] y[m, d] e^(gq[j, d] - gk[m, d]),
/// or with `transposed` of
///   y[m, d] = x[m, d] + sum over j after m of p[j, m] f[j, d] y[j, d] e^(gq[j, d] - gk[m, d]),
/// for the first `count` events; the other rows stay. Rows and columns are the same events: none stands as a row at a
/// place behind its place as a column.
///
/// Every channel has a matrix of its own. Inside a block of 16 events a thread solves a channel by substitution; then
/// all threads add what the block says to the events that wait for it, around an anchor that no event of the block is
/// behind: no exponent is positive. `work` holds kSolveWork<width> floats. Starts after syncBlock, ends with one.
/// Scope: block.
template <bool transposed, typename Rows, typename Cols, int count, typename P, int n, int width, typename Factor,
          typename G>
TIDEGATE_DEVICE void decaySolve(const SharedTile<float, n, width> &x, const SharedTile<P, n, n> &p, const Factor &f,
                                const G &gates, float *work) {
  static_assert(Cols::ascend(), "expects columns in the order of time");
  static_assert(n % 16 == 0 && count <= n, "expects whole blocks that hold all events");
  // Sources are solved, targets wait for them.
  const auto sourceGate = [&](int event, int d) { return transposed ? gates.row(event, d) : gates.col(event, d); };
  const auto targetGate = [&](int event, int d) { return transposed ? gates.col(event, d) : gates.row(event, d); };
  const auto sourceFactor = [&](int event, int d) { return transposed ? f.get(event, d) : 1.0f; };
  const auto targetFactor = [&](int event, int d) { return transposed ? 1.0f : f.get(event, d); };
  const auto weight = [&](int source, int target) {
    return transposed ? p.get(source, target) : p.get(target, source);
  };
  const auto reaches = [](int source, int target) {
    return transposed ? isBefore<Rows, Cols>(target, source) : isBefore<Rows, Cols>(source, target);
  };
  const auto decay = [](float source, float target) {
    return G::kDecays ? expDecay(transposed ? source - target : target - source) : 1.0f;
  };
  const auto exists = [](int event) { return count % 16 == 0 || event < count; };
  float *const moved = work, *const anchors = work + 16 * width;
  constexpr int kBlocks = ceilDiv(count, 16), kUnits = width / 4;

#pragma unroll 1
  for (int block = 0; block < kBlocks; ++block) {
    const int first = 16 * (transposed ? kBlocks - 1 - block : block), last = first + 15;
    for (int d = threadIndex(); d < width; d += kThreads) {
      float y[16], gate[16]; // y with the sources' factor
      float anchor = sourceGate(transposed ? smaller(last, count - 1) : first, d);
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const int target = transposed ? last - i : first + i;
        y[i] = gate[i] = 0;
        if (!exists(target))
          continue;
        const float here = targetGate(target, d);
        float sum = 0;
#pragma unroll
        for (int j = 0; j < i; ++j) {
          const int source = transposed ? last - j : first + j;
          if (exists(source) && reaches(source, target))
            sum += weight(source, target) * y[j] * decay(gate[j], here);
        }
        float *const place = x.at(target, d);
        const float solved = *place + targetFactor(target, d) * sum;
        *place = solved;
        y[i] = sourceFactor(target, d) * solved;
        gate[i] = sourceGate(target, d);
        anchor = transposed ? ::fmaxf(anchor, gate[i]) : ::fminf(anchor, gate[i]);
      }
#pragma unroll
      for (int i = 0; i < 16; ++i)
        moved[i * width + d] = y[i] * decay(gate[i], anchor);
      anchors[d] = anchor;
    }
    syncBlock();
    const int begin = transposed ? 0 : first + 16, end = transposed ? first : count;
    for (int u = threadIndex(); u < (end - begin) * kUnits; u += kThreads) {
      const int target = begin + u / kUnits, d = u % kUnits * 4;
      // What the whole block reaches sees it from the anchor.
      const bool isFar =
          transposed ? Cols::token(target) < Rows::token(first) : Cols::token(last) < Rows::token(target);
      float sum[4] = {};
#pragma unroll 4
      for (int i = 0; i < 16; ++i) {
        const int source = transposed ? last - i : first + i;
        if (!exists(source) || !(isFar || reaches(source, target)))
          continue;
        const float w = weight(source, target);
        float y[4];
        if (isFar) {
          loadVector(y, static_cast<const float *>(moved + i * width + d));
        } else {
#pragma unroll
          for (int c = 0; c < 4; ++c)
            y[c] = *x.at(source, d + c) * sourceFactor(source, d + c) *
                   decay(sourceGate(source, d + c), targetGate(target, d + c));
        }
#pragma unroll
        for (int c = 0; c < 4; ++c)
          sum[c] += w * y[c];
      }
#pragma unroll
      for (int c = 0; c < 4; ++c)
        *x.at(target, d + c) += targetFactor(target, d + c) * sum[c] *
                                (isFar ? decay(anchors[d + c], targetGate(target, d + c)) : 1.0f);
    }
    syncBlock();
  }
}

} // namespace tidegate::device
