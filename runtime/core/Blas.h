//===- Blas.h - Matrix products of a BLAS found at run time -----*- C++ -*-===//
// OpenBLAS (or any BLAS under libblas.so.3) is opened on first use; without
// one a blocked OpenMP product of our own does the work, and stderr says so
// once. The environment variable TIDEGATE_BLAS names a library to use instead,
// or "builtin".
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <string>

namespace tidegate::runtime {

/// C = alpha * op(A) op(B) + beta * C, row-major.
///
/// Shapes: op(A) is m x k, op(B) k x n, C m x n; op(X) is X transposed when its
///         flag is set. lda, ldb, ldc: elements from one stored row to the next.
///         beta = 0 never reads C, so it may hold anything.
/// Threads: all of OpenMP's; one when called inside a parallel region.
/// Errors: RuntimeError, InvalidArgument for sizes beyond 2^31 - 1.
void gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
          const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
          const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

/// Our own product, the same contract; what gemm falls back to.
template <typename T>
void builtinGemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, T alpha, const T *a, int64_t lda,
                 const T *b, int64_t ldb, T beta, T *c, int64_t ldc);

/// The library in use with its configuration, or "builtin".
std::string blasDescription();

} // namespace tidegate::runtime
