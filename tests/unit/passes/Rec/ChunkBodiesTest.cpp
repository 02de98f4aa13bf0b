//===- ChunkBodiesTest.cpp - The ways to write a recurrence ---------------===//
// Each body is compared with its token form, value and gradient, on 3 heads and
// 37 tokens in chunks of 16; K = 4, V = 6.
//===----------------------------------------------------------------------===//
#include "Chunked.h"
#include "EventPrograms.h"

#include <cmath>

using namespace tidegate;
using namespace tidegate::test;

namespace {
struct Operand {
  std::string name, rest; ///< `rest` as "4x" or "".
  int kind = 0;
  reference::Tensor values;
};
} // namespace

static Shape restShape(const std::string &rest) {
  Shape shape;
  for (size_t at = 0; at < rest.size(); at = rest.find('x', at) + 1)
    shape.push_back(std::stol(rest.substr(at)));
  return shape;
}

/// A scan over the operands with the given body, which yields %o and %next.
static Case caseOf(std::vector<Operand> operands, const std::string &state, const std::string &out,
                   const std::string &body) {
  Case c;
  std::string parameters, names, types, kinds, blockArguments;
  for (Operand &x : operands) {
    std::string sep = names.empty() ? "" : ", ";
    std::string outer = std::string("tensor<") + (x.kind == 0 ? "?x?x3x" : x.kind == 2 ? "3x" : "") + x.rest + "f64>";
    parameters += "%in_" + x.name + ": " + outer + ", ";
    names += sep + "%in_" + x.name;
    types += sep + outer;
    kinds += sep + std::to_string(x.kind);
    blockArguments += "%" + x.name + ": tensor<" + x.rest + "f64>, ";
    c.arguments.push_back(std::move(x.values));
  }
  std::string outerState = "tensor<?x3x" + state + "f64>", outerOut = "tensor<?x?x3x" + out + "f64>";
  c.text = "func.func @f(" + parameters + "%s0: " + outerState + ") -> (" + outerOut + ", " + outerState +
           ") {\n  %r:2 = rec.scan chunk 1 (" + names + " : " + types + ") init (%s0 : " + outerState + ") kinds [" +
           kinds + "] out_kinds [0] states 1 {\n  ^bb0(" + blockArguments + "%S: tensor<" + state + "f64>):\n" + body +
           "\n    rec.yield %o, %next : tensor<" + out + "f64>, tensor<" + state + "f64>\n  } -> " + outerOut + ", " +
           outerState + "\n  return %r#0, %r#1 : " + outerOut + ", " + outerState + "\n}\n";
  return c;
}

class ChunkBodiesTest : public ::testing::Test {
protected:
  Operand operand(const std::string &name, const std::string &rest, int kind = 0, double size = 0.5) {
    Shape shape = kind == 0 ? Shape{2, 37, 3} : kind == 2 ? Shape{3} : Shape{};
    for (int64_t d : restShape(rest))
      shape.push_back(d);
    return {name, rest, kind, randomTensor(shape, random, size)};
  }
  /// Positive numbers around 1/2.
  Operand positive(const std::string &name, const std::string &rest, int kind = 0) {
    Operand x = operand(name, rest, kind);
    for (double &v : x.values.values)
      v = 1 / (1 + std::exp(-v));
    return x;
  }

