//===- BodyDot.cpp - Products of a body's values ----------------*- C++ -*-===//
#include "compiler/CodeGen/CPU/Body.h"
#include "compiler/CodeGen/CPU/TileProduct.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cpu;

namespace {
/// Dimensions `dims` of a contiguous tensor as one: its size and stride, if they
/// are adjacent in memory.
struct Merged {
  int64_t size = 1, stride = 1;
  bool isOne = true;

  Merged(RankedTensorType type, ArrayRef<int64_t> dims) {
    SmallVector<int64_t> strides(type.getRank(), 1);
    for (int64_t d = type.getRank() - 1; d-- > 0;)
      strides[d] = strides[d + 1] * type.getDimSize(d + 1);
    std::optional<int64_t> expected;
    for (int64_t d : llvm::reverse(dims)) {
      if (type.getDimSize(d) == 1)
        continue;
      if (!expected)
        stride = strides[d];
      else if (*expected != strides[d])
        isOne = false;
      expected = strides[d] * type.getDimSize(d);
      size *= type.getDimSize(d);
    }
  }
};

/// A product as C[m, n] = sum_k A[m, k] B[k, n].
struct Matrices {
  Merged m, ka, kb, n;

  explicit Matrices(nn::DotOp op)
      : m(op.getLhs().getType(), op.getLhsFree()), ka(op.getLhs().getType(), op.getLhsContract()),
        kb(op.getRhs().getType(), op.getRhsContract()), n(op.getRhs().getType(), op.getRhsFree()) {}
  bool fit(nn::DotOp op) const { return op.getLhsBatch().empty() && m.isOne && ka.isOne && kb.isOne && n.isOne; }
  bool isOuter() const { return ka.size == 1; }
  bool isMatrixVector() const { return n.size == 1; }
  bool needsTranspose() const { return !isOuter() && !isMatrixVector() && n.size > 1 && n.stride != 1; }
};

CausalPart causal(CausalPart::Of of, ArrayRef<int64_t> rowPositions, ArrayRef<int64_t> colPositions) {
  return {of, int64_t(rowPositions.size()), int64_t(colPositions.size())};
}

/// What of a product need not be computed: a side that is causal scores is 0
/// behind its events, and of a result that only causal ops read nothing else counts.
CausalPart causalPartOf(nn::DotOp op) {
  if (auto scores = op.getLhs().getDefiningOp<rec::DecayScoresOp>(); scores && op.getLhsContract().size() == 1)
    return causal(op.getLhsContract().front() == 1 ? CausalPart::Left : CausalPart::LeftTransposed,
                  scores.getRowPositions(), scores.getColPositions());
  CausalPart part;
  for (Operation *user : op->getUsers()) {
    CausalPart own;
    if (auto mix = dyn_cast<rec::DecayMixOp>(user); mix && mix.getScores() == op.getResult())
      own = causal(CausalPart::Result, mix.getRowPositions(), mix.getColPositions());
    else if (isa<rec::StrictlyLowerOp>(user))
      own = causal(CausalPart::Result, {0}, {0});
    else
      return {};
    if (part.of == CausalPart::Result && (part.rowsPerToken != own.rowsPerToken || part.colsPerToken != own.colsPerToken))
      return {};
    part = own;
  }
  return part;
}
} // namespace

int64_t cpu::dotWorkspace(nn::DotOp op) {
  Matrices x(op);
  return x.fit(op) && x.needsTranspose() ? x.kb.size * x.n.size : 0;
}

bool cpu::canAccumulate(nn::DotOp op) {
  Matrices x(op);
  return x.fit(op) && !x.isMatrixVector() && !x.isOuter();
}

