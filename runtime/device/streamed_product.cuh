//===- streamed_product.cuh - Products with a side in global memory -*- C++ -*-===//
#pragma once

#include "runtime/device/memory.cuh"
#include "runtime/device/product.cuh"

namespace tidegate::device {

/// Slices of a stored right side: of its rows, or of its columns if it is read transposed.
template <As as, typename T, int slice, int n>
struct SliceTile {
  using Tile = SharedTile<T, slice, n>;
};
template <typename T, int slice, int n>
struct SliceTile<As::Transposed, T, slice, n> {
  using Tile = SharedTile<T, n, slice>;
};

/// d += op(a) op(b), b a row-major matrix in global memory whose rows are 16-byte aligned. `slice` terms of the
/// contraction lie in shared memory at a time, while the next ones are under way; `ring` holds two slices, each
/// rounded up to 1024 bytes. Begins with a barrier. Scope: block.
template <As asA, As asB, int slice, int m, int n, typename T, int ar, int ac>
TIDEGATE_DEVICE void streamedProduct(Fragment<m, n> &d, const SharedTile<T, ar, ac> &a, const T *b,
                                     unsigned char *ring) {
  using Slice = typename SliceTile<asB, T, slice, n>::Tile;
  constexpr int kInner = innerOfLeft<asA, SharedTile<T, ar, ac>>, kStage = ceilDiv(Slice::kBytes, 1024) * 1024;
  static_assert(kInner % slice == 0, "expects whole slices");
  const auto start = [&](int k) {
    const Slice to{ring + k / slice % 2 * kStage};
    if constexpr (asB == As::Stored)
      startRows(to, b + k * n, n, slice);
    else
      startRows(to, b + k, kInner, n);
    commitCopies();
  };
  syncBlock();
  start(0);
#pragma unroll 1
  for (int k = 0; k < kInner; k += slice) {
    waitCopies<0>();
    syncBlock();
    if (k + slice < kInner)
      start(k + slice);
    productOf<asA, asB>(d, a, k, Slice{ring + k / slice % 2 * kStage}, 0, slice);
  }
}

} // namespace tidegate::device
