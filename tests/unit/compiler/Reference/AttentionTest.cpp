//===- AttentionTest.cpp - Hand-computed positions and attention ----------===//
#include "Run.h"

#include <cmath>

using namespace tidegate;
using namespace tidegate::test;

static const char *const kOps = R"(
  func.func @positions(%x: tensor<?x?x2xf64>, %first: tensor<?x1xi32>)
      -> (tensor<?x?xf64>, tensor<?x?xf64>, tensor<?x1xf64>) {
    %p, %n = nn.positions %x : tensor<?x?x2xf64>
    %q, %m = nn.positions %x from %first : tensor<?x?x2xf64>, tensor<?x1xi32>
    %0 = nn.to_float %p : tensor<?x?xi32> -> tensor<?x?xf64>
    %1 = nn.to_float %q : tensor<?x?xi32> -> tensor<?x?xf64>
    %2 = nn.to_float %m : tensor<?x1xi32> -> tensor<?x1xf64>
    return %0, %1, %2 : tensor<?x?xf64>, tensor<?x?xf64>, tensor<?x1xf64>
  }
  func.func @last_rows(%x: tensor<?x?x1xf64>, %past: tensor<?x3x1xf64>)
      -> (tensor<?x1x1xf64>, tensor<?x3x1xf64>, tensor<?x3x1xf64>) {
    %0 = nn.last_rows %x : tensor<?x?x1xf64> -> tensor<?x1x1xf64>
    %1 = nn.last_rows %x : tensor<?x?x1xf64> -> tensor<?x3x1xf64>
    %2 = nn.last_rows %x after %past : tensor<?x?x1xf64>, tensor<?x3x1xf64> -> tensor<?x3x1xf64>
    return %0, %1, %2 : tensor<?x1x1xf64>, tensor<?x3x1xf64>, tensor<?x3x1xf64>
  }
  func.func @iota() -> tensor<4xf64> {
    %0 = nn.iota : tensor<4xf64>
    return %0 : tensor<4xf64>
  }
  func.func @attention(%q: tensor<?x?x2x1xf64>, %k: tensor<?x?x1x1xf64>, %v: tensor<?x?x1x2xf64>)
      -> (tensor<?x?x2x2xf64>, tensor<?x?x2xf64>, tensor<?x1x1x1xf64>, tensor<?x1x1x2xf64>) {
    %o, %l, %nk, %nv = nn.attention %q, %k, %v window 2
        : tensor<?x?x2x1xf64>, tensor<?x?x1x1xf64>, tensor<?x?x1x2xf64>
    return %o, %l, %nk, %nv : tensor<?x?x2x2xf64>, tensor<?x?x2xf64>, tensor<?x1x1x1xf64>, tensor<?x1x1x2xf64>
  }
  func.func @continued(%q: tensor<?x?x1x1xf64>, %k: tensor<?x?x1x1xf64>, %v: tensor<?x?x1x1xf64>,
                       %p: tensor<?x?xi32>, %pk: tensor<?x3x1x1xf64>, %pv: tensor<?x3x1x1xf64>)
      -> (tensor<?x?x1x1xf64>, tensor<?x3x1x1xf64>) {
    %o, %l, %nk, %nv = nn.attention %q, %k, %v window 4 at (%p : tensor<?x?xi32>)
        after (%pk, %pv : tensor<?x3x1x1xf64>, tensor<?x3x1x1xf64>)
        : tensor<?x?x1x1xf64>, tensor<?x?x1x1xf64>, tensor<?x?x1x1xf64>
    return %o, %nv : tensor<?x?x1x1xf64>, tensor<?x3x1x1xf64>
  }
)";

TEST(AttentionTest, PositionsGoOnFromTheTokensBefore) {
  Module m(kOps);
  auto r = m.run("positions", {reference::Tensor::zeros({2, 3, 2}), indices({2, 1}, {5, 0})});
  ASSERT_EQ(r.size(), 3u);
  expectNear(r[0], {2, 3}, {0, 1, 2, 0, 1, 2});
  expectNear(r[1], {2, 3}, {5, 6, 7, 0, 1, 2});
  expectNear(r[2], {2, 1}, {8, 3});
  expectNear(m.run("iota", {}).at(0), {4}, {0, 1, 2, 3});
}

TEST(AttentionTest, LastRowsAreOfTheSequenceAndThenOfWhatCameBefore) {
  Module m(kOps);
  const auto past = numbers({2, 3, 1}, {-3, -2, -1, -6, -5, -4});
  auto r = m.run("last_rows", {numbers({2, 2, 1}, {1, 2, 3, 4}), past});
  expectNear(r.at(0), {2, 1, 1}, {2, 4});
  expectNear(r.at(1), {2, 3, 1}, {0, 1, 2, 0, 3, 4});
  expectNear(r.at(2), {2, 3, 1}, {-1, 1, 2, -4, 3, 4});
  r = m.run("last_rows", {numbers({1, 4, 1}, {1, 2, 3, 4}), numbers({1, 3, 1}, {7, 8, 9})});
  expectNear(r.at(2), {1, 3, 1}, {2, 3, 4});
}

// Scores are logarithms of small integers, so that weights are fractions. The
// second head asks with 0 and takes the mean.
TEST(AttentionTest, AWindowOfTwoWeighsTheTokenAndTheOneBefore) {
  Module m(kOps);
  auto r = m.run("attention", {numbers({1, 3, 2, 1}, {1, 0, 1, 0, 2, 0}),
                               numbers({1, 3, 1, 1}, {0, std::log(3), std::log(2)}),
                               numbers({1, 3, 1, 2}, {8, 1, 4, 2, 26, 3})});
  ASSERT_EQ(r.size(), 4u);
  expectNear(r[0], {1, 3, 2, 2}, {8, 1, 8, 1, 5, 1.75, 6, 1.5, (36. + 104) / 13, (18. + 12) / 13, 15, 2.5});
  expectNear(r[1], {1, 3, 2}, {0, 0, std::log(4), std::log(2), std::log(13), std::log(2)});
  expectNear(r[2], {1, 1, 1, 1}, {std::log(2)});
  expectNear(r[3], {1, 1, 1, 2}, {26, 3});
}

// Keys are zero: an output is the mean of what is seen. Of the three rows before,
// the first row of the batch has one, the second begins a document at its second token.
TEST(AttentionTest, PositionsBoundWhatIsSeenOfThePast) {
  Module m(kOps);
  auto zeros = reference::Tensor::zeros({2, 2, 1, 1}), past = reference::Tensor::zeros({2, 3, 1, 1});
  auto r = m.run("continued", {zeros, zeros, numbers({2, 2, 1, 1}, {4, 8, 6, 3}), indices({2, 2}, {1, 2, 9, 0}), past,
                               numbers({2, 3, 1, 1}, {100, 100, 2, 1, 2, 3})});
  ASSERT_EQ(r.size(), 2u);
  expectNear(r[0], {2, 2, 1, 1}, {3, 14. / 3, 3, 3});
  expectNear(r[1], {2, 3, 1, 1}, {2, 4, 8, 3, 6, 3});
}

TEST(AttentionTest, RejectsOperandsThatDisagreeAtRunTime) {
  Module m(kOps);
  auto q = reference::Tensor::zeros({1, 3, 2, 1}), k = reference::Tensor::zeros({1, 2, 1, 1}),
       v = reference::Tensor::zeros({1, 3, 1, 2});
  EXPECT_TRUE(failed(reference::run(m.function("attention"), {q, k, v})));
  EXPECT_NE(m.errors.find("operands disagree in B or T at run time"), std::string::npos) << m.errors;
}
