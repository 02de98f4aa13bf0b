//===- NnFolds.cpp - Folds and canonicalization of the graph dialect ------===//
// What generated gradients need: neutral elements, inverse pairs, and repeats
// that the consumer makes by itself.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"

#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

static bool isNumber(Value value, double number) {
  auto constant = value.getDefiningOp<ConstantOp>();
  return constant && constant.getValue().isExactlyValue(number);
}

/// `kept` if it has the type of the result and `other` is `number` everywhere.
static OpFoldResult neutral(Operation *op, Value kept, Value other, double number) {
  return kept.getType() == op->getResult(0).getType() && isNumber(other, number) ? OpFoldResult(kept) : OpFoldResult();
}

OpFoldResult NegOp::fold(FoldAdaptor) {
  auto inner = getInput().getDefiningOp<NegOp>();
  return inner ? OpFoldResult(inner.getInput()) : OpFoldResult();
}

OpFoldResult AddOp::fold(FoldAdaptor) {
  if (OpFoldResult lhs = neutral(*this, getLhs(), getRhs(), 0))
    return lhs;
  return neutral(*this, getRhs(), getLhs(), 0);
}

OpFoldResult SubOp::fold(FoldAdaptor) { return neutral(*this, getLhs(), getRhs(), 0); }

OpFoldResult MulOp::fold(FoldAdaptor) {
  if (OpFoldResult lhs = neutral(*this, getLhs(), getRhs(), 1))
    return lhs;
  return neutral(*this, getRhs(), getLhs(), 1);
}

OpFoldResult DivOp::fold(FoldAdaptor) { return neutral(*this, getLhs(), getRhs(), 1); }

OpFoldResult BroadcastLikeOp::fold(FoldAdaptor) {
  return getInput().getType() == getType() ? OpFoldResult(getInput()) : OpFoldResult();
}

OpFoldResult ReshapeOp::fold(FoldAdaptor) {
  if (getInput().getType() == getType())
    return getInput();
  if (auto inner = getInput().getDefiningOp<ReshapeOp>()) {
    getInputMutable().assign(inner.getInput());
    return getResult();
  }
  return {};
}

OpFoldResult TransposeOp::fold(FoldAdaptor) {
  if (llvm::equal(getPermutation(), llvm::seq<int64_t>(0, getPermutation().size())))
    return getInput();
  auto inner = getInput().getDefiningOp<TransposeOp>();
  if (!inner)
    return {};
  SmallVector<int64_t> permutation;
  for (int64_t d : getPermutation())
    permutation.push_back(inner.getPermutation()[d]);
  setPermutation(permutation);
  getInputMutable().assign(inner.getInput());
  return getResult();
}

OpFoldResult ReduceSumOp::fold(FoldAdaptor) { return getDims().empty() ? OpFoldResult(getInput()) : OpFoldResult(); }
OpFoldResult ReduceMaxOp::fold(FoldAdaptor) { return getDims().empty() ? OpFoldResult(getInput()) : OpFoldResult(); }

/// log(exp(x)) => x, so that a decay written as exp(g) is read as g.
LogicalResult LogOp::canonicalize(LogOp op, PatternRewriter &rewriter) {
  auto exp = op.getInput().getDefiningOp<ExpOp>();
  if (!exp)
    return rewriter.notifyMatchFailure(op, "operand is not an exponential");
  rewriter.replaceOp(op, exp.getInput());
  return success();
}

namespace {
/// f(broadcast_like(x, l), y) => f(x, y) where y alone gives the result its shape.
struct DropRepeat : OpInterfaceRewritePattern<ElementwiseOpInterface> {
  using OpInterfaceRewritePattern::OpInterfaceRewritePattern;

  LogicalResult matchAndRewrite(ElementwiseOpInterface op, PatternRewriter &rewriter) const override {
    for (OpOperand &operand : op->getOpOperands()) {
      auto repeat = operand.get().getDefiningOp<BroadcastLikeOp>();
      if (!repeat)
        continue;
      SmallVector<Value> operands(op->getOperands());
      operands[operand.getOperandNumber()] = repeat.getInput();
      auto type = broadcastType(std::nullopt, operands);
      if (failed(type) || *type != op->getResult(0).getType())
        continue;
      rewriter.modifyOpInPlace(op, [&] { operand.set(repeat.getInput()); });
      return success();
    }
    return rewriter.notifyMatchFailure(op, "no operand is a repeat that the others make");
  }
};
} // namespace

void NnDialect::getCanonicalizationPatterns(RewritePatternSet &patterns) const {
  patterns.add<DropRepeat>(getContext());
}
