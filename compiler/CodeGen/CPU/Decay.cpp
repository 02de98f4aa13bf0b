//===- Decay.cpp - Causal products under decay on the CPU -------*- C++ -*-===//
// rec.decay_scores and rec.decay_mix without gates or with one gate for all
// channels: a plain product of which only the causal part is computed, masked and
// scaled by e^(Gq_j - Gk_m). ChannelDecay.cpp has the case of a gate per channel.
//===----------------------------------------------------------------------===//
#include "compiler/CodeGen/CPU/Decay.h"
#include "compiler/CodeGen/CPU/TileProduct.h"
#include "compiler/CodeGen/CPU/VectorUnit.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cpu;

namespace {
/// to = masked and scaled `from` (both rows x cols; may be the same).
class Masking {
public:
  Masking(Code &code, Type type, const DecayEvents &e, const DecayPointers &p, Value from, Value to)
      : code(code), type(type), e(e), p(p), from(from), to(to) {}

  void emit() {
    code.loop(e.tokens, [&](Value token) {
      for (int64_t i = 0; i < e.rowsPerToken; ++i)
        row(code.add(code.mul(token, e.rowsPerToken), code.i64(i)),
            code.add(code.mul(token, e.colsPerToken), code.i64(e.ownBefore(i))));
    });
  }

private:
  /// A row of which the first `before` columns are kept.
  void row(Value row, Value before) {
    int64_t lanes = VectorUnit::host().lanes(type), full = e.cols / lanes * lanes;
    Value gate = e.gateWidth ? code.load(type, code.at(p.rowGate, row, type)) : Value();
    Value turns = code.b.createOrFold<arith::DivUIOp>(code.loc, code.add(before, code.i64(lanes - 1)), code.i64(lanes));
    Value kept = code.min(code.mul(turns, lanes), code.i64(full));
    auto vector = VectorType::get({lanes}, type);
    code.loop(code.i64(0), kept, lanes, [&](Value m) { entries(row, m, before, gate, vector); });
    code.loop(kept, code.i64(full), lanes, [&](Value m) { code.store(zero(vector), at(to, row, m)); });
    for (int64_t m = full; m < e.cols; m += lanes) {
      while (lanes > e.cols - m)
        lanes /= 2;
      entries(row, code.i64(m), before, gate, VectorType::get({lanes}, type));
    }
  }

  void entries(Value row, Value m, Value before, Value gate, VectorType vector) {
    Value x = code.load(vector, at(from, row, m));
    if (gate) {
      Value wide = vector::BroadcastOp::create(code.b, code.loc, vector, gate);
      Value difference =
          arith::SubFOp::create(code.b, code.loc, wide, code.load(vector, code.at(p.colGate, m, type)));
      x = arith::MulFOp::create(code.b, code.loc, x, math::ExpOp::create(code.b, code.loc, difference));
    }
    SmallVector<int32_t> numbers = llvm::to_vector(llvm::seq<int32_t>(0, vector.getNumElements()));
    auto integers = vector.clone(code.b.getI32Type());
    Value lane = arith::ConstantOp::create(code.b, code.loc, DenseElementsAttr::get(integers, ArrayRef(numbers)));
    Value left = arith::TruncIOp::create(code.b, code.loc, code.b.getI32Type(), code.sub(before, m));
    Value isBefore = arith::CmpIOp::create(code.b, code.loc, arith::CmpIPredicate::slt, lane,
                                           vector::BroadcastOp::create(code.b, code.loc, integers, left));
    code.store(arith::SelectOp::create(code.b, code.loc, isBefore, x, zero(vector)), at(to, row, m));
  }

  Value at(Value base, Value row, Value m) { return code.at(base, code.add(code.mul(row, e.cols), m), type); }
  Value zero(VectorType vector) {
    return arith::ConstantOp::create(code.b, code.loc, cast<TypedAttr>(code.b.getZeroAttr(vector)));
  }

  Code &code;
  Type type;
  const DecayEvents &e;
  const DecayPointers &p;
  Value from, to;
};
} // namespace

template <typename OpT>
static DecayEvents eventsOf(OpT op, int64_t rows, int64_t cols, int64_t width) {
  int64_t gateWidth = op.getRowGate() ? tensorOf(op.getRowGate()).getDimSize(1) : 0;
  bool sameGate = op.getRowGate() && op.getRowGate() == op.getColGate();
  return {rows, cols, width, int64_t(op.getRowPositions().size()), int64_t(op.getColPositions().size()),
          rows / int64_t(op.getRowPositions().size()), gateWidth, sameGate,
          llvm::to_vector(op.getRowPositions()), llvm::to_vector(op.getColPositions())};
}

DecayEvents DecayEvents::of(rec::DecayScoresOp op) {
  return eventsOf(op, op.getRows().getType().getDimSize(0), op.getCols().getType().getDimSize(0),
                  op.getRows().getType().getDimSize(1));
}

DecayEvents DecayEvents::of(rec::DecayMixOp op) {
  auto scores = op.getScores().getType();
  return eventsOf(op, scores.getDimSize(0), scores.getDimSize(1), op.getInput().getType().getDimSize(1));
}

DecayEvents DecayEvents::of(rec::DecaySolveOp op) {
  int64_t events = op.getMatrix().getType().getDimSize(0);
  return eventsOf(op, events, events, op.getType().getDimSize(1));
}

int64_t cpu::decayWorkspace(Operation *op) {
  if (auto solve = dyn_cast<rec::DecaySolveOp>(op))
    return solveWorkspace(DecayEvents::of(solve));
  if (auto scores = dyn_cast<rec::DecayScoresOp>(op)) {
    auto e = DecayEvents::of(scores);
    return e.isPerChannel() ? channelScoresWorkspace(e) : e.cols * e.width;
  }
  if (auto mix = dyn_cast<rec::DecayMixOp>(op)) {
    auto e = DecayEvents::of(mix);
    return e.isPerChannel() ? channelMixWorkspace(e) : e.rows * e.cols;
  }
  return 0;
}

void cpu::emitDecayScores(Code &code, rec::DecayScoresOp op, DecayPointers p, Value to, Value workspace) {
  auto e = DecayEvents::of(op);
  Type type = op.getType().getElementType();
  if (e.isPerChannel())
    return emitChannelScores(code, type, e, p, to, workspace);
  emitTranspose(code, type, e.cols, e.width, p.cols, e.width, workspace, e.cols);
  TileProduct product{e.rows, e.cols, e.width, {p.rows, e.width, 1}, {workspace, e.cols, 1}, to, e.cols};
  product.causal = {CausalPart::Result, e.rowsPerToken, e.colsPerToken};
  emitTileProduct(code, type, product);
  Masking(code, type, e, p, to, to).emit();
}

void cpu::emitDecayMix(Code &code, rec::DecayMixOp op, DecayPointers p, Value to, Value workspace) {
  auto e = DecayEvents::of(op);
  Type type = op.getType().getElementType();
  if (e.isPerChannel())
    return emitChannelMix(code, type, e, p, op.getTransposed(), to, workspace);
  Masking(code, type, e, p, p.scores, workspace).emit();
  TileProduct product{e.rows, e.width, e.cols, {workspace, e.cols, 1}, {p.cols, e.width, 1}, to, e.width};
  product.causal = {CausalPart::Left, e.rowsPerToken, e.colsPerToken};
  if (op.getTransposed()) {
    std::swap(product.m, product.k);
    product.a = {workspace, 1, e.cols};
    product.b.base = p.rows;
    product.causal.of = CausalPart::LeftTransposed;
  }
  emitTileProduct(code, type, product);
}