  /// Compares the forms; gives the chunked module.
  std::unique_ptr<Module> expectSame(Case c, const std::string &state, bool withGradient = true) {
    Shape shape{2, 3};
    for (int64_t d : restShape(state))
      shape.push_back(d);
    c.arguments.push_back(randomTensor(shape, random));
    Module token(c.text);
    auto chunked = std::make_unique<Module>(c.text);
    auto want = token.run("f", c.arguments);
    toChunk(*chunked, 16);
    auto got = chunked->run("f", c.arguments);
    EXPECT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size() && i < got.size(); ++i)
      EXPECT_LE(relativeError(got[i], want[i]), 1e-10) << "result " << i;
    if (withGradient && want.size() == 2)
      expectSameGradient(token, *chunked, c, want);
    return chunked;
  }

  void expectSameGradient(Module &token, Module &chunked, Case &c, const std::vector<reference::Tensor> &results) {
    for (const auto &result : results)
      c.arguments.push_back(randomTensor(result.shape, random));
    addGradient(token);
    addGradient(chunked);
    auto want = token.run("f_grad", c.arguments), got = chunked.run("f_grad", c.arguments);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_LE(relativeError(got[i], want[i], 1e-3), 1e-8) << "gradient of operand " << i;
  }

  /// Number of adds per token: columns of the keys over rows of the chunk.
  static int64_t addsPerToken(Module &m) {
    int64_t adds = 0;
    m.module->walk([&](rec::DecayScoresOp op) { adds = op.getColPositions().size(); });
    return adds;
  }

  std::mt19937 random{23};
};

// The delta rule in four ways; each must be one add.

TEST_F(ChunkBodiesTest, DeltaRuleAsAnUpdateOfTheError) {
  auto m = expectSame(caseOf({operand("k", "4x"), operand("v", "6x"), operand("q", "4x"), positive("b", "")}, "4x6x",
                             "6x", R"(
    %r = nn.dot %k, %S contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>
    %e = nn.sub %v, %r : tensor<6xf64>, tensor<6xf64>
    %be = nn.mul %b, %e : tensor<f64>, tensor<6xf64>
    %u = nn.dot %k, %be contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %next = nn.add %S, %u : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)"),
                      "4x6x");
  EXPECT_EQ(addsPerToken(*m), 1);
}

TEST_F(ChunkBodiesTest, DeltaRuleAsTwoOuterProductsAndASubtraction) {
  auto m = expectSame(caseOf({operand("k", "4x"), operand("v", "6x"), operand("q", "4x"), positive("b", "")}, "4x6x",
                             "6x", R"(
    %r = nn.dot %S, %k contract [0] x [0] : tensor<4x6xf64>, tensor<4xf64>
    %bk = nn.mul %b, %k : tensor<f64>, tensor<4xf64>
    %old = nn.dot %bk, %r contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %erased = nn.sub %S, %old : tensor<4x6xf64>, tensor<4x6xf64>
    %new0 = nn.dot %k, %v contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %new = nn.mul %new0, %b : tensor<4x6xf64>, tensor<f64>
    %next = nn.add %erased, %new : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)"),
                      "4x6x");
  EXPECT_EQ(addsPerToken(*m), 1);
}

TEST_F(ChunkBodiesTest, DeltaRuleAsAProductOfMatrices) {
  auto m = expectSame(caseOf({operand("k", "4x"), operand("v", "6x"), operand("q", "4x"), positive("b", "")}, "4x6x",
                             "6x", R"(
    %p = nn.dot %k, %k contract [] x [] : tensor<4xf64>, tensor<4xf64>
    %ps = nn.dot %p, %S contract [1] x [0] : tensor<4x4xf64>, tensor<4x6xf64>
    %kv = nn.dot %k, %v contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %d = nn.sub %kv, %ps : tensor<4x6xf64>, tensor<4x6xf64>
    %bd = nn.mul %b, %d : tensor<f64>, tensor<4x6xf64>
    %next = nn.add %bd, %S : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)"),
                      "4x6x");
  EXPECT_EQ(addsPerToken(*m), 1);
}

TEST_F(ChunkBodiesTest, DeltaRuleByBroadcasting) {
  auto m = expectSame(caseOf({operand("k", "4x"), operand("v", "6x"), operand("q", "4x"), positive("b", "")}, "4x6x",
                             "6x", R"(
    %r = nn.dot %k, %S contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>
    %e = nn.sub %r, %v : tensor<6xf64>, tensor<6xf64>
    %row = nn.reshape %e : tensor<6xf64> -> tensor<1x6xf64>
    %column = nn.reshape %k : tensor<4xf64> -> tensor<4x1xf64>
    %scaled = nn.mul %column, %b : tensor<4x1xf64>, tensor<f64>
    %u = nn.mul %row, %scaled : tensor<1x6xf64>, tensor<4x1xf64>
    %n = nn.neg %u : tensor<4x6xf64>
    %next = nn.add %n, %S : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)"),
                      "4x6x");
  EXPECT_EQ(addsPerToken(*m), 1);
}

