//===- memory.cuh - Between global and shared memory ------------*- C++ -*-===//
// A chunk of a token tensor is `rows` rows, `stride` elements apart, of which
// the first `valid` exist; the others read as zeros and are not written.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/tile.cuh"

namespace tidegate::device {

/// Starts to copy rows of `cols` elements; columns beyond `width` become zero.
/// The row starts must be 16-byte aligned and `width` a whole number of 16-byte
/// units, else use loadRows. Ends with commitCopies by the caller. Scope: block.
template <typename T, int rows, int cols>
TIDEGATE_DEVICE void startRows(const SharedTile<T, rows, cols> &to, const T *from, long long stride, int valid,
                               int width = cols) {
  constexpr int kUnit = 16 / sizeof(T), kUnits = rows * cols / kUnit;
#pragma unroll 4
  for (int i = threadIndex(); i < kUnits; i += kThreads) {
    int row = i / (cols / kUnit), col = i % (cols / kUnit) * kUnit;
    bool exists = row < valid && col < width;
    startCopy16(to.at(row, col), exists ? from + row * stride + col : from, exists);
  }
}

/// The same, element by element, for any width, alignment and element type. Scope: block.
template <typename T, typename S, int rows, int cols>
TIDEGATE_DEVICE void loadRows(const SharedTile<T, rows, cols> &to, const S *from, long long stride, int valid,
                              int width = cols) {
  for (int i = threadIndex(); i < rows * cols; i += kThreads) {
    int row = i / cols, col = i % cols;
    to.set(row, col, row < valid && col < width ? toFloat(from[row * stride + col]) : 0.0f);
  }
}

/// Writes the first `valid` rows and `width` columns of a fragment; `to` is aligned to a pair. Scope: thread.
template <typename T, int rows, int cols>
TIDEGATE_DEVICE void storeRows(T *to, long long stride, int valid, Fragment<rows, cols> &from, int width = cols) {
  using F = Fragment<rows, cols>;
  const bool pairs = stride % 2 == 0 && width % 2 == 0;
#pragma unroll
  for (int i = 0; i < F::kBlockRows; ++i)
#pragma unroll
    for (int j = 0; j < F::kBlockCols; ++j)
      if (F::owns(i, j)) {
#pragma unroll
        for (int e = 0; e < 8; e += 2) {
          const int row = F::blockRow(i) + F::rowIn(e), col = F::blockCol(j) + F::colIn(e);
          const float both[2] = {from.v[i][j][e], from.v[i][j][e + 1]};
          T *place = to + row * stride + col;
          if (row >= valid || col >= width)
            continue;
          if (pairs)
            storeVector(place, both);
          else {
            place[0] = Converter<T>::from(both[0]);
            if (col + 1 < width)
              place[1] = Converter<T>::from(both[1]);
          }
        }
      }
}

} // namespace tidegate::device
