//===- LastLogits.cpp - Logits of the last token alone ----------*- C++ -*-===//
// Implements -last-logits: what the head reads of each token is cut to its last row.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"
#include "passes/Autodiff/Head.h"
#include "passes/Autodiff/Passes.h"

namespace tidegate::autodiff {
#define GEN_PASS_DEF_LASTLOGITSPASS
#include "passes/Autodiff/Passes.h.inc"
} // namespace tidegate::autodiff

using namespace mlir;
using namespace tidegate;
using namespace tidegate::autodiff;

/// `B x T x rest` => `B x 1 x rest`, with the type of the former.
static Value lastRow(OpBuilder &builder, Value rows) {
  auto type = cast<RankedTensorType>(rows.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape[1] = 1;
  auto one = RankedTensorType::get(shape, type.getElementType());
  Value last = nn::LastRowsOp::create(builder, rows.getLoc(), one, rows, Value());
  return nn::CastRowsOp::create(builder, rows.getLoc(), type, last);
}

namespace {
struct LastLogitsPass : tidegate::autodiff::impl::LastLogitsPassBase<LastLogitsPass> {
  using LastLogitsPassBase::LastLogitsPassBase;

  void runOnOperation() override {
    auto function = getOperation().lookupSymbol<func::FuncOp>(model);
    if (!function) {
      getOperation().emitError("has no function '") << model << "'";
      return signalPassFailure();
    }
    Operation *end = function.getBody().front().getTerminator();
    const Head head = headOf(function);
    OpBuilder builder(end);
    auto hasRows = [](Value v) { return nn::rowRank(cast<RankedTensorType>(v.getType())) == 2; };
    auto isFloat = [](Value v) { return isa<FloatType>(cast<RankedTensorType>(v.getType()).getElementType()); };
    // A head that reads ids or positions is left whole.
    const bool isCut = llvm::all_of(head.operands, [&](Value v) { return !hasRows(v) || isFloat(v); });
    Value logits = head.logits;
    if (isCut) {
      SmallVector<Value> operands;
      for (Value v : head.operands)
        operands.push_back(hasRows(v) ? lastRow(builder, v) : v);
      logits = head.copy(builder, operands);
    } else {
      logits = lastRow(builder, logits);
    }
    end->setOperand(0, logits);
    for (Operation *op : llvm::reverse(head.ops))
      if (op->use_empty())
        op->erase();
  }
};
} // namespace
