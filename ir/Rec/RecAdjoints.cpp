//===- RecAdjoints.cpp - Adjoints of the tile ops ---------------*- C++ -*-===//
// A reset sends the cotangent to the branch that was taken. Scores, mixes and solves
// under decay are closed under differentiation: scores and mixes are bilinear in
// their two matrix operands, a solve is differentiated as one, and a gate's cotangent
// is the operand it multiplies times that operand's own cotangent.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

using Cotangents = ArrayRef<Value>;
using Out = MutableArrayRef<Value>;

void ResetOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = ResetOp::create(b, getLoc(), getType(), dy[0], getFlag(), Value());
  if (!getInit())
    return;
  Value zero = nn::constant(b, getLoc(), 0, getType().getElementType());
  out[2] = nn::SelectOp::create(b, getLoc(), getFlag(), dy[0], zero);
}

Value ResetOp::buildScalar(OpBuilder &b, Location loc, ValueRange x) {
  Value zero = arith::ConstantOp::create(b, loc, b.getFloatAttr(x[0].getType(), 0));
  Value begins = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNE, x[1], zero);
  return arith::SelectOp::create(b, loc, begins, x.size() > 2 ? x[2] : zero, x[0]);
}

void CumsumOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = CumsumOp::create(b, getLoc(), dy[0], !getReverse(), getExclusive());
}

/// Sets the cotangents of a pair of gates: `+ a * da` for the gate of `a`'s rows
/// with sign `sign`, summed over channels for a gate of width 1.
static Value gateCotangent(OpBuilder &b, Location loc, Value a, Value da, double sign, Value gate) {
  Value product = nn::MulOp::create(b, loc, a, da);
  if (sign < 0)
    product = nn::NegOp::create(b, loc, product);
  return nn::sumTo(b, loc, product, cast<RankedTensorType>(gate.getType()));
}

void DecayScoresOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Location loc = getLoc();
  auto mix = [&](Value x, Type type, bool transposed) -> Value {
    return DecayMixOp::create(b, loc, type, dy[0], x, getRowGate(), getColGate(), getRowPositions(),
                              getColPositions(), transposed);
  };
  out[0] = mix(getCols(), getRows().getType(), /*transposed=*/false);
  out[1] = mix(getRows(), getCols().getType(), /*transposed=*/true);
  if (!getRowGate())
    return;
  out[2] = gateCotangent(b, loc, getRows(), out[0], 1, getRowGate());
  out[3] = gateCotangent(b, loc, getCols(), out[1], -1, getColGate());
}

void DecayMixOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Location loc = getLoc();
  bool transposed = getTransposed();
  Value rows = transposed ? getInput() : dy[0], cols = transposed ? dy[0] : getInput();
  out[0] = DecayScoresOp::create(b, loc, getScores().getType(), rows, cols, getRowGate(), getColGate(),
                                 getRowPositions(), getColPositions());
  out[1] = DecayMixOp::create(b, loc, getInput().getType(), getScores(), dy[0], getRowGate(), getColGate(),
                              getRowPositions(), getColPositions(), !transposed);
  if (!getRowGate())
    return;
  // The rows' gate multiplies y (input if transposed), the columns' the other.
  Value ofInput = nn::MulOp::create(b, loc, getInput(), out[1]);
  Value ofResult = nn::MulOp::create(b, loc, getResult(), dy[0]);
  Value row = transposed ? ofInput : ofResult, col = transposed ? ofResult : ofInput;
  out[2] = nn::sumTo(b, loc, row, cast<RankedTensorType>(getRowGate().getType()));
  out[3] = nn::sumTo(b, loc, nn::NegOp::create(b, loc, col), cast<RankedTensorType>(getColGate().getType()));
}

/// As for the plain solve: `z` solves the other system for the cotangent; M's cotangent
/// pairs the row side of the two solutions, times F, with the column side.
void DecaySolveOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Location loc = getLoc();
  Value z = DecaySolveOp::create(b, loc, getType(), getMatrix(), dy[0], getFactor(), getRowGate(), getColGate(),
                                 getRowPositions(), getColPositions(), !getTransposed());
  Value rows = getTransposed() ? getResult() : z, cols = getTransposed() ? z : getResult();
  auto mix = [&](Value x, bool transposed) -> Value {
    return DecayMixOp::create(b, loc, getType(), getMatrix(), x, getRowGate(), getColGate(), getRowPositions(),
                              getColPositions(), transposed);
  };
  Value weighted = getFactor() ? Value(nn::MulOp::create(b, loc, getFactor(), rows)) : rows;
  out[0] = DecayScoresOp::create(b, loc, getMatrix().getType(), weighted, cols, getRowGate(), getColGate(),
                                 getRowPositions(), getColPositions());
  out[1] = z;
  if (!getFactor() && !getRowGate())
    return;
  Value mixed = mix(cols, /*transposed=*/false);
  unsigned next = 2;
  if (getFactor())
    out[next++] = nn::MulOp::create(b, loc, rows, mixed);
  if (!getRowGate())
    return;
  out[next++] = gateCotangent(b, loc, weighted, mixed, 1, getRowGate());
  out[next] = gateCotangent(b, loc, cols, mix(weighted, /*transposed=*/true), -1, getColGate());
}

/// Differentiates the solve, not the inverse: dY = (I - M)^-T dN, dM = stril(dY N^T).
void SolveUnitLowerOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Location loc = getLoc();
  Value dRhs = SolveUnitLowerOp::create(b, loc, getRhs().getType(), getMatrix(), dy[0], !getTransposed());
  Value outer = getTransposed() ? nn::DotOp::create(b, loc, getResult(), dRhs, {1}, {1})
                                : nn::DotOp::create(b, loc, dRhs, getResult(), {1}, {1});
  out[0] = StrictlyLowerOp::create(b, loc, outer);
  out[1] = dRhs;
}

void UnlessLastOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Value zero = nn::zerosLike(b, getLoc(), dy[0]);
  out[0] = UnlessLastOp::create(b, getLoc(), dy[0], zero);
  out[1] = UnlessLastOp::create(b, getLoc(), zero, dy[0]);
}

void WhenOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Value zero = nn::zerosLike(b, getLoc(), dy[0]);
  out[1] = WhenOp::create(b, getLoc(), getFlags(), dy[0], zero);
  out[2] = WhenOp::create(b, getLoc(), getFlags(), zero, dy[0]);
}

void StrictlyLowerOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  out[0] = StrictlyLowerOp::create(b, getLoc(), dy[0]);
}
