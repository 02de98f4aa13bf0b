//===- ChunkCompiledTest.cpp - Compiled chunk scans against token scans ---===//
// The chunk form and its gradient as machine code, in f64 and f32, against the
// token form in the reference interpreter, on the same (rounded) numbers.
//===----------------------------------------------------------------------===//
#include "Chunked.h"
#include "EventPrograms.h"

#include "compiler/Plan/CpuProgram.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Nn/Passes.h"

#include <cmath>

using namespace tidegate;
using namespace tidegate::test;

/// Runs a function compiled for numbers of type Real; results have the shapes of `like`.
template <typename Real>
static std::vector<reference::Tensor> runCompiled(runtime::Executor &function, const Sizes &sizes,
                                                  const std::vector<reference::Tensor> &arguments,
                                                  const std::vector<reference::Tensor> &like) {
  std::vector<std::vector<Real>> buffers;
  std::vector<void *> bindings;
  for (const auto &argument : arguments)
    buffers.emplace_back(argument.values.begin(), argument.values.end());
  for (const auto &result : like)
    buffers.emplace_back(result.values.size(), std::numeric_limits<Real>::quiet_NaN());
  for (auto &buffer : buffers)
    bindings.push_back(buffer.data());
  function.run(sizes.batch, sizes.tokens, bindings);
  std::vector<reference::Tensor> results;
  for (size_t i = 0; i < like.size(); ++i) {
    const auto &buffer = buffers[arguments.size() + i];
    results.push_back(numbers(like[i].shape, {buffer.begin(), buffer.end()}));
  }
  return results;
}

template <typename Real>
static void check(Case c, const Sizes &sizes, std::mt19937 &random, double valueBound, double gradientBound,
                  const std::string &what) {
  if (sizeof(Real) == 4)
    for (size_t at = 0; (at = c.text.find("f64", at)) != std::string::npos;)
      c.text.replace(at, 3, "f32");
  Module token(c.text), chunked(c.text);
  auto round = [](reference::Tensor &tensor) {
    for (double &x : tensor.values)
      x = Real(x);
  };
  for (auto &argument : c.arguments)
    round(argument);
  auto want = token.run("f", c.arguments);
  auto arguments = c.arguments;
  for (const auto &result : want) {
    arguments.push_back(randomTensor(result.shape, random));
    round(arguments.back());
  }
  addGradient(token);
  auto wantGradient = token.run("f_grad", arguments);

  toChunk(chunked, 32);
  addGradient(chunked);
  mlir::PassManager manager(&chunked.context);
  manager.addPass(mlir::createCanonicalizerPass());
  manager.addPass(mlir::createCSEPass());
  manager.addNestedPass<mlir::func::FuncOp>(nn::createFuseRows());
  ASSERT_TRUE(succeeded(manager.run(*chunked.module))) << chunked.errors;
  auto program = CpuProgram::compile(*chunked.module, {"f", "f_grad"}, 2);
  ASSERT_TRUE(succeeded(program)) << chunked.errors;
  auto got = runCompiled<Real>((*program)->entry("f"), sizes, c.arguments, want);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_LE(relativeError(got[i], want[i]), valueBound) << what << ", result " << i;
  auto gotGradient = runCompiled<Real>((*program)->entry("f_grad"), sizes, arguments, wantGradient);
  ASSERT_EQ(gotGradient.size(), wantGradient.size());
  double scale = 0;
  for (const auto &tensor : wantGradient)
    scale = std::max(scale, largest(tensor));
  for (size_t i = 0; i < wantGradient.size(); ++i)
    EXPECT_LE(relativeError(gotGradient[i], wantGradient[i], 1e-2 * scale), gradientBound)
        << what << ", gradient of argument " << i;
}

template <typename Real>
static void check(const std::vector<Event> &events, const Sizes &sizes, const std::vector<double> &gates,
                  std::mt19937 &random, double valueBound, double gradientBound, const std::string &what,
                  const Restarts &restarts = {}) {
  check<Real>(makeCase(events, sizes, random, gatesFrom(gates, random), restarts), sizes, random, valueBound,
              gradientBound, what);
}

// Compilation takes most of the time, so the events of several recurrences
// stand in one body: adds with and without a read of the state, now and stale,
// both kinds of decay, a read between two adds.
static const std::vector<Event> kDelta = {{'s'}, {'a', true, true}, {'r'}};
static const std::vector<Event> kMixed = {{'c'}, {'a', true, true, true}, {'r'}, {'a'}, {'r'}};
/// Decays of both sides; reads before and behind them, one scaled per value channel.
static const std::vector<Event> kValueSide = {{'v'}, {'a', true, true}, {'m'}, {'r'}, {'a', false, true, true, true}, {'r'}};
static const std::vector<double> kHardGates = {0, -1e-3, -0.3, -5, -50, -1000};

