//===- AttentionMeaning.cpp - Meaning of positions, last rows, attention --===//
// Attention by its definition: for each token the scores of all that it sees,
// one softmax, one sum. Row s of the past is s < 0.
//===----------------------------------------------------------------------===//
#include "compiler/Reference/Meaning.h"
#include "ir/Nn/NnOps.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::reference;

using Tensors = std::vector<Tensor>;

static FailureOr<Tensors> evaluate(nn::PositionsOp op, Operands x) {
  int64_t B = x[0]->shape[0], T = x[0]->shape[1];
  const Tensor *first = x.size() > 1 ? x[1] : nullptr;
  if (first && first->shape[0] != B)
    return op.emitOpError("the tokens before disagree with the sizes in B at run time");
  Tensor result{{B, T}, {}, {}}, next{{B, 1}, {}, {}};
  for (int64_t b = 0; b < B; ++b) {
    int64_t begin = first ? first->ids[b] : 0;
    for (int64_t t = 0; t < T; ++t)
      result.ids.push_back(begin + t);
    next.ids.push_back(begin + T);
  }
  return Tensors{result, next};
}

static FailureOr<Tensors> evaluate(nn::LastRowsOp op, Operands x) {
  const Tensor &rows = *x[0], *past = x.size() > 1 ? x[1] : nullptr;
  const int64_t B = rows.shape[0], T = rows.shape[1], E = op.getType().getDimSize(1);
  std::vector<int64_t> shape = rows.shape;
  shape[1] = E;
  if (past && past->shape != shape)
    return op.emitOpError("the rows before disagree with the sequence in B at run time");
  Tensor result = Tensor::zeros(shape);
  const int64_t width = int64_t(result.values.size()) / (B * E);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t e = 0; e < E; ++e)
      for (int64_t d = 0; d < width; ++d) {
        const int64_t t = T - E + e; // of the sequence; below 0 of what came before
        double &to = result.values[(b * E + e) * width + d];
        if (t >= 0)
          to = rows.values[(b * T + t) * width + d];
        else if (past)
          to = past->values[(b * E + E + t) * width + d];
      }
  return Tensors{result};
}

namespace {
/// What attention and its adjoint have in common: who sees whom, and where rows lie.
template <typename OpT>
struct Attention {
  const Tensor &query, &key, &value;
  const Tensor *positions = nullptr, *pastKey = nullptr, *pastValue = nullptr;
  int64_t B, T, H, G, K, V, W;

  Attention(OpT op, Operands x)
      : query(*x[0]), key(*x[1]), value(*x[2]), B(query.shape[0]), T(query.shape[1]), H(query.shape[2]),
        G(key.shape[2]), K(query.shape[3]), V(value.shape[3]), W(op.getWindow()) {
    size_t at = x.size();
    if (op.getPastKey())
      pastValue = x[--at], pastKey = x[--at];
    if (op.getPositions())
      positions = x[--at];
  }

  LogicalResult check(OpT op) const {
    auto agrees = [&](const Tensor *tensor, int64_t size) { return !tensor || tensor->shape[1] == size; };
    bool inB = llvm::all_of(ArrayRef<const Tensor *>{&key, &value, positions, pastKey, pastValue},
                            [&](const Tensor *tensor) { return !tensor || tensor->shape[0] == B; });
    if (inB && agrees(&key, T) && agrees(&value, T) && agrees(positions, T))
      return success();
    return op.emitOpError("operands disagree in B or T at run time");
  }

  int64_t group(int64_t h) const { return h / (H / G); }
  /// The first row that token t sees.
  int64_t first(int64_t b, int64_t t) const {
    int64_t lo = std::max(t - (W - 1), pastKey ? -(W - 1) : int64_t(0));
    if (positions)
      lo = std::max(lo, t - positions->ids[b * T + t]);
    return std::min(lo, t);
  }
  /// The offset of row s in the sequence or, where s < 0, in the past.
  int64_t row(int64_t b, int64_t s, int64_t g, int64_t width) const {
    return s < 0 ? ((b * (W - 1) + s + W - 1) * G + g) * width : ((b * T + s) * G + g) * width;
  }
  const double *keyRow(int64_t b, int64_t s, int64_t g) const {
    return (s < 0 ? pastKey : &key)->values.data() + row(b, s, g, K);
  }
  const double *valueRow(int64_t b, int64_t s, int64_t g) const {
    return (s < 0 ? pastValue : &value)->values.data() + row(b, s, g, V);
  }
  int64_t head(int64_t b, int64_t t, int64_t h) const { return (b * T + t) * H + h; }

  double score(int64_t b, int64_t t, int64_t h, int64_t s) const {
    const double *q = query.values.data() + head(b, t, h) * K, *k = keyRow(b, s, group(h));
    double sum = 0;
    for (int64_t i = 0; i < K; ++i)
      sum += q[i] * k[i];
    return sum;
  }

