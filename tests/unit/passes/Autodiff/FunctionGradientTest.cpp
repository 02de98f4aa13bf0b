//===- FunctionGradientTest.cpp - Gradients of whole functions ------------===//
#include "GradientCheck.h"
#include "passes/Autodiff/Gradient.h"

#include "mlir/IR/Verifier.h"

#include <cmath>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::test;

/// A model of two layers that share one function: norm, product, scan, residual.
static const char *const kModel = R"(
  func.func private @mix(%x: tensor<?x?x4xf64>) -> tensor<?x?x4xf64> {
    %h = nn.reshape %x : tensor<?x?x4xf64> -> tensor<?x?x2x2xf64>
    %a = nn.sigmoid %h : tensor<?x?x2x2xf64>
    %o, %s = rec.scan chunk 1 (%a, %h : tensor<?x?x2x2xf64>, tensor<?x?x2x2xf64>)
        kinds [0, 0] out_kinds [0] states 1 {
    ^bb0(%at: tensor<2xf64>, %ht: tensor<2xf64>, %S: tensor<2xf64>):
      %d = nn.mul %at, %S : tensor<2xf64>, tensor<2xf64>
      %next = nn.add %d, %ht : tensor<2xf64>, tensor<2xf64>
      rec.yield %next, %next : tensor<2xf64>, tensor<2xf64>
    } -> tensor<?x?x2x2xf64>, tensor<?x2x2xf64>
    %y = nn.reshape %o : tensor<?x?x2x2xf64> -> tensor<?x?x4xf64>
    return %y : tensor<?x?x4xf64>
  }
  func.func private @layer(%x: tensor<?x?x4xf64>, %w: tensor<4x4xf64>, %g: tensor<4xf64>)
      -> (tensor<?x?x4xf64>, tensor<?x?x4xf64>) {
    %eps = nn.constant 0.001 : tensor<f64>
    %sq = nn.mul %x, %x : tensor<?x?x4xf64>, tensor<?x?x4xf64>
    %ss = nn.reduce_sum %sq [2] : tensor<?x?x4xf64>
    %me = nn.add %ss, %eps : tensor<?x?x1xf64>, tensor<f64>
    %r = nn.rsqrt %me : tensor<?x?x1xf64>
    %n = nn.mul %x, %r : tensor<?x?x4xf64>, tensor<?x?x1xf64>
    %ng = nn.mul %n, %g : tensor<?x?x4xf64>, tensor<4xf64>
    %k = nn.dot %ng, %w contract [2] x [1] : tensor<?x?x4xf64>, tensor<4x4xf64>
    %o = call @mix(%k) : (tensor<?x?x4xf64>) -> tensor<?x?x4xf64>
    %y = nn.add %o, %x : tensor<?x?x4xf64>, tensor<?x?x4xf64>
    return %y, %k : tensor<?x?x4xf64>, tensor<?x?x4xf64>
  }
  func.func @model(%ids: tensor<?x?xi32> {test.ids = 6 : i64}, %e: tensor<6x4xf64>, %w: tensor<4x4xf64>,
                   %g0: tensor<4xf64>, %g1: tensor<4xf64>, %unused: tensor<3xf64>) -> tensor<?x?x6xf64> {
    %x0 = nn.lookup %e, %ids : tensor<6x4xf64>, tensor<?x?xi32> -> tensor<?x?x4xf64>
    %x1, %k1 = call @layer(%x0, %w, %g0) : (tensor<?x?x4xf64>, tensor<4x4xf64>, tensor<4xf64>) -> (tensor<?x?x4xf64>, tensor<?x?x4xf64>)
    %x2, %k2 = call @layer(%x1, %w, %g1) : (tensor<?x?x4xf64>, tensor<4x4xf64>, tensor<4xf64>) -> (tensor<?x?x4xf64>, tensor<?x?x4xf64>)
    %z = nn.dot %x2, %e contract [2] x [1] : tensor<?x?x4xf64>, tensor<6x4xf64>
    return %z : tensor<?x?x6xf64>
  })";

TEST(FunctionGradientTest, CallsAreFollowed) {
  for (int seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Trial trial(seed);
    Module m(kModel);
    ASSERT_TRUE(m.module) << m.errors;
    expectGradientOf(m.function("model"), trial, 2);
  }
}

