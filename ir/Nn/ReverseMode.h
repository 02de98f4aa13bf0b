//===- ReverseMode.h - Cotangents through straight-line code ----*- C++ -*-===//
#pragma once

#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseMap.h"

namespace tidegate::nn {

/// Cotangents of values; a missing value means zero. Several contributions to
/// one value are added where they arise.
class Cotangents {
public:
  /// Adds `cotangent` (may be null) to that of `value`.
  void add(mlir::OpBuilder &builder, mlir::Value value, mlir::Value cotangent);
  /// The cotangent of `value`, null for zero.
  mlir::Value lookup(mlir::Value value) const { return map.lookup(value); }

private:
  llvm::DenseMap<mlir::Value, mlir::Value> map;
};

/// Walks `ops` backwards and appends, at the builder's position, the adjoint of
/// each op that a cotangent reaches. Cotangents of the results that matter are
/// seeded by the caller. Errors: an op that is reached and has no adjoint.
llvm::LogicalResult reverse(mlir::OpBuilder &builder, llvm::ArrayRef<mlir::Operation *> ops, Cotangents &cotangents);

/// The cotangents of `wrt` for the cotangent `seed` of `value`, appended at the
/// builder's position; zeros where `value` does not depend on one. Looks at the
/// block of `value` only, so it serves a function as well as the body of a scan,
/// and what it appends can be differentiated again.
/// Errors: as reverse.
llvm::FailureOr<llvm::SmallVector<mlir::Value>> gradients(mlir::OpBuilder &builder, mlir::Value value, mlir::Value seed,
                                                          mlir::ValueRange wrt);

} // namespace tidegate::nn
