//===- ScanGradientTest.cpp - The adjoint of rec.scan ---------------------===//
#include "GradientCheck.h"
#include "ir/Nn/NnOps.h"
#include "ir/Nn/ReverseMode.h"
#include "ir/Rec/RecOps.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::test;

/// Gated linear attention in token form with an initial state; `flags` before
/// `chunk`, and the results that @f returns.
static std::string tokenGla(const std::string &flags, const std::string &more, const std::string &returned,
                            const std::string &types) {
  return R"(func.func @f(%a: tensor<?x?x2x3xf64> {test.range = [0.3, 1.0]}, %k: tensor<?x?x2x3xf64>,
      %v: tensor<?x?x2x$Vxf64>, %q: tensor<?x?x2x3xf64>, %s0: tensor<?x2x3x$Vxf64>) -> ()" +
         types + R"() {
    %o, %s)" +
         more + " = rec.scan " + flags + R"( chunk 1 (%a, %k, %v, %q :
        tensor<?x?x2x3xf64>, tensor<?x?x2x3xf64>, tensor<?x?x2x$Vxf64>, tensor<?x?x2x3xf64>)
        init (%s0 : tensor<?x2x3x$Vxf64>) kinds [0, 0, 0, 0] out_kinds [0] states 1 {
    ^bb0(%at: tensor<3xf64>, %kt: tensor<3xf64>, %vt: tensor<$Vxf64>, %qt: tensor<3xf64>, %S: tensor<3x$Vxf64>):
      %d = nn.reshape %at : tensor<3xf64> -> tensor<3x1xf64>
      %decayed = nn.mul %d, %S : tensor<3x1xf64>, tensor<3x$Vxf64>
      %kv = nn.dot %kt, %vt contract [] x [] : tensor<3xf64>, tensor<$Vxf64>
      %next = nn.add %decayed, %kv : tensor<3x$Vxf64>, tensor<3x$Vxf64>
      %ot = nn.dot %qt, %next contract [0] x [0] : tensor<3xf64>, tensor<3x$Vxf64>
      rec.yield %ot, %next : tensor<$Vxf64>, tensor<3x$Vxf64>
    } -> tensor<?x?x2x$Vxf64>, tensor<?x2x3x$Vxf64>)" +
         (more.empty() ? "" : ", tensor<?x?x2x3x$Vxf64>") + "\n    return " + returned + " : " + types + "\n  }\n";
}

static const std::string kOut = "tensor<?x?x2x$Vxf64>", kState = "tensor<?x2x3x$Vxf64>",
                         kEntries = "tensor<?x?x2x3x$Vxf64>";

TEST(ScanGradientTest, TokenForm) {
  expectGradient(tokenGla("", "", "%o", kOut), 2);
  expectGradient(tokenGla("", "", "%s", kState), 2);
  expectGradient(tokenGla("", "", "%o, %s", kOut + ", " + kState), 2);
}

TEST(ScanGradientTest, Reverse) { expectGradient(tokenGla("reverse", "", "%o, %s", kOut + ", " + kState), 2); }

TEST(ScanGradientTest, EntryStatesAreDifferentiable) {
  expectGradient(tokenGla("save_states", ", %e", "%e", kEntries), 2);
  expectGradient(tokenGla("reverse save_states", ", %e", "%o, %s, %e", kOut + ", " + kState + ", " + kEntries), 2);
}

TEST(ScanGradientTest, ThirdOrder) { expectGradient(tokenGla("", "", "%o", kOut), 3, /*seeds=*/1); }

