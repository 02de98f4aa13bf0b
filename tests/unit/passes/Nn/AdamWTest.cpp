//===- AdamWTest.cpp - The optimiser against a plain loop -------*- C++ -*-===//
#include "passes/Nn/AdamW.h"

#include "ir/Nn/NnOps.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Nn/Passes.h"
#include "tests/unit/compiler/Reference/Run.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace mlir;
using namespace tidegate;
using reference::Tensor;

namespace {
constexpr int64_t kRows = 3, kWidth = 1024;

struct Config {
  double lr = 0.02, weightDecay = 0.1, beta1 = 0.9, beta2 = 0.95, eps = 1e-15, maxNorm = 1;
};

/// Weights, gradients and moments of one run; the middle row does not decay.
struct State {
  Tensor p = Tensor::zeros({kRows, kWidth}), g = p, m = p, v = p;
  Tensor decay = test::numbers({kRows, 1}, {1, 0, 1});

  explicit State(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < kRows * kWidth; ++i) {
      p.values[i] = normal(random);
      g.values[i] = normal(random);
      m.values[i] = 0.1 * normal(random);
      v.values[i] = std::abs(normal(random));
    }
  }

  /// One update at Adam's step t, element by element.
  void update(const Config &c, int t) {
    double norm2 = 0;
    for (double x : g.values)
      norm2 += x * x;
    double norm = std::sqrt(norm2);
    if (!std::isfinite(norm))
      return;
    double clip = c.maxNorm > 0 ? std::min(1.0, c.maxNorm / (norm + 1e-6)) : 1;
    for (int64_t i = 0; i < kRows * kWidth; ++i) {
      double grad = g.values[i] * clip;
      p.values[i] *= 1 - c.lr * c.weightDecay * decay.values[i / kWidth];
      m.values[i] = c.beta1 * m.values[i] + (1 - c.beta1) * grad;
      v.values[i] = c.beta2 * v.values[i] + (1 - c.beta2) * grad * grad;
      double mean = m.values[i] / (1 - std::pow(c.beta1, t));
      double deviation = std::sqrt(v.values[i]) / std::sqrt(1 - std::pow(c.beta2, t));
      p.values[i] -= c.lr * mean / (deviation + c.eps);
    }
  }
};

struct Optimiser {
  test::Module holder{"module {}"};

  Optimiser() { nn::buildAdamW(*holder.module, Float64Type::get(&holder.context)); }

  std::vector<Tensor> update(const State &s, const Config &c, int t) {
    auto norm2 = holder.run("grad_norm", {s.g});
    if (norm2.empty())
      return {};
    std::vector<Tensor> arguments{s.p, s.g, s.m, s.v, s.decay};
    for (double x :
         {c.lr, c.weightDecay, c.beta1, c.beta2, c.eps, c.maxNorm, 1 - std::pow(c.beta1, t), 1 - std::pow(c.beta2, t)})
      arguments.push_back(test::numbers({}, {x}));
    arguments.push_back(norm2[0]);
    return holder.run("adamw", arguments);
  }
  bool fuse() {
    PassManager manager(&holder.context);
    manager.addNestedPass<func::FuncOp>(nn::createFuseRows());
    return succeeded(manager.run(*holder.module));
  }
};

void expectState(const std::vector<Tensor> &got, const State &want) {
  ASSERT_EQ(got.size(), 3u);
  test::expectNear(got[0], want.p.shape, want.p.values);
  test::expectNear(got[1], want.m.shape, want.m.values);
  test::expectNear(got[2], want.v.shape, want.v.values);
}

/// Runs the built function on a copy of `state` and the loop on `state`.
void expectUpdate(State state, const Config &config, int t) {
  Optimiser optimiser;
  auto got = optimiser.update(state, config, t);
  state.update(config, t);
  expectState(got, state);
}
} // namespace

TEST(AdamWTest, FirstStepClips) { expectUpdate(State(1), Config(), 1); }

TEST(AdamWTest, LaterStepBelowTheMaximum) {
  Config config;
  config.maxNorm = 1000;
  expectUpdate(State(2), config, 7);
}

TEST(AdamWTest, NoMaximum) {
  Config config;
  config.maxNorm = 0;
  expectUpdate(State(3), config, 2);
}

TEST(AdamWTest, WeightsDecayBeforeTheStep) {
  State state(4);
  std::fill(state.g.values.begin(), state.g.values.end(), 0);
  std::fill(state.m.values.begin(), state.m.values.end(), 0);
  Optimiser optimiser;
  auto got = optimiser.update(state, Config(), 1);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_DOUBLE_EQ(got[0].values[0], state.p.values[0] * (1 - 0.02 * 0.1));
  EXPECT_DOUBLE_EQ(got[0].values[kWidth], state.p.values[kWidth]);
}

TEST(AdamWTest, GradientsThatAreNotFiniteChangeNothing) {
  for (double bad : {double(NAN), double(INFINITY), -double(INFINITY), 1e200}) {
    State state(5);
    state.g.values[2000] = bad;
    Optimiser optimiser;
    expectState(optimiser.update(state, Config(), 3), state);
    ASSERT_TRUE(optimiser.fuse());
    expectState(optimiser.update(state, Config(), 3), state);
  }
}

TEST(AdamWTest, FusesIntoOneMap) {
  Optimiser optimiser;
  State state(6);
  auto before = optimiser.update(state, Config(), 5);
  ASSERT_TRUE(optimiser.fuse()) << optimiser.holder.errors;
  for (const char *name : {"adamw", "grad_norm"}) {
    Block &body = optimiser.holder.function(name).getBody().front();
    EXPECT_EQ(llvm::range_size(body.getOps<nn::MapOp>()), 1u) << name;
  }
  state.update(Config(), 5);
  expectState(before, state);
  expectState(optimiser.update(State(6), Config(), 5), state);
}
