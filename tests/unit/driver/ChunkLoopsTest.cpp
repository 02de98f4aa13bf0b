//===- ChunkLoopsTest.cpp - Scans over chunks as loops over whole tensors -===//
// The fast weights of LaCT in both forms on the CPU: one program per batch row and
// head, and one step after another for all of them. Outputs and all gradients agree
// to rounding. (Training steps of a whole model: tests/unit/codegen/CudaPlayTest.cpp.)
//===----------------------------------------------------------------------===//
#include "compiler/Driver/Driver.h"
#include "runtime/core/Random.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace tidegate;
using runtime::HostTensor;

namespace {
struct Case {
  std::string name;
  int64_t B, T;
  ParamList params;
  int64_t m = 3; ///< Hidden width of the fast network, which is 4 wide.
};
void PrintTo(const Case &c, std::ostream *os) { *os << c.name; }

ProgramSource lact(ParamList params) {
  params.insert(params.end(), {{"chunk", "8"}, {"window", "8"}});
  return {TIDEGATE_SOURCE_DIR "/examples/lact/lact.tg", params, {}};
}

double distance(const HostTensor &have, const HostTensor &want) {
  double square = 0, norm = 0;
  for (int64_t i = 0; i < want.elements(); ++i) {
    square += std::pow(have.as<double>()[i] - want.as<double>()[i], 2);
    norm += std::pow(want.as<double>()[i], 2);
  }
  return std::sqrt(square) / (std::sqrt(norm) + 1e-30);
}

/// The entry `fast_weights` with its gradients: random inputs, rates between 0 and 1.
EntryProgram::Tensors results(const Case &c, bool isLoop) {
  CompileOptions options{.precision = Precision::F64, .threads = 2, .chunkLoops = isLoop};
  auto entry = compileEntry(lact(c.params), "fast_weights", options, {}, {{"N", 2}, {"d", 4}, {"m", c.m}});
  runtime::RandomStream random(7, "fast weights");
  uint64_t drawn = 0;
  const CallSizes sizes{c.B, c.T};
  auto draw = [&](const std::vector<ValueSpec> &specs) {
    EntryProgram::Tensors tensors;
    for (const ValueSpec &spec : specs) {
      HostTensor tensor(spec.dtype, sizes.of(spec));
      for (double &x : tensor.as<double>())
        x = tensor.shape().size() == 3 && spec.shape[0] == ValueSpec::kBatch ? 0.5 + 0.1 * random.normalPair(drawn++)[0]
                                                                           : random.normalPair(drawn++)[0];
      tensors.emplace(spec.name, std::move(tensor));
    }
    return tensors;
  };
  auto inputs = draw(entry->inputs());
  auto all = entry->run(inputs);
  for (auto &[name, tensor] : entry->vjp(inputs, draw(entry->outputs())))
    all.emplace(name, std::move(tensor));
  return all;
}

class ChunkLoopsTest : public testing::TestWithParam<Case> {};
} // namespace

TEST_P(ChunkLoopsTest, OutputsAndGradientsAreThoseOfTheScan) {
  auto have = results(GetParam(), true), want = results(GetParam(), false);
  ASSERT_EQ(have.size(), want.size());
  for (auto &[name, tensor] : want)
    EXPECT_LT(distance(have.at(name), tensor), 1e-11) << name;
}

INSTANTIATE_TEST_SUITE_P(Lact, ChunkLoopsTest,
                         testing::Values(Case{"PartialLastChunk", 2, 29, {}}, Case{"WholeChunks", 2, 24, {}},
                                         Case{"ShorterThanAChunk", 2, 5, {}}, Case{"OneChunk", 1, 8, {}},
                                         Case{"WithoutMomentum", 2, 29, {{"momentum", "false"}}},
                                         Case{"Muon", 2, 29, {{"muon", "true"}}}, // one matrix is wide, one tall
                                         Case{"AsManyRowsAsTokens", 2, 21, {}, 8}),
                         [](const auto &info) { return info.param.name; });