TEST(ScanGradientTest, SeveralStatesOnlyTheFirstWithAnInit) {
  // A normaliser and a state that reads it, nonlinear in both; sigmoid keeps values tame.
  const std::string scan = R"(
    %o, %s, %n = rec.scan chunk 1 (%k, %v : tensor<?x?x2x3xf64>, tensor<?x?x2x3xf64>)
        init (%s0 : tensor<?x2x3xf64>) kinds [0, 0] out_kinds [0] states 2 {
    ^bb0(%kt: tensor<3xf64>, %vt: tensor<3xf64>, %S: tensor<3xf64>, %N: tensor<3xf64>):
      %g = nn.sigmoid %kt : tensor<3xf64>
      %d = nn.mul %g, %N : tensor<3xf64>, tensor<3xf64>
      %n = nn.add %d, %vt : tensor<3xf64>, tensor<3xf64>
      %p = nn.mul %n, %S : tensor<3xf64>, tensor<3xf64>
      %s = nn.tanh %p : tensor<3xf64>
      %o = nn.add %s, %N : tensor<3xf64>, tensor<3xf64>
      rec.yield %o, %s, %n : tensor<3xf64>, tensor<3xf64>, tensor<3xf64>
    } -> tensor<?x?x2x3xf64>, tensor<?x2x3xf64>, tensor<?x2x3xf64>)";
  const std::string arguments = "%k: tensor<?x?x2x3xf64>, %v: tensor<?x?x2x3xf64>, %s0: tensor<?x2x3xf64>";
  expectGradient("func.func @f(" + arguments + ") -> (tensor<?x?x2x3xf64>, tensor<?x2x3xf64>, tensor<?x2x3xf64>) {" +
                     scan + "\n return %o, %s, %n : tensor<?x?x2x3xf64>, tensor<?x2x3xf64>, tensor<?x2x3xf64> }",
                 2);
  // Only the last state has a cotangent.
  expectGradient("func.func @f(" + arguments + ") -> tensor<?x2x3xf64> {" + scan + "\n return %n : tensor<?x2x3xf64> }",
                 2);
}

TEST(ScanGradientTest, StepHeadAndSharedOperandsInChunkForm) {
  expectGradient(R"(func.func @f(%x: tensor<?x?x2x3xf64>, %p: tensor<?x?x2x3xf64> {test.chunk = 4}, %h: tensor<2x3xf64>,
      %w: tensor<3x3xf64>, %s0: tensor<?x2x3xf64>) -> (tensor<?x?x2x3xf64>, tensor<?x?x2x3xf64>, tensor<?x2x3xf64>) {
    %o, %e, %s = rec.scan chunk 4 (%x, %p, %h, %w :
        tensor<?x?x2x3xf64>, tensor<?x?x2x3xf64>, tensor<2x3xf64>, tensor<3x3xf64>)
        init (%s0 : tensor<?x2x3xf64>) kinds [0, 1, 2, 3] out_kinds [0, 1] states 1 {
    ^bb0(%xs: tensor<4x3xf64>, %ps: tensor<3xf64>, %hs: tensor<3xf64>, %ws: tensor<3x3xf64>, %S: tensor<3xf64>):
      %y = nn.dot %xs, %ws contract [1] x [0] : tensor<4x3xf64>, tensor<3x3xf64>
      %z = nn.mul %y, %S : tensor<4x3xf64>, tensor<3xf64>
      %o = nn.mul %z, %hs : tensor<4x3xf64>, tensor<3xf64>
      %c = nn.reduce_sum %y [0] : tensor<4x3xf64>
      %r = nn.reshape %c : tensor<1x3xf64> -> tensor<3xf64>
      %u = nn.mul %r, %ps : tensor<3xf64>, tensor<3xf64>
      %v = nn.add %u, %S : tensor<3xf64>, tensor<3xf64>
      %s = nn.tanh %v : tensor<3xf64>
      rec.yield %o, %u, %s : tensor<4x3xf64>, tensor<3xf64>, tensor<3xf64>
    } -> tensor<?x?x2x3xf64>, tensor<?x?x2x3xf64>, tensor<?x2x3xf64>
    return %o, %e, %s : tensor<?x?x2x3xf64>, tensor<?x?x2x3xf64>, tensor<?x2x3xf64>
  })",
                 2, 6);
}

