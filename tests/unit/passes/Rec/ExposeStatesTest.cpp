//===- ExposeStatesTest.cpp - Continuing a sequence with its states -------===//
#include "Chunked.h"
#include "EventPrograms.h"

using namespace tidegate;
using namespace tidegate::test;

// A gated delta rule in a layer that is called twice, and one in the model.
static const char *const kModel = R"(
  func.func private @layer(%g: tensor<?x?x2xf64>, %x: tensor<?x?x2x4xf64>) -> tensor<?x?x2x4xf64> {
    %o, %s = rec.scan chunk 1 (%g, %x : tensor<?x?x2xf64>, tensor<?x?x2x4xf64>) kinds [0, 0] out_kinds [0] states 1 {
    ^bb0(%gt: tensor<f64>, %k: tensor<4xf64>, %S: tensor<4x4xf64>):
      %a = nn.sigmoid %gt : tensor<f64>
      %d = nn.mul %a, %S : tensor<f64>, tensor<4x4xf64>
      %r = nn.dot %k, %d contract [0] x [0] : tensor<4xf64>, tensor<4x4xf64>
      %e = nn.sub %k, %r : tensor<4xf64>, tensor<4xf64>
      %u = nn.dot %k, %e contract [] x [] : tensor<4xf64>, tensor<4xf64>
      %next = nn.add %d, %u : tensor<4x4xf64>, tensor<4x4xf64>
      %o = nn.dot %k, %next contract [0] x [0] : tensor<4xf64>, tensor<4x4xf64>
      rec.yield %o, %next : tensor<4xf64>, tensor<4x4xf64>
    } -> tensor<?x?x2x4xf64>, tensor<?x2x4x4xf64>
    return %o : tensor<?x?x2x4xf64>
  }
  func.func @model(%g: tensor<?x?x2xf64>, %x: tensor<?x?x2x4xf64>) -> tensor<?x?x2x4xf64> {
    %1 = call @layer(%g, %x) : (tensor<?x?x2xf64>, tensor<?x?x2x4xf64>) -> tensor<?x?x2x4xf64>
    %2 = call @layer(%g, %1) : (tensor<?x?x2xf64>, tensor<?x?x2x4xf64>) -> tensor<?x?x2x4xf64>
    %o, %s = rec.scan chunk 1 (%2 : tensor<?x?x2x4xf64>) kinds [0] out_kinds [0] states 1 {
    ^bb0(%xt: tensor<4xf64>, %s: tensor<4xf64>):
      %next = nn.add %s, %xt : tensor<4xf64>, tensor<4xf64>
      rec.yield %next, %next : tensor<4xf64>, tensor<4xf64>
    } -> tensor<?x?x2x4xf64>, tensor<?x2x4xf64>
    return %o : tensor<?x?x2x4xf64>
  }
)";

/// Tokens `begin` to `end` of a tensor B x T x ...
static reference::Tensor tokens(const reference::Tensor &x, int64_t begin, int64_t end) {
  int64_t batch = x.shape[0], all = x.shape[1], width = x.size() / (batch * all);
  reference::Tensor part;
  part.shape = x.shape;
  part.shape[1] = end - begin;
  for (int64_t b = 0; b < batch; ++b)
    part.values.insert(part.values.end(), x.values.begin() + (b * all + begin) * width,
                       x.values.begin() + (b * all + end) * width);
  return part;
}

static void expectContinues(bool chunked) {
  std::mt19937 random(1);
  auto g = randomTensor({2, 40, 2}, random), x = randomTensor({2, 40, 2, 4}, random, 0.4);
  Module whole(kModel), parts(kModel);
  auto want = whole.run("model", {g, x});
  mlir::PassManager manager(&parts.context);
  manager.addPass(rec::createRecExposeStates());
  if (chunked)
    manager.addPass(rec::createRecToChunk({/*chunk=*/16}));
  ASSERT_TRUE(succeeded(manager.run(*parts.module))) << parts.errors;

  std::vector<reference::Tensor> states = {reference::Tensor::zeros({2, 2, 4, 4}),
                                           reference::Tensor::zeros({2, 2, 4, 4}),
                                           reference::Tensor::zeros({2, 2, 4})};
  ASSERT_EQ(parts.function("model").getNumArguments(), 2 + states.size());
  const int64_t cuts[] = {0, 33, 34, 35, 40};
  for (int i = 0; i < 4; ++i) {
    std::vector<reference::Tensor> arguments = {tokens(g, cuts[i], cuts[i + 1]), tokens(x, cuts[i], cuts[i + 1])};
    arguments.insert(arguments.end(), states.begin(), states.end());
    auto results = parts.run("model", arguments);
    ASSERT_EQ(results.size(), 1 + states.size());
    EXPECT_LE(relativeError(results[0], tokens(want[0], cuts[i], cuts[i + 1])), 1e-12) << "part " << i;
    states.assign(results.begin() + 1, results.end());
  }
}

TEST(ExposeStatesTest, TokenFormContinuesWithItsStates) { expectContinues(/*chunked=*/false); }

