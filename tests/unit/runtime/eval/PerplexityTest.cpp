//===- PerplexityTest.cpp ---------------------------------------*- C++ -*-===//
// Windows, the hand-computed sum, and its independence of the batch.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/eval/Perplexity.h"
#include "runtime/train/Init.h"
#include "tests/unit/runtime/BigramModel.h"
#include "tests/unit/runtime/TestFiles.h"

#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::eval;
using namespace tidegate::test;
using runtime::RuntimeError;

namespace {
std::vector<int32_t> someTokens(int64_t count) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(int32_t((i * i + 3 * i) % 7));
  return tokens;
}

/// A bigram model over 7 ids with weights of size 1.
struct Model : BigramModel<double> {
  Model() : BigramModel(7) {
    train::initialiseParameters(*this, 5);
    for (double &w : parameter(0).as<double>())
      w *= 50;
  }
};
} // namespace

TEST(PerplexityTest, EqualsTheSumByHand) {
  Model model;
  const auto tokens = someTokens(23);
  const int64_t T = 5; // Windows 5 5 5 5 3: 4 + 4 + 4 + 4 + 2 predicted.
  auto table = model.parameter(0).as<double>(), bias = model.parameter(1).as<double>();
  double sum = 0;
  int64_t count = 0;
  for (int64_t i = 1; i < 23; ++i) {
    if (i % T == 0)
      continue;
    double total = 0;
    for (int v = 0; v < 7; ++v)
      total += std::exp(table[tokens[i - 1] * 7 + v] + bias[v]);
    sum -= table[tokens[i - 1] * 7 + tokens[i]] + bias[tokens[i]] - std::log(total);
    ++count;
  }
  const PerplexityResult result = perplexity(model, TokenStream::of(tokens), 2, T);
  EXPECT_EQ(count, 18);
  EXPECT_EQ(result.predicted, count);
  EXPECT_EQ(result.windows, 5);
  EXPECT_EQ(result.tokens, 23);
  EXPECT_NEAR(result.nats, sum, 1e-12);
  EXPECT_NEAR(result.perplexity(), std::exp(sum / 18), 1e-12);
}

TEST(PerplexityTest, BatchesChangeNothing) {
  Model model;
  const auto tokens = someTokens(101);
  const PerplexityResult one = perplexity(model, TokenStream::of(tokens), 1, 8);
  for (int64_t B : {2, 3, 13, 100}) {
    const PerplexityResult other = perplexity(model, TokenStream::of(tokens), B, 8);
    EXPECT_EQ(other.predicted, one.predicted) << B;
    EXPECT_NEAR(other.nats, one.nats, 1e-12) << B;
  }
}

TEST(PerplexityTest, EdgesOfTheStream) {
  Model model;
  const auto tokens = someTokens(11);
  // A single token left over starts a window in which nothing is predicted.
  PerplexityResult result = perplexity(model, TokenStream::of(tokens), 4, 5);
  EXPECT_EQ(result.windows, 2);
  EXPECT_EQ(result.predicted, 8);
  // A stream shorter than a window is one window.
  result = perplexity(model, TokenStream::of(tokens), 4, 1000);
  EXPECT_EQ(result.windows, 1);
  EXPECT_EQ(result.predicted, 10);
}

TEST(PerplexityTest, UniformLogitsGiveTheVocabulary) {
  BigramModel<double> model(7); // All weights are zero.
  const auto tokens = someTokens(40);
  EXPECT_NEAR(perplexity(model, TokenStream::of(tokens), 3, 6).perplexity(), 7, 1e-12);
}

TEST(PerplexityTest, BadInput) {
  Model model;
  const auto tokens = someTokens(10);
  auto message = [&](std::span<const int32_t> ids, int64_t B, int64_t T) {
    return messageOf<RuntimeError>([&] { perplexity(model, TokenStream::of(ids), B, T); });
  };
  EXPECT_EQ(message(std::span(tokens).first(1), 1, 4), "expected at least 2 tokens to evaluate on, but got 1");
  EXPECT_EQ(message(tokens, 1, 1),
            "expected windows of at least 2 tokens, the first of which is not predicted, but got 1");
  EXPECT_EQ(message(tokens, 0, 4), "expected at least 1 window at a time, but got 0");
  EXPECT_NE(message(std::vector<int32_t>{1, 9, 2}, 1, 4).find("9"), std::string::npos);
}
