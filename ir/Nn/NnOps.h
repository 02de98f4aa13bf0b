//===- NnOps.h - Ops of the graph dialect -----------------------*- C++ -*-===//
#pragma once

#include "ir/Interfaces/DifferentiableOpInterface.h"
#include "ir/Interfaces/ElementwiseOpInterface.h"
#include "ir/Nn/NnDialect.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace tidegate::nn {

/// The type that the operands broadcast to, aligned at the end. A `?` pairs
/// with a `?` or a static 1 (or nothing). Errors name both shapes.
llvm::FailureOr<mlir::RankedTensorType> broadcastType(std::optional<mlir::Location> loc, mlir::ValueRange operands);

/// Result types of element-wise ops and of reductions.
llvm::LogicalResult inferElementwiseType(std::optional<mlir::Location> loc, mlir::ValueRange operands,
                                         llvm::SmallVectorImpl<mlir::Type> &types);
llvm::LogicalResult inferReducedType(std::optional<mlir::Location> loc, mlir::ValueRange operands,
                                     llvm::ArrayRef<int64_t> dims, llvm::SmallVectorImpl<mlir::Type> &types);

/// Result types of `nn.short_conv` and its input gradient: rows, and W-1 rows beside them.
llvm::LogicalResult inferShortConvTypes(std::optional<mlir::Location> loc, mlir::ValueRange operands,
                                        llvm::SmallVectorImpl<mlir::Type> &types);

/// Number of leading `?` dimensions.
int64_t rowRank(mlir::RankedTensorType type);

/// A constant of `like`'s element type and the given static shape (rank 0 by default).
mlir::Value constant(mlir::OpBuilder &builder, mlir::Location loc, double value, mlir::Type elementType,
                     llvm::ArrayRef<int64_t> shape = {});

/// Zeros of the type and run-time shape of `like`.
mlir::Value zerosLike(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value like);

/// Sums `value` over the dimensions along which an operand of type `type` was
/// repeated: the adjoint of broadcasting.
mlir::Value sumTo(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, mlir::RankedTensorType type);

} // namespace tidegate::nn

#define GET_OP_CLASSES
#include "ir/Nn/NnOps.h.inc"
