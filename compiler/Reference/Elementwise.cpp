//===- Elementwise.cpp - Scalar meaning of element-wise ops -----*- C++ -*-===//
// The formulas of the documentation with the functions of <cmath>, written
// independently of the rules that code generation uses.
//===----------------------------------------------------------------------===//
#include "compiler/Reference/Meaning.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::reference;

/// A function of the operands' elements at one place.
using Scalar = double (*)(const double *);

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

FailureOr<Tensor> reference::evaluateElementwise(Operation *op, Operands operands, bool &isKnown) {
  Scalar scalar = scalarOf(op);
  isKnown = scalar != nullptr;
  if (!isKnown)
    return failure();
  auto shape = broadcastShape(op, operands);
  if (failed(shape))
    return failure();
  Tensor result = Tensor::zeros(*shape);
  std::vector<std::vector<int64_t>> at;
  for (const Tensor *t : operands)
    at.push_back(t->shape == result.shape ? std::vector<int64_t>() : broadcastOffsets(t->shape, result.shape));
  double x[3];
  for (size_t i = 0; i < result.values.size(); ++i) {
    for (size_t k = 0; k < operands.size(); ++k)
      x[k] = operands[k]->values[at[k].empty() ? i : at[k][i]];
    result.values[i] = scalar(x);
  }
  return result;
}
