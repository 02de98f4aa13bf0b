//===- Simplify.cpp - Clean-up of generated functions -----------*- C++ -*-===//
#include "passes/Autodiff/Simplify.h"
#include "ir/Nn/NnDialect.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecDialect.h"
#include "ir/Rec/RecOps.h"

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

namespace {
/// (x a) b -> x (a b) in the body of a chunk scan that has computed `a b`. The gradient of a decay in `k e^-g` is of
/// this form, and `k e^-g` is a tile, which half precision rounds. The gradient of a gate sums, along the chunk,
/// differences of such products that would cancel; they do when both sides have the number that went into the forward
/// product, rounded as it was.
struct ReuseProduct : OpRewritePattern<nn::MulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(nn::MulOp op, PatternRewriter &rewriter) const override {
    auto scan = dyn_cast<rec::ScanOp>(op->getParentOp());
    if (!scan || scan.getChunk() == 1)
      return failure();
    for (auto [inner, b] : {std::pair{op.getLhs(), op.getRhs()}, {op.getRhs(), op.getLhs()}}) {
      auto product = inner.getDefiningOp<nn::MulOp>();
      if (!product || !product->hasOneUse() || product->getBlock() != op->getBlock())
        continue;
      for (auto [x, a] : {std::pair{product.getLhs(), product.getRhs()}, {product.getRhs(), product.getLhs()}})
        if (nn::MulOp known = productOf(a, b, op); known && known != product) {
          rewriter.replaceOpWithNewOp<nn::MulOp>(op, x, known.getResult());
          rewriter.eraseOp(product); // now, so that each step leaves one op less and the rewriting ends
          return success();
        }
    }
    return failure();
  }

private:
  /// A product of `a` and `b` that stands before `op`.
  static nn::MulOp productOf(Value a, Value b, nn::MulOp op) {
    for (Operation *user : a.getUsers())
      if (auto known = dyn_cast<nn::MulOp>(user); known && known != op && known->getBlock() == op->getBlock())
        if ((known.getLhs() == a && known.getRhs() == b) || (known.getLhs() == b && known.getRhs() == a))
          if (known->isBeforeInBlock(op))
            return known;
    return nullptr;
  }
};
} // namespace

static FrozenRewritePatternSet patternsOf(MLIRContext *context) {
  RewritePatternSet patterns(context);
  for (Dialect *dialect : context->getLoadedDialects())
    if (isa<nn::NnDialect, rec::RecDialect>(dialect))
      dialect->getCanonicalizationPatterns(patterns);
  for (RegisteredOperationName op : context->getRegisteredOperations())
    if (isa<nn::NnDialect, rec::RecDialect>(op.getDialect()))
      op.getCanonicalizationPatterns(patterns, context);
  patterns.add<ReuseProduct>(context);
  return patterns;
}

/// Each round shrinks the function; two or three are usual.
static constexpr int kMaxRounds = 8;

void autodiff::simplify(func::FuncOp function) {
  FrozenRewritePatternSet patterns = patternsOf(function.getContext());
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
