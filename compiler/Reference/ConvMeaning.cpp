//===- ConvMeaning.cpp - Meaning of short convolutions ----------*- C++ -*-===//
// All three ops walk the terms weight[c, j] x'[b, t+j, c] dy[b, t, c] of one form
// that count at the token's position, and sum what stands beside the factor that
// they differentiate by.
//===----------------------------------------------------------------------===//
#include "compiler/Reference/Meaning.h"
#include "ir/Nn/NnOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::reference;

namespace {
struct Sizes {
  int64_t B, T, C, W;
  const Tensor *positions; ///< Of the tokens in their documents; null: all of one.

  Sizes(const Tensor &rows, int64_t W, const Tensor *positions)
      : B(rows.shape[0]), T(rows.shape[1]), C(rows.shape[2]), W(W), positions(positions) {}

  std::vector<int64_t> rows() const { return {B, T, C}; }
  std::vector<int64_t> edge() const { return {B, W - 1, C}; }
  std::vector<int64_t> extended() const { return {B, T + W - 1, C}; }

  int64_t row(int64_t b, int64_t t, int64_t c) const { return (b * T + t) * C + c; }
  int64_t edgeRow(int64_t b, int64_t s, int64_t c) const { return (b * (W - 1) + s) * C + c; }
  int64_t extendedRow(int64_t b, int64_t s, int64_t c) const { return (b * (T + W - 1) + s) * C + c; }

  /// Calls `term(place of weight[c, j], of x'[b, t+j, c], of dy[b, t, c])` for every term.
  template <typename Term>
  void forEachTerm(Term term) const {
    for (int64_t b = 0; b < B; ++b)
      for (int64_t t = 0; t < T; ++t)
        for (int64_t j = positions ? std::max<int64_t>(0, W - 1 - positions->ids[b * T + t]) : 0; j < W; ++j)
          for (int64_t c = 0; c < C; ++c)
            term(c * W + j, extendedRow(b, t + j, c), row(b, t, c));
  }

  /// Calls `visit(place in x', b, s, c)` for every element.
  template <typename Visit>
  void forEachExtended(Visit visit) const {
    for (int64_t b = 0; b < B; ++b)
      for (int64_t s = 0; s < T + W - 1; ++s)
        for (int64_t c = 0; c < C; ++c)
          visit(extendedRow(b, s, c), b, s, c);
  }
};
} // namespace

/// x': the past (zeros without one), then the input.
static Tensor extend(const Sizes &sizes, const Tensor &input, const Tensor *past) {
  Tensor all = Tensor::zeros(sizes.extended());
  sizes.forEachExtended([&](int64_t at, int64_t b, int64_t s, int64_t c) {
    if (s >= sizes.W - 1)
      all.values[at] = input.values[sizes.row(b, s - (sizes.W - 1), c)];
    else if (past)
      all.values[at] = past->values[sizes.edgeRow(b, s, c)];
  });
  return all;
}

namespace {
/// The optional operands, which stand last.
struct Optionals {
  const Tensor *edge, *positions;

  template <typename OpT>
  Optionals(OpT op, Operands x, bool hasEdge)
      : edge(hasEdge ? x[2] : nullptr), positions(op.getPositions() ? x.back() : nullptr) {}
};
} // namespace

static FailureOr<std::vector<Tensor>> evaluate(nn::ShortConvOp op, Operands x) {
  auto [past, positions] = Optionals(op, x, bool(op.getPast()));
  Sizes sizes(*x[0], x[1]->shape[1], positions);
  if (past && past->shape != sizes.edge())
    return op.emitOpError("the past disagrees with the input in B at run time");
  Tensor all = extend(sizes, *x[0], past), result = Tensor::zeros(sizes.rows()), next = Tensor::zeros(sizes.edge());
  sizes.forEachTerm(
      [&](int64_t w, int64_t from, int64_t to) { result.values[to] += x[1]->values[w] * all.values[from]; });
  sizes.forEachExtended([&](int64_t at, int64_t b, int64_t s, int64_t c) {
    if (s >= sizes.T)
      next.values[sizes.edgeRow(b, s - sizes.T, c)] = all.values[at];
  });
  return std::vector<Tensor>{result, next};
}

static FailureOr<std::vector<Tensor>> evaluate(nn::ShortConvInputGradOp op, Operands x) {
  auto [nextGrad, positions] = Optionals(op, x, bool(op.getNextGrad()));
  Sizes sizes(*x[0], x[1]->shape[1], positions);
  if (nextGrad && nextGrad->shape != sizes.edge())
    return op.emitOpError("the gradient by the next past disagrees with the input in B at run time");
  Tensor all = Tensor::zeros(sizes.extended()), result = Tensor::zeros(sizes.rows()),
         past = Tensor::zeros(sizes.edge());
  sizes.forEachTerm(
      [&](int64_t w, int64_t to, int64_t from) { all.values[to] += x[1]->values[w] * x[0]->values[from]; });
  const Tensor *next = nextGrad; // lambdas capture no structured bindings
  sizes.forEachExtended([&](int64_t at, int64_t b, int64_t s, int64_t c) {
    if (s >= sizes.T && next)
      all.values[at] += next->values[sizes.edgeRow(b, s - sizes.T, c)];
    (s < sizes.W - 1 ? past.values[sizes.edgeRow(b, s, c)] : result.values[sizes.row(b, s - (sizes.W - 1), c)]) =
        all.values[at];
  });
  return std::vector<Tensor>{result, past};
}

static FailureOr<std::vector<Tensor>> evaluate(nn::ShortConvWeightGradOp op, Operands x) {
  auto [past, positions] = Optionals(op, x, bool(op.getPast()));
  Sizes sizes(*x[0], op.getType().getDimSize(1), positions);
  if (x[1]->shape != sizes.rows() || (past && past->shape != sizes.edge()))
    return op.emitOpError("operands disagree in B or T at run time");
  Tensor all = extend(sizes, *x[0], past), result = Tensor::zeros({sizes.C, sizes.W});
  sizes.forEachTerm(
      [&](int64_t w, int64_t from, int64_t dy) { result.values[w] += all.values[from] * x[1]->values[dy]; });
  return std::vector<Tensor>{result};
}

FailureOr<std::vector<Tensor>> reference::evaluateConv(Operation *op, Operands operands, bool &isKnown) {
  using Result = FailureOr<std::vector<Tensor>>;
  isKnown = true;
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case<nn::ShortConvOp, nn::ShortConvInputGradOp, nn::ShortConvWeightGradOp>(
          [&](auto typed) { return evaluate(typed, operands); })
      .Default([&](Operation *) -> Result {
        isKnown = false;
        return failure();
      });
}
