//===- NnScalars.cpp - Scalar rules of element-wise ops ---------*- C++ -*-===//
// Formulas are chosen to be exact to a few ulp over the whole range, with
// exp and log as the only transcendental calls, so that loops vectorise.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>
#include <numbers>

using namespace mlir;
using namespace tidegate::nn;

namespace {
struct Scalar {
  OpBuilder &b;
  Location loc;

  Value number(double c, Value like) {
    return arith::ConstantOp::create(b, loc, b.getFloatAttr(like.getType(), c));
  }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }
  Value neg(Value x) { return arith::NegFOp::create(b, loc, x); }
  Value exp(Value x) { return math::ExpOp::create(b, loc, x); }
  Value log(Value x) { return math::LogOp::create(b, loc, x); }
  Value abs(Value x) { return math::AbsFOp::create(b, loc, x); }
  Value compare(arith::CmpFPredicate p, Value x, Value y) { return arith::CmpFOp::create(b, loc, p, x, y); }
  Value select(Value c, Value x, Value y) { return arith::SelectOp::create(b, loc, c, x, y); }
  Value flag(Value c, Value like) { return select(c, number(1, like), number(0, like)); }
};
} // namespace

using Pred = arith::CmpFPredicate;

Value NegOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return Scalar{b, loc}.neg(x[0]); }
Value ExpOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return Scalar{b, loc}.exp(x[0]); }
Value LogOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return Scalar{b, loc}.log(x[0]); }
Value AbsOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return Scalar{b, loc}.abs(x[0]); }
Value StopGradientOp::buildScalar(OpBuilder &, Location, ValueRange x) { return x[0]; }

Value SqrtOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return math::SqrtOp::create(b, loc, x[0]); }

Value RsqrtOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  Scalar s{b, loc};
  return s.div(s.number(1, x[0]), math::SqrtOp::create(b, loc, x[0]));
}

/// 1 / (1 + e^-x): e^-x may be inf, which gives 0.
Value SigmoidOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  Scalar s{b, loc};
  Value one = s.number(1, x[0]);
  return s.div(one, s.add(one, s.exp(s.neg(x[0]))));
}

/// max(x, 0) + log1p(u), u = e^-|x|, with log1p(u) = log(w) * u / (w - 1) for
/// w = 1 + u rounded (Kahan), and u itself where w is 1.
Value SoftplusOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  Scalar s{b, loc};
  Value one = s.number(1, x[0]), zero = s.number(0, x[0]);
  Value u = s.exp(s.neg(s.abs(x[0])));
  Value w = s.add(one, u), rounded = s.sub(w, one);
  Value isOne = s.compare(Pred::OEQ, rounded, zero);
  Value log1p = s.select(isOne, u, s.mul(s.log(w), s.div(u, s.select(isOne, one, rounded))));
  return s.add(arith::MaximumFOp::create(b, loc, x[0], zero), log1p);
}

/// (1 - u) / (1 + u) with u = e^-2|x| and the sign of x; the odd series below
/// 2^-4, where 1 - u would cancel.
Value TanhOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  Scalar s{b, loc};
  Value one = s.number(1, x[0]), a = s.abs(x[0]);
  Value u = s.exp(s.mul(s.number(-2, a), a));
  Value large = s.div(s.sub(one, u), s.add(one, u));
  Value x2 = s.mul(a, a);
  // tanh x = x - x^3/3 + 2x^5/15 - 17x^7/315 + 62x^9/2835 - 1382x^11/155925 + 21844x^13/6081075
  //          - 929569x^15/638512875
  Value series = s.number(-929569.0 / 638512875.0, a);
  for (double c : {21844.0 / 6081075.0, -1382.0 / 155925.0, 62.0 / 2835.0, -17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0})
    series = s.add(s.mul(series, x2), s.number(c, a));
  Value magnitude = s.select(s.compare(Pred::OLT, a, s.number(0.0625, a)), s.mul(a, series), large);
  return math::CopySignOp::create(b, loc, magnitude, x[0]);
}

Value SinOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return math::SinOp::create(b, loc, x[0]); }
Value CosOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return math::CosOp::create(b, loc, x[0]); }

/// In double: products of whole positions and frequencies keep 1e-10 of a turn up to millions of tokens.
Value AngleOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  Scalar s{b, loc};
  Type type = x[0].getType(), wide = b.getF64Type();
  auto widened = [&](Value v) { return type == wide ? v : Value(arith::ExtFOp::create(b, loc, wide, v)); };
  Value position = widened(x[0]), channel = widened(x[1]);
  Value frequency = s.exp(s.mul(channel, s.number(std::log(getBase().convertToDouble()), channel)));
  Value turns = s.mul(position, s.mul(frequency, s.number(0.5 / std::numbers::pi, frequency)));
  Value whole = math::FloorOp::create(b, loc, s.add(turns, s.number(0.5, turns)));
  Value angle = s.mul(s.sub(turns, whole), s.number(2 * std::numbers::pi, turns));
  return type == wide ? angle : Value(arith::TruncFOp::create(b, loc, type, angle));
}

/// x - x is 0 for finite x and NaN otherwise.
Value IsFiniteOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  Scalar s{b, loc};
  return s.flag(s.compare(Pred::OEQ, s.sub(x[0], x[0]), s.number(0, x[0])), x[0]);
}

Value AddOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return Scalar{b, loc}.add(x[0], x[1]); }
Value SubOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return Scalar{b, loc}.sub(x[0], x[1]); }
Value MulOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return Scalar{b, loc}.mul(x[0], x[1]); }
Value DivOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) { return Scalar{b, loc}.div(x[0], x[1]); }

Value MaximumOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  return arith::MaximumFOp::create(b, loc, x[0], x[1]);
}
Value MinimumOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  return arith::MinimumFOp::create(b, loc, x[0], x[1]);
}

Value GreaterOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  Scalar s{b, loc};
  return s.flag(s.compare(Pred::OGT, x[0], x[1]), x[0]);
}

Value EqualOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  Scalar s{b, loc};
  return s.flag(s.compare(Pred::OEQ, x[0], x[1]), x[0]);
}

Value SelectOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  Scalar s{b, loc};
  return s.select(s.compare(Pred::UNE, x[0], s.number(0, x[0])), x[1], x[2]);
}

Value ConstantOp::buildScalar(OpBuilder &b, Location loc, ValueRange) {
  return arith::ConstantOp::create(b, loc, b.getFloatAttr(getType().getElementType(), getValue().convertToDouble()));
}
