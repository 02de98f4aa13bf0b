//===- Decay.cpp - Logarithms of decays -------------------------*- C++ -*-===//
#include "passes/Rec/Decay.h"

#include "ir/Nn/NnOps.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

static bool isOne(Value value) {
  auto constant = value.getDefiningOp<nn::ConstantOp>();
  return constant && constant.getValue().convertToDouble() == 1.0;
}

/// The logarithm of a value whose expression shows it; null for any other.
static Value shownLog(OpBuilder &b, Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return {};
  Location loc = op->getLoc();
  auto logSigmoid = [&](Value x, bool ofMinusX) -> Value {
    Value minus = ofMinusX ? x : Value(nn::NegOp::create(b, loc, x));
    return nn::NegOp::create(b, loc, nn::SoftplusOp::create(b, loc, minus));
  };
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](nn::ExpOp exp) -> Value { return exp.getInput(); })
      .Case([&](nn::SigmoidOp sigmoid) { return logSigmoid(sigmoid.getInput(), false); })
      .Case([&](nn::SubOp sub) -> Value { // 1 - sigmoid(x) = sigmoid(-x)
        auto sigmoid = sub.getRhs().getDefiningOp<nn::SigmoidOp>();
        return sigmoid && isOne(sub.getLhs()) ? logSigmoid(sigmoid.getInput(), true) : Value();
      })
      .Case([&](nn::ConstantOp constant) -> Value {
        double c = constant.getValue().convertToDouble();
        if (!(c > 0))
          return {};
        return nn::ConstantOp::create(b, loc, constant.getType(), b.getF64FloatAttr(std::log(c)));
      })
      .Case([&](nn::ReshapeOp reshape) -> Value {
        Value log = shownLog(b, reshape.getInput());
        return log ? Value(nn::ReshapeOp::create(b, loc, reshape.getType(), log)) : log;
      })
      .Case([&](nn::SelectOp select) -> Value { // repeated to another shape
        Value log = isOne(select.getCondition()) ? shownLog(b, select.getLhs()) : Value();
        return log ? Value(nn::SelectOp::create(b, loc, select.getCondition(), log, select.getRhs())) : log;
      })
      .Case([&](nn::MulOp mul) -> Value {
        Value x = shownLog(b, mul.getLhs()), y = x ? shownLog(b, mul.getRhs()) : Value();
        return y ? Value(nn::AddOp::create(b, loc, x, y)) : y;
      })
      .Default([](Operation *) { return Value(); });
}

/// True if the expression of a value shows that it is not below 0.
static bool isShownNonNegative(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return false;
  auto all = [](auto... values) { return (isShownNonNegative(values) && ...); };
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case<nn::ExpOp, nn::SigmoidOp, nn::SoftplusOp, nn::AbsOp, nn::SqrtOp, nn::RsqrtOp, nn::GreaterOp, nn::EqualOp>(
          [](auto) { return true; })
      .Case([](nn::ConstantOp c) { return c.getValue().convertToDouble() >= 0; })
      .Case<nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::BroadcastLikeOp>([&](auto x) { return all(x.getInput()); })
      .Case<nn::MulOp, nn::DivOp, nn::AddOp, nn::MinimumOp>([&](auto x) { return all(x.getLhs(), x.getRhs()); })
      .Case([&](nn::MaximumOp x) { return all(x.getLhs()) || all(x.getRhs()); })
      .Case([&](nn::SelectOp x) { return all(x.getLhs()) && (isOne(x.getCondition()) || all(x.getRhs())); })
      .Default([](Operation *) { return false; });
}

LogDecay rec::logOfDecay(OpBuilder &b, Value decay) {
  if (Value log = shownLog(b, decay))
    return {log, {}};
  Location loc = decay.getLoc();
  Type element = cast<RankedTensorType>(decay.getType()).getElementType();
  LogDecay result;
  Value size = decay;
  if (!isShownNonNegative(decay)) {
    result.negative = nn::GreaterOp::create(b, loc, nn::constant(b, loc, 0, element), decay);
    size = nn::AbsOp::create(b, loc, decay);
  }
  Value least = nn::constant(b, loc, element.isF64() ? 1e-12 : 1e-6, element);
  Value exact = nn::LogOp::create(b, loc, nn::MaximumOp::create(b, loc, size, least));
  Value below = nn::StopGradientOp::create(b, loc, nn::LogOp::create(b, loc, size));
  result.log = nn::SelectOp::create(b, loc, nn::GreaterOp::create(b, loc, size, least), exact, below);
  return result;
}
