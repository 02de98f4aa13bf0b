//===- NnAdjoints.cpp - Adjoints of the graph dialect -----------*- C++ -*-===//
// One rule an op, in the order of NnOps.td. `dy` is the cotangent of the
// result; element-wise rules are written on the broadcast shape and summed back
// to the operand's.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"

#include <cmath>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

namespace {
/// Arithmetic on values at one place.
struct Expr {
  OpBuilder &b;
  Location loc;

  Value add(Value x, Value y) { return AddOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return SubOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return MulOp::create(b, loc, x, y); }
  Value div(Value x, Value y) { return DivOp::create(b, loc, x, y); }
  Value neg(Value x) { return NegOp::create(b, loc, x); }
  Value number(double c, Value like) {
    return constant(b, loc, c, cast<RankedTensorType>(like.getType()).getElementType());
  }
  /// `value` summed to the shape of `operand`, repeated first where the rule
  /// gave a smaller shape.
  Value fit(Value value, Value operand) { return sumTo(b, loc, value, cast<RankedTensorType>(operand.getType())); }
};
} // namespace

using Cotangents = ArrayRef<Value>;
using Out = MutableArrayRef<Value>;

//===----------------------------------------------------------------------===//
// Element-wise
//===----------------------------------------------------------------------===//

/// dx = dy * f'(x), the derivative given by `rule(e, x, y)`.
template <typename OpT, typename Rule>
static void unaryAdjoint(OpT op, OpBuilder &b, Cotangents dy, Out out, Rule rule) {
  Expr e{b, op.getLoc()};
  out[0] = e.mul(dy[0], rule(e, op.getInput(), op.getResult()));
}

void NegOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) { out[0] = Expr{b, getLoc()}.neg(dy[0]); }

void ExpOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  unaryAdjoint(*this, b, dy, out, [](Expr &, Value, Value y) { return y; });
}

void LogOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = Expr{b, getLoc()}.div(dy[0], getInput());
}

void SqrtOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Expr e{b, getLoc()};
  out[0] = e.div(e.mul(dy[0], e.number(0.5, dy[0])), getResult());
}

void RsqrtOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  unaryAdjoint(*this, b, dy, out, [](Expr &e, Value, Value y) {
    return e.mul(e.number(-0.5, y), e.mul(y, e.mul(y, y)));
  });
}

void AbsOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  unaryAdjoint(*this, b, dy, out, [](Expr &e, Value x, Value) -> Value {
    Value zero = e.number(0, x);
    return e.sub(GreaterOp::create(e.b, e.loc, x, zero), GreaterOp::create(e.b, e.loc, zero, x));
  });
}

void SigmoidOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  unaryAdjoint(*this, b, dy, out, [](Expr &e, Value, Value y) { return e.mul(y, e.sub(e.number(1, y), y)); });
}

void SoftplusOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  unaryAdjoint(*this, b, dy, out,
               [](Expr &e, Value x, Value) -> Value { return SigmoidOp::create(e.b, e.loc, x); });
}

void TanhOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  unaryAdjoint(*this, b, dy, out, [](Expr &e, Value, Value y) { return e.sub(e.number(1, y), e.mul(y, y)); });
}

void SinOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  unaryAdjoint(*this, b, dy, out, [](Expr &e, Value x, Value) -> Value { return CosOp::create(e.b, e.loc, x); });
}

void CosOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  unaryAdjoint(*this, b, dy, out,
               [](Expr &e, Value x, Value) -> Value { return e.neg(SinOp::create(e.b, e.loc, x)); });
}

void AngleOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Expr e{b, getLoc()};
  Value logarithm = e.mul(e.number(std::log(getBase().convertToDouble()), getChannel()), getChannel());
  out[0] = e.fit(e.mul(dy[0], ExpOp::create(b, getLoc(), logarithm)), getPosition());
}

