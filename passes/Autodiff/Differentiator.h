//===- Differentiator.h - Functions to forward and backward -----*- C++ -*-===//
#pragma once

#include "ir/Nn/ReverseMode.h"
#include "passes/Autodiff/Gradient.h"

#include "mlir/IR/BuiltinOps.h"

namespace tidegate::autodiff {

/// Calls of forwards, and the gradients they belong to.
using ForwardCalls = llvm::DenseMap<mlir::Operation *, GradFunctions>;

/// Differentiates functions of one module, each once.
class Differentiator {
public:
  explicit Differentiator(mlir::ModuleOp module) : module(module) {}

  /// The gradient of `f`, found in the module or made.
  llvm::FailureOr<GradFunctions> gradientOf(mlir::func::FuncOp f, int64_t recomputedCalls);

  /// Makes `block` keep what a backward needs: scans return their entry states
  /// and calls but the first `recomputedCalls` become calls of forwards, listed
  /// in `calls`.
  llvm::LogicalResult prepareForward(mlir::Block &block, int64_t recomputedCalls, ForwardCalls &calls);

  /// nn::reverse, and the adjoints of calls: a call that is not in `calls` is
  /// run again by its forward.
  llvm::LogicalResult reverse(mlir::OpBuilder &builder, llvm::ArrayRef<mlir::Operation *> ops,
                              nn::Cotangents &cotangents, const ForwardCalls &calls);

private:
  llvm::FailureOr<GradFunctions> build(mlir::func::FuncOp f, int64_t recomputedCalls);
  llvm::FailureOr<mlir::func::FuncOp> calleeOf(mlir::func::CallOp call);
  std::optional<GradFunctions> find(mlir::func::FuncOp f);
  void reverseCall(mlir::OpBuilder &builder, mlir::func::CallOp call, const GradFunctions &grad, bool isForward,
                   nn::Cotangents &cotangents);

  mlir::ModuleOp module;
  llvm::SmallVector<mlir::func::FuncOp> active; ///< Being differentiated, outermost first.
};

} // namespace tidegate::autodiff
