//===- ScanTest.cpp - Hand-computed scans and tiles -----------------------===//
#include "Run.h"

#include <cmath>

using namespace tidegate::test;

// One batch row, two heads, K = V = 1: s = a s + x, o = 2 s.
static const char *const kToken = R"(
  func.func @f(%a: tensor<?x?x2xf32>, %x: tensor<?x?x2xf32>, %s0: tensor<?x2xf32>) ->
      (tensor<?x?x2xf32>, tensor<?x2xf32>, tensor<?x?x2xf32>) {
    %o, %s, %e = rec.scan save_states chunk 1 (%a, %x : tensor<?x?x2xf32>, tensor<?x?x2xf32>)
        init (%s0 : tensor<?x2xf32>) kinds [0, 0] out_kinds [0] states 1 {
    ^bb0(%at: tensor<f32>, %xt: tensor<f32>, %S: tensor<f32>):
      %d = nn.mul %at, %S : tensor<f32>, tensor<f32>
      %n = nn.add %d, %xt : tensor<f32>, tensor<f32>
      %o = nn.add %n, %n : tensor<f32>, tensor<f32>
      rec.yield %o, %n : tensor<f32>, tensor<f32>
    } -> tensor<?x?x2xf32>, tensor<?x2xf32>, tensor<?x?x2xf32>
    return %o, %s, %e : tensor<?x?x2xf32>, tensor<?x2xf32>, tensor<?x?x2xf32>
  })";

TEST(ScanTest, TokenFormCarriesEachHead) {
  Module m(kToken);
  auto r = m.run("f", {numbers({1, 3, 2}, {.5, 1, .5, 2, .5, 3}), numbers({1, 3, 2}, {1, 1, 2, 1, 3, 1}),
                       numbers({1, 2}, {4, 0})});
  ASSERT_EQ(r.size(), 3u);
  // head 0: 4 -> 3 -> 3.5 -> 4.75; head 1: 0 -> 1 -> 3 -> 10
  expectNear(r[0], {1, 3, 2}, {6, 2, 7, 6, 9.5, 20});
  expectNear(r[1], {1, 2}, {4.75, 10});
  expectNear(r[2], {1, 3, 2}, {4, 0, 3, 1, 3.5, 3});
}

TEST(ScanTest, ReverseStartsAtTheLastToken) {
  std::string text = kToken;
  text.replace(text.find("save_states"), 11, "reverse save_states");
  Module m(text);
  auto r = m.run("f", {numbers({1, 3, 2}, {.5, 1, .5, 2, .5, 3}), numbers({1, 3, 2}, {1, 1, 2, 1, 3, 1}),
                       numbers({1, 2}, {4, 0})});
  ASSERT_EQ(r.size(), 3u);
  // head 0: 4 -> 5 -> 4.5 -> 3.25; head 1: 0 -> 1 -> 3 -> 4
  expectNear(r[0], {1, 3, 2}, {6.5, 8, 9, 6, 10, 2});
  expectNear(r[1], {1, 2}, {3.25, 4});
  expectNear(r[2], {1, 3, 2}, {4.5, 3, 5, 1, 4, 0});
}

