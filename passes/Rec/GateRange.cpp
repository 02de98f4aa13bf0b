//===- GateRange.cpp - Bounds of a gate from its expression -----*- C++ -*-===//
// Interval arithmetic on the graph. Two uses of one value count as independent,
// except as factors of one product and in x - x; bounds are safe, not tight.
//===----------------------------------------------------------------------===//
#include "passes/Rec/GateRange.h"

#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/TypeSwitch.h"

#include <algorithm>
#include <cmath>
#include <numbers>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Interval unite(Interval x, Interval y) { return {std::min(x.low, y.low), std::max(x.high, y.high)}; }
Interval negated(Interval x) { return {-x.high, -x.low}; }
Interval sum(Interval x, Interval y) { return {x.low + y.low, x.high + y.high}; }

/// Values are finite, so 0 times anything is 0.
Interval product(Interval x, Interval y) {
  auto times = [](double a, double b) { return a == 0 || b == 0 ? 0.0 : a * b; };
  auto [low, high] = std::minmax({times(x.low, y.low), times(x.low, y.high), times(x.high, y.low),
                                  times(x.high, y.high)});
  return {low, high};
}

Interval absolute(Interval x) {
  if (x.low >= 0)
    return x;
  return x.high <= 0 ? negated(x) : Interval{0, std::max(-x.low, x.high)};
}

/// Powers of a value, which are at least 0 where `count` is even.
Interval power(Interval x, int count) {
  Interval result = count % 2 ? x : Interval{1, 1}, size = absolute(x);
  for (int i = 0; i < count / 2; ++i)
    result = product(result, product(size, size));
  return result;
}

Interval inverse(Interval x) {
  if (x.low > 0 || x.high < 0)
    return {1 / x.high, 1 / x.low};
  if (x.low == 0) // A quotient by 0 is infinite, not negative.
    return {1 / x.high, kInfinity};
  return {};
}

/// Under a function that does not fall.
template <typename F>
Interval rising(Interval x, F f) {
  return {f(x.low), f(x.high)};
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double logOrLowest(double x) { return x > 0 ? std::log(x) : -kInfinity; }

/// A sum of `count` elements of a range.
Interval repeated(Interval x, double count) {
  auto times = [&](double a) { return a == 0 || count == 0 ? 0 : a * count; };
  return {times(x.low), times(x.high)};
}
} // namespace

Interval rec::logOfRange(Interval x) { return rising(absolute(x), logOrLowest); }

Interval RangeAnalysis::rangeOf(Value value) {
  auto found = known.find(value);
  if (found != known.end())
    return found->second;
  Interval range = compute(value);
  if (std::isnan(range.low) || std::isnan(range.high)) // infinity less infinity
    range = {};
  known[value] = range;
  return range;
}

Interval RangeAnalysis::rangeOfProduct(ArrayRef<Value> factors) {
  unsigned splits = 16; // Squares of squares of ... have too many factors.
  SmallVector<Value> open(factors);
  llvm::MapVector<Value, int> counts;
  Interval range{1, 1};
  while (!open.empty()) {
    Value factor = open.pop_back_val();
    auto mul = factor.getDefiningOp<nn::MulOp>();
    if (auto neg = factor.getDefiningOp<nn::NegOp>()) {
      range = negated(range);
      open.push_back(neg.getInput());
    } else if (mul && splits > 0) {
      --splits;
      open.append({mul.getLhs(), mul.getRhs()});
    } else {
      ++counts[factor];
    }
  }
  for (auto [factor, count] : counts)
    range = product(range, power(rangeOf(factor), count));
  return range;
}