TEST(ScanGradientTest, ChunkFormOfGatedLinearAttention) {
  // Log gates in, so that the decay of a chunk is a cumulative sum.
  for (std::string reverse : {"", "reverse "})
    expectGradient(R"(func.func @f(%g: tensor<?x?x2x3xf64> {test.range = [-1.0, 0.0]}, %k: tensor<?x?x2x3xf64>,
        %v: tensor<?x?x2x$Vxf64>, %q: tensor<?x?x2x3xf64>, %s0: tensor<?x2x3x$Vxf64>) ->
        (tensor<?x?x2x$Vxf64>, tensor<?x2x3x$Vxf64>) {
      %o, %s = rec.scan )" +
                       reverse + R"(chunk 4 (%g, %k, %v, %q :
          tensor<?x?x2x3xf64>, tensor<?x?x2x3xf64>, tensor<?x?x2x$Vxf64>, tensor<?x?x2x3xf64>)
          init (%s0 : tensor<?x2x3x$Vxf64>) kinds [0, 0, 0, 0] out_kinds [0] states 1 {
      ^bb0(%gc: tensor<4x3xf64>, %kc: tensor<4x3xf64>, %vc: tensor<4x$Vxf64>, %qc: tensor<4x3xf64>, %S: tensor<3x$Vxf64>):
        %G = rec.cumsum %gc : tensor<4x3xf64>
        %e = nn.exp %G : tensor<4x3xf64>
        %qe = nn.mul %qc, %e : tensor<4x3xf64>, tensor<4x3xf64>
        %inter = nn.dot %qe, %S contract [1] x [0] : tensor<4x3xf64>, tensor<3x$Vxf64>
        %P = rec.decay_scores %qc, %kc gates %G, %G at [1] x [0]
            : (tensor<4x3xf64>, tensor<4x3xf64>, tensor<4x3xf64>, tensor<4x3xf64>) -> tensor<4x4xf64>
        %intra = nn.dot %P, %vc contract [1] x [0] : tensor<4x4xf64>, tensor<4x$Vxf64>
        %o = nn.add %inter, %intra : tensor<4x$Vxf64>, tensor<4x$Vxf64>
        %last = nn.slice %G dim 0 from 3 step 1 : tensor<4x3xf64> -> tensor<1x3xf64>
        %rest = nn.sub %last, %G : tensor<1x3xf64>, tensor<4x3xf64>
        %er = nn.exp %rest : tensor<4x3xf64>
        %ke = nn.mul %kc, %er : tensor<4x3xf64>, tensor<4x3xf64>
        %kv = nn.dot %ke, %vc contract [0] x [0] : tensor<4x3xf64>, tensor<4x$Vxf64>
        %el = nn.exp %last : tensor<1x3xf64>
        %d = nn.reshape %el : tensor<1x3xf64> -> tensor<3x1xf64>
        %decayed = nn.mul %d, %S : tensor<3x1xf64>, tensor<3x$Vxf64>
        %next = nn.add %decayed, %kv : tensor<3x$Vxf64>, tensor<3x$Vxf64>
        rec.yield %o, %next : tensor<4x$Vxf64>, tensor<3x$Vxf64>
      } -> tensor<?x?x2x$Vxf64>, tensor<?x2x3x$Vxf64>
      return %o, %s : tensor<?x?x2x$Vxf64>, tensor<?x2x3x$Vxf64>
    })",
                   2, 4);
}

TEST(ScanGradientTest, TheLastChunkOnlyReads) {
  // Lengths of 1 to 9: no update, whole chunks, a partial last one. All rows of the batch start alike.
  for (std::string reverse : {"", "reverse "})
    expectGradient(R"(func.func @f(%k: tensor<?x?x2x3xf64>, %s0: tensor<2x3x3xf64>)
        -> (tensor<?x?x2x3xf64>, tensor<?x2x3x3xf64>, tensor<?x2x3x3xf64>) {
      %o:3 = rec.scan )" +
                       reverse + R"(chunk 4 (%k : tensor<?x?x2x3xf64>)
          init (%s0 : tensor<2x3x3xf64>) kinds [0] out_kinds [0] states 2 {
      ^bb0(%kt: tensor<4x3xf64>, %S: tensor<3x3xf64>, %M: tensor<3x3xf64>):
          %o = nn.dot %kt, %S contract [1] x [1] : tensor<4x3xf64>, tensor<3x3xf64>
          %t = nn.tanh %o : tensor<4x3xf64>
          %g = nn.dot %t, %kt contract [0] x [0] : tensor<4x3xf64>, tensor<4x3xf64>
          %m = nn.add %g, %M : tensor<3x3xf64>, tensor<3x3xf64>
          %u = nn.add %S, %m : tensor<3x3xf64>, tensor<3x3xf64>
          %sq = nn.mul %u, %u : tensor<3x3xf64>, tensor<3x3xf64>
          %n = nn.reduce_sum %sq [1] : tensor<3x3xf64>
          %one = nn.constant 1.0 : tensor<f64>
          %n1 = nn.add %n, %one : tensor<3x1xf64>, tensor<f64>
          %r = nn.rsqrt %n1 : tensor<3x1xf64>
          %w = nn.mul %u, %r : tensor<3x3xf64>, tensor<3x1xf64>
          %s1 = rec.unless_last %w, %S : tensor<3x3xf64>
          %m1 = rec.unless_last %m, %M : tensor<3x3xf64>
          rec.yield %o, %s1, %m1 : tensor<4x3xf64>, tensor<3x3xf64>, tensor<3x3xf64>
      } -> tensor<?x?x2x3xf64>, tensor<?x2x3x3xf64>, tensor<?x2x3x3xf64>
      return %o#0, %o#1, %o#2 : tensor<?x?x2x3xf64>, tensor<?x2x3x3xf64>, tensor<?x2x3x3xf64>
    })",
                   2, 6);
}

