//===- Storage.h - Element types in memory ----------------------*- C++ -*-===//
// Types of the IR say what is computed; an attribute of an op may say that a value
// is kept in memory with fewer bits. Without it a value is kept as it is computed.
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Operation.h"

namespace tidegate::nn {

/// One type per operand, then one per result.
inline constexpr llvm::StringLiteral kStorage = "nn.storage";

inline mlir::Type elementTypeOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType()).getElementType();
}

/// Element type in memory of operand (result) `i` of an op.
inline mlir::Type operandStorage(mlir::Operation *op, unsigned i) {
  if (auto types = op->getAttrOfType<mlir::ArrayAttr>(kStorage))
    return mlir::cast<mlir::TypeAttr>(types[i]).getValue();
  return elementTypeOf(op->getOperand(i));
}
inline mlir::Type resultStorage(mlir::Operation *op, unsigned i) {
  if (auto types = op->getAttrOfType<mlir::ArrayAttr>(kStorage))
    return mlir::cast<mlir::TypeAttr>(types[op->getNumOperands() + i]).getValue();
  return elementTypeOf(op->getResult(i));
}
inline mlir::Type resultStorage(mlir::OpResult result) {
  return resultStorage(result.getOwner(), result.getResultNumber());
}

} // namespace tidegate::nn
