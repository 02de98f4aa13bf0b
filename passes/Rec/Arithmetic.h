//===- Arithmetic.h - Small expressions on per-token values -----*- C++ -*-===//
#pragma once

#include "ir/Nn/NnOps.h"

namespace tidegate::rec {

/// Builds `nn` ops at one place. Null stands for the neutral element: 1 in
/// `times`, 0 in `plus` and `negated`.
class Arithmetic {
public:
  Arithmetic(mlir::OpBuilder &builder, mlir::Location loc) : builder(builder), loc(loc) {}

  mlir::Value times(mlir::Value x, mlir::Value y) {
    return !x ? y : !y ? x : mlir::Value(nn::MulOp::create(builder, loc, x, y));
  }
  mlir::Value plus(mlir::Value x, mlir::Value y) {
    return !x ? y : !y ? x : mlir::Value(nn::AddOp::create(builder, loc, x, y));
  }
  mlir::Value negated(mlir::Value x) { return x ? mlir::Value(nn::NegOp::create(builder, loc, x)) : x; }
  mlir::Value exp(mlir::Value x) { return nn::ExpOp::create(builder, loc, x); }
  mlir::Value number(double value, mlir::Type elementType, llvm::ArrayRef<int64_t> shape = {}) {
    return nn::constant(builder, loc, value, elementType, shape);
  }
  /// `x` with this static shape.
  mlir::Value reshaped(mlir::Value x, llvm::ArrayRef<int64_t> shape) {
    auto type = mlir::RankedTensorType::get(shape, elementType(x));
    if (x.getType() == type)
      return x;
    if (auto inner = x.getDefiningOp<nn::ReshapeOp>())
      if (inner.getInput().getType() == type)
        return inner.getInput();
    return nn::ReshapeOp::create(builder, loc, type, x);
  }
  mlir::Value dot(mlir::Value x, mlir::Value y, llvm::ArrayRef<int64_t> contractX, llvm::ArrayRef<int64_t> contractY) {
    return nn::DotOp::create(builder, loc, x, y, contractX, contractY);
  }

  static mlir::Type elementType(mlir::Value x) {
    return mlir::cast<mlir::RankedTensorType>(x.getType()).getElementType();
  }

  mlir::OpBuilder &builder;
  mlir::Location loc;
};

} // namespace tidegate::rec