TEST(ScanGradientTest, WithoutStates) {
  expectGradient(R"(func.func @f(%x: tensor<?x?x2x3xf64>, %w: tensor<3xf64>) -> tensor<?x?x2x3xf64> {
    %o = rec.scan chunk 2 (%x, %w : tensor<?x?x2x3xf64>, tensor<3xf64>) kinds [0, 3] out_kinds [0] states 0 {
    ^bb0(%xs: tensor<2x3xf64>, %ws: tensor<3xf64>):
      %e = nn.sin %xs : tensor<2x3xf64>
      %o = nn.mul %e, %ws : tensor<2x3xf64>, tensor<3xf64>
      rec.yield %o : tensor<2x3xf64>
    } -> tensor<?x?x2x3xf64>
    return %o : tensor<?x?x2x3xf64>
  })",
                 2);
}

TEST(ScanGradientTest, GradientTakenInsideABody) {
  // W = W - d/dW |W k - v|^2 / 4: the gradient is appended to the body, then the scan is differentiated.
  for (int seed = 1; seed <= 3; ++seed) {
    Trial trial(seed);
    Module m(R"(func.func @f(%k: tensor<?x?x2x3xf64>, %v: tensor<?x?x2x2xf64>, %w0: tensor<?x2x2x3xf64>)
        -> (tensor<?x?x2x2xf64>, tensor<?x2x2x3xf64>) {
      %o, %w = rec.scan chunk 1 (%k, %v : tensor<?x?x2x3xf64>, tensor<?x?x2x2xf64>)
          init (%w0 : tensor<?x2x2x3xf64>) kinds [0, 0] out_kinds [0] states 1 {
      ^bb0(%kt: tensor<3xf64>, %vt: tensor<2xf64>, %W: tensor<2x3xf64>):
        %y = nn.dot %W, %kt contract [1] x [0] : tensor<2x3xf64>, tensor<3xf64>
        %t = nn.tanh %y : tensor<2xf64>
        %e = nn.sub %t, %vt : tensor<2xf64>, tensor<2xf64>
        %loss = nn.dot %e, %e contract [0] x [0] : tensor<2xf64>, tensor<2xf64>
        rec.yield %t, %W : tensor<2xf64>, tensor<2x3xf64>
      } -> tensor<?x?x2x2xf64>, tensor<?x2x2x3xf64>
      return %o, %w : tensor<?x?x2x2xf64>, tensor<?x2x2x3xf64>
    })");
    ASSERT_TRUE(m.module) << m.errors;
    func::FuncOp f = m.function("f");
    rec::ScanOp scan = *f.getBody().getOps<rec::ScanOp>().begin();
    Block &body = scan.getBody().front();
    Operation *yield = body.getTerminator();
    Value loss = yield->getPrevNode()->getResult(0), weights = body.getArgument(2);
    OpBuilder builder(yield);
    Location loc = scan.getLoc();
    auto scalar = cast<RankedTensorType>(loss.getType()).getElementType();
    auto gradient = nn::gradients(builder, loss, nn::constant(builder, loc, -0.25, scalar), weights);
    ASSERT_TRUE(succeeded(gradient));
    yield->setOperand(1, nn::AddOp::create(builder, loc, weights, gradient->front()));

    SCOPED_TRACE("seed " + std::to_string(seed));
    // One step by hand: W + (v - tanh(W k)) * (1 - tanh^2) k^T / 2.
    auto r = m.run("f", {numbers({1, 1, 2, 3}, {1, 0, 0, 0, 1, 0}), numbers({1, 1, 2, 2}, {1, 2, 3, 4}),
                         numbers({1, 2, 2, 3}, Numbers(12, 0.0))});
    expectNear(r.at(1), {1, 2, 2, 3}, {0.5, 0, 0, 1, 0, 0, 0, 1.5, 0, 0, 2, 0});
    expectGradientOf(f, trial, 2);
  }
}

