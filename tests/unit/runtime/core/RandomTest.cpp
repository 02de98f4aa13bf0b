//===- RandomTest.cpp -------------------------------------------*- C++ -*-===//
// Philox against its published answers, and the moments of what is drawn.
//===----------------------------------------------------------------------===//
#include "runtime/core/Random.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace tidegate::runtime;
using Words = std::array<uint32_t, 4>;

TEST(RandomTest, PhiloxKnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  uint32_t f = 0xffffffff;
  EXPECT_EQ(philox({f, f, f, f}, {f, f}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(RandomTest, DependsOnSeedNameAndIndexOnly) {
  RandomStream a(1, "x"), again(1, "x"), otherName(1, "y"), otherSeed(2, "x");
  EXPECT_EQ(a.bits(7), again.bits(7));
  EXPECT_NE(a.bits(7), a.bits(8));
  EXPECT_NE(a.bits(7), otherName.bits(7));
  EXPECT_NE(a.bits(7), otherSeed.bits(7));
}

TEST(RandomTest, UniformAndNormalMoments) {
  RandomStream stream(3, "moments");
  const int n = 200000;
  double uniform = 0, mean = 0, square = 0, cross = 0;
  for (int i = 0; i < n; ++i) {
    double u = stream.uniform(i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    uniform += u;
    auto [x, y] = stream.normalPair(i);
    mean += x + y, square += x * x + y * y, cross += x * y;
  }
  EXPECT_NEAR(uniform / n, 0.5, 0.003);
  EXPECT_NEAR(mean / (2 * n), 0, 0.007);
  EXPECT_NEAR(square / (2 * n), 1, 0.01);
  EXPECT_NEAR(cross / n, 0, 0.01);
}

TEST(RandomTest, BelowCoversItsRange) {
  RandomStream stream(4, "range");
  int counts[5] = {};
  for (int i = 0; i < 5000; ++i)
    ++counts[stream.below(5, i)];
  for (int count : counts)
    EXPECT_NEAR(count, 1000, 130);
}
