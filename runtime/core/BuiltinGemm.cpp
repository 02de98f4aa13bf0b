//===- BuiltinGemm.cpp - A matrix product that is always there --*- C++ -*-===//
// Panels of op(B) are packed once per block of k, then every thread takes
// blocks of rows of C and runs a kernel of kRows x kStrip accumulators that
// the compiler keeps in vector registers. Sums run in the same order for any
// number of threads.
//===----------------------------------------------------------------------===//
#include "runtime/core/Blas.h"

#include <algorithm>
#include <omp.h>
#include <vector>

namespace tidegate::runtime {
namespace {

constexpr int64_t kRows = 4, kBlockK = 256, kBlockN = 512;
template <typename T>
constexpr int64_t kStrip = 64 / sizeof(T) * 2;

template <typename T>
void scale(T *row, int64_t n, T beta) {
  if (beta == T(0))
    std::fill(row, row + n, T(0));
  else if (beta != T(1))
    for (int64_t j = 0; j < n; ++j)
      row[j] *= beta;
}

/// c[0..rows) x [0..columns) += alpha * a b; a is rows x depth with any strides, b packed depth x kStrip.
template <typename T>
void multiplyStrip(int64_t rows, int64_t columns, int64_t depth, T alpha, const T *a, int64_t rowStride,
                   int64_t depthStride, const T *b, T *c, int64_t ldc) {
  T sums[kRows][kStrip<T>] = {};
  for (int64_t p = 0; p < depth; ++p)
    for (int64_t i = 0; i < rows; ++i) {
      T factor = a[i * rowStride + p * depthStride];
#pragma omp simd
      for (int64_t j = 0; j < kStrip<T>; ++j)
        sums[i][j] += factor * b[p * kStrip<T> + j];
    }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      c[i * ldc + j] += alpha * sums[i][j];
}

} // namespace

template <typename T>
void builtinGemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, T alpha, const T *a, int64_t lda,
                 const T *b, int64_t ldb, T beta, T *c, int64_t ldc) {
  const int threads = omp_in_parallel() ? 1 : omp_get_max_threads();
  const int64_t aRow = transA ? 1 : lda, aDepth = transA ? lda : 1;
  const int64_t bDepth = transB ? 1 : ldb, bColumn = transB ? ldb : 1;
  constexpr int64_t strip = kStrip<T>;
  for (int64_t i = 0; i < m; ++i)
    scale(c + i * ldc, n, beta);
  std::vector<T> packed(kBlockK * kBlockN);
  for (int64_t n0 = 0; n0 < n; n0 += kBlockN)
    for (int64_t k0 = 0; k0 < k; k0 += kBlockK) {
      const int64_t width = std::min(kBlockN, n - n0), depth = std::min(kBlockK, k - k0);
      const int64_t strips = (width + strip - 1) / strip;
      T *panel = packed.data();
#pragma omp parallel num_threads(threads)
      {
#pragma omp for
        for (int64_t s = 0; s < strips; ++s)
          for (int64_t p = 0; p < depth; ++p)
            for (int64_t j = 0; j < strip; ++j) {
              int64_t column = s * strip + j;
              panel[(s * depth + p) * strip + j] =
                  column < width ? b[(k0 + p) * bDepth + (n0 + column) * bColumn] : T(0);
            }
#pragma omp for
        for (int64_t i0 = 0; i0 < m; i0 += kRows)
          for (int64_t s = 0; s < strips; ++s)
            multiplyStrip(std::min(kRows, m - i0), std::min(strip, width - s * strip), depth, alpha,
                          a + i0 * aRow + k0 * aDepth, aRow, aDepth, panel + s * depth * strip,
                          c + i0 * ldc + n0 + s * strip, ldc);
      }
    }
}

template void builtinGemm(bool, bool, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t,
                          float, float *, int64_t);
template void builtinGemm(bool, bool, int64_t, int64_t, int64_t, double, const double *, int64_t, const double *,
                          int64_t, double, double *, int64_t);

} // namespace tidegate::runtime