/// Operands that heads share, and outputs that are summed over groups of heads, in
/// token and chunk form. The adjoint of one is the other.
TEST(ScanGradientTest, SharedOperandsAndSummedOutputs) {
  expectGradient(R"(func.func @f(%k: tensor<?x?x2x3xf64>, %v: tensor<?x?x1x5xf64>, %w: tensor<4x3xf64>)
      -> (tensor<?x?x2x5xf64>, tensor<?x?x1x5xf64>, tensor<?x4x3x5xf64>) {
    %o, %p, %s = rec.scan chunk 1 (%v, %k, %w : tensor<?x?x1x5xf64>, tensor<?x?x2x3xf64>, tensor<4x3xf64>)
        kinds [0, 0, 2] out_kinds [0, 0] heads [2, 1] states 1 {
    ^bb0(%vt: tensor<5xf64>, %kt: tensor<3xf64>, %wt: tensor<3xf64>, %S: tensor<3x5xf64>):
      %g = nn.mul %kt, %wt : tensor<3xf64>, tensor<3xf64>
      %kv = nn.dot %g, %vt contract [] x [] : tensor<3xf64>, tensor<5xf64>
      %a = nn.tanh %S : tensor<3x5xf64>
      %next = nn.add %a, %kv : tensor<3x5xf64>, tensor<3x5xf64>
      %ot = nn.dot %wt, %next contract [0] x [0] : tensor<3xf64>, tensor<3x5xf64>
      %pt = nn.mul %ot, %vt : tensor<5xf64>, tensor<5xf64>
      rec.yield %ot, %pt, %next : tensor<5xf64>, tensor<5xf64>, tensor<3x5xf64>
    } -> tensor<?x?x2x5xf64>, tensor<?x?x1x5xf64>, tensor<?x4x3x5xf64>
    return %o, %p, %s : tensor<?x?x2x5xf64>, tensor<?x?x1x5xf64>, tensor<?x4x3x5xf64>
  })", 2);
  expectGradient(R"(func.func @f(%t: tensor<?x?x1x2xf64>, %w: tensor<2x3x2xf64>) -> tensor<?x?x1x3xf64> {
    %o, %s = rec.scan chunk 4 (%t, %w : tensor<?x?x1x2xf64>, tensor<2x3x2xf64>)
        kinds [0, 2] out_kinds [0] heads [1] states 1 {
    ^bb0(%tt: tensor<4x2xf64>, %wt: tensor<3x2xf64>, %S: tensor<3xf64>):
      %k = nn.dot %tt, %wt contract [1] x [1] : tensor<4x2xf64>, tensor<3x2xf64>
      %c = rec.cumsum %k : tensor<4x3xf64>
      %o = nn.mul %c, %S : tensor<4x3xf64>, tensor<3xf64>
      %y = nn.add %o, %k : tensor<4x3xf64>, tensor<4x3xf64>
      %sum = nn.reduce_sum %k [0] : tensor<4x3xf64>
      %row = nn.reshape %sum : tensor<1x3xf64> -> tensor<3xf64>
      %n = nn.add %S, %row : tensor<3xf64>, tensor<3xf64>
      rec.yield %y, %n : tensor<4x3xf64>, tensor<3xf64>
    } -> tensor<?x?x1x3xf64>, tensor<?x2x3xf64>
    return %o : tensor<?x?x1x3xf64>
  })", 2);
}
