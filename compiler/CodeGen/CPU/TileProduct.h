//===- TileProduct.h - Products of small matrices ---------------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CPU/Code.h"

namespace tidegate::cpu {

/// A matrix view in memory: element (i, j) lies at `base + i * rowStride + j * colStride`.
struct MatrixView {
  mlir::Value base;
  int64_t rowStride, colStride;
};

/// Emits `C[m, n] = sum_k A[m, k] B[k, n]`, or `+=` with `accumulate`, where C
/// is row-major with row stride `ldc`. B's columns must be contiguous
/// (`b.colStride == 1`) unless N is 1. A register block of up to 4 x 2 vectors
/// runs over k; sizes are compile-time, so tails are narrower blocks, never
/// masked.
void emitTileProduct(Code &code, mlir::Type type, int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b,
                     mlir::Value c, int64_t ldc, bool accumulate);

/// As above for sizes known at run time in `m` or `k` only.
void emitTileProduct(Code &code, mlir::Type type, mlir::Value m, int64_t n, mlir::Value k, MatrixView a, MatrixView b,
                     mlir::Value c, int64_t ldc, bool accumulate);

/// Emits `to[j, i] = from[i, j]` for a contiguous rows x cols matrix.
void emitTranspose(Code &code, mlir::Type type, int64_t rows, int64_t cols, mlir::Value from, int64_t fromStride,
                   mlir::Value to, int64_t toStride);

/// The same product as a call of a function of its own, which equal products of
/// the module share: a body of many products compiles in a fraction of the time.
void emitProductCall(Code &code, mlir::Type type, int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b,
                     mlir::Value c, int64_t ldc);

} // namespace tidegate::cpu