TEST(ScanTest, TheLastStepAlongTimeOnlyReads) {
  // Chunks of 2, T = 5: s += sum of the rows of all chunks but the last; o = s at entry. Heads start at 1 and 2.
  const std::string text = R"(
    func.func @f(%x: tensor<?x?x2xf32>, %s0: tensor<2xf32>) -> (tensor<?x?x2xf32>, tensor<?x2xf32>) {
      %o, %s = rec.scan chunk 2 (%x : tensor<?x?x2xf32>) init (%s0 : tensor<2xf32>) kinds [0] out_kinds [0] states 1 {
      ^bb0(%a: tensor<2xf32>, %S: tensor<f32>):
        %0 = nn.reduce_sum %a [0] : tensor<2xf32>
        %1 = nn.reshape %0 : tensor<1xf32> -> tensor<f32>
        %n = nn.add %S, %1 : tensor<f32>, tensor<f32>
        %k = rec.unless_last %n, %S : tensor<f32>
        %o = nn.broadcast_like %S, %a : tensor<f32>, tensor<2xf32> -> tensor<2xf32>
        rec.yield %o, %k : tensor<2xf32>, tensor<f32>
      } -> tensor<?x?x2xf32>, tensor<?x2xf32>
      return %o, %s : tensor<?x?x2xf32>, tensor<?x2xf32>
    })";
  auto x = numbers({1, 5, 2}, {1, 10, 2, 20, 3, 30, 4, 40, 5, 50});
  Module m(text);
  auto r = m.run("f", {x, numbers({2}, {1, 2})});
  ASSERT_EQ(r.size(), 2u);
  expectNear(r[0], {1, 5, 2}, {1, 2, 1, 2, 4, 32, 4, 32, 11, 102});
  expectNear(r[1], {1, 2}, {11, 102});
  // Backwards the same step is the first.
  std::string turned = text;
  turned.replace(turned.find("chunk 2"), 7, "reverse chunk 2");
  Module n(turned);
  r = n.run("f", {x, numbers({2}, {1, 2})});
  ASSERT_EQ(r.size(), 2u);
  expectNear(r[0], {1, 5, 2}, {8, 72, 8, 72, 1, 2, 1, 2, 1, 2});
  expectNear(r[1], {1, 2}, {11, 102});
}

TEST(ScanTest, ChunksSeeZeroRowsAndEveryKind) {
  // Two batch rows, chunk 2, T = 3: sums of rows times step, head and shared factors.
  Module m(R"(
    func.func @f(%x: tensor<?x?x2x1xf32>, %p: tensor<?x?x2xf32>, %h: tensor<2xf32>, %c: tensor<f32>) ->
        (tensor<?x?x2x1xf32>, tensor<?x?x2xf32>, tensor<?x2xf32>) {
      %o, %t, %s = rec.scan chunk 2
          (%x, %p, %h, %c : tensor<?x?x2x1xf32>, tensor<?x?x2xf32>, tensor<2xf32>, tensor<f32>)
          kinds [0, 1, 2, 3] out_kinds [0, 1] states 1 {
      ^bb0(%a: tensor<2x1xf32>, %b: tensor<f32>, %d: tensor<f32>, %e: tensor<f32>, %S: tensor<f32>):
        %0 = nn.mul %b, %d : tensor<f32>, tensor<f32>
        %1 = nn.mul %0, %e : tensor<f32>, tensor<f32>
        %2 = nn.mul %a, %1 : tensor<2x1xf32>, tensor<f32>
        %3 = nn.reduce_sum %a [0, 1] : tensor<2x1xf32>
        %4 = nn.reshape %3 : tensor<1x1xf32> -> tensor<f32>
        %5 = nn.add %S, %4 : tensor<f32>, tensor<f32>
        rec.yield %2, %4, %5 : tensor<2x1xf32>, tensor<f32>, tensor<f32>
      } -> tensor<?x?x2x1xf32>, tensor<?x?x2xf32>, tensor<?x2xf32>
      return %o, %t, %s : tensor<?x?x2x1xf32>, tensor<?x?x2xf32>, tensor<?x2xf32>
    })");
  auto r = m.run("f", {numbers({2, 3, 2, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}),
                       numbers({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}), numbers({2}, {1, 10}), numbers({}, {.5})});
  ASSERT_EQ(r.size(), 3u);
  expectNear(r[0], {2, 3, 2, 1}, {.5, 20, 1.5, 40, 7.5, 120, 17.5, 240, 22.5, 300, 38.5, 480});
  expectNear(r[1], {2, 2, 2}, {4, 6, 5, 6, 16, 18, 11, 12});
  expectNear(r[2], {2, 2}, {9, 12, 27, 30});
}

