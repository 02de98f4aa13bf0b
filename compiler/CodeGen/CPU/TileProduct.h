//===- TileProduct.h - Products of small matrices ---------------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CPU/Code.h"

namespace tidegate::cpu {

/// A matrix view in memory: element (i, j) lies at `base + i * rowStride + j * colStride`.
struct MatrixView {
  mlir::Value base;
  int64_t rowStride, colStride;
};

/// A matrix of events against events, of which row `i` has nothing behind the
/// columns of its own token: those from `end(i)` on.
struct CausalPart {
  enum Of {
    Nothing,        ///< No matrix of the product is one.
    Result,         ///< C: what lies behind is not written.
    Left,           ///< A: what lies behind is 0.
    LeftTransposed, ///< A's transpose: what lies behind is 0.
  };
  Of of = Nothing;
  int64_t rowsPerToken = 1, colsPerToken = 1;
};

/// `C[m, n] = sum_k A[m, k] B[k, n]`, or `+=` with `accumulate`. C is row-major
/// with row stride `ldc` and overlaps neither A nor B. B's columns are contiguous
/// (`b.colStride == 1`) unless n is 1.
struct TileProduct {
  int64_t m, n, k;
  MatrixView a, b;
  mlir::Value c;
  int64_t ldc;
  bool accumulate = false;
  CausalPart causal = {};
};

/// Emits a product. A block of C as large as the registers hold runs over k;
/// sizes are compile-time, so tails are narrower blocks, never masked. A product
/// of some size is a function that equal products of the module share: a body of
/// many compiles in a fraction of the time.
void emitTileProduct(Code &code, mlir::Type type, const TileProduct &product);

/// Emits `to[j, i] = from[i, j]` for a rows x cols matrix whose rows are contiguous.
void emitTranspose(Code &code, mlir::Type type, int64_t rows, int64_t cols, mlir::Value from, int64_t fromStride,
                   mlir::Value to, int64_t toStride);

} // namespace tidegate::cpu
