//===- InterpreterTest.cpp - Hand-computed values of every nn op ----------===//
#include "Run.h"

#include <cmath>
#include <limits>

using namespace tidegate;
using namespace tidegate::test;

static const double kInf = std::numeric_limits<double>::infinity();

static reference::Tensor unary(const std::string &op, Numbers x) {
  int64_t n = x.size();
  Module m("func.func @f(%x: tensor<?xf32>) -> tensor<?xf32> {\n %y = nn." + op +
           " %x : tensor<?xf32>\n return %y : tensor<?xf32>\n}");
  auto results = m.run("f", {numbers({n}, std::move(x))});
  return results.empty() ? reference::Tensor() : results[0];
}

TEST(InterpreterTest, UnaryOps) {
  expectNear(unary("neg", {1, -2}), {2}, {-1, 2});
  expectNear(unary("exp", {0, 1, -kInf}), {3}, {1, 2.718281828459045, 0});
  expectNear(unary("log", {1, 2.718281828459045}), {2}, {0, 1});
  expectNear(unary("sqrt", {4, 2}), {2}, {2, 1.4142135623730951});
  expectNear(unary("rsqrt", {4, 0.25}), {2}, {0.5, 2});
  expectNear(unary("abs", {-3, 3}), {2}, {3, 3});
  expectNear(unary("sigmoid", {0, 1000, -1000}), {3}, {0.5, 1, 0});
  expectNear(unary("softplus", {0, 1000, -1000}), {3}, {0.6931471805599453, 1000, 0});
  expectNear(unary("tanh", {0, 0.5493061443340548}), {2}, {0, 0.5});
  expectNear(unary("sin", {0, 1.5707963267948966}), {2}, {0, 1});
  expectNear(unary("cos", {0, 3.141592653589793}), {2}, {1, -1});
  expectNear(unary("is_finite", {1, kInf, NAN}), {3}, {1, 0, 0});
  expectNear(unary("stop_gradient", {5}), {1}, {5});
}

// Position 1000 at frequencies 1 and 1/10, less 159 and 16 turns.
TEST(InterpreterTest, AnglesAreLessWholeTurns) {
  Module m(R"(func.func @f(%x: tensor<2x1xf32>, %y: tensor<2xf32>) -> tensor<2x2xf32> {
    %z = nn.angle %x, %y base 0.1 : tensor<2x1xf32>, tensor<2xf32>
    return %z : tensor<2x2xf32>
  })");
  auto results = m.run("f", {numbers({2, 1}, {1000, -3}), numbers({2}, {0, 1})});
  ASSERT_EQ(results.size(), 1u);
  const double turn = 6.283185307179586;
  expectNear(results[0], {2, 2}, {1000 - 159 * turn, 100 - 16 * turn, -3, -0.3});
}

static reference::Tensor binary(const std::string &op, Numbers x, Numbers y) {
  Module m("func.func @f(%x: tensor<2x1xf32>, %y: tensor<3xf32>) -> tensor<2x3xf32> {\n %z = nn." + op +
           " %x, %y : tensor<2x1xf32>, tensor<3xf32>\n return %z : tensor<2x3xf32>\n}");
  auto results = m.run("f", {numbers({2, 1}, std::move(x)), numbers({3}, std::move(y))});
  return results.empty() ? reference::Tensor() : results[0];
}

TEST(InterpreterTest, BinaryOpsBroadcast) {
  Shape shape{2, 3};
  expectNear(binary("add", {1, 2}, {10, 20, 30}), shape, {11, 21, 31, 12, 22, 32});
  expectNear(binary("sub", {1, 2}, {10, 20, 30}), shape, {-9, -19, -29, -8, -18, -28});
  expectNear(binary("mul", {1, 2}, {10, 20, 30}), shape, {10, 20, 30, 20, 40, 60});
  expectNear(binary("div", {1, 2}, {2, 4, 8}), shape, {.5, .25, .125, 1, .5, .25});
  expectNear(binary("maximum", {1, 2}, {0, 1.5, 3}), shape, {1, 1.5, 3, 2, 2, 3});
  expectNear(binary("minimum", {1, 2}, {0, 1.5, 3}), shape, {0, 1, 1, 0, 1.5, 2});
  expectNear(binary("greater", {1, 2}, {0, 1, 2}), shape, {1, 0, 0, 1, 1, 0});
  expectNear(binary("equal", {1, 2}, {0, 1, 2}), shape, {0, 1, 0, 0, 0, 1});
  EXPECT_TRUE(std::isnan(binary("maximum", {NAN, 2}, {0, 1, 2}).values[0]));
}

