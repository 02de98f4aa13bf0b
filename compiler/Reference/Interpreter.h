//===- Interpreter.h - What a function computes, in fp64 --------*- C++ -*-===//
#pragma once

#include "compiler/Reference/Tensor.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace tidegate::reference {

/// Executes a function of `nn`, `rec` and `func.call` ops in double precision,
/// whatever the element types, in plain loops and one thread. This is the
/// oracle: it shares nothing with code generation.
///
/// Shapes: every argument as the function's type says, with `?` filled in.
/// Errors: a diagnostic at the op or function for arguments or run-time sizes
///         that do not fit, and for an op without a reference meaning.
/// Example: `auto results = reference::run(func, {x, w});`
llvm::FailureOr<std::vector<Tensor>> run(mlir::func::FuncOp func, llvm::ArrayRef<Tensor> arguments);

} // namespace tidegate::reference
