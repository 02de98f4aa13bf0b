//===- RandomGraph.h - Functions of random nn ops ---------------*- C++ -*-===//
#pragma once

#include "compiler/Reference/Tensor.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace tidegate::test {

/// Adds `@f` of `ops` random ops to the module. Its values have 1 or 2 row
/// dimensions or none; it uses every op that fusion knows, products as
/// barriers, and returns a random choice of its values.
mlir::func::FuncOp buildRandomGraph(mlir::ModuleOp module, unsigned seed, int ops);

/// Arguments for it, `rows` values of each `?`.
std::vector<reference::Tensor> randomArguments(mlir::func::FuncOp f, unsigned seed, int64_t rows);

} // namespace tidegate::test
