//===- Head.cpp - The end of a model that is as wide as its logits --------===//
#include "passes/Autodiff/Head.h"

#include "ir/Nn/NnOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::autodiff;

static RankedTensorType tensorOf(Value v) { return cast<RankedTensorType>(v.getType()); }
static bool hasRows(Value v) { return nn::rowRank(tensorOf(v)) == 2; }

static int64_t numbersPerRow(Value v) {
  int64_t count = 1;
  for (int64_t size : tensorOf(v).getShape().drop_front(2))
    count *= size;
  return count;
}

/// Whether each row of the result depends on the same row of operands, and on operands without rows.
static bool isRowWise(Operation *op) {
  if (op->getNumResults() != 1 || !hasRows(op->getResult(0)))
    return false;
  if (auto dot = dyn_cast<nn::DotOp>(op))
    return hasRows(dot.getLhs()) && nn::rowRank(tensorOf(dot.getRhs())) == 0 && dot.getLhsBatch().empty();
  return isa<ElementwiseOpInterface, nn::BroadcastLikeOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::PadOp,
             nn::ReduceSumOp, nn::ReduceMaxOp, nn::PickOp, nn::PlaceOp, nn::IsIndexOp, nn::ToFloatOp>(op);
}

/// Made again wherever it is needed.
static bool isConstant(Value v) { return v.getDefiningOp<nn::ConstantOp>() || v.getDefiningOp<nn::IotaOp>(); }

Head autodiff::headOf(func::FuncOp model) {
  Block &body = model.getBody().front();
  Operation *end = body.getTerminator();
  Head head;
  head.logits = end->getOperand(0);

  // What only the logits need, back to the last product.
  DenseSet<Operation *> candidates, chosen;
  for (Operation &op : llvm::reverse(body.without_terminator()))
    if (isRowWise(&op) && !op.use_empty() && llvm::all_of(op.getUsers(), [&](Operation *user) {
          return user == end || (candidates.contains(user) && !isa<nn::DotOp>(user));
        }))
      candidates.insert(&op);
  // Of that, what is as wide, and what follows it.
  llvm::SetVector<Value> operands;
  for (Operation &op : body.without_terminator()) {
    auto follows = [&](Value v) { return chosen.contains(v.getDefiningOp()); };
    const bool isWide = candidates.contains(&op) && numbersPerRow(op.getResult(0)) >= numbersPerRow(head.logits);
    if (!isWide && !(candidates.contains(&op) && llvm::any_of(op.getOperands(), follows)))
      continue;
    chosen.insert(&op);
    head.ops.push_back(&op);
    for (Value v : op.getOperands())
      if (!follows(v) && !isConstant(v))
        operands.insert(v);
  }
  if (head.ops.empty())
    operands.insert(head.logits);
  head.operands = operands.takeVector();
  return head;
}

int64_t Head::blocks() const {
  constexpr int64_t kMost = 8;
  int64_t width = 0;
  for (Value v : operands)
    if (hasRows(v))
      width += numbersPerRow(v);
  width = std::max<int64_t>(1, width);
  return std::min(kMost, (numbersPerRow(logits) + width - 1) / width);
}

Value Head::copy(OpBuilder &builder, ValueRange operands) const {
  IRMapping mapping;
  mapping.map(ValueRange(this->operands), operands);
  for (Operation *op : ops) {
    for (Value v : op->getOperands())
      if (isConstant(v) && !mapping.contains(v))
        builder.clone(*v.getDefiningOp(), mapping);
    builder.clone(*op, mapping);
  }
  return mapping.lookup(logits);
}
