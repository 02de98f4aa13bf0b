//===- streamed_product.cuh - Products with a side in global memory -*- C++ -*-===//
#pragma once

#include "runtime/device/memory.cuh"
#include "runtime/device/product.cuh"
#include "runtime/device/vector.cuh"

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

/// Starts to copy all rows of a slice. Scope: block.
template <typename T, int rows, int cols>
TIDEGATE_DEVICE void startSlice(const SharedTile<T, rows, cols> &to, const T *from, long long stride) {
  startRows(to, from, stride, rows);
}

/// Floats are rounded on the way, so they are there at once. Scope: block.
template <int rows, int cols>
TIDEGATE_DEVICE void startSlice(const SharedTile<bf16, rows, cols> &to, const float *from, long long stride) {
  constexpr int kUnit = 8, kUnits = rows * cols / kUnit;
#pragma unroll 2
  for (int i = threadIndex(); i < kUnits; i += kThreads) {
    const int row = i / (cols / kUnit), col = i % (cols / kUnit) * kUnit;
    float x[kUnit];
    loadVector(x, from + row * stride + col);
    storeVector(to.at(row, col), x);
  }
}

/// d += op(a) op(b), b a row-major matrix in global memory, of T or float, whose rows are 16-byte aligned. `slice`
/// terms of the contraction lie in shared memory at a time, while the next ones are under way; `ring` holds two
/// slices, each rounded up to 1024 bytes. Begins with a barrier. Scope: block.
template <As asA, As asB, int slice, int m, int n, typename T, typename S, int ar, int ac>
TIDEGATE_DEVICE void streamedProduct(Fragment<m, n> &d, const SharedTile<T, ar, ac> &a, const S *b,
                                     unsigned char *ring) {
  using Slice = typename SliceTile<asB, T, slice, n>::Tile;
  constexpr int kInner = innerOfLeft<asA, SharedTile<T, ar, ac>>, kStage = ceilDiv(Slice::kBytes, 1024) * 1024;
  static_assert(kInner % slice == 0, "expects whole slices");
  const auto start = [&](int k) {
    const Slice to{ring + k / slice % 2 * kStage};
    if constexpr (asB == As::Stored)
      startSlice(to, b + k * n, n);
    else
      startSlice(to, b + k, kInner);
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