TEST(ExposeStatesTest, ChunkFormContinuesWithItsStates) { expectContinues(/*chunked=*/true); }

// A convolution is continued from every length, below and above its width of 4.
TEST(ExposeStatesTest, ConvolutionContinuesWithItsPast) {
  const char *const text = R"(
    func.func @model(%x: tensor<?x?x3xf64>, %w: tensor<3x4xf64>) -> tensor<?x?x3xf64> {
      %y, %next = nn.short_conv %x, %w : tensor<?x?x3xf64>, tensor<3x4xf64>
      return %y : tensor<?x?x3xf64>
    })";
  std::mt19937 random(1);
  auto x = randomTensor({2, 12, 3}, random), w = randomTensor({3, 4}, random);
  Module whole(text), parts(text);
  auto want = whole.run("model", {x, w});
  mlir::PassManager manager(&parts.context);
  manager.addPass(rec::createRecExposeStates());
  ASSERT_TRUE(succeeded(manager.run(*parts.module))) << parts.errors;
  auto past = reference::Tensor::zeros({2, 3, 3});
  const int64_t cuts[] = {0, 1, 3, 4, 10, 12};
  for (int i = 0; i < 5; ++i) {
    auto results = parts.run("model", {tokens(x, cuts[i], cuts[i + 1]), w, past});
    ASSERT_EQ(results.size(), 2u);
    EXPECT_LE(relativeError(results[0], tokens(want[0], cuts[i], cuts[i + 1])), 1e-14) << "part " << i;
    past = results[1];
  }
}

/// Compares a model on 12 tokens with itself on parts of them; states go from part to part.
static void expectContinuesAtEveryLength(const char *text, const std::vector<reference::Tensor> &weights,
                                         std::vector<reference::Tensor> states) {
  std::mt19937 random(1);
  auto x = randomTensor({2, 12, 2, 4}, random);
  Module whole(text), parts(text);
  ASSERT_TRUE(whole.module) << whole.errors;
  auto call = [&](Module &m, const reference::Tensor &tokens, const std::vector<reference::Tensor> &states) {
    std::vector<reference::Tensor> arguments = {tokens};
    arguments.insert(arguments.end(), weights.begin(), weights.end());
    arguments.insert(arguments.end(), states.begin(), states.end());
    return m.run("model", arguments);
  };
  auto want = call(whole, x, {});
  mlir::PassManager manager(&parts.context);
  manager.addPass(rec::createRecExposeStates());
  ASSERT_TRUE(succeeded(manager.run(*parts.module))) << parts.errors;
  const int64_t cuts[] = {0, 1, 3, 4, 10, 11, 12};
  for (int i = 0; i < 6; ++i) {
    auto results = call(parts, tokens(x, cuts[i], cuts[i + 1]), states);
    ASSERT_EQ(results.size(), 1 + states.size());
    EXPECT_LE(relativeError(results[0], tokens(want[0], cuts[i], cuts[i + 1])), 1e-14) << "part " << i;
    states.assign(results.begin() + 1, results.end());
  }
  EXPECT_EQ(states.back().ids, std::vector<int32_t>({12, 12}));
}

// Attention in a layer that is called twice, turned by positions, and one token's
// attention, which has no past.
TEST(ExposeStatesTest, AttentionContinuesWithItsPast) {
  const char *const text = R"(
    func.func private @layer(%x: tensor<?x?x2x4xf64>, %w: tensor<4xf64>) -> tensor<?x?x2x4xf64> {
      %p, %n = nn.positions %x : tensor<?x?x2x4xf64>
      %f = nn.to_float %p : tensor<?x?xi32> -> tensor<?x?xf64>
      %r = nn.reshape %f : tensor<?x?xf64> -> tensor<?x?x1x1xf64>
      %a = nn.mul %r, %w : tensor<?x?x1x1xf64>, tensor<4xf64>
      %c = nn.cos %a : tensor<?x?x1x4xf64>
      %q = nn.mul %x, %c : tensor<?x?x2x4xf64>, tensor<?x?x1x4xf64>
      %o, %l, %nk, %nv = nn.attention %q, %q, %x window 5 : tensor<?x?x2x4xf64>, tensor<?x?x2x4xf64>, tensor<?x?x2x4xf64>
      return %o : tensor<?x?x2x4xf64>
    }
    func.func @model(%x: tensor<?x?x2x4xf64>, %w: tensor<4xf64>) -> tensor<?x?x2x4xf64> {
      %1 = call @layer(%x, %w) : (tensor<?x?x2x4xf64>, tensor<4xf64>) -> tensor<?x?x2x4xf64>
      %2 = call @layer(%1, %w) : (tensor<?x?x2x4xf64>, tensor<4xf64>) -> tensor<?x?x2x4xf64>
      %o, %l, %nk, %nv = nn.attention %2, %2, %2 window 1 : tensor<?x?x2x4xf64>, tensor<?x?x2x4xf64>, tensor<?x?x2x4xf64>
      return %o : tensor<?x?x2x4xf64>
    })";
  std::mt19937 random(2);
  std::vector<reference::Tensor> states(4, reference::Tensor::zeros({2, 4, 2, 4}));
  states.push_back({{2, 1}, {}, {0, 0}});
  expectContinuesAtEveryLength(text, {randomTensor({4}, random)}, states);
}

