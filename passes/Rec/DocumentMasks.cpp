//===- DocumentMasks.cpp - Documents inside a chunk -------------*- C++ -*-===//
// Events lie in one document if equally many documents have begun up to them.
// Counts are whole numbers of at most the chunk's size, so comparing them is
// exact. Flags have no gradient.
//===----------------------------------------------------------------------===//
#include "passes/Rec/DocumentMasks.h"

#include "ir/Rec/RecOps.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

DocumentMasks::DocumentMasks(Arithmetic a, Value flags) : a(a) {
  chunk = cast<RankedTensorType>(flags.getType()).getDimSize(0);
  begins = nn::StopGradientOp::create(a.builder, a.loc, this->a.reshaped(flags, {chunk, 1}));
  count = CumsumOp::create(a.builder, a.loc, begins, /*reverse=*/false, /*exclusive=*/false);
  total = nn::ReduceSumOp::create(a.builder, a.loc, begins, ArrayRef<int64_t>(0));
}

Value DocumentMasks::counts(int64_t perToken) {
  if (perToken == 1)
    return count;
  Value zeros = a.number(0, Arithmetic::elementType(begins), {perToken, 1});
  Value repeated = a.plus(a.reshaped(count, {chunk, 1, 1}), zeros);
  return a.reshaped(repeated, {chunk * perToken, 1});
}

Value DocumentMasks::same(int64_t rowsPerToken, int64_t colsPerToken) {
  return equal(counts(rowsPerToken), a.reshaped(counts(colsPerToken), {1, chunk * colsPerToken}));
}

Value DocumentMasks::beforeFirst(int64_t perToken) { return equal(counts(perToken), zero()); }

Value DocumentMasks::afterLast(int64_t perToken) { return equal(counts(perToken), total); }

Value DocumentMasks::noneBegins() { return equal(total, zero()); }

Value DocumentMasks::earlier() { return StrictlyLowerOp::create(a.builder, a.loc, same(1, 1)); }

Value DocumentMasks::lastBegin() { return kept(afterLast(1), begins); }

Value DocumentMasks::kept(Value mask, Value x) {
  return x ? Value(nn::SelectOp::create(a.builder, a.loc, mask, x, zero())) : x;
}

Value DocumentMasks::dropped(Value mask, Value x) {
  return x ? Value(nn::SelectOp::create(a.builder, a.loc, mask, zero(), x)) : x;
}
