//===- RecMeaning.cpp - Meaning of the chunk form's tiles -------*- C++ -*-===//
// Straight from the formulas: every e^(Gq - Gk) is evaluated on its own.
//===----------------------------------------------------------------------===//
#include "compiler/Reference/Meaning.h"
#include "ir/Rec/RecOps.h"
#include "llvm/ADT/TypeSwitch.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::reference;

static FailureOr<Tensor> evaluate(rec::CumsumOp op, Operands x) {
  Tensor result = Tensor::zeros(x[0]->shape);
  int64_t rows = x[0]->shape[0], width = rows ? x[0]->size() / rows : 0;
  for (int64_t d = 0; d < width; ++d) {
    double sum = 0;
    for (int64_t n = 0; n < rows; ++n) {
      int64_t at = (op.getReverse() ? rows - 1 - n : n) * width + d;
      double value = x[0]->values[at];
      result.values[at] = op.getExclusive() ? sum : sum + value;
      sum += value;
    }
  }
  return result;
}

namespace {
/// Whether column event m happens before row event j, as the op says; it is asked once.
struct Order {
  int64_t rowsPerToken, colsPerToken;
  std::vector<bool> ownBefore; ///< Within a token, by row and column.

  template <typename OpT>
  explicit Order(OpT op) : rowsPerToken(op.getRowPositions().size()), colsPerToken(op.getColPositions().size()) {
    for (int64_t j = 0; j < rowsPerToken; ++j)
      for (int64_t m = 0; m < colsPerToken; ++m)
        ownBefore.push_back(op.isBefore(m, j));
  }
  bool isBefore(int64_t m, int64_t j) const {
    int64_t tm = m / colsPerToken, tj = j / rowsPerToken;
    return tm < tj || (tm == tj && ownBefore[j % rowsPerToken * colsPerToken + m % colsPerToken]);
  }
};

/// e^(Gq[j, d] - Gk[m, d]), or 1 without gates.
struct Decay {
  const Tensor *row = nullptr, *col = nullptr;
  int64_t j = -1, m = -1; ///< The last pair, and its decay if all channels share it.
  double shared = 1;

  static double at(const Tensor &gate, int64_t event, int64_t channel) {
    int64_t width = gate.shape[1];
    return gate.values[event * width + (width == 1 ? 0 : channel)];
  }
  double operator()(int64_t j, int64_t m, int64_t d) {
    if (!row || row->shape[1] > 1 || col->shape[1] > 1)
      return row ? std::exp(at(*row, j, d) - at(*col, m, d)) : 1.0;
    if (j != this->j || m != this->m)
      this->j = j, this->m = m, shared = std::exp(at(*row, j, 0) - at(*col, m, 0));
    return shared;
  }
};
} // namespace

static FailureOr<Tensor> evaluate(rec::DecayScoresOp op, Operands x) {
  const Tensor &q = *x[0], &k = *x[1];
  Decay decay{op.getRowGate() ? x[2] : nullptr, op.getRowGate() ? x[3] : nullptr};
  int64_t rows = q.shape[0], cols = k.shape[0], width = q.shape[1];
  Tensor result = Tensor::zeros({rows, cols});
  const Order order(op);
  for (int64_t j = 0; j < rows; ++j)
    for (int64_t m = 0; m < cols; ++m)
      for (int64_t d = 0, end = order.isBefore(m, j) ? width : 0; d < end; ++d)
        result.values[j * cols + m] += q.values[j * width + d] * k.values[m * width + d] * decay(j, m, d);
  return result;
}

