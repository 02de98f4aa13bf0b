//===- RecomputeTest.cpp ----------------------------------------*- C++ -*-===//
// Layers that are run again in the backward save memory, cost work, and change
// no bit.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "tests/unit/driver/TinyModels.h"
#include "tests/unit/runtime/TestFiles.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

using namespace tidegate;
using namespace tidegate::test;

namespace {
PlanReport planned(int64_t layers) {
  CompileOptions options;
  options.recomputedLayers = layers;
  return planModel(tinyGla("4"), 4, 64, options);
}
} // namespace

TEST(RecomputeTest, EachLayerRunAgainSavesMemoryAndCostsWork) {
  PlanReport before = planned(0);
  EXPECT_EQ(before.layers, 4);
  EXPECT_EQ(nlohmann::json::parse(before.json)["recomputed_layers"], 0);
  for (int64_t layers = 1; layers <= 4; ++layers) {
    PlanReport after = planned(layers);
    // The last layer is needed at once: running it again saves nothing.
    if (layers < 4)
      EXPECT_LT(after.peakBytes, before.peakBytes) << layers;
    EXPECT_GT(after.flops, before.flops) << layers;
    before = after;
  }
  EXPECT_EQ(planned(CompileOptions::kAllLayers).peakBytes, before.peakBytes);
  EXPECT_EQ(nlohmann::json::parse(planned(CompileOptions::kAllLayers).json)["recomputed_layers"], 4);
}

TEST(RecomputeTest, AsFewLayersAsTheMemoryAsksFor) {
  CompileOptions options;
  auto layers = [&](int64_t bytes) { return layersToRecompute(tinyGla("4"), 4, 64, options, 1, bytes); };
  EXPECT_EQ(layers(planned(0).peakBytes), 0);
  EXPECT_EQ(layers(planned(0).peakBytes - 1), 1);
  EXPECT_EQ(layers(planned(2).peakBytes), 2);
  EXPECT_EQ(layers(planned(2).peakBytes - 1), 3);
  EXPECT_NE(messageOf<runtime::RuntimeError>([&] { layers(1000); }).find("with all 4 layers run again"),
            std::string::npos);
}

TEST(RecomputeTest, TheSameBits) {
  RandomTokens tokens(2, 40, 40);
  CompileOptions keep, again;
  again.recomputedLayers = 1;
  auto a = initialised(tinyGla("2"), keep), b = initialised(tinyGla("2"), again);
  for (int64_t step = 1; step <= 2; ++step) {
    train::StepConfig config;
    config.step = step;
    EXPECT_EQ(a->trainStep(tokens.all(), config).loss, b->trainStep(tokens.all(), config).loss);
  }
  for (size_t p = 0; p < a->parameters().size(); ++p)
    EXPECT_TRUE(std::ranges::equal(a->parameter(p).bytes(), b->parameter(p).bytes())) << a->parameters()[p].name;
}

TEST(RecomputeTest, MicroBatchesNeedASecondSetOfGradients) {
  PlanReport one = planModel(tinyGla("1"), 4, 64, {}), two = planModel(tinyGla("1"), 4, 64, {}, 2);
  EXPECT_EQ(two.flops, 2 * one.flops);
  EXPECT_EQ(two.classBytes[1].second, 2 * one.classBytes[1].second);
}