TEST(ChunkCompiledTest, F64) {
  std::mt19937 random(17);
  check<double>(kDelta, {2, 150, 2, 8, 24}, kHardGates, random, 1e-11, 1e-9, "gated delta rule");
  check<double>(kValueSide, {2, 150, 2, 8, 24}, kHardGates, random, 1e-11, 1e-9, "decays along the values");
}

/// Documents of these lengths, in turn, in every row; the first goes on from before.
static Restarts restartsAfter(const std::vector<int64_t> &lengths, const Sizes &sizes, bool toInitial) {
  Restarts restarts{std::vector<double>(sizes.batch * sizes.tokens), toInitial};
  for (int64_t row = 0; row < sizes.batch; ++row)
    for (int64_t i = row, at = lengths[i % lengths.size()]; at < sizes.tokens; at += lengths[++i % lengths.size()])
      restarts.flags[row * sizes.tokens + at] = 1;
  return restarts;
}

TEST(ChunkCompiledTest, Documents) {
  std::mt19937 random(23);
  const Sizes sizes{2, 150, 2, 8, 24};
  check<double>(kDelta, sizes, kHardGates, random, 1e-11, 1e-9, "from zero", restartsAfter({40, 1, 23}, sizes, false));
  check<float>(kMixed, sizes, kHardGates, random, 3e-6, 2e-5, "from a value", restartsAfter({7, 64}, sizes, true));
}

// A decay e^(-bound sigmoid(x)) per channel whose sum over a chunk of 32 may reach the
// limit of a type goes into both sides of a plain product; the gates are at both
// ends of their range, and between.
template <typename Real>
static void checkAtBound(double limit, const std::vector<std::vector<double>> &kinds, double valueBound,
                         double gradientBound) {
  std::mt19937 random(29);
  const Sizes sizes{1, 150, 2, 8, 24};
  for (const std::vector<double> &gates : kinds) {
    Case c = makeCase(kDelta, sizes, random, gatesFrom(gates, random));
    const std::string from = "nn.exp %t0 : tensor<8xf64>";
    size_t at = c.text.find(from);
    ASSERT_NE(at, std::string::npos) << c.text;
    size_t line = c.text.rfind('\n', at) + 1;
    c.text.replace(at, from.size(), "nn.exp %gate : tensor<8xf64>");
    c.text.insert(line, "    %squashed = nn.sigmoid %t0 : tensor<8xf64>\n    %bound = nn.constant " +
                            std::to_string(-limit / 32) +
                            " : tensor<f64>\n    %gate = nn.mul %bound, %squashed : tensor<f64>, tensor<8xf64>\n");
    Module chunked(c.text);
    toChunk(chunked, 32);
    if (sizeof(Real) == 8)
      chunked.module->walk([](rec::DecayScoresOp scores) { EXPECT_FALSE(scores.getRowGate()); });
    check<Real>(c, sizes, random, valueBound, gradientBound, "gate of x = " + std::to_string(gates[0]));
  }
}

TEST(ChunkCompiledTest, FactoredAtTheBound) {
  checkAtBound<float>(59.9, {{60}, {60, -60, 0.5, 2}}, 3e-6, 2e-5);
  checkAtBound<double>(499.9, {{60}}, 1e-11, 1e-9);
}

// Hard gates among mild ones lose no digits in f32 either.
TEST(ChunkCompiledTest, F32) {
  std::mt19937 random(19);
  check<float>({{'s'}, {'a'}, {'r'}}, {2, 150, 2, 16, 8}, kHardGates, random, 3e-6, 2e-5, "gated linear attention");
  check<float>(kDelta, {1, 65, 2, 16, 24}, {-1000}, random, 3e-6, 2e-5, "gated delta rule, closed gates");
  check<float>(kMixed, {1, 150, 2, 8, 8}, kHardGates, random, 3e-6, 2e-5, "two adds");
}

// Whatever the order of events, sizes that no vector divides, a block of tokens that ends early.
TEST(ChunkCompiledTest, AnyEventsInF64) {
  const int64_t tokens[] = {7, 33, 71}, widths[] = {1, 3, 17, 36};
  for (unsigned n = 0; n < 3; ++n) {
    std::mt19937 random(100 + n);
    const Sizes sizes{1, tokens[n], 1 + n % 2, widths[random() % 4], widths[random() % 4]};
    check<double>(randomEvents(random), sizes, kHardGates, random, 1e-11, 1e-9, "program " + std::to_string(n));
  }
}
