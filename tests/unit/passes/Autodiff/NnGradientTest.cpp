//===- NnGradientTest.cpp - Adjoints of the graph dialect -----------------===//
#include "GradientCheck.h"
#include "passes/Autodiff/Gradient.h"

using namespace tidegate;
using namespace tidegate::test;

/// `@f(arguments) -> result` with one op; every `TYPE` of the op's text is given in full.
static std::string function(const std::string &arguments, const std::string &result, const std::string &op) {
  return "func.func @f(" + arguments + ") -> " + result + " {\n  %r = " + op + "\n  return %r : " + result + "\n}\n";
}

struct UnaryCase {
  const char *name, *domain;

  friend void PrintTo(const UnaryCase &c, std::ostream *os) { *os << c.name; }
};
class UnaryGradientTest : public testing::TestWithParam<UnaryCase> {};

TEST_P(UnaryGradientTest, BothOrders) {
  std::string type = "tensor<?x?x$Kxf64>";
  expectGradient(
      function("%x: " + type + GetParam().domain, type, std::string("nn.") + GetParam().name + " %x : " + type),
      /*order=*/2);
}

static const char *const kPositive = " {test.range = [0.4, 2.0]}";
static const char *const kNotZero = " {test.apart = 0.05}";
static const char *const kAny = " {test.range = [-3.0, 3.0]}";
INSTANTIATE_TEST_SUITE_P(Nn, UnaryGradientTest,
                         testing::Values(UnaryCase{"neg", kAny}, UnaryCase{"exp", kAny}, UnaryCase{"log", kPositive},
                                         UnaryCase{"sqrt", kPositive}, UnaryCase{"rsqrt", kPositive},
                                         UnaryCase{"abs", kNotZero}, UnaryCase{"sigmoid", kAny},
                                         UnaryCase{"softplus", kAny}, UnaryCase{"tanh", kAny}, UnaryCase{"sin", kAny},
                                         UnaryCase{"cos", kAny}, UnaryCase{"is_finite", kAny}),
                         [](const auto &info) { return info.param.name; });

class BinaryGradientTest : public testing::TestWithParam<const char *> {};

TEST_P(BinaryGradientTest, BothOrdersUnderBroadcasting) {
  // Divisors keep away from 0, the sides of extrema from each other.
  std::string op = GetParam(), x = "tensor<?x?x$Kxf64>";
  std::string xDomain = op == "div" ? kPositive : " {test.apart = 0.07}";
  std::string yDomain = op == "div" ? kPositive : " {test.apart = 0.03}";
  auto check = [&](const std::string &lhs, const std::string &rhs, const std::string &result) {
    SCOPED_TRACE(lhs + ", " + rhs);
    expectGradient(function("%x: " + lhs + xDomain + ", %y: " + rhs + yDomain, result,
                            "nn." + op + " %x, %y : " + lhs + ", " + rhs),
                   2);
  };
  for (std::string y :
       {"tensor<?x?x$Kxf64>", "tensor<$Kxf64>", "tensor<f64>", "tensor<?x?x1xf64>", "tensor<1x1x$Kxf64>"}) {
    check(x, y, x);
    check(y, x, x);
  }
  check("tensor<$Kx1x$Vxf64>", "tensor<$Mx1xf64>", "tensor<$Kx$Mx$Vxf64>");
}

INSTANTIATE_TEST_SUITE_P(Nn, BinaryGradientTest,
                         testing::Values("add", "sub", "mul", "div", "maximum", "minimum", "greater", "equal"),
                         [](const auto &info) { return info.param; });

TEST(NnGradientTest, EqualSidesOfAnExtremumShareTheCotangent) {
  for (std::string op : {"maximum", "minimum"}) {
    Module m(function("%x: tensor<2xf64>, %y: tensor<2xf64>", "tensor<2xf64>",
                      "nn." + op + " %x, %y : tensor<2xf64>, tensor<2xf64>"));
    ASSERT_TRUE(m.module) << m.errors;
    ASSERT_TRUE(succeeded(autodiff::buildGradient(m.function("f"))));
    auto r = m.run("f.bwd", {numbers({2}, {1, 2}), numbers({2}, {1, 5}), numbers({2}, {10, 20})});
    ASSERT_EQ(r.size(), 2u);
    expectNear(r[0], {2}, {5, op == "maximum" ? 0. : 20.});
    expectNear(r[1], {2}, {5, op == "maximum" ? 20. : 0.});
  }
}

