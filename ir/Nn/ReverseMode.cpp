//===- ReverseMode.cpp - Cotangents through straight-line code --*- C++ -*-===//
#include "ir/Nn/ReverseMode.h"
#include "ir/Nn/NnOps.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/DenseSet.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

void nn::Cotangents::add(OpBuilder &builder, Value value, Value cotangent) {
  if (!cotangent || !isa<FloatType>(getElementTypeOrSelf(value.getType())))
    return;
  Value &sum = map[value];
  sum = sum ? AddOp::create(builder, cotangent.getLoc(), sum, cotangent).getResult() : cotangent;
}

LogicalResult nn::reverse(OpBuilder &builder, ArrayRef<Operation *> ops, Cotangents &cotangents) {
  for (Operation *op : llvm::reverse(ops)) {
    SmallVector<Value> results;
    for (Value result : op->getResults())
      results.push_back(cotangents.lookup(result));
    if (llvm::none_of(results, [](Value v) { return bool(v); }))
      continue;
    auto differentiable = dyn_cast<DifferentiableOpInterface>(op);
    if (isa<AttentionGradOp>(op))
      return op->emitOpError("has no adjoint: attention has first derivatives only, not derivatives of its gradient");
    if (auto attention = dyn_cast<AttentionOp>(op);
        attention && (cotangents.lookup(attention.getNextKey()) || cotangents.lookup(attention.getNextValue())))
      return op->emitOpError("has no adjoint by the keys and values that it hands on to the next tokens");
    if (!differentiable)
      return op->emitOpError("has no adjoint");
    SmallVector<Value> operands(op->getNumOperands());
    differentiable.buildAdjoint(builder, results, operands);
    for (auto [operand, cotangent] : llvm::zip(op->getOperands(), operands))
      cotangents.add(builder, operand, cotangent);
  }
  return success();
}

FailureOr<SmallVector<Value>> nn::gradients(OpBuilder &builder, Value value, Value seed, ValueRange wrt) {
  // Ops that depend on `wrt`, then of these the ones that `value` depends on.
  llvm::DenseSet<Value> active(wrt.begin(), wrt.end()), needed{value};
  SmallVector<Operation *> dependent, ops;
  for (Operation &op : *value.getParentBlock())
    if (llvm::any_of(op.getOperands(), [&](Value v) { return active.contains(v); })) {
      active.insert(op.result_begin(), op.result_end());
      dependent.push_back(&op);
    }
  for (Operation *op : llvm::reverse(dependent))
    if (llvm::any_of(op->getResults(), [&](Value v) { return needed.contains(v); })) {
      needed.insert(op->operand_begin(), op->operand_end());
      ops.push_back(op);
    }
  std::reverse(ops.begin(), ops.end());

  Cotangents cotangents;
  cotangents.add(builder, value, seed);
  if (failed(reverse(builder, ops, cotangents)))
    return failure();
  SmallVector<Value> found;
  for (Value v : wrt) {
    Value cotangent = cotangents.lookup(v);
    found.push_back(cotangent ? cotangent : zerosLike(builder, v.getLoc(), v));
  }
  return found;
}
