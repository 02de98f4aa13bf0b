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
/// Of an argument or result of a public function: the type in which its caller keeps it.
inline constexpr llvm::StringLiteral kStored = "nn.stored";
/// Of a function: what is no operand of a product in it is kept in float.
inline constexpr llvm::StringLiteral kExact = "nn.exact";

/// Rows of at most so many numbers are kept in float: rates, gates, norms, losses.
inline constexpr int64_t kNarrow = 32;

/// Row dimensions: those whose size is known at run time.
inline int64_t rowsOf(mlir::RankedTensorType type) {
  return llvm::count_if(type.getShape(), [](int64_t size) { return mlir::ShapedType::isDynamic(size); });
}
inline int64_t numbersPerRow(mlir::RankedTensorType type) {
  int64_t perRow = 1;
  for (int64_t size : type.getShape())
    perRow *= mlir::ShapedType::isDynamic(size) ? 1 : size;
  return perRow;
}
/// By shape alone: weights and their gradients, states, narrow rows.
inline bool isKeptExact(mlir::RankedTensorType type) { return rowsOf(type) < 2 || numbersPerRow(type) <= kNarrow; }

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
