//===- tile.cuh - Tiles in shared memory and in registers -------*- C++ -*-===//
// A block of kWarps warps works on matrices whose sides are multiples of 16.
//
// SharedTile: rows in panels of at most 128 bytes; inside a panel the 16-byte
// units of a row are permuted by exclusive or with bits of the row, the pattern
// that the tensor cores' 128-, 64- and 32-byte modes use, so that eight rows of
// one unit, and the rows of a matrix load, fall on different banks.
//
// Fragment: float accumulators. Blocks of 16 x 16 go round the warps: warp w
// owns block rows w % kRowWarps, + kRowWarps, ... and block columns
// w / kRowWarps, + kColWarps, ... Of each block a lane holds eight elements, as
// two accumulators of multiplyAdd side by side.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/kernel.cuh"

namespace tidegate::device {

constexpr int ceilDiv(int a, int b) { return (a + b - 1) / b; }
constexpr int smaller(int a, int b) { return a < b ? a : b; }
constexpr int larger(int a, int b) { return a > b ? a : b; }
/// The largest power of two that is at most n.
constexpr int powerBelow(int n) {
  int p = 1;
  while (2 * p <= n)
    p *= 2;
  return p;
}

/// Two neighbours in a row.
struct alignas(8) Pair {
  float first, second;
};

/// A rows x cols matrix in shared memory. The storage is `kBytes` bytes, aligned
/// to 1024; a tile is a view of it.
template <typename T, int rows, int cols>
struct SharedTile {
  static_assert(rows % 8 == 0 && cols * sizeof(T) % 32 == 0, "expects whole 8-row groups and 32-byte rows");
  static constexpr int kRows = rows, kCols = cols;
  static constexpr int kUnit = 16 / sizeof(T); ///< elements of a 16-byte unit
  /// Bytes of a panel's row: the largest of 128, 64, 32 that divides a row.
  static constexpr int kRowBytes = cols * sizeof(T) % 128 == 0 ? 128 : cols * sizeof(T) % 64 == 0 ? 64 : 32;
  static constexpr int kPanel = kRowBytes / sizeof(T); ///< columns of a panel
  static constexpr int kBytes = rows * cols * sizeof(T);

  unsigned char *base;

  /// The element (row, col). Scope: thread.
  TIDEGATE_DEVICE T *at(int row, int col) const {
    // Unsigned, so that places that differ by whole blocks differ by a constant. In a single panel no remainder is
    // taken: NVVM 13.0 loses the shift of `c % kPanel / kUnit` in an unrolled loop along such rows (decaySolve of 32
    // events), which then reads other elements.
    const unsigned r = row, c = col, panel = cols == kPanel ? 0 : c / kPanel, inPanel = cols == kPanel ? c : c % kPanel;
    const unsigned unit = inPanel / kUnit, turned = unit ^ (r * kRowBytes / 128 % (kRowBytes / 16));
    return reinterpret_cast<T *>(base + (panel * (rows * kRowBytes) + r * kRowBytes + turned * 16)) + c % kUnit;
  }
  TIDEGATE_DEVICE float get(int row, int col) const { return toFloat(*at(row, col)); }
  TIDEGATE_DEVICE void set(int row, int col, float value) const { *at(row, col) = Converter<T>::from(value); }
  /// The elements (row, col) and (row, col + 1), for even `col`.
  TIDEGATE_DEVICE Pair pair(int row, int col) const {
    const T *place = at(row, col);
    if constexpr (sizeof(T) == 2) {
      unsigned both = *reinterpret_cast<const unsigned *>(place);
      return {bitsToFloat(both << 16), bitsToFloat(both & 0xffff0000u)};
    } else {
      return *reinterpret_cast<const Pair *>(place);
    }
  }
};

/// A rows x cols matrix in the registers of a block.
template <int rows, int cols>
struct Fragment {
  static_assert(rows % 16 == 0 && cols % 16 == 0, "expects sides that are multiples of 16");
  static constexpr int kRows = rows, kCols = cols;
  static constexpr int kRowWarps = powerBelow(smaller(kWarps, rows / 16)), kColWarps = kWarps / kRowWarps;
  static constexpr int kBlockRows = ceilDiv(rows / 16, kRowWarps), kBlockCols = ceilDiv(cols / 16, kColWarps);
  /// Whether every warp owns whole rows: then it can be the left side of a product as it is.
  static constexpr bool kWholeRows = kColWarps == 1;

  float v[kBlockRows][kBlockCols][8];

