//===- AccumulationTest.cpp -------------------------------------*- C++ -*-===//
// Micro-batches equal one large batch, up to the order of sums.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "tests/unit/driver/TinyModels.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::test;

namespace {
/// Largest difference over all weights, and over all gradients.
double worst(train::Model &a, train::Model &b, bool gradients) {
  double result = 0;
  for (size_t p = 0; p < a.parameters().size(); ++p) {
    auto x = gradients ? a.gradient(p) : a.parameter(p), y = gradients ? b.gradient(p) : b.parameter(p);
    for (int64_t i = 0; i < x.elements; ++i)
      result = std::max(result, std::abs(x.get(i) - y.get(i)));
  }
  return result;
}
} // namespace

TEST(AccumulationTest, MicroBatchesEqualOneBatch) {
  CompileOptions options;
  options.precision = Precision::F64;
  auto whole = initialised(tinyGla(), options), parts = initialised(tinyGla(), options);
  RandomTokens tokens(6, 20, 40);
  train::StepConfig config;
  for (config.step = 1; config.step <= 3; ++config.step) {
    train::TokenBatch all = tokens.all(), micro[] = {tokens.rows(0, 2), tokens.rows(2, 2), tokens.rows(4, 2)};
    train::StepResult one = whole->trainStep(all, config), three = parts->trainStep(micro, config);
    EXPECT_NEAR(one.loss, three.loss, 1e-12);
    EXPECT_NEAR(one.gradNorm, three.gradNorm, 1e-12 * one.gradNorm);
    EXPECT_LT(worst(*whole, *parts, true), 1e-14);
  }
  EXPECT_LT(worst(*whole, *parts, false), 1e-8) << "AdamW divides small differences by small gradients";
}

TEST(AccumulationTest, MeansOfMeansAndTheSameBitsEachTime) {
  CompileOptions options;
  auto a = initialised(tinyGla(), options), b = initialised(tinyGla(), options);
  RandomTokens tokens(3, 20, 40);
  tokens.labels[1] = tokens.labels[2] = train::kIgnoredLabel; // The first micro-batch has fewer labels.
  const double first = a->evalLoss(tokens.rows(0, 1)).loss, second = a->evalLoss(tokens.rows(1, 2)).loss;
  train::TokenBatch micro[] = {tokens.rows(0, 1), tokens.rows(1, 2)};
  train::StepConfig config;
  EXPECT_NEAR(a->trainStep(micro, config).loss, (first + second) / 2, 1e-6);
  b->trainStep(micro, config);
  EXPECT_EQ(worst(*a, *b, false), 0);
}

TEST(AccumulationTest, ANonFiniteMicroBatchSkipsTheStep) {
  CompileOptions options;
  auto model = initialised(tinyGla(), options), before = initialised(tinyGla(), options);
  RandomTokens tokens(2, 20, 40);
  train::TokenBatch micro[] = {tokens.rows(0, 1), tokens.rows(1, 1)};
  for (auto *m : {model.get(), before.get()})
    for (int64_t i = 0; i < m->parameter(0).elements; i += 32)
      m->parameter(0).set(i, INFINITY);
  EXPECT_TRUE(model->trainStep(micro, {}).skipped);
  EXPECT_TRUE(std::ranges::equal(model->parameter(1).bytes(), before->parameter(1).bytes()));
  EXPECT_THROW(model->trainStep(std::span<const train::TokenBatch>(), {}), runtime::RuntimeError);
}
