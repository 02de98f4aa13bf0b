//===- ShortConvTest.cpp - Hand-computed short convolutions ---------------===//
#include "Run.h"

using namespace tidegate;
using namespace tidegate::test;

static const char *const kOps = R"(
  func.func @plain(%x: tensor<?x?x2xf64>, %w: tensor<2x3xf64>) -> (tensor<?x?x2xf64>, tensor<?x2x2xf64>) {
    %y, %next = nn.short_conv %x, %w : tensor<?x?x2xf64>, tensor<2x3xf64>
    return %y, %next : tensor<?x?x2xf64>, tensor<?x2x2xf64>
  }
  func.func @after(%x: tensor<?x?x2xf64>, %w: tensor<2x3xf64>, %past: tensor<?x2x2xf64>)
      -> (tensor<?x?x2xf64>, tensor<?x2x2xf64>) {
    %y, %next = nn.short_conv %x, %w after %past : tensor<?x?x2xf64>, tensor<2x3xf64>, tensor<?x2x2xf64>
    return %y, %next : tensor<?x?x2xf64>, tensor<?x2x2xf64>
  }
  func.func @input_grad(%dy: tensor<?x?x2xf64>, %w: tensor<2x3xf64>, %dnext: tensor<?x2x2xf64>)
      -> (tensor<?x?x2xf64>, tensor<?x2x2xf64>) {
    %dx, %dpast = nn.short_conv_input_grad %dy, %w before %dnext
        : tensor<?x?x2xf64>, tensor<2x3xf64>, tensor<?x2x2xf64>
    return %dx, %dpast : tensor<?x?x2xf64>, tensor<?x2x2xf64>
  }
  func.func @weight_grad(%x: tensor<?x?x2xf64>, %dy: tensor<?x?x2xf64>, %past: tensor<?x2x2xf64>) -> tensor<2x3xf64> {
    %dw = nn.short_conv_weight_grad %x, %dy after %past
        : tensor<?x?x2xf64>, tensor<?x?x2xf64>, tensor<?x2x2xf64> -> tensor<2x3xf64>
    return %dw : tensor<2x3xf64>
  }
)";

// Taps from the oldest to the current token: channel 0 has 100, 10, 1, channel 1 has 0, 0, 2.
static const reference::Tensor kWeight = numbers({2, 3}, {100, 10, 1, 0, 0, 2});

TEST(ShortConvTest, LastTapMeetsTheCurrentToken) {
  Module m(kOps);
  auto r = m.run("plain", {numbers({1, 4, 2}, {1, 5, 2, 6, 3, 7, 4, 8}), kWeight});
  ASSERT_EQ(r.size(), 2u);
  expectNear(r[0], {1, 4, 2}, {1, 10, 12, 12, 123, 14, 234, 16});
  expectNear(r[1], {1, 2, 2}, {3, 7, 4, 8});
}

TEST(ShortConvTest, SequencesShorterThanTheWidthCarryTheirPast) {
  Module m(kOps);
  auto past = numbers({2, 2, 2}, {1, 0, 2, 0, 6, 0, 7, 0});
  auto r = m.run("after", {numbers({2, 1, 2}, {3, 1, 8, 1}), kWeight, past});
  ASSERT_EQ(r.size(), 2u);
  expectNear(r[0], {2, 1, 2}, {123, 2, 678, 2});
  expectNear(r[1], {2, 2, 2}, {2, 0, 3, 1, 7, 0, 8, 1});
  r = m.run("plain", {numbers({1, 1, 2}, {3, 1}), kWeight});
  ASSERT_EQ(r.size(), 2u);
  expectNear(r[0], {1, 1, 2}, {3, 2});
  expectNear(r[1], {1, 2, 2}, {0, 0, 3, 1});
}

TEST(ShortConvTest, InputGradientRunsBackInTime) {
  Module m(kOps);
  auto r =
      m.run("input_grad", {numbers({1, 3, 2}, {1, 0, 2, 0, 3, 1}), kWeight, numbers({1, 2, 2}, {0.5, 0, 0.25, 0})});
  ASSERT_EQ(r.size(), 2u);
  // x[0] reaches y[0], y[1], y[2] with taps 1, 10, 100; next is (x[1], x[2]).
  expectNear(r[0], {1, 3, 2}, {321, 0, 32.5, 0, 3.25, 2});
  expectNear(r[1], {1, 2, 2}, {100, 0, 210, 0});
}

TEST(ShortConvTest, WeightGradientSumsOverRowsAndTokens) {
  Module m(kOps);
  auto r = m.run("weight_grad",
                 {numbers({2, 2, 2}, {1, 0, 2, 0, 3, 1, 4, 1}), numbers({2, 2, 2}, {1, 0, 10, 0, 100, 1, 1000, 1}),
                  numbers({2, 2, 2}, {7, 0, 8, 0, 0, 0, 5, 1})});
  ASSERT_EQ(r.size(), 1u);
  expectNear(r[0], {2, 3}, {7 + 80 + 5000, 8 + 10 + 500 + 3000, 1 + 20 + 300 + 4000, 1, 2, 2});
}

TEST(ShortConvTest, RejectsAPastOfAnotherBatch) {
  Module m(kOps);
  auto x = numbers({2, 1, 2}, {3, 1, 8, 1}), past = numbers({1, 2, 2}, {1, 0, 2, 0});
  EXPECT_TRUE(failed(reference::run(m.function("after"), {x, kWeight, past})));
  EXPECT_NE(m.errors.find("the past disagrees with the input in B"), std::string::npos) << m.errors;
}