TEST(NnGradientTest, StopGradientIsACut) {
  Module m(function("%x: tensor<2xf64>", "tensor<2xf64>", "nn.stop_gradient %x : tensor<2xf64>"));
  ASSERT_TRUE(m.module) << m.errors;
  ASSERT_TRUE(succeeded(autodiff::buildGradient(m.function("f"))));
  auto r = m.run("f.bwd", {numbers({2}, {10, 20})});
  ASSERT_EQ(r.size(), 1u);
  expectNear(r[0], {2}, {0, 0});
}

TEST(NnGradientTest, Select) {
  expectGradient(R"(func.func @f(%c: tensor<?x?x$Kxf64> {test.apart = 0.05}, %x: tensor<?x?x$Kxf64>, %y: tensor<$Kxf64>)
      -> tensor<?x?x$Kxf64> {
    %zero = nn.constant 0.0 : tensor<f64>
    %g = nn.greater %c, %zero : tensor<?x?x$Kxf64>, tensor<f64>
    %sx = nn.sin %x : tensor<?x?x$Kxf64>
    %z = nn.select %g, %sx, %y : tensor<?x?x$Kxf64>, tensor<?x?x$Kxf64>, tensor<$Kxf64>
    return %z : tensor<?x?x$Kxf64>
  })",
                 2);
}

TEST(NnGradientTest, AnglesOfPositions) {
  expectGradient(R"(func.func @f(%x: tensor<?x?x1xf64>) -> tensor<?x?x$Kxf64> {
    %i = nn.iota : tensor<$Kxf64>
    %a = nn.angle %x, %i base 0.3 : tensor<?x?x1xf64>, tensor<$Kxf64>
    %z = nn.sin %a : tensor<?x?x$Kxf64>
    return %z : tensor<?x?x$Kxf64>
  })",
                 2);
}

TEST(NnGradientTest, SelectKeepsTheOtherBranchOutOfTheGradient) {
  Module m(R"(func.func @f(%x: tensor<2xf64>) -> tensor<2xf64> {
    %one = nn.constant 1.0 : tensor<f64>
    %zero = nn.constant 0.0 : tensor<f64>
    %g = nn.greater %x, %zero : tensor<2xf64>, tensor<f64>
    %safe = nn.select %g, %x, %one : tensor<2xf64>, tensor<2xf64>, tensor<f64>
    %l = nn.log %safe : tensor<2xf64>
    %z = nn.select %g, %l, %zero : tensor<2xf64>, tensor<2xf64>, tensor<f64>
    return %z : tensor<2xf64>
  })");
  ASSERT_TRUE(m.module) << m.errors;
  ASSERT_TRUE(succeeded(autodiff::buildGradient(m.function("f"))));
  auto r = m.run("f.bwd", {numbers({2}, {0, 2}), numbers({2}, {1, 1})});
  expectNear(r.at(0), {2}, {0, 0.5});
}

TEST(NnGradientTest, Constant) {
  expectGradient(R"(func.func @f(%x: tensor<$Kxf64>) -> tensor<$Kxf64> {
    %c = nn.constant 2.5 : tensor<$Kxf64>
    %y = nn.mul %c, %x : tensor<$Kxf64>, tensor<$Kxf64>
    return %y : tensor<$Kxf64>
  })");
}

TEST(NnGradientTest, ShapesAndSums) {
  auto check = [](const std::string &from, const std::string &to, const std::string &op) {
    SCOPED_TRACE(op);
    // Squared first, so that the second order is not zero.
    expectGradient("func.func @f(%x: " + from + ") -> " + to + " {\n  %s = nn.mul %x, %x : " + from + ", " + from +
                       "\n  %y = " + op + "\n  return %y : " + to + "\n}\n",
                   2);
  };
  std::string x = "tensor<?x?x6x$Kxf64>";
  check(x, "tensor<?x?x2x3x$Kxf64>", "nn.reshape %s : " + x + " -> tensor<?x?x2x3x$Kxf64>");
  check(x, "tensor<?x?x$Kx6xf64>", "nn.transpose %s [0, 1, 3, 2] : " + x + " -> tensor<?x?x$Kx6xf64>");
  check("tensor<2x3x4xf64>", "tensor<4x2x3xf64>", "nn.transpose %s [2, 0, 1] : tensor<2x3x4xf64> -> tensor<4x2x3xf64>");
  check(x, "tensor<?x?x2x$Kxf64>", "nn.slice %s dim 2 from 1 step 3 : " + x + " -> tensor<?x?x2x$Kxf64>");
  check(x, "tensor<?x?x14x$Kxf64>", "nn.pad %s dim 2 from 2 step 2 : " + x + " -> tensor<?x?x14x$Kxf64>");
  check(x, "tensor<?x?x1x$Kxf64>", "nn.reduce_sum %s [2] : " + x);
  check(x, "tensor<1x1x6x1xf64>", "nn.reduce_sum %s [0, 1, 3] : " + x);
}