TEST(InterpreterTest, SelectIgnoresTheOtherBranch) {
  Module m(R"(func.func @f(%c: tensor<3xf32>, %x: tensor<3xf32>, %y: tensor<f32>) -> tensor<3xf32> {
    %z = nn.select %c, %x, %y : tensor<3xf32>, tensor<3xf32>, tensor<f32>
    return %z : tensor<3xf32>
  })");
  expectNear(m.run("f", {numbers({3}, {0, 1, -2}), numbers({3}, {NAN, 2, 3}), numbers({}, {7})})[0], {3}, {7, 2, 3});
}

TEST(InterpreterTest, ShapesAndReductions) {
  Module m(R"(
    func.func @f(%x: tensor<?x2x3xf32>, %u: tensor<3xf32>) -> (tensor<?x6xf32>, tensor<?x3x2xf32>, tensor<?x2x2xf32>,
        tensor<?x2x5xf32>, tensor<?x1x3xf32>, tensor<?x2x1xf32>, tensor<?x2x3xf32>, tensor<2xf32>) {
      %a = nn.reshape %x : tensor<?x2x3xf32> -> tensor<?x6xf32>
      %b = nn.transpose %x [0, 2, 1] : tensor<?x2x3xf32> -> tensor<?x3x2xf32>
      %c = nn.slice %x dim 2 from 0 step 2 : tensor<?x2x3xf32> -> tensor<?x2x2xf32>
      %d = nn.pad %x dim 2 from 0 step 2 : tensor<?x2x3xf32> -> tensor<?x2x5xf32>
      %e = nn.reduce_sum %x [1] : tensor<?x2x3xf32>
      %g = nn.reduce_max %x [2] : tensor<?x2x3xf32>
      %h = nn.broadcast_like %u, %x : tensor<3xf32>, tensor<?x2x3xf32> -> tensor<?x2x3xf32>
      %i = nn.constant 0.5 : tensor<2xf32>
      return %a, %b, %c, %d, %e, %g, %h, %i : tensor<?x6xf32>, tensor<?x3x2xf32>, tensor<?x2x2xf32>,
        tensor<?x2x5xf32>, tensor<?x1x3xf32>, tensor<?x2x1xf32>, tensor<?x2x3xf32>, tensor<2xf32>
    })");
  auto r = m.run("f", {numbers({1, 2, 3}, {1, 2, 3, 4, 5, 6}), numbers({3}, {7, 8, 9})});
  ASSERT_EQ(r.size(), 8u);
  expectNear(r[0], {1, 6}, {1, 2, 3, 4, 5, 6});
  expectNear(r[1], {1, 3, 2}, {1, 4, 2, 5, 3, 6});
  expectNear(r[2], {1, 2, 2}, {1, 3, 4, 6});
  expectNear(r[3], {1, 2, 5}, {1, 0, 2, 0, 3, 4, 0, 5, 0, 6});
  expectNear(r[4], {1, 1, 3}, {5, 7, 9});
  expectNear(r[5], {1, 2, 1}, {3, 6});
  expectNear(r[6], {1, 2, 3}, {7, 8, 9, 7, 8, 9});
  expectNear(r[7], {2}, {.5, .5});
}

TEST(InterpreterTest, DotOverBatchFreeAndContracted) {
  Module m(R"(
    func.func @f(%x: tensor<2x2x2xf32>, %w: tensor<3x2x2xf32>) -> tensor<2x2x3xf32> {
      %y = nn.dot %x, %w batch [0] x [2] contract [2] x [1] : tensor<2x2x2xf32>, tensor<3x2x2xf32>
      return %y : tensor<2x2x3xf32>
    }
    func.func @outer(%x: tensor<2xf32>, %y: tensor<3xf32>) -> tensor<2x3xf32> {
      %z = nn.dot %x, %y contract [] x [] : tensor<2xf32>, tensor<3xf32>
      return %z : tensor<2x3xf32>
    })");
  // y[b, i, j] = sum_c x[b, i, c] w[j, c, b]
  auto y = m.run("f", {numbers({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}),
                       numbers({3, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})})[0];
  expectNear(y, {2, 2, 3}, {7, 19, 31, 15, 43, 71, 34, 78, 122, 46, 106, 166});
  expectNear(m.run("outer", {numbers({2}, {1, 2}), numbers({3}, {3, 4, 5})})[0], {2, 3}, {3, 4, 5, 6, 8, 10});
}

