//===- ShortConv.cpp - Types and adjoints of short convolutions -*- C++ -*-===//
// A convolution takes (input, past) to (result, next) and its input gradient
// goes the other way: each is the other's adjoint, so gradients nest.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

static RankedTensorType tensorOf(Value value) { return cast<RankedTensorType>(value.getType()); }

static std::string textOf(RankedTensorType type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

/// Rows B x T x C, a weight C x W, and among `others` edge rows B x W-1 x C and
/// positions B x T, if there are any; gives the type of edge rows.
static FailureOr<RankedTensorType> checkShapes(std::optional<Location> loc, RankedTensorType rows,
                                               RankedTensorType weight, ValueRange others) {
  if (rows.getRank() != 3) { // c1
    (void)emitOptionalError(loc, "expects B x T x C rows, but got ", textOf(rows));
    return failure();
  }
  if (weight.getRank() != 2 || weight.getDimSize(0) != rows.getDimSize(2) || weight.getDimSize(1) < 2) { // c2
    (void)emitOptionalError(loc, "expects a C x W weight with W of at least 2 for rows of type ", textOf(rows),
                            ", but got ", textOf(weight));
    return failure();
  }
  auto expected =
      RankedTensorType::get({rows.getDimSize(0), weight.getDimSize(1) - 1, rows.getDimSize(2)}, rows.getElementType());
  if (weight.getElementType() != rows.getElementType()) { // c4
    (void)emitOptionalError(loc, "expects operands of one element type, but got ", rows.getElementType(), " and ",
                            weight.getElementType());
    return failure();
  }
  for (Value other : others) {
    auto type = tensorOf(other);
    bool isEdge = isa<FloatType>(type.getElementType());
    if (isEdge && type != expected) { // c3, c4
      (void)emitOptionalError(loc, "expects ", textOf(expected), " for the W-1 rows beside the sequence, but got ",
                              textOf(type));
      return failure();
    }
    if (!isEdge && type.getShape() != rows.getShape().take_front(2)) { // c6
      (void)emitOptionalError(loc, "expects B x T positions for rows of type ", textOf(rows), ", but got ",
                              textOf(type));
      return failure();
    }
  }
  return expected;
}

LogicalResult nn::inferShortConvTypes(std::optional<Location> loc, ValueRange operands, SmallVectorImpl<Type> &types) {
  auto rows = tensorOf(operands[0]);
  auto edge = checkShapes(loc, rows, tensorOf(operands[1]), operands.drop_front(2));
  if (failed(edge))
    return failure();
  types.assign({rows, *edge});
  return success();
}

LogicalResult ShortConvWeightGradOp::verify() {
  if (getCotangent().getType() != getInput().getType()) // short_conv_weight_grad_c5
    return emitOpError("expects a cotangent of the input's type ")
           << getInput().getType() << ", but got " << getCotangent().getType();
  return checkShapes(getLoc(), getInput().getType(), getType(), getOperands().drop_front(2));
}

//===----------------------------------------------------------------------===//
// Adjoints
//===----------------------------------------------------------------------===//

using Cotangents = ArrayRef<Value>;
using Out = MutableArrayRef<Value>;

/// The cotangent of a result, zeros if nothing reaches it.
static Value orZeros(OpBuilder &b, Location loc, Value cotangent, Value result) {
  return cotangent ? cotangent : zerosLike(b, loc, result);
}

void ShortConvOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Value rows = orZeros(b, getLoc(), dy[0], getResult());
  auto input = ShortConvInputGradOp::create(b, getLoc(), rows, getWeight(), dy[1], getPositions());
  out[0] = input.getResult();
  if (dy[0])
    out[1] = ShortConvWeightGradOp::create(b, getLoc(), getWeight().getType(), getInput(), rows, getPast(),
                                          getPositions());
  if (getPast())
    out[2] = input.getPastGrad();
}

void ShortConvInputGradOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Value rows = orZeros(b, getLoc(), dy[0], getResult());
  auto forward = ShortConvOp::create(b, getLoc(), rows, getWeight(), dy[1], getPositions());
  out[0] = forward.getResult();
  out[1] = ShortConvWeightGradOp::create(b, getLoc(), getWeight().getType(), rows, getInput(), dy[1],
                                        getPositions());
  if (getNextGrad())
    out[2] = forward.getNext();
}

void ShortConvWeightGradOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  auto input = ShortConvInputGradOp::create(b, getLoc(), getCotangent(), dy[0], Value(), getPositions());
  out[0] = input.getResult();
  out[1] = ShortConvOp::create(b, getLoc(), getInput(), dy[0], getPast(), getPositions()).getResult();
  if (getPast())
    out[2] = input.getPastGrad();
}
