//===- Head.h - The end of a model that is as wide as its logits *- C++ -*-===//
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace tidegate::autodiff {

/// The ops from hidden rows to logits: a product, mostly, and what follows it (a bias, a soft cap). They work row by
/// row. Empty for a model whose logits come from elsewhere (a lookup, say).
struct Head {
  mlir::Value logits;
  llvm::SmallVector<mlir::Operation *> ops; ///< In the order of the model.
  llvm::SmallVector<mlir::Value> operands;  ///< What they read; the logits if there are no ops.

  /// Blocks in which rows are worth being worked on: as many as a row of logits is wider than one of the operands, at
  /// most 8. Fewer rows at a time would make products small.
  int64_t blocks() const;
  /// Appends copies of the ops at the builder's position. `operands` stand for the operands; returns the logits.
  mlir::Value copy(mlir::OpBuilder &builder, mlir::ValueRange operands) const;
};

/// Of a model that returns logits `? x ? x V` alone.
Head headOf(mlir::func::FuncOp model);

} // namespace tidegate::autodiff