TEST(NnGradientTest, BroadcastLike) {
  for (std::string from : {"tensor<f64>", "tensor<$Kxf64>", "tensor<?x?x1xf64>"})
    expectGradient("func.func @f(%x: " + from +
                       ", %l: tensor<?x?x$Kxf64>) -> tensor<?x?x$Kxf64> {\n  %s = nn.sin %x : " + from +
                       "\n  %y = nn.broadcast_like %s, %l : " + from +
                       ", tensor<?x?x$Kxf64> -> tensor<?x?x$Kxf64>\n  return %y : tensor<?x?x$Kxf64>\n}\n",
                   2);
}

TEST(NnGradientTest, ReduceMax) {
  for (auto [dims, to] : {std::pair("[2]", "tensor<?x?x1xf64>"), std::pair("[0, 1, 2]", "tensor<1x1x1xf64>")})
    expectGradient(function("%x: tensor<?x?x$Kxf64> {test.apart = 0.0}", to,
                            std::string("nn.reduce_max %x ") + dims + " : tensor<?x?x$Kxf64>"),
                   2);
}

TEST(NnGradientTest, Dot) {
  struct Case {
    const char *lhs, *rhs, *result, *dims;
  };
  for (Case c : {Case{"tensor<?x?x$Kxf64>", "tensor<$Vx$Kxf64>", "tensor<?x?x$Vxf64>", "contract [2] x [1]"},
                 Case{"tensor<?x?x$Kxf64>", "tensor<$Kx$Vxf64>", "tensor<?x?x$Vxf64>", "contract [2] x [0]"},
                 Case{"tensor<?x?x$Kxf64>", "tensor<?x?x$Vxf64>", "tensor<$Kx$Vxf64>", "contract [0, 1] x [0, 1]"},
                 Case{"tensor<?x?x$Kxf64>", "tensor<?x?x$Kxf64>", "tensor<f64>", "contract [0, 1, 2] x [0, 1, 2]"},
                 Case{"tensor<$Kxf64>", "tensor<$Vxf64>", "tensor<$Kx$Vxf64>", "contract [] x []"},
                 Case{"tensor<$Kxf64>", "tensor<$Kx$Vxf64>", "tensor<$Vxf64>", "contract [0] x [0]"},
                 Case{"tensor<$Kx$Vxf64>", "tensor<$Vx$Kxf64>", "tensor<f64>", "contract [0, 1] x [1, 0]"},
                 Case{"tensor<$Kx$Vx$Mxf64>", "tensor<$Mx$Nx$Kxf64>", "tensor<$Vx$Nxf64>", "contract [0, 2] x [2, 0]"},
                 Case{"tensor<?x?x$Hx$Kxf64>", "tensor<$Hx$Vx$Kxf64>", "tensor<$Hx?x?x$Vxf64>",
                      "batch [2] x [0] contract [3] x [2]"},
                 Case{"tensor<$Kx$Hx$Mxf64>", "tensor<$Vx$Mx$Hxf64>", "tensor<$Hx$Kx$Vxf64>",
                      "batch [1] x [2] contract [2] x [1]"},
                 Case{"tensor<$Hx$Gx$Kx$Mxf64>", "tensor<$Gx$Mx$Hx$Vxf64>", "tensor<$Hx$Gx$Kx$Vxf64>",
                      "batch [0, 1] x [2, 0] contract [3] x [1]"},
                 Case{"tensor<?x?x$Kxf64>", "tensor<?x?x$Kx$Vxf64>", "tensor<?x?x$Vxf64>",
                      "batch [0, 1] x [0, 1] contract [2] x [2]"}}) {
    SCOPED_TRACE(c.dims);
    std::string lhs = c.lhs, rhs = c.rhs;
    expectGradient(function("%x: " + lhs + ", %y: " + rhs, c.result,
                            std::string("nn.dot %x, %y ") + c.dims + " : " + lhs + ", " + rhs),
                   2);
  }
}

