//===- ReverseMode.cpp - Cotangents through straight-line code --*- C++ -*-===//
#include "ir/Nn/ReverseMode.h"
#include "ir/Nn/NnOps.h"

#include "mlir/IR/TypeUtilities.h"

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
    if (!differentiable)
      return op->emitOpError("has no adjoint");
    SmallVector<Value> operands(op->getNumOperands());
    differentiable.buildAdjoint(builder, results, operands);
    for (auto [operand, cotangent] : llvm::zip(op->getOperands(), operands))
      cotangents.add(builder, operand, cotangent);
  }
  return success();
}
