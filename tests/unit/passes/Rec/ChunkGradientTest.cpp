//===- ChunkGradientTest.cpp - Gradients of the chunk form ----------------===//
#include "Chunked.h"
#include "EventPrograms.h"

#include <cmath>

using namespace tidegate;
using namespace tidegate::test;

/// The gradients of sum(results * cotangents), by reverse mode.
static std::vector<reference::Tensor> gradients(Module &m, const Case &c,
                                                const std::vector<reference::Tensor> &cotangents) {
  addGradient(m);
  auto arguments = c.arguments;
  arguments.insert(arguments.end(), cotangents.begin(), cotangents.end());
  return m.run("f_grad", arguments);
}

/// d/dh of sum(results * cotangents) along a direction, by the token form.
static double finiteDifference(Module &m, const Case &c, const std::vector<reference::Tensor> &cotangents,
                               const std::vector<reference::Tensor> &direction) {
  const double h = 1e-5;
  auto lossAt = [&](double step) {
    auto arguments = c.arguments;
    for (size_t i = 0; i < arguments.size(); ++i)
      for (size_t e = 0; e < arguments[i].values.size(); ++e)
        arguments[i].values[e] += step * direction[i].values[e];
    double loss = 0;
    auto results = m.run("f", arguments);
    for (size_t i = 0; i < results.size(); ++i)
      for (size_t e = 0; e < results[i].values.size(); ++e)
        loss += results[i].values[e] * cotangents[i].values[e];
    return loss;
  };
  // Richardson's combination cancels the error of order h^2.
  double wide = (lossAt(2 * h) - lossAt(-2 * h)) / (4 * h), narrow = (lossAt(h) - lossAt(-h)) / (2 * h);
  return (4 * narrow - wide) / 3;
}

static void check(const Case &c, int64_t chunk, bool withFiniteDifferences, std::mt19937 &random,
                  const std::string &what) {
  Module token(c.text), chunked(c.text);
  auto results = token.run("f", c.arguments);
  std::vector<reference::Tensor> cotangents, direction;
  for (const auto &result : results)
    cotangents.push_back(randomTensor(result.shape, random));
  for (const auto &argument : c.arguments)
    direction.push_back(randomTensor(argument.shape, random));
  auto want = gradients(token, c, cotangents);
  toChunk(chunked, chunk);
  auto got = gradients(chunked, c, cotangents);
  ASSERT_EQ(got.size(), want.size()) << c.text;

  double scale = 0, along = 0, terms = 0;
  for (const auto &tensor : want)
    scale = std::max(scale, largest(tensor));
  for (size_t i = 0; i < want.size(); ++i) {
    // A gradient that is 0 up to rounding (of a gate at -50) is compared at the scale of the others.
    EXPECT_LE(relativeError(got[i], want[i], std::max(1e-4 * scale, 1e-12)), 1e-8)
        << what << ", argument " << i << "\n"
        << c.text;
    for (size_t e = 0; e < got[i].values.size(); ++e) {
      along += got[i].values[e] * direction[i].values[e];
      terms += std::abs(got[i].values[e] * direction[i].values[e]);
    }
  }
  if (withFiniteDifferences) {
    double numeric = finiteDifference(token, c, cotangents, direction);
    EXPECT_NEAR(along, numeric, 1e-6 * terms) << what << "\n" << c.text;
  }
}

static const std::vector<std::vector<double>> kGates = {
    {0}, {-1e-3}, {-5}, {-50}, {-1000}, {0, -1e-3, -0.3, -5, -50, -1000}};

TEST(ChunkGradientTest, RandomProgramsEqualTokenFormAndFiniteDifferences) {
  std::mt19937 random(3);
  const int64_t tokens[] = {1, 2, 15, 16, 17, 33, 63, 64, 65}, widths[] = {1, 8, 24};
  for (int n = 0; n < 54; ++n) {
    Sizes sizes{1 + int64_t(random() % 2), tokens[n % 9], 1 + int64_t(random() % 2), widths[random() % 3],
                widths[random() % 3]};
    Case c = makeCase(randomEvents(random), sizes, random, gatesFrom(kGates[n % kGates.size()], random));
    check(c, n % 4 == 0 ? 64 : 16, sizes.tokens <= 33, random, "program " + std::to_string(n));
  }
}

TEST(ChunkGradientTest, LongSequences) {
  std::mt19937 random(5);
  Case gla = makeCase({{'s'}, {'a'}, {'r'}}, {1, 1000, 1, 8, 24}, random, gatesFrom(kGates.back(), random));
  check(gla, 64, false, random, "gated linear attention");
  Case delta =
      makeCase({{'c'}, {'a', true, true}, {'r'}}, {1, 200, 1, 80, 32}, random, gatesFrom({-1e-3, -0.1}, random));
  check(delta, 64, false, random, "gated delta rule");
}