TEST(NnGradientTest, DotOfAValueWithItself) {
  expectGradient(function("%x: tensor<$Kx$Kxf64>", "tensor<$Kx$Kxf64>",
                          "nn.dot %x, %x contract [1] x [0] : tensor<$Kx$Kxf64>, tensor<$Kx$Kxf64>"),
                 2);
}

TEST(NnGradientTest, Indices) {
  std::string ids = "%ids: tensor<?x?xi32> {test.ids = 5 : i64}";
  auto square = [](const std::string &type) { return "  %s = nn.mul %x, %x : " + type + ", " + type + "\n"; };
  auto check = [&](const std::string &from, const std::string &to, const std::string &op) {
    SCOPED_TRACE(op);
    expectGradient("func.func @f(%x: " + from + ", " + ids + ") -> " + to + " {\n" + square(from) + "  %y = nn." + op +
                       " %s, %ids : " + from + ", tensor<?x?xi32> -> " + to + "\n  return %y : " + to + "\n}\n",
                   2);
  };
  check("tensor<5x$Kxf64>", "tensor<?x?x$Kxf64>", "lookup");
  check("tensor<?x?x$Kxf64>", "tensor<5x$Kxf64>", "lookup_grad");
  check("tensor<?x?x5xf64>", "tensor<?x?x1xf64>", "pick");
  check("tensor<?x?x1xf64>", "tensor<?x?x5xf64>", "place");
  expectGradient("func.func @f(%x: tensor<?x?x1xf64>, " + ids + R"() -> tensor<?x?x1xf64> {
    %m = nn.is_index %ids : tensor<?x?xi32> -> tensor<?x?x1xf64>
    %y = nn.mul %x, %m : tensor<?x?x1xf64>, tensor<?x?x1xf64>
    return %y : tensor<?x?x1xf64>
  })");
}

// Each op with and without an edge and positions, all results; T from 1 to 9 is often below W.
static void checkShortConvolutions(bool hasPositions) {
  std::string x = "tensor<?x?x$Kxf64>", w = "tensor<$Kx4xf64>", edge = "tensor<?x3x$Kxf64>", ids, at;
  if (hasPositions)
    ids = ", %p: tensor<?x?xi32> {test.ids = 5}", at = " at(%p : tensor<?x?xi32>)";
  auto rows = [&](const std::string &op, const std::string &word) {
    SCOPED_TRACE(op + " " + word + at);
    std::string results = "(" + x + ", " + edge + ")", argument, use, type;
    if (!word.empty())
      argument = ", %e: " + edge, use = " " + word + " %e", type = ", " + edge;
    expectGradient("func.func @f(%x: " + x + ", %w: " + w + argument + ids + ") -> " + results + " {\n  %y, %n = nn." + op +
                       " %x, %w" + use + at + " : " + x + ", " + w + type + "\n  return %y, %n : " + x + ", " + edge +
                       "\n}\n",
                   /*order=*/2, /*seeds=*/6);
  };
  rows("short_conv", "");
  rows("short_conv", "after");
  rows("short_conv_input_grad", "");
  rows("short_conv_input_grad", "before");
  for (bool hasPast : {false, true}) {
    SCOPED_TRACE(hasPast);
    expectGradient(function("%x: " + x + ", %dy: " + x + (hasPast ? ", %e: " + edge : "") + ids, w,
                            "nn.short_conv_weight_grad %x, %dy" + std::string(hasPast ? " after %e" : "") + at + " : " + x +
                                ", " + x + (hasPast ? ", " + edge : "") + " -> " + w),
                   2, 6);
  }
}

TEST(NnGradientTest, ShortConvolutions) { checkShortConvolutions(/*hasPositions=*/false); }

TEST(NnGradientTest, ShortConvolutionsInDocuments) { checkShortConvolutions(/*hasPositions=*/true); }

// Only what is carried to the next tokens is used: the rows get no cotangent.
TEST(NnGradientTest, ShortConvolutionByItsNextPast) {
  expectGradient(R"(func.func @f(%x: tensor<?x?x$Kxf64>, %w: tensor<$Kx3xf64>, %e: tensor<?x2x$Kxf64>)
      -> tensor<?x2x$Kxf64> {
    %s = nn.sin %x : tensor<?x?x$Kxf64>
    %y, %n = nn.short_conv %s, %w after %e : tensor<?x?x$Kxf64>, tensor<$Kx3xf64>, tensor<?x2x$Kxf64>
    return %n : tensor<?x2x$Kxf64>
  })",
                 2, 6);
}