// Piecewise constant, or cut on purpose.
void IsFiniteOp::buildAdjoint(OpBuilder &, Cotangents, Out) {}
void StopGradientOp::buildAdjoint(OpBuilder &, Cotangents, Out) {}
void GreaterOp::buildAdjoint(OpBuilder &, Cotangents, Out) {}
void EqualOp::buildAdjoint(OpBuilder &, Cotangents, Out) {}
void ConstantOp::buildAdjoint(OpBuilder &, Cotangents, Out) {}
void IotaOp::buildAdjoint(OpBuilder &, Cotangents, Out) {}

void AddOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Expr e{b, getLoc()};
  out[0] = e.fit(dy[0], getLhs());
  out[1] = e.fit(dy[0], getRhs());
}

void SubOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Expr e{b, getLoc()};
  out[0] = e.fit(dy[0], getLhs());
  out[1] = e.neg(e.fit(dy[0], getRhs()));
}

void MulOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Expr e{b, getLoc()};
  out[0] = e.fit(e.mul(dy[0], getRhs()), getLhs());
  out[1] = e.fit(e.mul(dy[0], getLhs()), getRhs());
}

void DivOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Expr e{b, getLoc()};
  Value dx = e.div(dy[0], getRhs());
  out[0] = e.fit(dx, getLhs());
  out[1] = e.fit(e.neg(e.mul(dx, getResult())), getRhs());
}

/// The larger (smaller) side takes the cotangent; equal sides halve it.
template <typename OpT>
static void extremumAdjoint(OpT op, OpBuilder &b, Value dy, Out out, Value lhsWins) {
  Expr e{b, op.getLoc()};
  Value tie = EqualOp::create(b, e.loc, op.getLhs(), op.getRhs());
  Value share = e.add(lhsWins, e.mul(e.number(0.5, tie), tie));
  Value left = e.mul(dy, share);
  out[0] = e.fit(left, op.getLhs());
  out[1] = e.fit(e.sub(dy, left), op.getRhs());
}

void MaximumOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  extremumAdjoint(*this, b, dy[0], out, GreaterOp::create(b, getLoc(), getLhs(), getRhs()));
}

void MinimumOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  extremumAdjoint(*this, b, dy[0], out, GreaterOp::create(b, getLoc(), getRhs(), getLhs()));
}

void SelectOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Expr e{b, getLoc()};
  Value zero = e.number(0, dy[0]);
  out[1] = e.fit(SelectOp::create(b, getLoc(), getCondition(), dy[0], zero), getLhs());
  out[2] = e.fit(SelectOp::create(b, getLoc(), getCondition(), zero, dy[0]), getRhs());
}

//===----------------------------------------------------------------------===//
// Shapes and reductions
//===----------------------------------------------------------------------===//

void BroadcastLikeOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = Expr{b, getLoc()}.fit(dy[0], getInput());
}

void ReshapeOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = ReshapeOp::create(b, getLoc(), getInput().getType(), dy[0]);
}

void TransposeOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  SmallVector<int64_t> inverse(getPermutation().size());
  for (auto [d, source] : llvm::enumerate(getPermutation()))
    inverse[source] = d;
  out[0] = TransposeOp::create(b, getLoc(), dy[0], inverse);
}

void SliceOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = PadOp::create(b, getLoc(), getInput().getType(), dy[0], getDim(), getBegin(), getStride());
}

void PadOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = SliceOp::create(b, getLoc(), getInput().getType(), dy[0], getDim(), getBegin(), getStride());
}

void ReduceSumOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = BroadcastLikeOp::create(b, getLoc(), getInput().getType(), dy[0], getInput());
}

/// Equal maxima share the cotangent.
void ReduceMaxOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Expr e{b, getLoc()};
  Value isMax = EqualOp::create(b, getLoc(), getInput(), getResult());
  Value count = ReduceSumOp::create(b, getLoc(), isMax, getDims());
  out[0] = e.mul(isMax, e.div(dy[0], count));
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

bool DotOp::isWorthSaving() { return true; }

namespace {
/// One side of a product, with its dimensions by role.
struct Side {
  Value value;
  SmallVector<int64_t> batch, contract, free;
};
} // namespace