TEST_F(ChunkBodiesTest, BonusForTheCurrentTokenBesideTheState) {
  expectSame(caseOf({operand("g", "4x"), operand("k", "4x"), operand("v", "6x"), operand("q", "4x"),
                     operand("u", "4x", 2)},
                    "4x6x", "6x", R"(
    %w = nn.sigmoid %g : tensor<4xf64>
    %d = nn.reshape %w : tensor<4xf64> -> tensor<4x1xf64>
    %kv = nn.dot %k, %v contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %uc = nn.reshape %u : tensor<4xf64> -> tensor<4x1xf64>
    %bonus = nn.mul %uc, %kv : tensor<4x1xf64>, tensor<4x6xf64>
    %seen = nn.add %S, %bonus : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %seen contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>
    %ds = nn.mul %d, %S : tensor<4x1xf64>, tensor<4x6xf64>
    %next = nn.add %ds, %kv : tensor<4x6xf64>, tensor<4x6xf64>)"),
             "4x6x");
}

TEST_F(ChunkBodiesTest, StateWithValuesFirst) {
  expectSame(caseOf({operand("g", "4x"), operand("k", "4x"), operand("v", "6x"), operand("q", "4x")}, "6x4x", "6x", R"(
    %a = nn.sigmoid %g : tensor<4xf64>
    %d = nn.mul %S, %a : tensor<6x4xf64>, tensor<4xf64>
    %r = nn.dot %d, %k contract [1] x [0] : tensor<6x4xf64>, tensor<4xf64>
    %e = nn.sub %v, %r : tensor<6xf64>, tensor<6xf64>
    %u = nn.dot %e, %k contract [] x [] : tensor<6xf64>, tensor<4xf64>
    %next = nn.add %d, %u : tensor<6x4xf64>, tensor<6x4xf64>
    %o = nn.dot %next, %q contract [1] x [0] : tensor<6x4xf64>, tensor<4xf64>)"),
             "6x4x");
}

TEST_F(ChunkBodiesTest, HeadAndSharedOperandsAndConstants) {
  // One decay per head, a key shared by all tokens and heads, a bias for the state.
  expectSame(caseOf({operand("v", "6x"), operand("q", "4x"), positive("a", "", 2), operand("k", "4x", 3),
                     operand("w", "4x4x", 3)},
                    "4x6x", "6x", R"(
    %c = nn.constant 0.25 : tensor<4x1xf64>
    %ks = nn.dot %w, %k contract [1] x [0] : tensor<4x4xf64>, tensor<4xf64>
    %kq = nn.dot %w, %q contract [1] x [0] : tensor<4x4xf64>, tensor<4xf64>
    %d = nn.mul %a, %S : tensor<f64>, tensor<4x6xf64>
    %u = nn.dot %ks, %v contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %n = nn.add %d, %u : tensor<4x6xf64>, tensor<4x6xf64>
    %next = nn.add %n, %c : tensor<4x6xf64>, tensor<4x1xf64>
    %o = nn.dot %kq, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)"),
             "4x6x");
}