// Windows below and above T, one head a group and several, both results.
static void checkAttention(int window, bool hasPositions, bool hasPast) {
  SCOPED_TRACE("window " + std::to_string(window));
  std::string q = "tensor<?x?x4x$Kxf64>", k = "tensor<?x?x2x$Kxf64>", v = "tensor<?x?x2x$Vxf64>",
              o = "tensor<?x?x4x$Vxf64>", l = "tensor<?x?x4xf64>", edge = "tensor<?x" + std::to_string(window - 1),
              arguments, use;
  if (hasPositions)
    arguments += ", %p: tensor<?x?xi32> {test.ids = 5}", use += " at (%p : tensor<?x?xi32>)";
  if (hasPast) {
    std::string pk = edge + "x2x$Kxf64>", pv = edge + "x2x$Vxf64>";
    arguments += ", %pk: " + pk + ", %pv: " + pv, use += " after (%pk, %pv : " + pk + ", " + pv + ")";
  }
  expectGradient("func.func @f(%q: " + q + ", %k: " + k + ", %v: " + v + arguments + ") -> (" + o + ", " + l +
                     ") {\n  %o, %l, %nk, %nv = nn.attention %q, %k, %v window " + std::to_string(window) + use + " : " +
                     q + ", " + k + ", " + v + "\n  return %o, %l : " + o + ", " + l + "\n}\n",
                 /*order=*/1, /*seeds=*/4);
}

TEST(NnGradientTest, Attention) {
  for (int window : {1, 3, 20})
    checkAttention(window, /*hasPositions=*/false, /*hasPast=*/false);
}

TEST(NnGradientTest, AttentionInDocumentsAndAfterAPast) {
  checkAttention(3, /*hasPositions=*/true, /*hasPast=*/false);
  checkAttention(4, /*hasPositions=*/false, /*hasPast=*/true);
  checkAttention(6, /*hasPositions=*/true, /*hasPast=*/true);
}

TEST(NnGradientTest, AttentionHasNoSecondDerivative) {
  std::string x = "tensor<?x?x1x2xf64>";
  Module m("func.func @f(%q: " + x + ", %k: " + x + ", %v: " + x + ") -> " + x +
           " {\n  %o, %l, %nk, %nv = nn.attention %q, %k, %v window 2 : " + x + ", " + x + ", " + x +
           "\n  return %o : " + x + "\n}\n");
  ASSERT_TRUE(m.module) << m.errors;
  auto grad = autodiff::buildGradient(m.function("f"));
  ASSERT_TRUE(succeeded(grad));
  EXPECT_TRUE(failed(autodiff::buildGradient(grad->backward)));
  EXPECT_NE(m.errors.find("'nn.attention_grad' op has no adjoint: attention has first derivatives only"),
            std::string::npos)
      << m.errors;
}

TEST(NnGradientTest, WhatAttentionHandsOnHasNoGradient) {
  std::string x = "tensor<?x?x1x2xf64>";
  Module m("func.func @f(%q: " + x + ") -> tensor<?x1x1x2xf64> {\n  %o, %l, %nk, %nv = nn.attention %q, %q, %q window 2 : " +
           x + ", " + x + ", " + x + "\n  return %nk : tensor<?x1x1x2xf64>\n}\n");
  ASSERT_TRUE(m.module) << m.errors;
  EXPECT_TRUE(failed(autodiff::buildGradient(m.function("f"))));
  EXPECT_NE(m.errors.find("has no adjoint by the keys and values that it hands on"), std::string::npos) << m.errors;
}

// Positions and vectors of indices have no gradient of their own and hand on none.
TEST(NnGradientTest, PositionsTurnAVector) {
  expectGradient(R"(func.func @f(%x: tensor<?x?x$Kxf64>) -> tensor<?x?x$Kxf64> {
    %p, %n = nn.positions %x : tensor<?x?x$Kxf64>
    %f = nn.to_float %p : tensor<?x?xi32> -> tensor<?x?xf64>
    %r = nn.reshape %f : tensor<?x?xf64> -> tensor<?x?x1xf64>
    %i = nn.iota : tensor<$Kxf64>
    %a = nn.mul %r, %i : tensor<?x?x1xf64>, tensor<$Kxf64>
    %c = nn.cos %a : tensor<?x?x$Kxf64>
    %s = nn.sin %x : tensor<?x?x$Kxf64>
    %y = nn.mul %c, %s : tensor<?x?x$Kxf64>, tensor<?x?x$Kxf64>
    return %y : tensor<?x?x$Kxf64>
  })",
                 2);
}