Interval RangeAnalysis::compute(Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value))
    if (auto scan = dyn_cast_or_null<ScanOp>(argument.getOwner()->getParentOp());
        scan && argument.getArgNumber() < scan.getInputs().size())
      return rangeOf(scan.getInputs()[argument.getArgNumber()]);
  if (auto output = dyn_cast<OpResult>(value))
    if (auto scan = dyn_cast<ScanOp>(output.getOwner()); scan && output.getResultNumber() < scan.getNumOutputs())
      return rangeOf(scan.getBody().front().getTerminator()->getOperand(output.getResultNumber()));
  Operation *op = value.getDefiningOp();
  if (!op || op->getNumResults() != 1)
    return {};
  auto of = [&](unsigned i) { return rangeOf(op->getOperand(i)); };
  return llvm::TypeSwitch<Operation *, Interval>(op)
      .Case([](nn::ConstantOp c) {
        double x = c.getValue().convertToDouble();
        return Interval{x, x};
      })
      .Case([&](nn::NegOp) { return negated(of(0)); })
      .Case([&](nn::ExpOp) { return rising(of(0), [](double x) { return std::exp(x); }); })
      .Case([&](nn::LogOp) { return rising(of(0), logOrLowest); })
      .Case([&](nn::SqrtOp) { return rising(of(0), [](double x) { return std::sqrt(std::max(x, 0.0)); }); })
      .Case([&](nn::RsqrtOp) {
        Interval x = of(0);
        return Interval{1 / std::sqrt(std::max(x.high, 0.0)), x.low > 0 ? 1 / std::sqrt(x.low) : kInfinity};
      })
      .Case([&](nn::AbsOp) { return absolute(of(0)); })
      .Case([&](nn::SigmoidOp) { return rising(of(0), sigmoid); })
      .Case([&](nn::SoftplusOp) { return rising(of(0), softplus); })
      .Case([&](nn::TanhOp) { return rising(of(0), [](double x) { return std::tanh(x); }); })
      .Case<nn::SinOp, nn::CosOp>([](auto) { return Interval{-1, 1}; })
      .Case([](nn::AngleOp) { return Interval{-std::numbers::pi, std::numbers::pi}; })
      .Case<nn::GreaterOp, nn::EqualOp, nn::IsFiniteOp>([](auto) { return Interval{0, 1}; })
      .Case<nn::StopGradientOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::BroadcastLikeOp, nn::ReduceMaxOp>(
          [&](auto) { return of(0); })
      .Case([&](nn::PadOp) { return unite(of(0), {0, 0}); })
      .Case([&](nn::AddOp) { return sum(of(0), of(1)); })
      .Case([&](nn::SubOp) {
        return op->getOperand(0) == op->getOperand(1) ? Interval{0, 0} : sum(of(0), negated(of(1)));
      })
      .Case([&](nn::MulOp) { return rangeOfProduct({op->getOperand(0), op->getOperand(1)}); })
      .Case([&](nn::DivOp) { return product(of(0), inverse(of(1))); })
      .Case([&](nn::MaximumOp) {
        Interval x = of(0), y = of(1);
        return Interval{std::max(x.low, y.low), std::max(x.high, y.high)};
      })
      .Case([&](nn::MinimumOp) {
        Interval x = of(0), y = of(1);
        return Interval{std::min(x.low, y.low), std::min(x.high, y.high)};
      })
      .Case([&](nn::SelectOp) {
        Interval condition = of(0);
        if (condition.low > 0 || condition.high < 0)
          return of(1);
        return condition == Interval{0, 0} ? of(2) : unite(of(1), of(2));
      })
      .Case([&](nn::ReduceSumOp reduce) {
        auto from = cast<RankedTensorType>(reduce.getInput().getType());
        double least = 1, most = 1; // A run-time size is anything from 0.
        for (int64_t d : reduce.getDims()) {
          least *= from.isDynamicDim(d) ? 0 : from.getDimSize(d);
          most *= from.isDynamicDim(d) ? kInfinity : from.getDimSize(d);
        }
        return unite(repeated(of(0), least), repeated(of(0), most));
      })
      .Default([](Operation *) { return Interval(); });
}
