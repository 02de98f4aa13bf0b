//===- chunk.cuh - What kernels of chunk scans are made of ------*- C++ -*-===//
#pragma once

#include "runtime/device/memory.cuh"
#include "runtime/device/recurrence.cuh"
#include "runtime/device/rows.cuh"
#include "runtime/device/stream.cuh"
#include "runtime/device/streamed_product.cuh"

namespace tidegate::device {

/// n neighbours of a row, from a column that is a multiple of n. Scope: thread.
template <int n, typename T, int rows, int cols>
TIDEGATE_DEVICE void loadLanes(float (&x)[n], const SharedTile<T, rows, cols> &tile, int row, int col) {
  constexpr int kStep = smaller(n, 16 / int(sizeof(T)));
#pragma unroll
  for (int i = 0; i < n; i += kStep) {
    float part[kStep];
    loadVector(part, tile.at(row, col + i));
#pragma unroll
    for (int j = 0; j < kStep; ++j)
      x[i + j] = part[j];
  }
}

/// The same into the tile. Scope: thread.
template <int n, typename T, int rows, int cols>
TIDEGATE_DEVICE void storeLanes(const SharedTile<T, rows, cols> &tile, int row, int col, const float (&x)[n]) {
  constexpr int kStep = smaller(n, 16 / int(sizeof(T)));
#pragma unroll
  for (int i = 0; i < n; i += kStep) {
    float part[kStep];
#pragma unroll
    for (int j = 0; j < kStep; ++j)
      part[j] = x[i + j];
    storeVector(tile.at(row, col + i), part);
  }
}

/// One number to memory. Scope: thread.
template <typename T>
TIDEGATE_DEVICE void storeElement(T *to, float x) {
  *to = Converter<T>::from(x);
}

/// Adds to memory, or starts it anew. Scope: thread.
template <int n, typename T>
TIDEGATE_DEVICE void addVector(T *to, const float (&x)[n], bool anew) {
  float sum[n];
#pragma unroll
  for (int j = 0; j < n; ++j)
    sum[j] = x[j];
  if (!anew) {
    float before[n];
    loadVector(before, static_cast<const T *>(to));
#pragma unroll
    for (int j = 0; j < n; ++j)
      sum[j] += before[j];
  }
  storeVector(to, sum);
}

/// The same for one number. Scope: thread.
template <typename T>
TIDEGATE_DEVICE void addElement(T *to, float x, bool anew) {
  storeElement(to, anew ? x : toFloat(*to) + x);
}

/// A fragment from `valid` rows of `width` elements, `stride` apart; zeros elsewhere. Scope: thread.
template <typename T, int rows, int cols>
TIDEGATE_DEVICE void loadGlobal(Fragment<rows, cols> &to, const T *from, long long stride, int valid, int width) {
  to.fill(0);
  to.forEach([&](int row, int col, float &x) {
    if (row < valid && col < width)
      x = toFloat(from[row * stride + col]);
  });
}

/// Starts to copy `count` vectors of `width` elements, `stride` apart in global memory,
/// one after the other to shared memory; those from `valid` on become zeros. Ends as
/// startRows does. Scope: block.
template <typename T>
TIDEGATE_DEVICE void startVectors(T *to, const T *from, long long stride, int valid, int count, int width) {
  for (int i = threadIndex(); i < count * width; i += kThreads) {
    const bool exists = i / width < valid;
    const T *place = from + (exists ? i / width * stride + i % width : 0);
    if constexpr (sizeof(T) == 4)
      startCopy4(to + i, place, exists);
    else
      to[i] = exists ? *place : Converter<T>::from(0.0f);
  }
}

template <typename T, int rows, int cols>
TIDEGATE_DEVICE void zeroTile(const SharedTile<T, rows, cols> &tile) {
  for (int i = threadIndex(); i < rows * cols; i += kThreads)
    tile.set(i / cols, i % cols, 0);
}

/// Running sums along the rows of a row-major matrix in shared memory, one column a
/// thread. Ends with a barrier. Scope: block.
TIDEGATE_DEVICE void cumsumRows(float *x, int rows, int cols, Running running) {
  for (int col = threadIndex(); col < cols; col += kThreads) {
    float sum = 0;
    for (int i = 0; i < rows; ++i) {
      float *place = x + (running.reverse ? rows - 1 - i : i) * cols + col, after = sum + *place;
      *place = running.exclusive ? sum : after;
      sum = after;
    }
  }
  syncBlock();
}

} // namespace tidegate::device
