//===- Simplify.h - Clean-up of generated functions -------------*- C++ -*-===//
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace tidegate::autodiff {

/// Erases ops of `block` whose results nobody uses. Functions have no side
/// effects, so calls go as well.
void eraseDead(mlir::Block &block);

/// Dead code, common subexpressions and canonicalization, until nothing changes; in chunk scans products that are
/// there are used again.
void simplify(mlir::func::FuncOp function);

} // namespace tidegate::autodiff