  template <typename Visit>
  void forEachHead(Visit visit) const {
    for (int64_t b = 0; b < B; ++b)
      for (int64_t t = 0; t < T; ++t)
        for (int64_t h = 0; h < H; ++h)
          visit(b, t, h);
  }

  /// The last W-1 rows of the past (zeros without one) and the sequence.
  Tensor next(const Tensor &rows, const Tensor *past, int64_t width) const {
    Tensor result = Tensor::zeros({B, W - 1, G, width});
    for (int64_t b = 0; b < B; ++b)
      for (int64_t j = 0; j < W - 1; ++j) {
        int64_t s = T - (W - 1) + j;
        const Tensor *from = s < 0 ? past : &rows;
        for (int64_t i = 0; from && i < G * width; ++i)
          result.values[(b * (W - 1) + j) * G * width + i] = from->values[row(b, s, 0, width) + i];
      }
    return result;
  }
};
} // namespace

static FailureOr<Tensors> evaluate(nn::AttentionOp op, Operands x) {
  Attention<nn::AttentionOp> a(op, x);
  if (failed(a.check(op)))
    return failure();
  Tensor result = Tensor::zeros({a.B, a.T, a.H, a.V}), lse = Tensor::zeros({a.B, a.T, a.H});
  a.forEachHead([&](int64_t b, int64_t t, int64_t h) {
    std::vector<double> scores;
    for (int64_t s = a.first(b, t); s <= t; ++s)
      scores.push_back(a.score(b, t, h, s));
    double most = *llvm::max_element(scores), sum = 0;
    for (double score : scores)
      sum += std::exp(score - most);
    int64_t at = a.head(b, t, h);
    lse.values[at] = most + std::log(sum);
    for (int64_t s = a.first(b, t), i = 0; s <= t; ++s, ++i)
      for (int64_t d = 0; d < a.V; ++d)
        result.values[at * a.V + d] += std::exp(scores[i] - lse.values[at]) * a.valueRow(b, s, a.group(h))[d];
  });
  return Tensors{result, lse, a.next(a.key, a.pastKey, a.K), a.next(a.value, a.pastValue, a.V)};
}

static FailureOr<Tensors> evaluate(nn::AttentionGradOp op, Operands x) {
  Attention<nn::AttentionGradOp> a(op, x);
  if (failed(a.check(op)))
    return failure();
  const Tensor &result = *x[3], &lse = *x[4], &grad = *x[5], *lseGrad = op.getLseGrad() ? x[6] : nullptr;
  if (result.shape != grad.shape || lse.shape[0] != a.B || lse.shape[1] != a.T || result.shape[0] != a.B ||
      result.shape[1] != a.T || (lseGrad && lseGrad->shape != lse.shape))
    return op.emitOpError("operands disagree in B or T at run time");
  Tensor dq = Tensor::zeros(a.query.shape), dk = Tensor::zeros(a.key.shape), dv = Tensor::zeros(a.value.shape);
  Tensor dpk = Tensor::zeros({a.B, a.W - 1, a.G, a.K}), dpv = Tensor::zeros({a.B, a.W - 1, a.G, a.V});
  a.forEachHead([&](int64_t b, int64_t t, int64_t h) {
    int64_t at = a.head(b, t, h), g = a.group(h);
    const double *dy = grad.values.data() + at * a.V, *y = result.values.data() + at * a.V;
    double base = lseGrad ? -lseGrad->values[at] : 0;
    for (int64_t d = 0; d < a.V; ++d)
      base += dy[d] * y[d];
    for (int64_t s = a.first(b, t); s <= t; ++s) {
      double p = std::exp(a.score(b, t, h, s) - lse.values[at]), dp = 0;
      const double *k = a.keyRow(b, s, g), *v = a.valueRow(b, s, g);
      for (int64_t d = 0; d < a.V; ++d) {
        dp += dy[d] * v[d];
        (s < 0 ? dpv : dv).values[a.row(b, s, g, a.V) + d] += p * dy[d];
      }
      double ds = p * (dp - base);
      for (int64_t i = 0; i < a.K; ++i) {
        dq.values[at * a.K + i] += ds * k[i];
        (s < 0 ? dpk : dk).values[a.row(b, s, g, a.K) + i] += ds * a.query.values[at * a.K + i];
      }
    }
  });
  return Tensors{dq, dk, dv, dpk, dpv};
}

FailureOr<Tensors> reference::evaluateAttention(Operation *op, Operands operands, bool &isKnown) {
  isKnown = true;
  return llvm::TypeSwitch<Operation *, FailureOr<Tensors>>(op)
      .Case<nn::PositionsOp, nn::LastRowsOp, nn::AttentionOp, nn::AttentionGradOp>(
          [&](auto typed) { return evaluate(typed, operands); })
      .Default([&](Operation *) -> FailureOr<Tensors> {
        isKnown = false;
        return failure();
      });
}