TEST_F(ChunkBodiesTest, OutputsMayFollowReadsInAnyWay) {
  // A gated, normalised output, a quotient, and a part that never sees the state.
  expectSame(caseOf({operand("g", ""), operand("k", "4x"), operand("v", "6x"), operand("q", "4x"), operand("z", "6x")},
                    "4x6x", "6x", R"(
    %a = nn.sigmoid %g : tensor<f64>
    %d = nn.mul %a, %S : tensor<f64>, tensor<4x6xf64>
    %u = nn.dot %k, %v contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %next = nn.add %d, %u : tensor<4x6xf64>, tensor<4x6xf64>
    %r = nn.dot %q, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>
    %c = nn.constant 2.0 : tensor<f64>
    %half = nn.div %r, %c : tensor<6xf64>, tensor<f64>
    %sq = nn.mul %half, %half : tensor<6xf64>, tensor<6xf64>
    %m = nn.reduce_sum %sq [0] : tensor<6xf64>
    %one = nn.constant 1.0 : tensor<1xf64>
    %m1 = nn.add %m, %one : tensor<1xf64>, tensor<1xf64>
    %n = nn.rsqrt %m1 : tensor<1xf64>
    %norm = nn.mul %half, %n : tensor<6xf64>, tensor<1xf64>
    %gate = nn.sigmoid %z : tensor<6xf64>
    %o = nn.mul %norm, %gate : tensor<6xf64>, tensor<6xf64>)"),
             "4x6x");
}

TEST_F(ChunkBodiesTest, WeightDecayAddsCoefficients) {
  // S - lr * S + k v^T: the decay 1 - lr is not an exponential.
  expectSame(caseOf({positive("lr", ""), operand("k", "4x"), operand("v", "6x"), operand("q", "4x")}, "4x6x", "6x", R"(
    %l = nn.mul %lr, %S : tensor<f64>, tensor<4x6xf64>
    %d = nn.sub %S, %l : tensor<4x6xf64>, tensor<4x6xf64>
    %u = nn.dot %k, %v contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %next = nn.add %d, %u : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)"),
             "4x6x");
}

static const char *const kDecayBody = R"(
    %d = nn.reshape %a : tensor<4xf64> -> tensor<4x1xf64>
    %ds = nn.mul %d, %S : tensor<4x1xf64>, tensor<4x6xf64>
    %r = nn.dot %k, %ds contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>
    %e = nn.sub %v, %r : tensor<6xf64>, tensor<6xf64>
    %u = nn.dot %k, %e contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %next = nn.add %ds, %u : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)";

TEST_F(ChunkBodiesTest, DecaysOfAnySign) {
  Operand a = operand("a", "4x");
  for (double &x : a.values.values)
    x = (x < 0 ? -1 : 1) * (0.1 + std::min(std::abs(x), 0.9));
  expectSame(caseOf({a, operand("k", "4x"), operand("v", "6x"), operand("q", "4x")}, "4x6x", "6x", kDecayBody), "4x6x");
}

TEST_F(ChunkBodiesTest, DecaysOfZeroAreExactAndStayFinite) {
  Operand a = operand("a", "4x");
  for (size_t i = 0; i < a.values.values.size(); ++i)
    a.values.values[i] = i % 5 == 0 ? 0 : std::min(1.0, std::abs(a.values.values[i]));
  Case c = caseOf({a, operand("k", "4x"), operand("v", "6x"), operand("q", "4x")}, "4x6x", "6x", kDecayBody);
  auto m = expectSame(c, "4x6x", /*withGradient=*/false);
  // A decay below 1e-12 has no gradient of its own; all others are those of the token form.
  c.arguments.push_back(randomTensor({2, 3, 4, 6}, random));
  c.arguments.push_back(randomTensor({2, 37, 3, 6}, random));
  c.arguments.push_back(randomTensor({2, 3, 4, 6}, random));
  Module token(c.text);
  addGradient(token);
  addGradient(*m);
  auto want = token.run("f_grad", c.arguments), got = m->run("f_grad", c.arguments);
  ASSERT_EQ(got.size(), 5u);
  for (size_t i = 0; i < a.values.values.size(); ++i)
    if (a.values.values[i] == 0)
      want[0].values[i] = 0;
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_LE(relativeError(got[i], want[i]), 1e-8) << "gradient of operand " << i;
}

// Decays along the values, and reads that are scaled along them.

