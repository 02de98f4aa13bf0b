//===- Gradient.h - Gradients of functions ----------------------*- C++ -*-===//
// Reverse mode on functions of nn and rec ops. The functions made here are
// functions like any other: they can be differentiated again.
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringRef.h"

#include <limits>
#include <optional>

namespace tidegate::autodiff {

struct AutodiffOptions {
  static constexpr int64_t kAllCalls = std::numeric_limits<int64_t>::max();
  /// Of the calls in the differentiated function, how many of the first keep
  /// only their arguments for the backward and are run again; the others keep
  /// everything expensive. The first ones would keep it longest.
  int64_t recomputedCalls = 0;
};

/// Recomputed calls of a policy: `none`, `block` (all), or a number.
std::optional<int64_t> parsePolicy(llvm::StringRef name);

/// The gradient of a function f.
///
/// forward:  f's arguments -> f's results, residuals.
/// backward: some arguments and results of f, the residuals, one cotangent per
///           float result of f -> one cotangent per float argument of f.
struct GradFunctions {
  mlir::func::FuncOp forward, backward;
  llvm::SmallVector<int64_t> arguments; ///< Arguments of f that the backward takes, ascending.
  llvm::SmallVector<int64_t> results;   ///< Results of f that the backward takes, ascending.
  int64_t numResults = 0;               ///< Of f; the forward's further results are the residuals.

  /// Operands of a call of the backward. `forwardResults` are all results of a
  /// call of the forward with `arguments`.
  llvm::SmallVector<mlir::Value> backwardOperands(mlir::ValueRange arguments, mlir::ValueRange forwardResults,
                                                  mlir::ValueRange cotangents) const;
};

/// Makes `@f.fwd` and `@f.bwd` beside `f`, and those of the functions it calls;
/// ones that are there already are taken as they are.
/// Errors: recursion, a callee without a body, an op without an adjoint.
llvm::FailureOr<GradFunctions> buildGradient(mlir::func::FuncOp f, const AutodiffOptions &options = {});

struct LossFunctions {
  mlir::func::FuncOp loss;         ///< (ids, labels, weights...) -> (sum of nll, count), scalars.
  mlir::func::FuncOp lossAndGrads; ///< (ids, labels, weights...) -> (mean nll, gradient of every weight).
};

/// Makes `@loss` and `@loss_and_grads` of `model(ids: ?x?xi32, weights...) ->
/// logits: ?x?xV`. Labels are shifted already; negative ones are ignored. The
/// model may take positions, ?x?xi32, behind the weights; so do the two then.
/// Argument attributes of the weights are carried over.
/// Errors: as buildGradient, and a model of another signature.
llvm::FailureOr<LossFunctions> buildLossAndGradients(mlir::func::FuncOp model, const AutodiffOptions &options = {});

/// Makes `@scores(ids, labels, weights...) -> (log-probability of each label, whether it is the likeliest id)` of such
/// a model, ?x?x1 both: 1 where no id has a larger logit, and none before the label an equal one; 0 and 0 where the
/// label is negative. Errors: a model of another signature.
llvm::FailureOr<mlir::func::FuncOp> buildScores(mlir::func::FuncOp model);

} // namespace tidegate::autodiff
