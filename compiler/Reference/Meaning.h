//===- Meaning.h - What each op without a region computes -------*- C++ -*-===//
#pragma once

#include "compiler/Reference/Tensor.h"
#include "mlir/IR/Operation.h"

namespace tidegate::reference {

using Operands = llvm::ArrayRef<const Tensor *>;

/// The result of an op of one family. `isKnown` is cleared for an op of
/// another family. Errors: run-time shapes that do not fit, at the op.
llvm::FailureOr<Tensor> evaluateElementwise(mlir::Operation *op, Operands operands, bool &isKnown);
llvm::FailureOr<Tensor> evaluateNn(mlir::Operation *op, Operands operands, bool &isKnown);
llvm::FailureOr<Tensor> evaluateRec(mlir::Operation *op, Operands operands, bool &isKnown);
/// The same for short convolutions and for positions and attention, whose ops have several results.
llvm::FailureOr<std::vector<Tensor>> evaluateConv(mlir::Operation *op, Operands operands, bool &isKnown);
llvm::FailureOr<std::vector<Tensor>> evaluateAttention(mlir::Operation *op, Operands operands, bool &isKnown);

} // namespace tidegate::reference
