//===- CudaCompileTest.cpp - Generated kernels through NVRTC ----------------===//
// The training step's kernels of every example compile for both architectures. Registers, spills and shared memory of
// each are printed; a kernel that spills more than a few registers fails.
//===----------------------------------------------------------------------===//
#include "compiler/Driver/CpuModel.h"
#include "compiler/Driver/CudaModel.h"
#include "runtime/cuda/KernelCache.h"
#include "runtime/cuda/Kernels.h"

#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::runtime::cuda;

namespace {
struct Case {
  std::string name;
  ParamList params;
};
void PrintTo(const Case &c, std::ostream *os) { *os << c.name; }

class CudaCompileTest : public testing::TestWithParam<Case> {
protected:
  /// Bytes, stored and loaded by one thread, that fail nothing: some 30 registers between two statements of a kernel
  /// of sixteen warps, which is faster than the same with eight and without.
  static constexpr int kFewBytes = 256;

  /// `blockBytes`: shared memory of a block. Kernels that want more compile, but never run there.
  void compile(const std::string &architecture, int blockBytes) {
    if (std::string why = Nvrtc::whyMissing(); !why.empty())
      GTEST_SKIP() << why;
    const Case &c = GetParam();
    CompileOptions options;
    options.target = Target::Cuda;
    options.precision = Precision::BF16;
    Compilation compilation(options);
    LoadedProgram program({TIDEGATE_SOURCE_DIR "/examples/" + c.name + "/" + c.name + ".tg", c.params, {}});
    auto made = planForCuda(
        compilation, [&] { return buildPart(compilation, program, ModelPart::Train); }, entriesOf(ModelPart::Train));
    ASSERT_FALSE(made.kernels.empty());
    std::vector<const ProgramText *> programs;
    for (const KernelText &kernel : made.kernels)
      programs.push_back(&kernel.program);
    const auto compiled = compileAll(programs, architecture, KernelCache(""));
    for (size_t i = 0; i < compiled.size(); ++i) {
      ASSERT_EQ(1u, compiled[i]->kernels.size());
      const KernelUse &use = compiled[i]->kernels[0];
      std::printf("%-10s %3d registers, %3d bytes of spills, %6d bytes of shared memory, %d threads\n",
                  use.kernel.c_str(), use.registers, use.spillBytes, made.kernels[i].sharedBytes,
                  made.kernels[i].threads);
      if (made.kernels[i].sharedBytes <= blockBytes)
        EXPECT_LE(use.spillBytes, kFewBytes) << use.kernel;
      else
        std::printf("%-10s does not fit a block of %s\n", use.kernel.c_str(), architecture.c_str());
    }
  }
};
} // namespace

TEST_P(CudaCompileTest, Hopper) { compile("sm_90a", 227 << 10); }
TEST_P(CudaCompileTest, Ampere) { compile("sm_80", 163 << 10); }

// Widths of the 350M models, of which one layer and a small vocabulary say everything.
static const ParamList kOneLayer = {{"L", "1"}, {"vocab", "512"}};

INSTANTIATE_TEST_SUITE_P(Examples, CudaCompileTest,
                         testing::Values(Case{"gla", kOneLayer}, Case{"delta_net", kOneLayer},
                                         Case{"gated_deltanet", kOneLayer}, Case{"kda", kOneLayer},
                                         Case{"rwkv7", kOneLayer}, Case{"mamba2", kOneLayer},
                                         Case{"retnet", kOneLayer}, Case{"hgrn2", kOneLayer},
                                         Case{"delta_product", kOneLayer}, Case{"transformer", kOneLayer},
                                         Case{"lact", {{"L", "1"}, {"vocab", "512"}, {"rank", "32"}, {"muon", "true"}}}),
                         [](const auto &info) { return info.param.name; });
