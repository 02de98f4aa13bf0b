//===- Elementwise.cpp - Scalar meaning of element-wise ops -----*- C++ -*-===//
// The formulas of the documentation with the functions of <cmath>, written
// independently of the rules that code generation uses.
//===----------------------------------------------------------------------===//
#include "compiler/Reference/Meaning.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::reference;

/// A function of the operands' elements at one place.
using Scalar = std::function<double(const double *)>;

static double orNan(double x, double y, double otherwise) {
  return std::isnan(x) || std::isnan(y) ? std::numeric_limits<double>::quiet_NaN() : otherwise;
}

static Scalar scalarOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, Scalar>(op)
      .Case([](nn::NegOp) -> Scalar { return [](const double *x) { return -x[0]; }; })
      .Case([](nn::ExpOp) -> Scalar { return [](const double *x) { return std::exp(x[0]); }; })
      .Case([](nn::LogOp) -> Scalar { return [](const double *x) { return std::log(x[0]); }; })
      .Case([](nn::SqrtOp) -> Scalar { return [](const double *x) { return std::sqrt(x[0]); }; })
      .Case([](nn::RsqrtOp) -> Scalar { return [](const double *x) { return 1 / std::sqrt(x[0]); }; })
      .Case([](nn::AbsOp) -> Scalar { return [](const double *x) { return std::abs(x[0]); }; })
      .Case([](nn::SigmoidOp) -> Scalar { return [](const double *x) { return 1 / (1 + std::exp(-x[0])); }; })
      .Case([](nn::SoftplusOp) -> Scalar {
        return [](const double *x) {
          return orNan(x[0], 0, std::fmax(x[0], 0) + std::log1p(std::exp(-std::abs(x[0]))));
        };
      })
      .Case([](nn::TanhOp) -> Scalar { return [](const double *x) { return std::tanh(x[0]); }; })
      .Case([](nn::SinOp) -> Scalar { return [](const double *x) { return std::sin(x[0]); }; })
      .Case([](nn::CosOp) -> Scalar { return [](const double *x) { return std::cos(x[0]); }; })
      .Case([](nn::AngleOp op) -> Scalar {
        return [base = op.getBase().convertToDouble()](const double *x) {
          return std::remainder(x[0] * std::pow(base, x[1]), 2 * std::numbers::pi);
        };
      })
      .Case([](nn::IsFiniteOp) -> Scalar { return [](const double *x) { return std::isfinite(x[0]) ? 1.0 : 0.0; }; })
      .Case([](nn::StopGradientOp) -> Scalar { return [](const double *x) { return x[0]; }; })
      .Case([](nn::AddOp) -> Scalar { return [](const double *x) { return x[0] + x[1]; }; })
      .Case([](nn::SubOp) -> Scalar { return [](const double *x) { return x[0] - x[1]; }; })
      .Case([](nn::MulOp) -> Scalar { return [](const double *x) { return x[0] * x[1]; }; })
      .Case([](nn::DivOp) -> Scalar { return [](const double *x) { return x[0] / x[1]; }; })
      .Case([](nn::MaximumOp) -> Scalar {
        return [](const double *x) { return orNan(x[0], x[1], std::fmax(x[0], x[1])); };
      })
      .Case([](nn::MinimumOp) -> Scalar {
        return [](const double *x) { return orNan(x[0], x[1], std::fmin(x[0], x[1])); };
      })
      .Case([](nn::GreaterOp) -> Scalar { return [](const double *x) { return x[0] > x[1] ? 1.0 : 0.0; }; })
      .Case([](nn::EqualOp) -> Scalar { return [](const double *x) { return x[0] == x[1] ? 1.0 : 0.0; }; })
      .Case([](nn::SelectOp) -> Scalar { return [](const double *x) { return x[0] != 0 ? x[1] : x[2]; }; })
      .Case([](rec::ResetOp op) -> Scalar {
        return op.getInit() ? [](const double *x) { return x[1] != 0 ? x[2] : x[0]; }
                            : [](const double *x) { return x[1] != 0 ? 0.0 : x[0]; };
      })
      .Default([](Operation *) -> Scalar { return nullptr; });
}

/// The shape that run-time shapes broadcast to.
static FailureOr<std::vector<int64_t>> broadcastShape(Operation *op, Operands operands) {
  std::vector<int64_t> shape;
  for (const Tensor *t : operands)
    shape.resize(std::max(shape.size(), t->shape.size()), 1);
  shape.assign(shape.size(), 1);
  for (const Tensor *t : operands) {
    size_t missing = shape.size() - t->shape.size();
    for (size_t d = 0; d < t->shape.size(); ++d) {
      int64_t &size = shape[missing + d], own = t->shape[d];
      if (size != own && size != 1 && own != 1)
        return op->emitOpError("operands have run-time sizes ") << size << " and " << own << " in one dimension";
      if (own != 1)
        size = own;
    }
  }
  return shape;
}

namespace {
/// How an operand lies under the rows (last dimension) of the result.
struct Rows {
  const double *values;
  std::vector<int64_t> first; ///< Offset of each row.
  int64_t step;               ///< From one element to the next: 0 where one is repeated.

  Rows(const Tensor &t, const std::vector<int64_t> &shape) : values(t.values.data()) {
    auto own = rowMajorStrides(t.shape);
    std::vector<int64_t> strides(shape.size() - t.shape.size(), 0);
    for (size_t d = 0; d < own.size(); ++d)
      strides.push_back(t.shape[d] == 1 ? 0 : own[d]);
    step = strides.back();
    strides.pop_back();
    first = offsets({shape.begin(), shape.end() - 1}, strides);
  }
};
} // namespace

/// `y = f(x...)` in every place. The frequent ops come with their own `f`, so that it is inlined.
template <typename Fn>
static void forElements(ArrayRef<Rows> x, Tensor &y, Fn f) {
  const int64_t width = y.shape.back();
  double *to = y.values.data();
  for (size_t row = 0; row < x[0].first.size(); ++row) {
    const double *at[3] = {};
    for (size_t k = 0; k < x.size(); ++k)
      at[k] = x[k].values + x[k].first[row];
    for (int64_t d = 0; d < width; ++d)
      *to++ = f(at, x, d);
  }
}

FailureOr<Tensor> reference::evaluateElementwise(Operation *op, Operands operands, bool &isKnown) {
  Scalar scalar = scalarOf(op);
  isKnown = scalar != nullptr;
  if (!isKnown)
    return failure();
  auto shape = broadcastShape(op, operands);
  if (failed(shape))
    return failure();
  Tensor result = Tensor::zeros(*shape);
  if (shape->empty()) {
    double x[3];
    for (auto [k, t] : llvm::enumerate(operands))
      x[k] = t->values[0];
    result.values[0] = scalar(x);
    return result;
  }
  SmallVector<Rows, 3> x;
  for (const Tensor *t : operands)
    x.emplace_back(*t, *shape);
  using At = const double *const *;
  if (isa<nn::AddOp>(op))
    forElements(x, result, [](At at, ArrayRef<Rows> x, int64_t d) { return at[0][d * x[0].step] + at[1][d * x[1].step]; });
  else if (isa<nn::MulOp>(op))
    forElements(x, result, [](At at, ArrayRef<Rows> x, int64_t d) { return at[0][d * x[0].step] * at[1][d * x[1].step]; });
  else
    forElements(x, result, [&](At at, ArrayRef<Rows> x, int64_t d) {
      double place[3];
      for (size_t k = 0; k < x.size(); ++k)
        place[k] = at[k][d * x[k].step];
      return scalar(place);
    });
  return result;
}
