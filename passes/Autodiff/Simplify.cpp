//===- Simplify.cpp - Clean-up of generated functions -----------*- C++ -*-===//
#include "passes/Autodiff/Simplify.h"
#include "ir/Nn/NnDialect.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecDialect.h"
#include "ir/Rec/RecOps.h"

#include "mlir/IR/Dominance.h"
#include "mlir/IR/IRMapping.h"
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
/// (x a) b -> x (a b) in the body of a chunk scan that has computed `a b`; also of sums of such x a, and along them,
/// where b is constant. The gradient of a decay in `k e^-g` is of this form, and `k e^-g` is a tile, which half
/// precision rounds. The gradient of a gate sums, along the chunk, differences of such products that would cancel;
/// they do when both sides have the number that went into the forward product, rounded as it was.
struct ReuseProduct : OpRewritePattern<nn::MulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(nn::MulOp op, PatternRewriter &rewriter) const override {
    auto scan = dyn_cast<rec::ScanOp>(op->getParentOp());
    if (!scan || scan.getChunk() == 1)
      return failure();
    for (auto [terms, b] : {std::pair{op.getLhs(), op.getRhs()}, {op.getRhs(), op.getLhs()}}) {
      if (terms.getType() != op.getType() || !isReusable(terms, b, op))
        continue;
      rewriter.replaceOp(op, reuse(terms, b, op, rewriter));
      eraseTree(terms.getDefiningOp(), rewriter); // now, so that each step leaves fewer ops and the rewriting ends
      return success();
    }
    return failure();
  }

private:
  /// A sum along longer rows multiplies with the factor: the product, computed again for it, takes registers that a
  /// block with states of such rows has not. Where tokens add several times such scans are cut, and have them.
  static constexpr int64_t kLongRow = 128;
  static bool addsSeveralTimes(Block *body) {
    const int64_t chunk = cast<rec::ScanOp>(body->getParentOp()).getChunk();
    return llvm::any_of(body->getOps<rec::DecayScoresOp>(), [&](rec::DecayScoresOp scores) {
      return scores.getResult().getType().getDimSize(1) > chunk;
    });
  }

  /// Whether `terms` are x a, or sums of such that nothing else needs, with `a b` before `op`; before x a too if others
  /// need that, so that it is not taken for the known one in turn.
  static bool isReusable(Value terms, Value b, nn::MulOp op) {
    Operation *inner = terms.getDefiningOp();
    if (!inner || inner->getBlock() != op->getBlock())
      return false;
    if (auto product = dyn_cast<nn::MulOp>(inner)) {
      nn::MulOp known = knownProduct(product, b, op).second;
      return known && (inner->hasOneUse() || known->isBeforeInBlock(inner));
    }
    if (!inner->hasOneUse())
      return false;
    if (auto add = dyn_cast<nn::AddOp>(inner); add && add.getLhs().getType() != add.getRhs().getType())
      return false;
    if (auto sum = dyn_cast<nn::ReduceSumOp>(inner);
        sum && sum.getInput().getType().getShape().back() > kLongRow && !addsSeveralTimes(op->getBlock()))
      return false;
    return isa<nn::AddOp, nn::NegOp, nn::ReduceSumOp>(inner) &&
           llvm::all_of(inner->getOperands(), [&](Value operand) { return isReusable(operand, b, op); });
  }

  static Value reuse(Value terms, Value b, nn::MulOp op, PatternRewriter &rewriter) {
    Operation *inner = terms.getDefiningOp();
    if (auto product = dyn_cast<nn::MulOp>(inner)) {
      auto [x, known] = knownProduct(product, b, op);
      return nn::MulOp::create(rewriter, product.getLoc(), x, known.getResult());
    }
    IRMapping mapping;
    for (Value operand : inner->getOperands())
      mapping.map(operand, reuse(operand, b, op, rewriter));
    return rewriter.clone(*inner, mapping)->getResult(0);
  }

  static void eraseTree(Operation *inner, PatternRewriter &rewriter) {
    if (!inner->use_empty())
      return;
    SmallVector<Value> operands;
    if (!isa<nn::MulOp>(inner))
      operands.assign(inner->operand_begin(), inner->operand_end());
    rewriter.eraseOp(inner);
    for (Value operand : operands)
      eraseTree(operand.getDefiningOp(), rewriter);
  }

  /// Of a product x a: x, and a product of `a` and `b` that stands before `op`, if any.
  static std::pair<Value, nn::MulOp> knownProduct(nn::MulOp product, Value b, nn::MulOp op) {
    for (auto [x, a] : {std::pair{product.getLhs(), product.getRhs()}, {product.getRhs(), product.getLhs()}})
      for (Operation *user : a.getUsers())
        if (auto known = dyn_cast<nn::MulOp>(user);
            known && known != op && known != product && known->getBlock() == op->getBlock())
          if ((known.getLhs() == a && known.getRhs() == b) || (known.getLhs() == b && known.getRhs() == a))
            if (known->isBeforeInBlock(op) && isOfShape(known, product))
              return {x, known};
    return {};
  }
  /// Whether x times the product that is known has the shape of x a.
  static bool isOfShape(nn::MulOp known, nn::MulOp product) {
    auto sizes = [](nn::MulOp mul) { return cast<RankedTensorType>(mul.getType()).getNumElements(); };
    return sizes(known) <= sizes(product);
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