void Body::dot(Code &code, nn::DotOp op, Value to, Value workspace, bool accumulate) {
  Type type = op.getType().getElementType();
  Value lhs = pointer(code, op.getLhs()), rhs = pointer(code, op.getRhs());
  Matrices x(op);
  if (!x.fit(op)) {
    // Any layout: loops over the result, then over the contraction.
    auto left = op.getLhs().getType(), right = op.getRhs().getType();
    SmallVector<int64_t> sizes;
    for (int64_t d : op.getLhsContract())
      sizes.push_back(left.getDimSize(d));
    auto lhsFree = op.getLhsFree(), rhsFree = op.getRhsFree();
    Index index;
    loopNest(code, op.getType().getShape(), index, [&] {
      Index l(left.getRank()), r(right.getRank());
      unsigned at = 0;
      for (auto [dl, dr] : llvm::zip(op.getLhsBatch(), op.getRhsBatch()))
        l[dl] = r[dr] = index[at++];
      for (int64_t d : lhsFree)
        l[d] = index[at++];
      for (int64_t d : rhsFree)
        r[d] = index[at++];
      std::function<Value(unsigned, Value)> carry = [&](unsigned c, Value sum) -> Value {
        if (c == sizes.size()) {
          Value a = code.load(type, code.at(lhs, linearOffset(code, left.getShape(), l), type));
          Value b = code.load(type, code.at(rhs, linearOffset(code, right.getShape(), r), type));
          return code.accumulate(sum, arith::MulFOp::create(code.b, code.loc, a, b));
        }
        return code.loopReduce(code.i64(0), code.i64(sizes[c]), 1, sum, [&](Value i, ValueRange acc) {
          l[op.getLhsContract()[c]] = r[op.getRhsContract()[c]] = i;
          return SmallVector<Value>{carry(c + 1, acc[0])};
        })[0];
      };
      Value sum = carry(0, code.number(0, type));
      code.store(sum, code.at(to, linearOffset(code, op.getType().getShape(), index), type));
    });
    return;
  }
  MatrixView a{lhs, x.m.stride, x.ka.stride}, b{rhs, x.kb.stride, x.n.stride};
  if (x.isMatrixVector() && x.m.size > 1 && x.m.stride == 1) {
    // A is stored column by column: the result is a row times A's transpose.
    emitTileProduct(code, type, {1, x.m.size, x.ka.size, {rhs, 1, x.kb.stride}, {lhs, x.ka.stride, 1}, to, x.m.size});
    return;
  }
  if (x.isMatrixVector()) {
    code.loop(x.m.size, [&](Value i) {
      Value sum = code.loopReduce(code.i64(0), code.i64(x.ka.size), 1, code.number(0, type),
                                  [&](Value p, ValueRange acc) {
                                    Value l = code.load(type, code.at(lhs, code.add(code.mul(i, x.m.stride), code.mul(p, x.ka.stride)), type));
                                    Value r = code.load(type, code.at(rhs, code.mul(p, x.kb.stride), type));
                                    Value product = arith::MulFOp::create(code.b, code.loc, l, r);
                                    return SmallVector<Value>{code.accumulate(acc[0], product)};
                                  })[0];
      code.store(sum, code.at(to, i, type));
    });
    return;
  }
  if (x.isOuter() && x.n.stride != 1)
    b.colStride = 1; // one row: any layout is contiguous
  if (x.needsTranspose()) {
    // B is stored row by row of n: lay its transpose out.
    if (x.kb.stride == 1) {
      emitTranspose(code, type, x.n.size, x.kb.size, rhs, x.n.stride, workspace, x.n.size);
    } else {
      code.loop(x.kb.size, [&](Value p) {
        code.loop(x.n.size, [&](Value j) {
          Value from = code.at(rhs, code.add(code.mul(p, x.kb.stride), code.mul(j, x.n.stride)), type);
          code.store(code.load(type, from), code.at(workspace, code.add(code.mul(p, x.n.size), j), type));
        });
      });
    }
    b = {workspace, x.n.size, 1};
  }
  emitTileProduct(code, type, {x.m.size, x.n.size, x.ka.size, a, b, to, x.n.size, accumulate, causalPartOf(op)});
}
