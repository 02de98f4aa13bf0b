//===- RoundStored.cpp - Storage in bfloat16 as arithmetic ------------------===//
// Implements -nn-round-stored.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"
#include "ir/Nn/Storage.h"
#include "ir/Rec/RecOps.h"
#include "passes/Nn/Passes.h"

#include "mlir/IR/BuiltinOps.h"

namespace tidegate::nn {
#define GEN_PASS_DEF_ROUNDSTORED
#include "passes/Nn/Passes.h.inc"
} // namespace tidegate::nn

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

namespace {
/// Significant binary digits of bfloat16 and double.
constexpr int kHalfDigits = 8, kDoubleDigits = 53;

/// x to the digits of bfloat16, after T. J. Dekker, "A floating-point technique for extending the available precision",
/// Numer. Math. 18, 1971: with c = 2^(53-8) + 1 it is cx - (cx - x).
Value rounded(OpBuilder &b, Location loc, Value x) {
  const double factor = double((int64_t(1) << (kDoubleDigits - kHalfDigits)) + 1);
  Value scaled = MulOp::create(b, loc, x, constant(b, loc, factor, b.getF64Type()));
  return SubOp::create(b, loc, scaled, SubOp::create(b, loc, scaled, x));
}

/// A map behind the op of `v` that rounds it, for everybody who reads it.
void round(OpResult v) {
  auto type = cast<RankedTensorType>(v.getType());
  OpBuilder b(v.getContext());
  b.setInsertionPointAfter(v.getOwner());
  const Location loc = v.getLoc();
  const int64_t rows = rowsOf(type);
  auto map = MapOp::create(b, loc, type, Value(v), b.getI64IntegerAttr(rows), b.getDenseBoolArrayAttr({true}),
                           b.getDenseBoolArrayAttr({true}));
  Block *body = b.createBlock(&map.getBody());
  Value row = body->addArgument(RankedTensorType::get(type.getShape().drop_front(rows), type.getElementType()), loc);
  YieldOp::create(b, loc, rounded(b, loc, row));
  v.replaceAllUsesExcept(map.getResult(0), map);
}

struct RoundStoredPass : nn::impl::RoundStoredBase<RoundStoredPass> {
  void runOnOperation() override {
    SmallVector<OpResult> stored;
    getOperation().walk([&](Operation *op) {
      // What stands for another value is rounded where that is made.
      if (op->hasAttr(kStorage) && !isa<func::CallOp, BlocksOp, ReshapeOp, CastRowsOp, rec::LoopOp>(op))
        for (OpResult v : op->getResults())
          if (elementTypeOf(v).isF64() && resultStorage(v).isBF16())
            stored.push_back(v);
    });
    for (OpResult v : stored)
      round(v);
    getOperation().walk([](Operation *op) { op->removeAttr(kStorage); });
  }
};
} // namespace
