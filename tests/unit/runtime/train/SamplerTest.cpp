//===- SamplerTest.cpp ------------------------------------------*- C++ -*-===//
// Frequencies, the nucleus, determinism, and text from a model.
//===----------------------------------------------------------------------===//
#include "runtime/train/Sampler.h"
#include "runtime/core/Error.h"
#include "runtime/train/Generate.h"
#include "tests/unit/runtime/BigramModel.h"

#include <gtest/gtest.h>

using namespace tidegate::train;
using tidegate::runtime::RuntimeError;

TEST(SamplerTest, ZeroTemperatureTakesTheLikeliest) {
  std::vector<double> logits = {0, 3, 3, -1};
  for (uint64_t i = 0; i < 20; ++i)
    EXPECT_EQ(sampleToken(logits, {0, 1, 5}, i), 1) << "equal logits rank by id";
}

TEST(SamplerTest, FrequenciesFollowTheDistribution) {
  std::vector<double> logits = {std::log(0.5), std::log(0.3), std::log(0.2)};
  int counts[3] = {}, sharp[3] = {};
  for (uint64_t i = 0; i < 20000; ++i) {
    ++counts[sampleToken(logits, {1, 1, 9}, i)];
    ++sharp[sampleToken(logits, {0.5, 1, 9}, i)];
  }
  EXPECT_NEAR(counts[0] / 20000.0, 0.5, 0.015);
  EXPECT_NEAR(counts[1] / 20000.0, 0.3, 0.015);
  EXPECT_NEAR(sharp[0] / 20000.0, 0.25 / 0.38, 0.015) << "temperature 1/2 squares the probabilities";
}

TEST(SamplerTest, TopPCutsTheTail) {
  std::vector<double> logits = {std::log(0.2), std::log(0.5), std::log(0.3)};
  int counts[3] = {};
  for (uint64_t i = 0; i < 5000; ++i)
    ++counts[sampleToken(logits, {1, 0.6, 9}, i)];
  EXPECT_EQ(counts[0], 0);
  EXPECT_NEAR(counts[1] / 5000.0, 0.625, 0.03);
}

TEST(SamplerTest, DependsOnSeedAndPosition) {
  std::vector<double> flat(64, 0.0);
  EXPECT_EQ(sampleToken(flat, {1, 1, 1}, 5), sampleToken(flat, {1, 1, 1}, 5));
  bool differs = false;
  for (uint64_t i = 0; i < 8; ++i)
    differs |= sampleToken(flat, {1, 1, 1}, i) != sampleToken(flat, {1, 1, 2}, i);
  EXPECT_TRUE(differs);
}

TEST(SamplerTest, NeverTakesImpossibleTokens) {
  std::vector<double> logits = {-INFINITY, 0, -INFINITY};
  for (uint64_t i = 0; i < 50; ++i)
    EXPECT_EQ(sampleToken(logits, {2, 1, 3}, i), 1);
  std::vector<double> none(3, -INFINITY), bad = {0, NAN};
  EXPECT_THROW(sampleToken(none, {}, 0), RuntimeError);
  EXPECT_THROW(sampleToken(bad, {}, 0), RuntimeError);
}

TEST(GenerateTest, FollowsTheModelAndStopsAtTheEnd) {
  tidegate::test::BigramModel<float> model(272);
  auto table = model.parameter(0).as<float>();
  auto leads = [&](int from, int to) { table[from * 272 + to] = 50; };
  leads('a', 'b'), leads('b', 'c'), leads('c', 257), leads('\n', 'z'), leads('z', 'z');
  for (int id = 0; id < 256; ++id)
    table[id * 272 + 260] = 90; // Padding of the vocabulary is never drawn.
  std::string streamed;
  const tidegate::data::TextCodec bytes{tidegate::data::makeByteTokenizer(), false};
  EXPECT_EQ(generateText(model, bytes, "xa", 10, {0, 1, 0}, [&](std::string_view s) { streamed += s; }), "bc");
  EXPECT_EQ(streamed, "bc");
  EXPECT_EQ(generateText(model, bytes, "", 4, {0, 1, 0}), "zzzz");
  leads(256, 'a'), table['b' * 272 + 256] = 60; // Where texts begin with a token, it also says that one is over.
  EXPECT_EQ(generateText(model, {bytes.tokenizer, true}, "", 4, {0, 1, 0}), "ab");
  tidegate::test::BigramModel<float> narrow(64);
  EXPECT_THROW(generateText(narrow, bytes, "a", 1, {}), RuntimeError);
}
