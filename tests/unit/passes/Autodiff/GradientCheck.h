//===- GradientCheck.h - Derived gradients against differences --*- C++ -*-===//
#pragma once

#include "tests/unit/compiler/Reference/Run.h"

#include <functional>
#include <random>

namespace tidegate::test {

/// Run-time sizes and numbers of one trial, a function of its seed.
class Trial {
public:
  explicit Trial(uint64_t seed) : random(seed), batch(integer(1, 3)), time(integer(1, 9)) {}

  int64_t integer(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); }
  double number(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random); }
  /// Replaces `$K` and other `$` names by random sizes, the same one per name.
  std::string withSizes(std::string text);
  /// A random value of the function's argument. Run-time sizes are `batch`, then
  /// `time` (`ceil(time / N)` with `test.chunk = N`). The argument says its domain:
  /// - test.range = [low, high] (default [-1, 1]);
  /// - test.apart = x: multiples of 0.1 plus x in random order, all different;
  /// - test.falls = [p...]: cumulative log decays of events at these places of a token;
  /// - test.ids = n: ids in 0..n-1, one in five -100.
  reference::Tensor argument(mlir::func::FuncOp f, unsigned index);
  reference::Tensor likeRandom(const reference::Tensor &tensor);

  std::mt19937_64 random;
  int64_t batch, time;
};

/// Differentiates `@f` of `text` and compares, for several seeds, its
/// vector-Jacobian products with directional central differences of @f
/// (fourth order, step 1e-3): along a direction in each float argument, and in
/// all of them. Bound: 1e-6 relative. The forward must return what @f returns.
/// `order` 2 does the same with the function that maps arguments and
/// cotangents to the gradient.
void expectGradient(const std::string &text, int order = 1, int seeds = 3);

using Tensors = std::vector<reference::Tensor>;

/// The same for a function of a module, at random arguments or given ones.
void expectGradientOf(mlir::func::FuncOp f, Trial &trial, int order = 1);
void expectGradientAt(mlir::func::FuncOp f, const Tensors &arguments, Trial &trial, int order = 1);

/// Compares `gradients`, one per float argument, with differences of the inner
/// product of `value(arguments)` with `seeds`.
using Function = std::function<Tensors(const Tensors &)>;
void expectSlope(const Function &value, const Tensors &arguments, const Tensors &seeds, const Tensors &gradients,
                 Trial &trial);

/// The inner product over the values of all tensors.
double inner(const Tensors &a, const Tensors &b);

} // namespace tidegate::test