/// Gradients of the model's mean loss with some calls run again, checked against differences.
static Tensors lossGradients(int64_t recomputedCalls, int seed, bool check) {
  Trial trial(seed);
  Module m(kModel);
  EXPECT_TRUE(m.module) << m.errors;
  auto made = autodiff::buildLossAndGradients(m.function("model"), {recomputedCalls});
  EXPECT_TRUE(succeeded(made)) << m.errors;
  EXPECT_TRUE(succeeded(verify(*m.module))) << m.errors;
  Tensors arguments{trial.argument(m.function("model"), 0), trial.argument(m.function("model"), 0)};
  for (unsigned i = 1; i < m.function("model").getNumArguments(); ++i)
    arguments.push_back(trial.argument(m.function("model"), i));
  Tensors results = m.run("loss_and_grads", arguments);
  EXPECT_EQ(results.size(), arguments.size() - 1);

  // The loss is the sum over the count, which @loss gives for evaluation.
  auto mean = [&](const Tensors &x) {
    Tensors parts = m.run("loss", x);
    return Tensors{numbers({}, {parts.at(0).values[0] / std::max(parts.at(1).values[0], 1.0)})};
  };
  double count = 0;
  for (int32_t label : arguments[1].ids)
    count += label >= 0;
  EXPECT_EQ(m.run("loss", arguments).at(1).values[0], count);
  EXPECT_EQ(results[0].values[0], mean(arguments)[0].values[0]);
  Tensors gradients(results.begin() + 1, results.end());
  if (check)
    expectSlope(mean, arguments, {numbers({}, {1})}, gradients, trial);
  return gradients;
}

TEST(FunctionGradientTest, LossOfAModel) {
  for (int seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    lossGradients(0, seed, /*check=*/true);
  }
}

TEST(FunctionGradientTest, PoliciesAgreeToTheBit) {
  Tensors none = lossGradients(0, 7, /*check=*/false);
  for (int64_t recomputed : {int64_t(1), autodiff::AutodiffOptions::kAllCalls}) {
    Tensors some = lossGradients(recomputed, 7, /*check=*/true);
    ASSERT_EQ(none.size(), some.size());
    for (size_t i = 0; i < none.size(); ++i)
      EXPECT_EQ(none[i].values, some[i].values) << "weight " << i << ", " << recomputed << " calls run again";
  }
}

TEST(FunctionGradientTest, LossIsTheCrossEntropyOfTheLogits) {
  Module m(R"(func.func @model(%ids: tensor<?x?xi32>, %t: tensor<2x3xf64>) -> tensor<?x?x3xf64> {
    %z = nn.lookup %t, %ids : tensor<2x3xf64>, tensor<?x?xi32> -> tensor<?x?x3xf64>
    return %z : tensor<?x?x3xf64>
  })");
  ASSERT_TRUE(m.module) << m.errors;
  ASSERT_TRUE(succeeded(autodiff::buildLossAndGradients(m.function("model"))));
  // Logits so far apart that exp would overflow without the shift; one label is ignored.
  Tensors arguments{indices({1, 3}, {0, 1, 0}), indices({1, 3}, {2, 0, -100}), numbers({2, 3}, {0, 0, 0, 1000, 0, 0})};
  auto parts = m.run("loss", arguments);
  expectNear(parts.at(0), {}, {std::log(3.0)});
  expectNear(parts.at(1), {}, {2});
  auto results = m.run("loss_and_grads", arguments);
  expectNear(results.at(0), {}, {std::log(3.0) / 2});
  expectNear(results.at(1), {2, 3}, {1. / 6, 1. / 6, -1. / 3, 0, 0, 0});
}

TEST(FunctionGradientTest, AllLabelsIgnoredGiveZero) {
  Module m(kModel);
  ASSERT_TRUE(m.module) << m.errors;
  ASSERT_TRUE(succeeded(autodiff::buildLossAndGradients(m.function("model"))));
  Trial trial(3);
  Tensors arguments{trial.argument(m.function("model"), 0)};
  arguments.push_back(arguments[0]);
  std::fill(arguments[1].ids.begin(), arguments[1].ids.end(), -100);
  for (unsigned i = 1; i < m.function("model").getNumArguments(); ++i)
    arguments.push_back(trial.argument(m.function("model"), i));
  for (const reference::Tensor &result : m.run("loss_and_grads", arguments))
    for (double value : result.values)
      EXPECT_EQ(value, 0.0);
}

TEST(FunctionGradientTest, AGradientIsMadeOnce) {
  Module m(kModel);
  ASSERT_TRUE(m.module) << m.errors;
  auto first = autodiff::buildGradient(m.function("layer"));
  auto second = autodiff::buildGradient(m.function("layer"));
  ASSERT_TRUE(succeeded(first) && succeeded(second));
  EXPECT_EQ(first->backward, second->backward);
  EXPECT_EQ(first->arguments, second->arguments);
  EXPECT_EQ(first->results, second->results);
  EXPECT_EQ(first->numResults, second->numResults);
}