TEST(ScanTest, Tiles) {
  Module m(R"(
    func.func @f(%x: tensor<3x1xf32>, %m: tensor<3x3xf32>) -> (tensor<3x1xf32>, tensor<3x1xf32>, tensor<3x1xf32>,
        tensor<3x1xf32>, tensor<3x1xf32>, tensor<3x1xf32>, tensor<3x3xf32>) {
      %a = rec.cumsum %x : tensor<3x1xf32>
      %b = rec.cumsum %x exclusive : tensor<3x1xf32>
      %c = rec.cumsum %x reverse : tensor<3x1xf32>
      %d = rec.cumsum %x reverse exclusive : tensor<3x1xf32>
      %e = rec.solve_unit_lower %m, %x : tensor<3x3xf32>, tensor<3x1xf32> -> tensor<3x1xf32>
      %g = rec.solve_unit_lower transposed %m, %x : tensor<3x3xf32>, tensor<3x1xf32> -> tensor<3x1xf32>
      %h = rec.strictly_lower %m : tensor<3x3xf32>
      return %a, %b, %c, %d, %e, %g, %h : tensor<3x1xf32>, tensor<3x1xf32>, tensor<3x1xf32>,
        tensor<3x1xf32>, tensor<3x1xf32>, tensor<3x1xf32>, tensor<3x3xf32>
    })");
  // 9s on and above the diagonal must not be read by the solve.
  auto r = m.run("f", {numbers({3, 1}, {1, 2, 4}), numbers({3, 3}, {9, 9, 9, 2, 9, 9, 3, 5, 9})});
  ASSERT_EQ(r.size(), 7u);
  expectNear(r[0], {3, 1}, {1, 3, 7});
  expectNear(r[1], {3, 1}, {0, 1, 3});
  expectNear(r[2], {3, 1}, {7, 6, 4});
  expectNear(r[3], {3, 1}, {6, 4, 0});
  expectNear(r[4], {3, 1}, {1, 4, 27});   // 2 + 2*1; 4 + 3*1 + 5*4
  expectNear(r[5], {3, 1}, {57, 22, 4});  // 2 + 5*4; 1 + 2*22 + 3*4
  expectNear(r[6], {3, 3}, {0, 0, 0, 2, 0, 0, 3, 5, 0});
}

TEST(ScanTest, DecayScoresAndMixFollowPositions) {
  // Two tokens; per token one add at place 1, reads at places 0 and 2.
  Module m(R"(
    func.func @f(%q: tensor<4x1xf32>, %k: tensor<2x1xf32>, %gq: tensor<4x1xf32>, %gk: tensor<2x1xf32>) ->
        (tensor<4x2xf32>, tensor<4x1xf32>, tensor<2x1xf32>, tensor<4x2xf32>) {
      %p = rec.decay_scores %q, %k gates %gq, %gk at [0, 2] x [1]
        : (tensor<4x1xf32>, tensor<2x1xf32>, tensor<4x1xf32>, tensor<2x1xf32>) -> tensor<4x2xf32>
      %y = rec.decay_mix %p, %k gates %gq, %gk at [0, 2] x [1]
        : (tensor<4x2xf32>, tensor<2x1xf32>, tensor<4x1xf32>, tensor<2x1xf32>) -> tensor<4x1xf32>
      %z = rec.decay_mix transposed %p, %q gates %gq, %gk at [0, 2] x [1]
        : (tensor<4x2xf32>, tensor<4x1xf32>, tensor<4x1xf32>, tensor<2x1xf32>) -> tensor<2x1xf32>
      %n = rec.decay_scores %q, %k at [0, 2] x [1] : (tensor<4x1xf32>, tensor<2x1xf32>) -> tensor<4x2xf32>
      return %p, %y, %z, %n : tensor<4x2xf32>, tensor<4x1xf32>, tensor<2x1xf32>, tensor<4x2xf32>
    })");
  double half = std::log(0.5);
  auto r = m.run("f", {numbers({4, 1}, {2, 3, 5, 7}), numbers({2, 1}, {10, 100}),
                       numbers({4, 1}, {0, half, half, 2 * half}), numbers({2, 1}, {half, 2 * half})});
  ASSERT_EQ(r.size(), 4u);
  // Row 0 sees nothing, rows 1 and 2 the first add, row 3 both; e^G: row 3 halves the first add.
  expectNear(r[0], {4, 2}, {0, 0, 30, 0, 50, 0, 35, 700});
  expectNear(r[1], {4, 1}, {0, 300, 500, 175 + 70000});
  expectNear(r[2], {2, 1}, {90 + 250 + 122.5, 4900});
  expectNear(r[3], {4, 2}, {0, 0, 30, 0, 50, 0, 70, 700});
}
