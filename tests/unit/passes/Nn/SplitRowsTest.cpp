//===- SplitRowsTest.cpp - Cutting maps keeps what they compute -*- C++ -*-===//
#include "runtime/core/Random.h"
#include "ir/Nn/NnOps.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Nn/Passes.h"
#include "tests/unit/compiler/Reference/Run.h"

#include <cmath>

using namespace mlir;
using namespace tidegate;

/// Runs `@f` before and after the pass, which must leave `maps` maps of `rows` row dimensions.
static void check(const std::string &text, std::vector<test::Shape> shapes, int64_t rows, int maps) {
  test::Module holder(text);
  std::vector<reference::Tensor> arguments;
  runtime::RandomStream random(3, "split rows");
  uint64_t drawn = 0;
  for (const test::Shape &shape : shapes) {
    int64_t size = 1;
    for (int64_t n : shape)
      size *= n;
    test::Numbers values(size);
    for (double &x : values)
      x = random.normalPair(drawn++)[0];
    arguments.push_back(test::numbers(shape, values));
  }
  auto want = holder.run("f", arguments);
  PassManager manager(&holder.context);
  nn::SplitRowsOptions options;
  options.elements = 4;
  manager.addNestedPass<func::FuncOp>(nn::createSplitRows(options));
  ASSERT_TRUE(succeeded(manager.run(*holder.module))) << holder.errors;
  int found = 0;
  holder.module->walk([&](nn::MapOp map) { found += int64_t(map.getRowRank()) == rows; });
  EXPECT_EQ(found, maps);
  auto have = holder.run("f", arguments);
  ASSERT_EQ(have.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    test::expectNear(have[i], want[i].shape, want[i].values, 1e-13);
}

/// A mean over something else, a norm of all numbers as a list, row sums; results that stay and results that move.
TEST(SplitRowsTest, NumbersOfWholeMatrices) {
  check(R"(
    func.func @f(%mu: tensor<?x5xf32>, %g: tensor<?x4x32xf32>, %M: tensor<?x4x32xf32>, %n: tensor<?x4x1xf32>)
        -> (tensor<?x4x32xf32>, tensor<?x4x32xf32>, tensor<?x1xf32>, tensor<?x4x1xf32>, tensor<?x32x4xf32>) {
      %r:5 = nn.map rows 1 (%mu, %g, %M, %n) operand_rows [true, true, true, true] result_rows [true, true, true, true, true] {
      ^bb0(%m: tensor<5xf32>, %a: tensor<4x32xf32>, %b: tensor<4x32xf32>, %c: tensor<4x1xf32>):
        %sum = nn.reduce_sum %m [0] : tensor<5xf32>
        %one = nn.reshape %sum : tensor<1xf32> -> tensor<1x1xf32>
        %mb = nn.mul %one, %b : tensor<1x1xf32>, tensor<4x32xf32>
        %u = nn.add %a, %mb : tensor<4x32xf32>, tensor<4x32xf32>
        %list = nn.reshape %u : tensor<4x32xf32> -> tensor<128xf32>
        %sq = nn.mul %list, %list : tensor<128xf32>, tensor<128xf32>
        %norm = nn.reduce_sum %sq [0] : tensor<128xf32>
        %scaled = nn.div %list, %norm : tensor<128xf32>, tensor<1xf32>
        %x = nn.reshape %scaled : tensor<128xf32> -> tensor<4x32xf32>
        %rows = nn.reduce_sum %x [1] : tensor<4x32xf32>
        %two = nn.constant 2.0 : tensor<4x1xf32>
        %rn = nn.mul %rows, %two : tensor<4x1xf32>, tensor<4x1xf32>
        %rc = nn.mul %rn, %c : tensor<4x1xf32>, tensor<4x1xf32>
        %t = nn.transpose %u [1, 0] : tensor<4x32xf32> -> tensor<32x4xf32>
        nn.yield %u, %x, %norm, %rc, %t : tensor<4x32xf32>, tensor<4x32xf32>, tensor<1xf32>, tensor<4x1xf32>, tensor<32x4xf32>
      } : (tensor<?x5xf32>, tensor<?x4x32xf32>, tensor<?x4x32xf32>, tensor<?x4x1xf32>)
          -> (tensor<?x4x32xf32>, tensor<?x4x32xf32>, tensor<?x1xf32>, tensor<?x4x1xf32>, tensor<?x32x4xf32>)
      return %r#0, %r#1, %r#2, %r#3, %r#4 : tensor<?x4x32xf32>, tensor<?x4x32xf32>, tensor<?x1xf32>, tensor<?x4x1xf32>, tensor<?x32x4xf32>
    })",
        {{3, 5}, {3, 4, 32}, {3, 4, 32}, {3, 4, 1}}, 2, 1);
}

/// Slices, pads and transposes inside of rows; a weight without rows, cut twice.
TEST(SplitRowsTest, ShapesInsideOfRows) {
  check(R"(
    func.func @f(%w: tensor<3x4x8x5xf32>) -> (tensor<3x4x5x8xf32>, tensor<3x4x8x7xf32>) {
      %r:2 = nn.map rows 0 (%w) operand_rows [false] result_rows [true, true] {
      ^bb0(%a: tensor<3x4x8x5xf32>):
        %i = nn.iota : tensor<5xf32>
        %s = nn.add %a, %i : tensor<3x4x8x5xf32>, tensor<5xf32>
        %t = nn.transpose %s [0, 1, 3, 2] : tensor<3x4x8x5xf32> -> tensor<3x4x5x8xf32>
        %c = nn.slice %s dim 3 from 1 step 2 : tensor<3x4x8x5xf32> -> tensor<3x4x8x2xf32>
        %p = nn.pad %c dim 3 from 2 step 3 : tensor<3x4x8x2xf32> -> tensor<3x4x8x7xf32>
        nn.yield %t, %p : tensor<3x4x5x8xf32>, tensor<3x4x8x7xf32>
      } : (tensor<3x4x8x5xf32>) -> (tensor<3x4x5x8xf32>, tensor<3x4x8x7xf32>)
      return %r#0, %r#1 : tensor<3x4x5x8xf32>, tensor<3x4x8x7xf32>
    })",
        {{3, 4, 8, 5}}, 2, 1);
}
