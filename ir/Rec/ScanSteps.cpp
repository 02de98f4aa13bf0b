//===- ScanSteps.cpp - Bodies for kinds of steps ----------------*- C++ -*-===//
// A zero that rec.unless_last leaves stands for "nothing reaches": in the
// adjoint of a scan, what is zero in the last step is zero because no update
// took place, and all that it is multiplied into goes with it.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

static bool isZero(Value value) {
  auto constant = value.getDefiningOp<nn::ConstantOp>();
  return constant && constant.getValue().isZero();
}

/// True if zero operands make the result zero.
static bool givesZero(Operation *op) {
  auto zero = [&](unsigned i) { return isZero(op->getOperand(i)); };
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case<nn::MulOp, nn::DotOp, DecayScoresOp, DecayMixOp>([&](auto) { return zero(0) || zero(1); })
      .Case<nn::AddOp, nn::SubOp>([&](auto) { return zero(0) && zero(1); })
      .Case([&](nn::SelectOp) { return zero(1) && zero(2); })
      .Case<SolveUnitLowerOp, DecaySolveOp>([&](auto) { return zero(1); })
      .Case<nn::NegOp, nn::DivOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::PadOp, nn::BroadcastLikeOp,
            nn::ReduceSumOp, nn::StopGradientOp, nn::PickOp, nn::PlaceOp, StrictlyLowerOp, CumsumOp>(
          [&](auto) { return zero(0); })
      .Default([](Operation *) { return false; });
}

/// The operand that a sum with a zero is equal to, or null.
static Value remainingTerm(Operation *op) {
  if (!isa<nn::AddOp, nn::SubOp>(op))
    return {};
  Type type = op->getResult(0).getType();
  for (unsigned i : {0, 1})
    if (isZero(op->getOperand(1 - i)) && op->getOperand(i).getType() == type && (i == 0 || isa<nn::AddOp>(op)))
      return op->getOperand(i);
  return {};
}

void rec::specialiseBody(Block &body, StepKind kind) {
  for (Operation &op : body.without_terminator()) {
    if (auto choice = dyn_cast<UnlessLastOp>(op)) {
      choice.getResult().replaceAllUsesWith(kind.isLast ? choice.getLast() : choice.getInput());
    } else if (auto when = dyn_cast<WhenOp>(op)) {
      when.getResult().replaceAllUsesWith(kind.isMarked ? when.getInput() : when.getOther());
    } else if (op.getNumResults() == 1) {
      Value result = op.getResult(0);
      if (Value term = remainingTerm(&op)) {
        result.replaceAllUsesWith(term);
      } else if (givesZero(&op)) {
        OpBuilder builder(&op);
        auto type = cast<RankedTensorType>(result.getType());
        result.replaceAllUsesWith(nn::constant(builder, op.getLoc(), 0, type.getElementType(), type.getShape()));
      }
    }
  }
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(body)))
    if (isOpTriviallyDead(&op))
      op.erase();
}
