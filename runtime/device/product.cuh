//===- product.cuh - Matrix products of tiles -------------------*- C++ -*-===//
// d += op(a) op(b) into a fragment, with float accumulation. Operands lie in
// shared memory, as they are or transposed; the left one may also be a fragment
// whose warps own whole rows. bfloat16 operands go through the tensor cores,
// float operands through plain multiply-adds in the order of the contraction.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/tile.cuh"

namespace tidegate::device {

enum class As { Stored, Transposed };

/// The 16 x 16 block of op(tile) at (row, k) as left operand of multiplyAdd. Scope: warp.
template <As as, int rows, int cols>
TIDEGATE_DEVICE void loadLeft(unsigned (&a)[4], const SharedTile<bf16, rows, cols> &tile, int row, int k) {
  int lane = laneIndex();
  if constexpr (as == As::Stored)
    loadMatrices(a, tile.at(row + lane % 16, k + lane / 16 * 8));
  else
    loadMatricesTransposed(a, tile.at(k + lane % 8 + lane / 16 * 8, row + lane / 8 % 2 * 8));
}

/// The 16 x 16 block of op(tile) at (k, col) as two right operands: b[0], b[1]
/// for columns col to col + 7, b[2], b[3] for the next eight. Scope: warp.
template <As as, int rows, int cols>
TIDEGATE_DEVICE void loadRight(unsigned (&b)[4], const SharedTile<bf16, rows, cols> &tile, int k, int col) {
  int lane = laneIndex();
  if constexpr (as == As::Stored)
    loadMatricesTransposed(b, tile.at(k + lane % 16, col + lane / 16 * 8));
  else
    loadMatrices(b, tile.at(col + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 8));
}

/// A block of an accumulator += a b. Scope: warp.
TIDEGATE_DEVICE void multiplyBlock(float (&d)[8], const unsigned (&a)[4], const unsigned (&b)[4]) {
  multiplyAdd(reinterpret_cast<float(&)[4]>(d[0]), a, b[0], b[1]);
  multiplyAdd(reinterpret_cast<float(&)[4]>(d[4]), a, b[2], b[3]);
}

/// A block of an accumulator as left operand. Scope: thread.
TIDEGATE_DEVICE void packLeft(unsigned (&a)[4], const float (&block)[8]) {
  a[0] = packBf16(block[0], block[1]);
  a[1] = packBf16(block[2], block[3]);
  a[2] = packBf16(block[4], block[5]);
  a[3] = packBf16(block[6], block[7]);
}

/// The rows of a stored operand's contraction: those of its columns, or of its rows if transposed.
template <As as, typename Tile>
constexpr int innerOfLeft = as == As::Stored ? Tile::kCols : Tile::kRows;

/// d += `count` terms of the contraction of op(a) and op(b), from `fromA` and `fromB` on, all multiples of 16. The
/// caller has made the operands visible (syncBlock). Scope: block.
template <As asA, As asB, int m, int n, int ar, int ac, int br, int bc>
TIDEGATE_DEVICE void productOf(Fragment<m, n> &d, const SharedTile<bf16, ar, ac> &a, int fromA,
                               const SharedTile<bf16, br, bc> &b, int fromB, int count) {
  using F = Fragment<m, n>;
  static_assert((asA == As::Stored ? ar : ac) == m && (asB == As::Stored ? bc : br) == n, "shapes of a product");
#pragma unroll 4
  for (int k = 0; k < count; k += 16) {
    unsigned left[F::kBlockRows][4];
#pragma unroll
    for (int i = 0; i < F::kBlockRows; ++i)
      if (F::blockRow(i) < m)
        loadLeft<asA>(left[i], a, F::blockRow(i), fromA + k);
#pragma unroll
    for (int j = 0; j < F::kBlockCols; ++j)
      if (F::blockCol(j) < n) {
        unsigned right[4];
        loadRight<asB>(right, b, fromB + k, F::blockCol(j));
#pragma unroll
        for (int i = 0; i < F::kBlockRows; ++i)
          if (F::blockRow(i) < m)
            multiplyBlock(d.v[i][j], left[i], right);
      }
  }
}

/// The same in float. Scope: thread, after syncBlock.
template <As asA, As asB, int m, int n, int ar, int ac, int br, int bc>
TIDEGATE_DEVICE void productOf(Fragment<m, n> &d, const SharedTile<float, ar, ac> &a, int fromA,
                               const SharedTile<float, br, bc> &b, int fromB, int count) {
  static_assert((asA == As::Stored ? ar : ac) == m && (asB == As::Stored ? bc : br) == n, "shapes of a product");
  for (int k = 0; k < count; ++k)
    d.forEach([&](int row, int col, float &x) {
      x += (asA == As::Stored ? *a.at(row, fromA + k) : *a.at(fromA + k, row)) *
           (asB == As::Stored ? *b.at(fromB + k, col) : *b.at(col, fromB + k));
    });
}

/// d += op(a) op(b). The caller has made the operands visible (syncBlock).
/// Blocks of the contraction outside [kBegin, kEnd) are known to be zero and
/// skipped; both are multiples of 16 and default to everything. Scope: block.
template <As asA, As asB, int m, int n, typename T, int ar, int ac, int br, int bc>
TIDEGATE_DEVICE void product(Fragment<m, n> &d, const SharedTile<T, ar, ac> &a, const SharedTile<T, br, bc> &b,
                             int kBegin = 0, int kEnd = innerOfLeft<asA, SharedTile<T, ar, ac>>) {
  static_assert((asA == As::Stored ? ac : ar) == (asB == As::Stored ? br : bc), "shapes of a product");
  productOf<asA, asB>(d, a, kBegin, b, kBegin, kEnd - kBegin);
}

/// d += a op(b) with the left side in registers, rounded to bfloat16. Scope: block.
template <As asB, int m, int n, int inner, int br, int bc>
TIDEGATE_DEVICE void product(Fragment<m, n> &d, const Fragment<m, inner> &a, const SharedTile<bf16, br, bc> &b) {
  using F = Fragment<m, n>;
  static_assert(F::kWholeRows && Fragment<m, inner>::kWholeRows, "expects warps that own whole rows");
  static_assert((asB == As::Stored ? bc : br) == n && (asB == As::Stored ? br : bc) == inner, "shapes of a product");
#pragma unroll
  for (int k = 0; k < inner / 16; ++k) {
    unsigned left[F::kBlockRows][4];
#pragma unroll
    for (int i = 0; i < F::kBlockRows; ++i)
      packLeft(left[i], a.v[i][k]);
#pragma unroll
    for (int j = 0; j < F::kBlockCols; ++j) {
      unsigned right[4];
      loadRight<asB>(right, b, 16 * k, F::blockCol(j));
#pragma unroll
      for (int i = 0; i < F::kBlockRows; ++i)
        if (F::blockRow(i) < m)
          multiplyBlock(d.v[i][j], left[i], right);
    }
  }
}

} // namespace tidegate::device