TEST_F(ChunkBodiesTest, DecaysOfTheValuesOfAnySignBehindAStaleRead) {
  Operand b = operand("b", "6x");
  for (double &x : b.values.values)
    x = (x < 0 ? -1 : 1) * (0.1 + std::min(std::abs(x), 0.9));
  expectSame(caseOf({b, operand("k", "4x"), operand("v", "6x"), operand("q", "4x")}, "4x6x", "6x", R"(
    %r = nn.dot %k, %S contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>
    %ds = nn.mul %S, %b : tensor<4x6xf64>, tensor<6xf64>
    %e = nn.sub %v, %r : tensor<6xf64>, tensor<6xf64>
    %u = nn.dot %k, %e contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %next = nn.add %ds, %u : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)"),
             "4x6x");
}

TEST_F(ChunkBodiesTest, DeltaRuleWithARatePerValueChannel) {
  expectSame(caseOf({positive("b", "6x"), operand("k", "4x"), operand("v", "6x"), operand("q", "4x")}, "4x6x", "6x", R"(
    %r = nn.dot %k, %S contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>
    %e = nn.sub %v, %r : tensor<6xf64>, tensor<6xf64>
    %be = nn.mul %b, %e : tensor<6xf64>, tensor<6xf64>
    %u = nn.dot %k, %be contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %next = nn.add %S, %u : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)"),
             "4x6x");
}

TEST_F(ChunkBodiesTest, WholeUpdateUnderDecaysOfBothSides) {
  // The reads of the add stay those before the scale: the chain is cut there.
  expectSame(caseOf({positive("a", "4x"), positive("b", "6x"), operand("k", "4x"), operand("v", "6x"), operand("q", "4x")},
                    "4x6x", "6x", R"(
    %r = nn.dot %k, %S contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>
    %e = nn.sub %v, %r : tensor<6xf64>, tensor<6xf64>
    %u = nn.dot %k, %e contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %s = nn.add %S, %u : tensor<4x6xf64>, tensor<4x6xf64>
    %ab = nn.dot %a, %b contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %next = nn.mul %ab, %s : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %next contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)"),
             "4x6x");
}

TEST_F(ChunkBodiesTest, ReadOfAStateDecayedBesideTheChain) {
  expectSame(caseOf({positive("b", "6x"), operand("k", "4x"), operand("v", "6x"), operand("q", "4x")}, "4x6x", "6x", R"(
    %ds = nn.mul %S, %b : tensor<4x6xf64>, tensor<6xf64>
    %u = nn.dot %k, %v contract [] x [] : tensor<4xf64>, tensor<6xf64>
    %next = nn.add %S, %u : tensor<4x6xf64>, tensor<4x6xf64>
    %o = nn.dot %q, %ds contract [0] x [0] : tensor<4xf64>, tensor<4x6xf64>)"),
             "4x6x");
}

TEST_F(ChunkBodiesTest, TransposedStateWithDecaysOfBothSides) {
  expectSame(caseOf({positive("a", "4x"), positive("b", "6x"), operand("k", "4x"), operand("v", "6x"), operand("q", "4x")},
                    "6x4x", "6x", R"(
    %row = nn.reshape %b : tensor<6xf64> -> tensor<6x1xf64>
    %d0 = nn.mul %S, %a : tensor<6x4xf64>, tensor<4xf64>
    %ds = nn.mul %d0, %row : tensor<6x4xf64>, tensor<6x1xf64>
    %r = nn.dot %ds, %k contract [1] x [0] : tensor<6x4xf64>, tensor<4xf64>
    %e = nn.sub %v, %r : tensor<6xf64>, tensor<6xf64>
    %u = nn.dot %e, %k contract [] x [] : tensor<6xf64>, tensor<4xf64>
    %next = nn.add %ds, %u : tensor<6x4xf64>, tensor<6x4xf64>
    %o = nn.dot %next, %q contract [1] x [0] : tensor<6x4xf64>, tensor<4xf64>)"),
             "6x4x");
}
