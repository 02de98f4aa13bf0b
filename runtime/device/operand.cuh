//===- operand.cuh - Left operands that serve several products --*- C++ -*-===//
// A rows x inner matrix whose warps own whole rows. bfloat16 stands in registers,
// as the tensor cores take it, or stays in shared memory where it is too wide;
// floats stay in shared memory.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/product.cuh"

namespace tidegate::device {

template <typename T, int rows, int inner, bool inRegisters>
struct LeftOperand {
  SharedTile<T, rows, inner> tile;

  /// Takes the tile, which must stay as it is. Scope: warp, after syncBlock.
  TIDEGATE_DEVICE void load(const SharedTile<T, rows, inner> &from) { tile = from; }

  /// Writes accumulators into `to`, of which the calling warp reads only its own
  /// rows again. Scope: warp.
  TIDEGATE_DEVICE void pack(const Fragment<rows, inner> &from, const SharedTile<T, rows, inner> &to) {
    syncWarp(); // it has been read
    store(to, from);
    syncWarp();
    tile = to;
  }
};

template <int rows, int inner>
struct LeftOperand<bf16, rows, inner, true> {
  using F = Fragment<rows, inner>;
  static_assert(F::kWholeRows, "expects warps that own whole rows");
  unsigned v[F::kBlockRows][inner / 16][4];

  TIDEGATE_DEVICE void load(const SharedTile<bf16, rows, inner> &from) {
#pragma unroll
    for (int i = 0; i < F::kBlockRows; ++i)
#pragma unroll
      for (int k = 0; k < inner / 16; ++k)
        loadLeft<As::Stored>(v[i][k], from, F::blockRow(i), 16 * k);
  }

  /// Rounds accumulators; the tile is not touched.
  TIDEGATE_DEVICE void pack(const F &from, const SharedTile<bf16, rows, inner> &) {
#pragma unroll
    for (int i = 0; i < F::kBlockRows; ++i)
#pragma unroll
      for (int k = 0; k < inner / 16; ++k)
        packLeft(v[i][k], from.v[i][k]);
  }
};

/// d += a op(b). Scope: warp, after the tile is visible.
template <As asB, typename T, int m, int n, int inner, int br, int bc>
TIDEGATE_DEVICE void product(Fragment<m, n> &d, const LeftOperand<T, m, inner, false> &a,
                             const SharedTile<T, br, bc> &b) {
  product<As::Stored, asB>(d, a.tile, b);
}
template <As asB, int m, int n, int inner, int br, int bc>
TIDEGATE_DEVICE void product(Fragment<m, n> &d, const LeftOperand<bf16, m, inner, true> &a,
                             const SharedTile<bf16, br, bc> &b) {
  using F = Fragment<m, n>;
  static_assert(F::kWholeRows, "expects warps that own whole rows");
  static_assert((asB == As::Stored ? bc : br) == n && (asB == As::Stored ? br : bc) == inner, "shapes of a product");
#pragma unroll
  for (int k = 0; k < inner / 16; ++k)
#pragma unroll
    for (int j = 0; j < F::kBlockCols; ++j) {
      unsigned right[4];
      loadRight<asB>(right, b, 16 * k, F::blockCol(j));
#pragma unroll
      for (int i = 0; i < F::kBlockRows; ++i)
        multiplyBlock(d.v[i][j], a.v[i][k], right);
    }
}

} // namespace tidegate::device
