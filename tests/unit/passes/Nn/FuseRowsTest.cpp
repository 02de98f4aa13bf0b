//===- FuseRowsTest.cpp - Fusion keeps what a function computes -*- C++ -*-===//
#include "RandomGraph.h"

#include "ir/Nn/NnOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Nn/Passes.h"
#include "tests/unit/compiler/Reference/Run.h"

#include <chrono>

using namespace mlir;
using namespace tidegate;

namespace {
struct Graph {
  test::Module holder{"module {}"};
  func::FuncOp function;

  Graph(unsigned seed, int ops) : function(test::buildRandomGraph(*holder.module, seed, ops)) {}

  bool fuse() {
    PassManager manager(&holder.context);
    manager.addNestedPass<func::FuncOp>(nn::createFuseRows());
    return succeeded(manager.run(*holder.module));
  }
  /// Names of the ops that fusion must not move against each other.
  std::vector<std::string> barriers() {
    std::vector<std::string> names;
    for (Operation &op : function.getBody().front())
      if (isa<nn::DotOp, nn::LookupOp>(op))
        names.push_back(op.getName().getStringRef().str());
    return names;
  }
  std::string text() {
    std::string text;
    llvm::raw_string_ostream os(text);
    holder.module->print(os);
    return text;
  }
};
} // namespace

static bool isAllowedOutside(Operation &op) {
  return isa<nn::MapOp, nn::DotOp, nn::LookupOp, nn::ReshapeOp, func::ReturnOp>(op);
}

TEST(FuseRowsTest, KeepsValuesOfRandomGraphs) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Graph graph(seed, 10 + seed % 150);
    ASSERT_TRUE(succeeded(verify(graph.function))) << graph.holder.errors;
    auto arguments = test::randomArguments(graph.function, seed, 1 + seed % 3);
    auto before = graph.holder.run("f", arguments);
    auto barriers = graph.barriers();
    std::string source = graph.text();
    ASSERT_TRUE(graph.fuse()) << graph.holder.errors << source;

    for (Operation &op : graph.function.getBody().front())
      EXPECT_TRUE(isAllowedOutside(op)) << op.getName().getStringRef().str();
    EXPECT_EQ(graph.barriers(), barriers);
    auto after = graph.holder.run("f", arguments);
    ASSERT_EQ(after.size(), before.size());
    for (size_t r = 0; r < before.size(); ++r)
      test::expectNear(after[r], before[r].shape, before[r].values, 1e-11);
    ASSERT_FALSE(testing::Test::HasFailure()) << source << "\n" << graph.text();
  }
}

TEST(FuseRowsTest, GivesTheSameTextEachTime) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    Graph first(seed, 80), second(seed, 80);
    ASSERT_TRUE(first.fuse()) << first.holder.errors;
    ASSERT_TRUE(second.fuse()) << second.holder.errors;
    EXPECT_EQ(first.text(), second.text());
  }
}

TEST(FuseRowsTest, LargeFunctionsTakeNoMinutes) {
  Graph graph(7, 5000);
  auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(graph.fuse()) << graph.holder.errors;
  std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  // About 0.2 s of an optimised build; quadratic behaviour takes far longer.
  EXPECT_LT(seconds.count(), 10);
}