  /// First row and column of block (i, j) of the calling warp; it may lie outside.
  TIDEGATE_DEVICE static int blockRow(int i) { return 16 * (warpIndex() % kRowWarps + i * kRowWarps); }
  TIDEGATE_DEVICE static int blockCol(int j) { return 16 * (warpIndex() / kRowWarps + j * kColWarps); }
  TIDEGATE_DEVICE static bool owns(int i, int j) {
    return (rows / 16 % kRowWarps == 0 || blockRow(i) < rows) && (cols / 16 % kColWarps == 0 || blockCol(j) < cols);
  }
  /// Row and column, inside a block, of element e of the calling lane.
  TIDEGATE_DEVICE static int rowIn(int e) { return laneIndex() / 4 + (e / 2 % 2) * 8; }
  TIDEGATE_DEVICE static int colIn(int e) { return laneIndex() % 4 * 2 + e % 2 + e / 4 * 8; }

  /// Calls f(row, col, element) for every element that the calling lane owns. Scope: thread.
  template <typename F>
  TIDEGATE_DEVICE void forEach(F f) {
#pragma unroll
    for (int i = 0; i < kBlockRows; ++i)
#pragma unroll
      for (int j = 0; j < kBlockCols; ++j)
        if (owns(i, j)) {
#pragma unroll
          for (int e = 0; e < 8; ++e)
            f(blockRow(i) + rowIn(e), blockCol(j) + colIn(e), v[i][j][e]);
        }
  }

  TIDEGATE_DEVICE void fill(float value) {
#pragma unroll
    for (int i = 0; i < kBlockRows; ++i)
#pragma unroll
      for (int j = 0; j < kBlockCols; ++j)
#pragma unroll
        for (int e = 0; e < 8; ++e)
          v[i][j][e] = value;
  }
};

/// Writes a fragment to shared memory, two neighbours at a time. No barrier. Scope: thread.
template <typename T, int rows, int cols>
TIDEGATE_DEVICE void store(const SharedTile<T, rows, cols> &to, const Fragment<rows, cols> &from) {
  using F = Fragment<rows, cols>;
#pragma unroll
  for (int i = 0; i < F::kBlockRows; ++i)
#pragma unroll
    for (int j = 0; j < F::kBlockCols; ++j)
      if (F::owns(i, j)) {
#pragma unroll
        for (int e = 0; e < 8; e += 2) {
          T *place = to.at(F::blockRow(i) + F::rowIn(e), F::blockCol(j) + F::colIn(e));
          if constexpr (sizeof(T) == 2) {
            *reinterpret_cast<unsigned *>(place) = packBf16(from.v[i][j][e], from.v[i][j][e + 1]);
          } else {
            place[0] = from.v[i][j][e];
            place[1] = from.v[i][j][e + 1];
          }
        }
      }
}

/// Reads a fragment from shared memory. No barrier. Scope: thread.
template <typename T, int rows, int cols>
TIDEGATE_DEVICE void load(Fragment<rows, cols> &to, const SharedTile<T, rows, cols> &from) {
  to.forEach([&](int row, int col, float &x) { x = from.get(row, col); });
}

/// out[row] = the sums of a fragment's rows, the first `count`, into shared memory. `sums[i][h]` is what the calling
/// lane has of row laneIndex() / 4 + 8 h of block row i; `partial` holds rows x kColWarps floats. Three barriers.
/// Scope: block.
template <typename F>
TIDEGATE_DEVICE void sumRows(float *out, float *partial, const float (&sums)[F::kBlockRows][2], int count = F::kRows) {
  syncBlock();
#pragma unroll
  for (int i = 0; i < F::kBlockRows; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = sums[i][half];
      sum += shuffleXor(sum, 1);
      sum += shuffleXor(sum, 2);
      const int row = F::blockRow(i) + laneIndex() / 4 + 8 * half;
      if (laneIndex() % 4 == 0 && row < F::kRows)
        partial[row * F::kColWarps + warpIndex() / F::kRowWarps] = sum;
    }
  syncBlock();
  for (int row = threadIndex(); row < count; row += kThreads) {
    float sum = 0;
    for (int w = 0; w < F::kColWarps; ++w)
      sum += partial[row * F::kColWarps + w];
    out[row] = sum;
  }
  syncBlock();
}

/// The same of a fragment. Scope: block.
template <int rows, int cols>
TIDEGATE_DEVICE void sumColumns(float *out, float *partial, const Fragment<rows, cols> &x) {
  using F = Fragment<rows, cols>;
  float sums[F::kBlockRows][2] = {};
#pragma unroll
  for (int i = 0; i < F::kBlockRows; ++i)
#pragma unroll
    for (int j = 0; j < F::kBlockCols; ++j)
      if (F::owns(i, j)) {
#pragma unroll
        for (int e = 0; e < 8; ++e)
          sums[i][e / 2 % 2] += x.v[i][j][e];
      }
  sumRows<F>(out, partial, sums);
}

} // namespace tidegate::device
