//===- Reduction.cpp - Sums and maxima shared by threads --------*- C++ -*-===//
#include "compiler/CodeGen/CUDA/Reduction.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cuda;
using llvm::Twine;

bool cuda::isReduction(Operation *op) { return isa<nn::ReduceSumOp, nn::ReduceMaxOp>(op); }

static ArrayRef<int64_t> dimsOf(Operation *op) {
  if (auto sum = dyn_cast<nn::ReduceSumOp>(op))
    return sum.getDims();
  return cast<nn::ReduceMaxOp>(op).getDims();
}

std::optional<std::string> Reduction::emit(Operation *op) {
  auto from = tensorOf(op->getOperand(0));
  ArrayRef<int64_t> dims = dimsOf(op);
  StringRef fold = isa<nn::ReduceSumOp>(op) ? "Sum" : "Max";
  int64_t inner = 1;
  bool isTrailing = true;
  for (int64_t d = from.getRank(); d-- > 0;) {
    bool isFolded = llvm::is_contained(dims, d);
    if (isFolded)
      inner *= from.getDimSize(d);
    else if (from.getDimSize(d) != 1 &&
             llvm::any_of(dims, [&](int64_t other) { return other < d && from.getDimSize(other) != 1; }))
      isTrailing = false;
  }
  if (isTrailing)
    return trailing(op, fold, inner, from.getNumElements() / inner);
  others(op, fold);
  return std::nullopt;
}

std::optional<std::string> Reduction::trailing(Operation *op, StringRef fold, int64_t inner, int64_t outer) {
  Value input = op->getOperand(0);
  auto shape = tensorOf(input).getShape();
  int most = 8;
  while (most > 1 && inner * outer < most * team)
    most /= 2;
  int lanes = ElementEmitter::lanesOf({input}, most, isLeaf);
  while (inner % lanes)
    lanes /= 2;
  // `width` neighbouring threads share one result.
  int64_t width = std::min<int64_t>(team, llvm::PowerOf2Ceil(llvm::divideCeil(inner, lanes)));
  if (team > 32)
    width = outer == 1 ? team : std::min<int64_t>(width, 32);
  std::string sum = text.name("sum"), w = std::to_string(width), l = std::to_string(lanes);
  auto foldAt = [&](const std::string &at) {
    text.line("float " + sum + " = " + fold + "::neutral();");
    text.line("#pragma unroll 4");
    text.block("for (int e = " + member + " % " + w + " * " + l + "; e < " + Twine(inner) + "; e += " + w + " * " + l +
                   ")",
               [&] {
                 scope(lanes, [&](ElementEmitter &emit) {
                   Index offset = Index::of(outer == 1 ? "e" : "(" + at + " * " + std::to_string(inner) + " + e)");
                   offset.isLane = lanes > 1;
                   Element x = emit.emit(input, indicesOf(shape, offset));
                   text.line("#pragma unroll");
                   text.line("for (int j = 0; j < " + l + "; ++j)");
                   text.line("  " + sum + " = " + fold + "::of(" + sum + ", " + ElementEmitter::at(x) + ");");
                 });
               });
    text.line(sum + " = foldLanes<" + fold + ", " + w + ">(" + sum + ", " + work + ");");
  };
  if (outer == 1) {
    foldAt("");
    return sum;
  }
  text.block("for (int o = 0; o < " + Twine(outer) + "; o += " + Twine(team / width) + ")", [&] {
    text.line("const int mine = o + " + member + " / " + w + ", at = mine < " + Twine(outer) + " ? mine : " +
              Twine(outer - 1) + ";");
    foldAt("at");
    text.block("if (" + member + " % " + w + " == 0 && mine < " + Twine(outer) + ")",
               [&] { store(Index::of("at"), sum); });
  });
  return std::nullopt;
}

void Reduction::others(Operation *op, StringRef fold) {
  Value input = op->getOperand(0);
  auto shape = tensorOf(input).getShape();
  auto kept = tensorOf(op->getResult(0));
  // Neighbours along the last dimension together, where that is kept.
  const int64_t count = kept.getNumElements();
  int lanes = 1;
  if (kept.getRank() > 0 && kept.getShape().back() == shape.back()) {
    int most = 8;
    while (most > 1 && count < most * team)
      most /= 2;
    lanes = ElementEmitter::lanesOf({input}, most, isLeaf);
  }
  const std::string l = std::to_string(lanes);
  text.block("for (int e = " + member + " * " + l + "; e < " + Twine(count) + "; e += " + Twine(team * lanes) + ")", [&] {
    Index offset = Index::of("e");
    offset.isLane = lanes > 1;
    Indices index = indicesOf(kept.getShape(), offset);
    std::string sum = text.name("sum");
    text.line("float " + sum + "[" + l + "];");
    text.line("#pragma unroll");
    text.line("for (int j = 0; j < " + l + "; ++j)");
    text.line("  " + sum + "[j] = " + fold + "::neutral();");
    std::function<void(unsigned)> along = [&](unsigned at) {
      if (at == dimsOf(op).size()) {
        scope(lanes, [&](ElementEmitter &emit) {
          Element x = emit.emit(input, index);
          text.line("#pragma unroll");
          text.line("for (int j = 0; j < " + l + "; ++j)");
          text.line("  " + sum + "[j] = " + fold + "::of(" + sum + "[j], " + ElementEmitter::at(x) + ");");
        });
        return;
      }
      int64_t d = dimsOf(op)[at];
      std::string i = text.name("i");
      index[d] = Index::of(i);
      text.line("#pragma unroll 4");
      text.block("for (int " + i + " = 0; " + i + " < " + Twine(shape[d]) + "; ++" + i + ")", [&] { along(at + 1); });
    };
    along(0);
    if (lanes == 1)
      return store(Index::of("e"), sum + "[0]");
    text.line("#pragma unroll");
    text.block("for (int j = 0; j < " + l + "; ++j)", [&] { store(Index::of("(e + j)"), sum + "[j]"); });
  });
}
