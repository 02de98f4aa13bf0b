//===- Lift.h - From one token to all of them -------------------*- C++ -*-===//
#pragma once

#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "llvm/ADT/DenseMap.h"

namespace tidegate::rec {

/// True if an operand of the op is one of the scan's values per batch row.
bool usesRow(mlir::Operation &op, ScanOp scan);

/// True if the op of a token body has a counterpart on `B x T x H` tensors.
bool canLift(mlir::Operation &op, ScanOp scan);

/// Builds, outside a token scan, what its body computes: a value of shape `rest`
/// inside becomes `B x T x H x rest`. What does not depend on the token is built
/// as `H x rest` or `rest`.
class Lifter {
public:
  /// `scan` is the scan whose body is lifted; ops are built at `builder`.
  Lifter(ScanOp scan, mlir::OpBuilder &builder);

  /// Says what a value of the body is outside, `B x T x H x rest`.
  void define(mlir::Value inner, mlir::Value outer) { lifted[inner] = {outer, Extent::Token}; }
  /// The value outside, of the extent that it needs. The ops that make it are liftable.
  mlir::Value lift(mlir::Value inner) { return liftValue(inner).value; }
  /// The value outside, `B x T x H x rest`; or `outer`, which must have been
  /// computed from lift(inner) without changing its shape.
  mlir::Value toTokens(mlir::Value inner, mlir::Value outer = {});

private:
  /// How often a value exists.
  enum class Extent { Shared, Head, Token };
  struct Lifted {
    mlir::Value value;
    Extent extent = Extent::Shared;
  };

  Lifted liftValue(mlir::Value inner);
  Lifted liftArgument(mlir::BlockArgument argument);
  Lifted liftOp(mlir::Operation *op);
  Lifted liftDot(nn::DotOp op);
  Lifted liftDotAsProduct(nn::DotOp op);
  Lifted repeated(Lifted x, Extent extent);
  Lifted reshaped(Lifted x, llvm::ArrayRef<int64_t> rest);
  Lifted transposed(Lifted x, llvm::ArrayRef<int64_t> permutation);

  llvm::ArrayRef<int64_t> leading(Extent extent) const;
  llvm::ArrayRef<int64_t> restOf(Lifted x) const;
  mlir::RankedTensorType typeOf(Extent extent, llvm::ArrayRef<int64_t> rest, mlir::Type element) const;

  ScanOp scan;
  mlir::OpBuilder &builder;
  mlir::Location loc; ///< Of the op being lifted.
  llvm::SmallVector<int64_t> outer; ///< B, T, H
  llvm::DenseMap<mlir::Value, Lifted> lifted;
};

} // namespace tidegate::rec