static FailureOr<Tensor> evaluate(rec::DecayMixOp op, Operands x) {
  const Tensor &p = *x[0], &input = *x[1];
  Decay decay{op.getRowGate() ? x[2] : nullptr, op.getRowGate() ? x[3] : nullptr};
  int64_t rows = p.shape[0], cols = p.shape[1], width = input.shape[1];
  bool transposed = op.getTransposed();
  Tensor result = Tensor::zeros({transposed ? cols : rows, width});
  const Order order(op);
  for (int64_t j = 0; j < rows; ++j)
    for (int64_t m = 0; m < cols; ++m)
      for (int64_t d = 0, end = order.isBefore(m, j) ? width : 0; d < end; ++d)
        result.values[(transposed ? m : j) * width + d] +=
            p.values[j * cols + m] * input.values[(transposed ? j : m) * width + d] * decay(j, m, d);
  return result;
}

/// Substitution, event by event in the order of the columns' places; from the end for the transposed systems.
static FailureOr<Tensor> evaluate(rec::DecaySolveOp op, Operands x) {
  const Tensor &matrix = *x[0];
  Tensor result = *x[1];
  unsigned next = 2;
  const Tensor *factor = op.getFactor() ? x[next++] : nullptr;
  Decay decay;
  if (op.getRowGate())
    decay.row = x[next], decay.col = x[next + 1];
  int64_t events = matrix.shape[0], width = result.shape[1];
  bool transposed = op.getTransposed();
  const Order order(op);
  std::vector<int64_t> sequence(events);
  std::iota(sequence.begin(), sequence.end(), 0);
  const int64_t perToken = op.getColPositions().size();
  std::stable_sort(sequence.begin(), sequence.end(), [&](int64_t a, int64_t b) {
    auto key = [&](int64_t e) { return std::pair(e / perToken, op.getColPositions()[e % perToken]); };
    return key(a) < key(b);
  });
  if (transposed)
    std::reverse(sequence.begin(), sequence.end());
  for (int64_t s = 0; s < events; ++s)
    for (int64_t r = 0; r < s; ++r) {
      int64_t own = sequence[s], other = sequence[r];
      int64_t j = transposed ? other : own, m = transposed ? own : other;
      for (int64_t d = 0, end = order.isBefore(m, j) ? width : 0; d < end; ++d)
        result.values[own * width + d] += matrix.values[j * events + m] * (factor ? factor->values[j * width + d] : 1) *
                                          result.values[other * width + d] * decay(j, m, d);
    }
  return result;
}

/// Substitution, row by row; the last row first for the transposed system.
static FailureOr<Tensor> evaluate(rec::SolveUnitLowerOp op, Operands x) {
  const Tensor &matrix = *x[0];
  Tensor result = *x[1];
  int64_t rows = matrix.shape[0], width = result.shape[1];
  bool transposed = op.getTransposed();
  for (int64_t s = 0; s < rows; ++s) {
    int64_t n = transposed ? rows - 1 - s : s;
    for (int64_t r = 0; r < s; ++r) {
      int64_t m = transposed ? rows - 1 - r : r;
      double weight = transposed ? matrix.values[m * rows + n] : matrix.values[n * rows + m];
      for (int64_t d = 0; d < width; ++d)
        result.values[n * width + d] += weight * result.values[m * width + d];
    }
  }
  return result;
}

static FailureOr<Tensor> evaluate(rec::StrictlyLowerOp op, Operands x) {
  Tensor result = *x[0];
  int64_t rows = result.shape[0], cols = result.shape[1];
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = i; j < cols; ++j)
      result.values[i * cols + j] = 0;
  return result;
}

FailureOr<Tensor> reference::evaluateRec(Operation *op, Operands operands, bool &isKnown) {
  isKnown = true;
  return llvm::TypeSwitch<Operation *, FailureOr<Tensor>>(op)
      .Case<rec::CumsumOp, rec::DecayScoresOp, rec::DecayMixOp, rec::DecaySolveOp, rec::SolveUnitLowerOp,
            rec::StrictlyLowerOp>([&](auto known) { return evaluate(known, operands); })
      .Default([&](Operation *) -> FailureOr<Tensor> {
        isKnown = false;
        return failure();
      });
}
