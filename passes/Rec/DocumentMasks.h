//===- DocumentMasks.h - Documents inside a chunk ---------------*- C++ -*-===//
#pragma once

#include "passes/Rec/Arithmetic.h"

namespace tidegate::rec {

/// Which events of a chunk lie in one document: tiles of 1 and 0. Rows of events
/// are token-major, `n` per token; a chunk has `C` tokens.
class DocumentMasks {
public:
  /// `begins` is a tile [C], 1 at the first token of a document.
  DocumentMasks(Arithmetic a, mlir::Value begins);

  /// (C nr) x (C nc): row and column event lie in one document.
  mlir::Value same(int64_t rowsPerToken, int64_t colsPerToken);
  /// (C n) x 1: no document has begun in the chunk yet.
  mlir::Value beforeFirst(int64_t perToken);
  /// (C n) x 1: no document begins behind it.
  mlir::Value afterLast(int64_t perToken);
  /// 1 x 1: none begins in the chunk.
  mlir::Value noneBegins();
  /// C x C: the column is an earlier token of the row's document.
  mlir::Value earlier();
  /// C x 1: the token at which the last document begins.
  mlir::Value lastBegin();

  /// `x` where the mask is 1, else 0. Null stays null.
  mlir::Value kept(mlir::Value mask, mlir::Value x);
  /// `x` where the mask is 0, else 0.
  mlir::Value dropped(mlir::Value mask, mlir::Value x);

private:
  /// Documents begun so far, one row per event.
  mlir::Value counts(int64_t perToken);
  mlir::Value equal(mlir::Value x, mlir::Value y) { return nn::EqualOp::create(a.builder, a.loc, x, y); }
  mlir::Value zero() { return a.number(0, Arithmetic::elementType(begins)); }

  Arithmetic a;
  int64_t chunk;
  mlir::Value begins; ///< C x 1
  mlir::Value count;  ///< C x 1, inclusive sum of it.
  mlir::Value total;  ///< 1 x 1
};

} // namespace tidegate::rec
