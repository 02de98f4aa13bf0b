//===- Simplify.cpp - Clean-up of generated functions -----------*- C++ -*-===//
#include "passes/Autodiff/Simplify.h"
#include "ir/Nn/NnDialect.h"
#include "ir/Rec/RecDialect.h"

#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace tidegate;

void autodiff::eraseDead(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (op.use_empty() && (isOpTriviallyDead(&op) || isa<func::CallOp>(op)))
      op.erase();
}

static FrozenRewritePatternSet canonicalizations(MLIRContext *context) {
  RewritePatternSet patterns(context);
  for (Dialect *dialect : context->getLoadedDialects())
    if (isa<nn::NnDialect, rec::RecDialect>(dialect))
      dialect->getCanonicalizationPatterns(patterns);
  for (RegisteredOperationName op : context->getRegisteredOperations())
    if (isa<nn::NnDialect, rec::RecDialect>(op.getDialect()))
      op.getCanonicalizationPatterns(patterns, context);
  return patterns;
}

/// Each round shrinks the function; two or three are usual.
static constexpr int kMaxRounds = 8;

void autodiff::simplify(func::FuncOp function) {
  FrozenRewritePatternSet patterns = canonicalizations(function.getContext());
  bool changed = true;
  for (int round = 0; changed && round < kMaxRounds; ++round) {
    eraseDead(function.getBody().front());
    IRRewriter rewriter(function.getContext());
    DominanceInfo dominance(function);
    eliminateCommonSubExpressions(rewriter, dominance, function);
    // Not converging within the driver's bound is no error: the IR is valid.
    (void)applyPatternsGreedily(function, patterns, GreedyRewriteConfig(), &changed);
  }
}
