//===- CudaCompileTest.cpp - Generated kernels through NVRTC ----------------===//
// The kernels of every example's training step and decoding, and those that score labels, compile for both
// architectures. Registers, spills and shared memory of each are printed; a kernel that spills more than a few
// registers fails. What NVRTC refuses is told at the program's line.
//===----------------------------------------------------------------------===//
#include "compiler/Driver/CpuModel.h"
#include "compiler/Driver/CudaModel.h"
#include "compiler/Driver/KernelErrors.h"
#include "runtime/cuda/Builtins.h"
#include "runtime/cuda/KernelCache.h"
#include "runtime/cuda/Kernels.h"

#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::runtime::cuda;

namespace {
struct Case {
  std::string name;
  ParamList params;
  ModelPart part = ModelPart::Train;
  Precision precision = Precision::BF16;
};
std::string textOf(const Case &c) {
  const char *part = c.part == ModelPart::Scores ? "_scores" : c.part == ModelPart::Decode ? "_decodes" : "";
  return c.name + part + (c.precision == Precision::F32 ? "_f32" : "");
}
void PrintTo(const Case &c, std::ostream *os) { *os << textOf(c); }

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
    const bool decodes = c.part == ModelPart::Decode;
    const std::vector<int64_t> full = decodes ? std::vector<int64_t>{2048} : std::vector<int64_t>{};
    CompileOptions options;
    options.target = Target::Cuda;
    options.precision = c.precision;
    Compilation compilation(options);
    LoadedProgram program({TIDEGATE_SOURCE_DIR "/examples/" + c.name + "/" + c.name + ".tg", c.params, {}});
    auto made = planForCuda(
        compilation, [&] { return buildPart(compilation, program, c.part, full); }, entriesOf(c.part));
    ASSERT_FALSE(made.kernels.empty());
    std::vector<const ProgramText *> programs;
    for (const KernelText &kernel : made.kernels)
      programs.push_back(&kernel.program);
    // Of the other steps of decoding: states in float beside rows in bfloat16.
    const auto builtins = decodes ? builtinPrograms(made.plans.front()) : std::vector<ProgramText>();
    for (const ProgramText &builtin : builtins)
      programs.push_back(&builtin);
    const auto compiled = compileAll(programs, architecture, KernelCache(""));
    ASSERT_EQ(programs.size(), compiled.size());
    for (size_t i = 0; i < made.kernels.size(); ++i) {
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

/// Widths of the 350M models, of which one layer and a small vocabulary say everything.
static std::vector<Case> examples(ModelPart part) {
  const ParamList oneLayer = {{"L", "1"}, {"vocab", "512"}};
  std::vector<Case> all;
  for (const char *name : {"gla", "delta_net", "gated_deltanet", "kda", "rwkv7", "mamba2", "retnet", "hgrn2",
                           "delta_product", "transformer", "lact"}) {
    Case &c = all.emplace_back(Case{name, oneLayer, part});
    if (c.name == "lact")
      c.params.insert(c.params.end(), {{"rank", "32"}, {"muon", "true"}});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Examples, CudaCompileTest, testing::ValuesIn(examples(ModelPart::Train)),
                         [](const auto &info) { return textOf(info.param); });
INSTANTIATE_TEST_SUITE_P(Decoding, CudaCompileTest, testing::ValuesIn(examples(ModelPart::Decode)),
                         [](const auto &info) { return textOf(info.param); });
INSTANTIATE_TEST_SUITE_P(
    Scores, CudaCompileTest,
    testing::Values(Case{"gla", {{"L", "1"}, {"vocab", "32000"}}, ModelPart::Scores},
                    Case{"gla", {{"L", "1"}, {"vocab", "32000"}}, ModelPart::Scores, Precision::F32},
                    Case{"gated_deltanet", {{"L", "1"}, {"vocab", "512"}}, ModelPart::Scores}),
    [](const auto &info) { return textOf(info.param); });

namespace {
/// The kernels of GLA, one of which is made wrong.
class KernelErrorsTest : public testing::Test {
protected:
  KernelErrorsTest()
      : compilation(optionsForGpu()), program({TIDEGATE_SOURCE_DIR "/examples/gla/gla.tg",
                                               {{"D", "64"}, {"L", "1"}, {"H", "2"}, {"vocab", "259"}},
                                               {}}),
        made(planForCuda(
            compilation, [&] { return buildPart(compilation, program, ModelPart::Train); },
            entriesOf(ModelPart::Train))) {}

  static CompileOptions optionsForGpu() {
    CompileOptions options;
    options.target = Target::Cuda;
    options.precision = Precision::BF16;
    return options;
  }

  /// What is said where the first kernel with `right` has `wrong` in its place.
  CompileMessage errorWith(const std::string &right, const std::string &wrong) {
    for (size_t i = 0; i < made.kernels.size(); ++i) {
      ProgramText text = made.kernels[i].program;
      const size_t at = text.source.find(right);
      if (at == std::string::npos)
        continue;
      text.source.replace(at, right.size(), wrong);
      try {
        Nvrtc::get().compile(text, "sm_90a");
      } catch (const ProgramError &error) {
        reportAtStatements(compilation.context, made.origins[i], error);
      }
      break;
    }
    try {
      compilation.fail();
    } catch (const CompileError &error) {
      return error.messages().empty() ? CompileMessage() : error.messages().front();
    }
  }

  /// The text of a line of the program.
  std::string lineOf(const CompileMessage &message) const {
    for (const dsl::SourceText &file : program.files())
      if (file.path == message.file) {
        llvm::StringRef rest = file.text;
        for (unsigned line = 1; line < message.line; ++line)
          rest = rest.split('\n').second;
        return rest.split('\n').first.str();
      }
    return "no line of the program";
  }

  Compilation compilation;
  LoadedProgram program;
  CudaPlans made;
};
} // namespace

#define NEEDS_NVRTC                                                                                                    \
  if (std::string why = Nvrtc::whyMissing(); !why.empty())                                                             \
  GTEST_SKIP() << why

TEST_F(KernelErrorsTest, KernelsKnowTheirPlaces) {
  ASSERT_EQ(made.kernels.size(), made.origins.size());
  for (size_t i = 0; i < made.origins.size(); ++i)
    EXPECT_FALSE(made.origins[i].places.empty()) << made.kernels[i].name;
}

TEST_F(KernelErrorsTest, OfAMapAreAtItsStatement) {
  NEEDS_NVRTC;
  const CompileMessage message = errorWith("op::sigmoid(", "op::sigmoyd(");
  EXPECT_NE(std::string::npos, lineOf(message).find("silu(")) << lineOf(message);
  EXPECT_NE(std::string::npos, message.text.find("does not compile for sm_90a")) << message.text;
  EXPECT_NE(std::string::npos, message.text.find("sigmoyd")) << message.text;
  ASSERT_EQ(2u, message.notes.size());
  EXPECT_EQ("std.tg", message.notes[0].file);
  EXPECT_NE(std::string::npos, message.notes[1].text.find("NVRTC says:\nmap_")) << message.notes[1].text;
}

TEST_F(KernelErrorsTest, InTheDeviceLibraryAreAtTheStatementThatAskedForIt) {
  NEEDS_NVRTC;
  const CompileMessage message = errorWith("Fragment<", "Fragment<3 + ");
  EXPECT_NE(std::string::npos, lineOf(message).find("scan over t")) << lineOf(message);
  EXPECT_NE(std::string::npos, message.text.find("multiples of 16")) << message.text;
  ASSERT_EQ(1u, message.notes.size()); // The log alone: the line was found.
}

TEST_F(KernelErrorsTest, WithoutALineAreAtAllStatements) {
  auto kernel = std::find_if(made.origins.begin(), made.origins.end(),
                             [](const cuda::KernelOrigin &origin) { return origin.places.size() > 2; });
  ASSERT_NE(made.origins.end(), kernel);
  reportAtStatements(compilation.context, *kernel, ProgramError("map_0", "sm_90a", "ptxas fatal: too much"));
  try {
    compilation.fail();
  } catch (const CompileError &error) {
    ASSERT_EQ(1u, error.messages().size());
    const CompileMessage &message = error.messages().front();
    EXPECT_NE(0u, message.line);
    EXPECT_EQ("kernel 'map_0', generated for this, does not compile for sm_90a", message.text);
    EXPECT_EQ("'map_0' computes this too", message.notes[message.notes.size() - 2].text);
    EXPECT_EQ("NVRTC says:\nptxas fatal: too much", message.notes.back().text);
  }
}