/// Cotangent of `side` in `dot(lhs, rhs)`: the product of `dy` with the other
/// side over the other side's free dimensions, brought into the layout of
/// `side`. Both orders of the product are tried; usually one needs no transpose.
static Value dotAdjoint(OpBuilder &b, Location loc, Value dy, const Side &side, const Side &other, bool sideIsLhs) {
  int64_t batches = side.batch.size();
  SmallVector<int64_t> dyBatch, dyOwn, dyOther;
  for (int64_t d = 0; d < batches; ++d)
    dyBatch.push_back(d);
  int64_t ownAt = batches + (sideIsLhs ? 0 : other.free.size());
  int64_t otherAt = batches + (sideIsLhs ? side.free.size() : 0);
  for (size_t d = 0; d < side.free.size(); ++d)
    dyOwn.push_back(ownAt + d);
  for (size_t d = 0; d < other.free.size(); ++d)
    dyOther.push_back(otherAt + d);

  // In the product the other side's contracted dimensions are free, ascending;
  // they stand for `side.contract` in the paired order.
  SmallVector<std::pair<int64_t, int64_t>> pairs;
  for (auto [own, paired] : llvm::zip(side.contract, other.contract))
    pairs.push_back({paired, own});
  llvm::sort(pairs);
  SmallVector<int64_t> contractOrder;
  for (auto [paired, own] : pairs)
    contractOrder.push_back(own);

  // dimension of `side` that each dimension of the product stands for
  auto layout = [&](bool dyFirst) {
    SmallVector<int64_t> dims(side.batch);
    llvm::append_range(dims, dyFirst ? side.free : contractOrder);
    llvm::append_range(dims, dyFirst ? contractOrder : side.free);
    return dims;
  };
  bool dyFirst = llvm::is_sorted(layout(true)) || !llvm::is_sorted(layout(false));
  Value product = dyFirst ? DotOp::create(b, loc, dy, other.value, dyBatch, other.batch, dyOther, other.free)
                          : DotOp::create(b, loc, other.value, dy, other.batch, dyBatch, other.free, dyOther);
  SmallVector<int64_t> dims = layout(dyFirst);
  if (llvm::is_sorted(dims))
    return product;
  SmallVector<int64_t> permutation(dims.size());
  for (auto [at, d] : llvm::enumerate(dims))
    permutation[d] = at;
  return TransposeOp::create(b, loc, product, permutation);
}

void DotOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Side lhs{getLhs(), llvm::to_vector(getLhsBatch()), llvm::to_vector(getLhsContract()), getLhsFree()};
  Side rhs{getRhs(), llvm::to_vector(getRhsBatch()), llvm::to_vector(getRhsContract()), getRhsFree()};
  out[0] = dotAdjoint(b, getLoc(), dy[0], lhs, rhs, /*sideIsLhs=*/true);
  out[1] = dotAdjoint(b, getLoc(), dy[0], rhs, lhs, /*sideIsLhs=*/false);
}

//===----------------------------------------------------------------------===//
// Indices
//===----------------------------------------------------------------------===//

bool LookupOp::isWorthSaving() { return true; }
bool LookupGradOp::isWorthSaving() { return true; }
bool PickOp::isWorthSaving() { return false; }
bool PlaceOp::isWorthSaving() { return false; }
bool IsIndexOp::isWorthSaving() { return false; }
bool ToFloatOp::isWorthSaving() { return false; }

void LookupOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = LookupGradOp::create(b, getLoc(), getTable().getType(), dy[0], getIds());
}

void LookupGradOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = LookupOp::create(b, getLoc(), getInput().getType(), dy[0], getIds());
}

void PickOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = PlaceOp::create(b, getLoc(), getInput().getType(), dy[0], getIds());
}

void PlaceOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = PickOp::create(b, getLoc(), getInput().getType(), dy[0], getIds());
}

void IsIndexOp::buildAdjoint(OpBuilder &, Cotangents, Out) {}
void ToFloatOp::buildAdjoint(OpBuilder &, Cotangents, Out) {}