TEST(InterpreterTest, IndicesOutsideGiveZero) {
  Module m(R"(
    func.func @f(%t: tensor<2x2xf32>, %x: tensor<?x3xf32>, %ids: tensor<?xi32>) -> (tensor<?x2xf32>, tensor<2x3xf32>,
        tensor<?x1xf32>, tensor<?x3xf32>, tensor<?x1xf32>) {
      %a = nn.lookup %t, %ids : tensor<2x2xf32>, tensor<?xi32> -> tensor<?x2xf32>
      %b = nn.lookup_grad %x, %ids : tensor<?x3xf32>, tensor<?xi32> -> tensor<2x3xf32>
      %c = nn.pick %x, %ids : tensor<?x3xf32>, tensor<?xi32> -> tensor<?x1xf32>
      %d = nn.place %c, %ids : tensor<?x1xf32>, tensor<?xi32> -> tensor<?x3xf32>
      %e = nn.is_index %ids : tensor<?xi32> -> tensor<?x1xf32>
      return %a, %b, %c, %d, %e : tensor<?x2xf32>, tensor<2x3xf32>, tensor<?x1xf32>, tensor<?x3xf32>, tensor<?x1xf32>
    })");
  auto r = m.run("f", {numbers({2, 2}, {1, 2, 3, 4}), numbers({4, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}),
                       indices({4}, {1, -100, 2, 1})});
  ASSERT_EQ(r.size(), 5u);
  expectNear(r[0], {4, 2}, {3, 4, 0, 0, 0, 0, 3, 4});
  expectNear(r[1], {2, 3}, {0, 0, 0, 11, 13, 15});
  expectNear(r[2], {4, 1}, {2, 0, 9, 11});
  expectNear(r[3], {4, 3}, {0, 2, 0, 0, 0, 0, 0, 0, 9, 0, 11, 0});
  expectNear(r[4], {4, 1}, {1, 0, 1, 1});
}

TEST(InterpreterTest, MapGivesRowsAndSums) {
  Module m(R"(func.func @f(%x: tensor<?x?x2xf32>, %w: tensor<2xf32>) -> (tensor<?x?x2xf32>, tensor<2xf32>) {
    %y, %s = nn.map rows 2 (%x, %w) operand_rows [true, false] result_rows [true, false] {
    ^bb0(%a: tensor<2xf32>, %b: tensor<2xf32>):
      %p = nn.mul %a, %b : tensor<2xf32>, tensor<2xf32>
      nn.yield %p, %a : tensor<2xf32>, tensor<2xf32>
    } : (tensor<?x?x2xf32>, tensor<2xf32>) -> (tensor<?x?x2xf32>, tensor<2xf32>)
    return %y, %s : tensor<?x?x2xf32>, tensor<2xf32>
  })");
  auto r = m.run("f", {numbers({1, 3, 2}, {1, 2, 3, 4, 5, 6}), numbers({2}, {10, 100})});
  ASSERT_EQ(r.size(), 2u);
  expectNear(r[0], {1, 3, 2}, {10, 200, 30, 400, 50, 600});
  expectNear(r[1], {2}, {9, 12});
}

TEST(InterpreterTest, CallsAreFollowed) {
  Module m(R"(
    func.func private @twice(%x: tensor<?xf32>) -> tensor<?xf32> {
      %y = nn.add %x, %x : tensor<?xf32>, tensor<?xf32>
      return %y : tensor<?xf32>
    }
    func.func @f(%x: tensor<?xf32>) -> tensor<?xf32> {
      %y = call @twice(%x) : (tensor<?xf32>) -> tensor<?xf32>
      %z = call @twice(%y) : (tensor<?xf32>) -> tensor<?xf32>
      return %z : tensor<?xf32>
    })");
  expectNear(m.run("f", {numbers({2}, {1, 2})})[0], {2}, {4, 8});
}

TEST(InterpreterTest, RejectsWhatDoesNotFit) {
  Module m(R"(
    func.func @f(%x: tensor<?x3xf32>, %y: tensor<?x3xf32>) -> tensor<?x3xf32> {
      %z = nn.add %x, %y : tensor<?x3xf32>, tensor<?x3xf32>
      return %z : tensor<?x3xf32>
    })");
  auto x = numbers({2, 3}, Numbers(6, 1.0));
  EXPECT_TRUE(failed(reference::run(m.function("f"), {x})));
  EXPECT_NE(m.errors.find("takes 2 arguments, but got 1"), std::string::npos) << m.errors;
  EXPECT_TRUE(failed(reference::run(m.function("f"), {x, numbers({2, 4}, Numbers(8, 1.0))})));
  EXPECT_NE(m.errors.find("but got a tensor of shape [2, 4]"), std::string::npos) << m.errors;
  EXPECT_TRUE(failed(reference::run(m.function("f"), {x, numbers({2, 3}, {1})})));
  EXPECT_NE(m.errors.find("needs 6 numbers, but got 1"), std::string::npos) << m.errors;
  EXPECT_TRUE(failed(reference::run(m.function("f"), {x, numbers({3, 3}, Numbers(9, 1.0))})));
  EXPECT_NE(m.errors.find("run-time sizes 2 and 3"), std::string::npos) << m.errors;
}
