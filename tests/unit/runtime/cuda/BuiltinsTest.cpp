// Built-in kernels: the launches of each step, and NVRTC's word that they fit into registers.
#include "runtime/cuda/Builtins.h"
#include "runtime/core/Error.h"
#include "runtime/device/arguments.cuh"

#include <gtest/gtest.h>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

namespace {

/// A plan of one step whose buffers have the bytes per element that were asked for.
class OneStep {
public:
  int buffer(int64_t elementBytes) {
    plan.buffers.push_back({});
    plan.buffers.back().elementBytes = elementBytes;
    return int(plan.buffers.size()) - 1;
  }
  template <typename S>
  std::vector<BuiltinLaunch> launches(S step, int64_t B = 4, int64_t T = 8000) {
    plan.steps = {Step{step, ""}};
    return builtinLaunches(plan.steps[0], {plan, B, T, {}});
  }
  int64_t workspace(int64_t B, int64_t T) const { return builtinWorkspace(plan, B, T); }

private:
  Plan plan;
};

const Extent kBatch{1, 1, 0, {}}, kTokens{1, 0, 1, {}}, kRows{1, 1, 1, {}};

template <typename Argument>
Argument argumentOf(const BuiltinLaunch &launch) {
  Argument argument;
  EXPECT_EQ(sizeof argument, launch.argument.size());
  std::memcpy(&argument, launch.argument.data(), sizeof argument);
  return argument;
}

std::vector<BuiltinLaunch> lookups(int64_t table, int64_t out, int64_t width) {
  OneStep plan;
  Lookup l{plan.buffer(table), plan.buffer(4), plan.buffer(out), kRows, 32000, width};
  auto all = plan.launches(l);
  LookupGrad g{l.out, l.ids, l.table, kRows, 32000, width};
  for (auto &launch : plan.launches(g))
    all.push_back(launch);
  return all;
}

std::vector<BuiltinLaunch> convolutions(int64_t rows, int64_t weight, int64_t channels, int64_t taps) {
  OneStep plan;
  ShortConv s;
  s.rows = plan.buffer(rows), s.with = plan.buffer(weight), s.out = plan.buffer(rows);
  s.edge = plan.buffer(rows), s.outEdge = plan.buffer(rows), s.positions = plan.buffer(4);
  s.batch = kBatch, s.tokens = kTokens, s.channels = channels, s.width = taps;
  auto all = plan.launches(s);
  for (auto kind : {ShortConv::Kind::InputGrad, ShortConv::Kind::WeightGrad}) {
    s.kind = kind;
    if (kind == ShortConv::Kind::WeightGrad)
      std::swap(s.with, s.out), s.outEdge = -1;
    for (auto &launch : plan.launches(s))
      all.push_back(launch);
  }
  return all;
}

std::vector<BuiltinLaunch> attentions(int64_t operand, int64_t keyWidth, int64_t valueWidth, bool hasPast) {
  OneStep plan;
  Attention a;
  a.query = plan.buffer(operand), a.key = plan.buffer(operand), a.value = plan.buffer(operand);
  a.out = plan.buffer(operand), a.lse = plan.buffer(4), a.positions = plan.buffer(4);
  if (hasPast)
    a.pastKey = plan.buffer(operand), a.pastValue = plan.buffer(operand);
  a.nextKey = plan.buffer(operand), a.nextValue = plan.buffer(operand);
  a.batch = kBatch, a.tokens = kTokens, a.heads = 16, a.keyHeads = 8;
  a.keyWidth = keyWidth, a.valueWidth = valueWidth, a.window = 2048;
  auto all = plan.launches(a);
  AttentionGrad g{a,
                  plan.buffer(operand),
                  -1,
                  plan.buffer(operand),
                  plan.buffer(operand),
                  plan.buffer(operand),
                  plan.buffer(operand),
                  plan.buffer(operand)};
  for (auto &launch : plan.launches(g))
    all.push_back(launch);
  return all;
}

/// Compiles for both architectures; prints what they use.
void expectToFit(const std::vector<BuiltinLaunch> &launches) {
  if (std::string why = Nvrtc::whyMissing(); !why.empty())
    GTEST_SKIP() << why;
  for (const char *architecture : {"sm_80", "sm_90a"}) {
    std::vector<ProgramText> texts;
    for (const BuiltinLaunch &launch : launches)
      texts.push_back(launch.kernel.program());
    std::vector<const ProgramText *> programs;
    for (const ProgramText &text : texts)
      programs.push_back(&text);
    auto compiled = compileAll(programs, architecture, KernelCache(""));
    for (size_t i = 0; i < launches.size(); ++i) {
      ASSERT_EQ(1u, compiled[i]->kernels.size());
      const KernelUse &use = compiled[i]->kernels[0];
      EXPECT_EQ(launches[i].kernel.name, use.kernel);
      EXPECT_EQ(0, use.spillBytes) << launches[i].kernel.call << " for " << architecture;
      std::printf("%-7s %3d registers %6lld bytes shared  %s\n", architecture, use.registers,
                  static_cast<long long>(use.sharedBytes + launches[i].shape.sharedBytes),
                  launches[i].kernel.call.c_str());
    }
  }
}

std::vector<BuiltinLaunch> chunkRows(int64_t bytes, int64_t width) {
  OneStep plan;
  ChunkRows c{false, plan.buffer(bytes), plan.buffer(bytes), kBatch, kTokens, 4, 4, 2048, width};
  auto all = plan.launches(c);
  c.isBack = true;
  for (auto &launch : plan.launches(c))
    all.push_back(launch);
  return all;
}

TEST(Builtins, ChunkRowsFit) {
  expectToFit(chunkRows(2, 256));
  expectToFit(chunkRows(4, 1));
}

TEST(Builtins, ChunkRowsStartAtTheirChunk) {
  Plan plan;
  plan.buffers.resize(2);
  plan.steps = {Step{ChunkRows{false, 0, 1, kBatch, kTokens, 4, 2, 64, 32}, ""}};
  auto launch = builtinLaunches(plan.steps[0], {plan, 3, 200, {}, nullptr, 2})[0];
  auto argument = argumentOf<tidegate::device::ChunkRowsArguments>(launch);
  EXPECT_EQ(128, argument.first);
  EXPECT_EQ(200, argument.tokens);
  EXPECT_EQ(64 * 32 / (128 * 4), launch.shape.blocks);
  EXPECT_EQ(4, launch.shape.blocksY);
  EXPECT_EQ(3, launch.shape.blocksZ);
}

TEST(Builtins, LookupsFit) {
  expectToFit(lookups(2, 2, 1024));
  expectToFit(lookups(4, 4, 66));
}

TEST(Builtins, ShortConvolutionsFit) {
  expectToFit(convolutions(2, 4, 1024, 4));
  expectToFit(convolutions(4, 4, 100, 4));
}

TEST(Builtins, PassesThroughMemoryFit) {
  OneStep plan;
  Positions p{-1, plan.buffer(4), plan.buffer(4), kBatch, kTokens};
  auto all = plan.launches(p);
  for (Dtype other : {Dtype::F32, Dtype::BF16})
    all.push_back(sumOfParts(nullptr, {nullptr, other}, 64, 1024));
  all.push_back(castOf({nullptr, Dtype::F32}, {nullptr, Dtype::BF16}, 1 << 20));
  all.push_back(castOf({nullptr, Dtype::BF16}, {nullptr, Dtype::F32}, 1001));
  all.push_back(fillOf({nullptr, Dtype::BF16}, 1001, 1));
  expectToFit(all);
}

TEST(Builtins, AttentionsFit) {
  for (int64_t width : {64, 96, 128, 256})
    expectToFit(attentions(2, width, width, false));
  expectToFit(attentions(2, 80, 48, true));
  expectToFit(attentions(4, 64, 64, false));
}

TEST(Builtins, GradientsByKeysAndValuesAreSplitWhereTheyAreWide) {
  auto passes = [](int64_t width) {
    int64_t count = 0;
    for (auto &launch : attentions(2, width, width, true))
      count += launch.kernel.name == "attention_key_grad";
    return count;
  };
  EXPECT_EQ(1, passes(128));
  EXPECT_EQ(2, passes(144));
  EXPECT_THROW(passes(257), RuntimeError);
}

/// Heads wider than any architecture's shared memory holds would be found at launch only.
TEST(Builtins, SharedMemoryOfAttentionSuffices) {
  for (int64_t bytes : {2, 4})
    for (int64_t width : {16, 64, 80, 128, 256})
      for (auto &launch : attentions(bytes, width, width, false))
        EXPECT_LE(launch.shape.sharedBytes, (bytes == 4 && width > 128 ? 227 : 163) << 10) << launch.kernel.call;
}

/// Without a past the gradients by it are zeros.
TEST(Builtins, GradientsByAMissingPastAreFilled) {
  auto fills = [](bool hasPast) {
    int64_t count = 0;
    for (auto &launch : attentions(2, 64, 64, hasPast))
      if (launch.kernel.name == "fill") {
        auto a = argumentOf<tidegate::device::FillArguments>(launch);
        EXPECT_EQ(4 * 2047 * 8 * 64, a.count);
        EXPECT_EQ(0, a.value);
        ++count;
      }
    return count;
  };
  EXPECT_EQ(2, fills(false));
  EXPECT_EQ(0, fills(true));
}

TEST(Builtins, ALookupHasAWarpPerRow) {
  OneStep plan;
  auto launches = plan.launches(Lookup{plan.buffer(4), plan.buffer(4), plan.buffer(2), kRows, 100, 20}, 2, 9);
  ASSERT_EQ(1u, launches.size());
  EXPECT_EQ("lookupBlock<float, bf16, 4>(a, blockIdx.x)", launches[0].kernel.call);
  EXPECT_EQ(5, launches[0].shape.blocks);
  auto a = argumentOf<tidegate::device::LookupArguments>(launches[0]);
  EXPECT_EQ(18, a.count);
  EXPECT_EQ(100, a.rows);
  EXPECT_EQ(20, a.width);
}

TEST(Builtins, IdsAreSortedByAsManyDigitsAsTheTableHas) {
  auto passes = [](int64_t rows) {
    OneStep plan;
    int64_t count = 0;
    for (auto &launch : plan.launches(LookupGrad{plan.buffer(2), plan.buffer(4), plan.buffer(4), kRows, rows, 64}))
      count += launch.kernel.name == "lookup_grad_places";
    return count;
  };
  EXPECT_EQ(1, passes(255)); // with one more key for ids outside
  EXPECT_EQ(2, passes(256));
  EXPECT_EQ(2, passes(32000));
  EXPECT_EQ(3, passes(65536));
}

/// The last piece of the workspace ends where the workspace does.
TEST(Builtins, TheWorkspaceHoldsTheParts) {
  OneStep plan;
  ShortConv s;
  s.kind = ShortConv::Kind::WeightGrad;
  s.rows = plan.buffer(2), s.with = plan.buffer(2), s.out = plan.buffer(4);
  s.batch = kBatch, s.tokens = kTokens, s.channels = 64, s.width = 4;
  auto launches = plan.launches(s, 3, 1000);
  ASSERT_EQ(2u, launches.size());
  auto sum = argumentOf<tidegate::device::SumArguments>(launches[1]);
  EXPECT_EQ(3 * 4, sum.count); // 1000 tokens are four blocks of 256
  EXPECT_EQ(64 * 4, sum.elements);
  EXPECT_EQ(sum.count * sum.elements * 4, plan.workspace(3, 1000));
  EXPECT_EQ(0, plan.workspace(0, 1000));
}

TEST(Builtins, AddressesMustBeAligned) {
  Plan plan;
  plan.buffers.resize(3);
  plan.steps = {Step{Lookup{0, 1, 2, kRows, 8, 8}, ""}};
  void *addresses[] = {reinterpret_cast<void *>(256), reinterpret_cast<void *>(520), reinterpret_cast<void *>(512)};
  EXPECT_THROW(builtinLaunches(plan.steps[0], {plan, 1, 1, addresses}), RuntimeError);
  addresses[1] = reinterpret_cast<void *>(528);
  EXPECT_EQ(1u, builtinLaunches(plan.steps[0], {plan, 1, 1, addresses}).size());
}

} // namespace