/// Chunks of 4 that update two states, with initial values of their own; `output` computes %o from the rows %kt and
/// the states.
static std::string chunkUpdate(const std::string &output) {
  return R"(
  func.func @model(%k: tensor<?x?x2x3xf64>, %s0: tensor<2x3x3xf64> {nn.weight = "s0"}) -> tensor<?x?x2x3xf64> {
    %o:3 = rec.scan chunk 4 (%k : tensor<?x?x2x3xf64>) init (%s0 : tensor<2x3x3xf64>) kinds [0] out_kinds [0] states 2 {
    ^bb0(%kt: tensor<4x3xf64>, %S: tensor<3x3xf64>, %M: tensor<3x3xf64>):
)" + output + R"(
      %p = nn.dot %kt, %S contract [1] x [1] : tensor<4x3xf64>, tensor<3x3xf64>
      %t = nn.tanh %p : tensor<4x3xf64>
      %g = nn.dot %t, %kt contract [0] x [0] : tensor<4x3xf64>, tensor<4x3xf64>
      %m = nn.add %g, %M : tensor<3x3xf64>, tensor<3x3xf64>
      %u = nn.add %S, %m : tensor<3x3xf64>, tensor<3x3xf64>
      %w = nn.tanh %u : tensor<3x3xf64>
      %s1 = rec.unless_last %w, %S : tensor<3x3xf64>
      %m1 = rec.unless_last %m, %M : tensor<3x3xf64>
      rec.yield %o, %s1, %m1 : tensor<4x3xf64>, tensor<3x3xf64>, tensor<3x3xf64>
    } -> tensor<?x?x2x3xf64>, tensor<?x2x3x3xf64>, tensor<?x2x3x3xf64>
    return %o#0 : tensor<?x?x2x3xf64>
  })";
}

/// Every prefix at once, then the rest of 14 tokens one by one, against the chunk scan of each prefix.
static void expectTokenForm(const std::string &text, size_t numStates) {
  std::mt19937 random(3);
  const int64_t all = 14;
  auto k = randomTensor({2, all, 2, 3}, random), s0 = randomTensor({2, 3, 3}, random);
  Module whole(text), parts(text);
  mlir::PassManager manager(&parts.context);
  manager.addPass(rec::createRecExposeStates());
  ASSERT_TRUE(succeeded(manager.run(*parts.module))) << parts.errors;
  EXPECT_EQ(parts.errors, "");
  auto model = parts.function("model");
  ASSERT_EQ(model.getNumArguments(), 2 + numStates);
  for (int64_t prefix = 1; prefix <= all; ++prefix) {
    std::vector<reference::Tensor> states;
    for (unsigned i = 2; i < model.getNumArguments(); ++i) {
      auto shape = cast<mlir::RankedTensorType>(model.getArgument(i).getType()).getShape().vec();
      shape[0] = 2;
      states.push_back(reference::Tensor::zeros(shape));
    }
    for (int64_t begin = 0; begin < all;) {
      int64_t end = begin ? begin + 1 : prefix;
      std::vector<reference::Tensor> arguments = {tokens(k, begin, end), s0};
      arguments.insert(arguments.end(), states.begin(), states.end());
      auto results = parts.run("model", arguments);
      ASSERT_EQ(results.size(), 1 + numStates);
      auto want = whole.run("model", {tokens(k, 0, end), s0});
      ASSERT_EQ(want.size(), 1u);
      EXPECT_LE(relativeError(tokens(results[0], end - begin - 1, end - begin), tokens(want[0], end - 1, end)), 1e-13)
          << "prefix " << prefix << ", token " << end - 1;
      states.assign(results.begin() + 1, results.end());
      begin = end;
    }
  }
}

// Carried: whether there was a call before, two states, a buffer of rows, the rows that are filled.
TEST(ExposeStatesTest, ChunkUpdateContinuesOnItsOwnRow) {
  expectTokenForm(chunkUpdate(R"(
      %q = nn.dot %kt, %S contract [1] x [0] : tensor<4x3xf64>, tensor<3x3xf64>
      %n = nn.reduce_sum %q [1] : tensor<4x3xf64>
      %o = nn.sub %q, %n : tensor<4x3xf64>, tensor<4x1xf64>)"),
                  5);
}

// The output of a row reads the rows before it in the chunk.
TEST(ExposeStatesTest, ChunkUpdateContinuesOnTheRowsSoFar) {
  expectTokenForm(chunkUpdate(R"(
      %c = rec.cumsum %kt : tensor<4x3xf64>
      %o = nn.dot %c, %S contract [1] x [1] : tensor<4x3xf64>, tensor<3x3xf64>)"),
                  5);
}
