//===- CudaPlayTest.cpp - Training steps of the CUDA back end on the CPU ----===//
// The generated kernels of whole training steps, played on the CPU, against the
// CPU's own code: loss and every gradient. Kernels in float are held to rounding;
// with products in bfloat16, to its share.
//===----------------------------------------------------------------------===//
#include "compiler/CodeGen/CUDA/Kernels.h"
#include "compiler/Driver/CpuModel.h"
#include "compiler/Plan/PlanBuilder.h"
#include "ir/Nn/Storage.h"
#include "runtime/core/Random.h"
#include "tests/unit/codegen/PlayedKernels.h"

#include <bit>
#include <cmath>
#include <gtest/gtest.h>

using namespace tidegate;
using mlir::func::FuncOp;

namespace {
struct Case {
  std::string name, folder;
  ParamList params;
  int64_t B = 1, T = 70;
  int64_t chunk = 0; ///< Of the device; 0: the compiler's choice.
  double slack = 1;  ///< Rounding is amplified so much: by Newton-Schulz.
  bool findsRaces = false;

  /// Also checked for races, which takes twice the time.
  Case forRaces() && { return findsRaces = true, std::move(*this); }
};
void PrintTo(const Case &c, std::ostream *os) { *os << c.name; }

ProgramSource sourceOf(const Case &c) {
  return {TIDEGATE_SOURCE_DIR "/examples/" + c.folder + "/" + c.folder + ".tg", c.params, {}};
}

/// Bindings of @loss_and_grads for random weights and tokens, in memory of their own.
struct Bindings {
  std::vector<std::vector<float>> floats;
  std::vector<std::vector<int32_t>> ids;
  std::vector<void *> all;
  size_t firstResult = 0;

  /// `decay`: the argument, if any, that holds factors between 0 and 1, or their logarithms, one in eight of them 100
  /// times as large if `isHard`. The others are numbers of bf16 if `rounded`.
  Bindings(FuncOp entry, int64_t B, int64_t T, int64_t vocab, int decay = -1, bool isLog = false, bool rounded = false,
           bool isHard = false) {
    auto sizeOf = [&](mlir::Type type) {
      int64_t n = 1, dynamic = 0;
      for (int64_t size : mlir::cast<mlir::RankedTensorType>(type).getShape())
        n *= !mlir::ShapedType::isDynamic(size) ? size : dynamic++ == 0 ? B : T;
      return n;
    };
    runtime::RandomStream random(5, "played");
    uint64_t drawn = 0;
    ids.reserve(8);
    floats.reserve(2 * entry.getNumArguments() + 8);
    auto add = [&](mlir::Type type, bool fill, double scale) {
      int64_t n = sizeOf(type);
      if (mlir::cast<mlir::RankedTensorType>(type).getElementType().isInteger(32)) {
        auto &values = ids.emplace_back(n);
        for (int32_t &id : values)
          id = int32_t(random.below(vocab, drawn++));
        all.push_back(values.data());
        return;
      }
      auto &values = floats.emplace_back(n, NAN);
      for (float &x : values)
        if (fill)
          x = float(scale * random.normalPair(drawn++)[0]);
      all.push_back(values.data());
    };
    for (auto [i, type] : llvm::enumerate(entry.getArgumentTypes())) {
      auto shape = mlir::cast<mlir::RankedTensorType>(type).getShape();
      add(type, true, shape.size() > 1 ? 1 / std::sqrt(double(shape.back())) : 0.5);
      if (int(i) == decay)
        for (float &x : floats.back())
          x = isLog ? -std::abs(x) : std::exp(-std::abs(x));
      if (int(i) == decay && isHard)
        for (float &x : floats.back())
          x *= random.below(8, drawn++) ? 1 : 100;
      if (rounded && !floats.empty() && all.back() == floats.back().data())
        for (float &x : floats.back())
          x = std::bit_cast<float>((std::bit_cast<uint32_t>(x) + 0x8000u) & 0xffff0000u);
    }
    firstResult = floats.size();
    for (mlir::Type type : entry.getResultTypes())
      add(type, false, 0);
  }
};

double distance(const std::vector<float> &have, const std::vector<float> &want, double least) {
  double square = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    square += std::pow(double(have[i]) - want[i], 2);
    norm += std::pow(double(want[i]), 2);
  }
  return std::sqrt(square) / std::max(std::sqrt(norm), least);
}

class CudaPlayTest : public testing::TestWithParam<Case> {
protected:
  /// The worst relative distance of a result, by norm; gradients count as at least a thousandth of the largest.
  void compare(bool bf16, double bound) {
    const Case &c = GetParam();
    CompileOptions options;
    Compilation compilation(options);
    LoadedProgram program(sourceOf(c));
    auto module = buildPart(compilation, program, ModelPart::Train);
    auto entry = module->lookupSymbol<FuncOp>("loss_and_grads");
    Bindings want(entry, c.B, c.T, 20), have(entry, c.B, c.T, 20);

    auto cpu = CpuProgram::compile(*module, {"loss_and_grads"}, 2);
    ASSERT_TRUE(succeeded(cpu));
    (*cpu)->entry("loss_and_grads").run(c.B, c.T, want.all);

    options.target = Target::Cuda;
    options.chunk = c.chunk;
    Compilation forDevice(options);
    auto deviceModule = buildPart(forDevice, program, ModelPart::Train);
    cuda::KernelSet kernels(bf16);
    auto plan = buildPlan(deviceModule->lookupSymbol<FuncOp>("loss_and_grads"), kernels);
    ASSERT_TRUE(succeeded(plan));
    played::playKernels(*plan, kernels.kernels(), c.findsRaces);
    runtime::Executor played(std::move(*plan));
    double largest = 0;
    for (size_t i = want.firstResult; i < want.floats.size(); ++i) {
      double norm = 0;
      for (float x : want.floats[i])
        norm += double(x) * x;
      largest = std::max(largest, std::sqrt(norm));
    }
    played.run(c.B, c.T, have.all);
    for (size_t i = want.firstResult; i < want.floats.size(); ++i)
      // Rates, decays and their biases are few numbers, each a sum that cancels over the whole batch.
      EXPECT_LT(distance(have.floats[i], want.floats[i], 1e-3 * largest),
                c.slack * (want.floats[i].size() <= 128 ? 6 * bound : bound))
          << "result " << i - want.firstResult << " of " << want.floats[i].size() << " numbers: " << have.floats[i][0]
          << " for " << want.floats[i][0];
  }
};
/// A function of a program, or its vector-Jacobian product, on random inputs.
struct FunctionCase {
  std::string file, name;
  std::map<std::string, int64_t> sizes;
  int64_t T = 70;
  bool isVjp = false, bf16 = true;
  int decay = -1; ///< The argument, if any, that holds factors between 0 and 1.
  bool documents = false, isLog = false, isHard = false;
  bool half = false; ///< The caller of the device has rows of tokens in bfloat16.
};

/// The module of one function on a target, and that function.
mlir::OwningOpRef<mlir::ModuleOp> moduleOf(Compilation &compilation, const FunctionCase &c, FuncOp &function) {
  LoadedProgram program({TIDEGATE_SOURCE_DIR "/examples/" + c.file, {}, {}});
  dsl::GenerateOptions generate;
  generate.entry = c.name;
  generate.dims = c.sizes;
  auto module = compilation.generate(program, generate);
  function = compilation.lowerEntry(*module, c.isVjp);
  if (c.half && compilation.options.precision == Precision::BF16) {
    auto half = mlir::TypeAttr::get(mlir::BFloat16Type::get(function.getContext()));
    auto isWide = [](mlir::Type type) { return !nn::isKeptExact(mlir::cast<mlir::RankedTensorType>(type)); };
    for (unsigned i = 0; i < function.getNumArguments(); ++i)
      if (isWide(function.getArgumentTypes()[i]))
        function.setArgAttr(i, nn::kStored, half);
    for (unsigned i = 0; i < function.getNumResults(); ++i)
      if (isWide(function.getResultTypes()[i]))
        function.setResultAttr(i, nn::kStored, half);
  }
  compilation.fuse(*module);
  return module;
}

/// Runs with arguments and results in bfloat16 where the function says so.
void runWithHalves(runtime::Executor &executor, FuncOp function, int64_t T, Bindings &bindings) {
  std::vector<std::pair<std::vector<float> *, std::vector<uint16_t>>> halves;
  halves.reserve(bindings.all.size());
  std::vector<void *> all = bindings.all;
  auto exchange = [&](size_t i, mlir::Attribute stored) {
    if (!stored)
      return;
    auto values = llvm::find_if(bindings.floats, [&](auto &floats) { return floats.data() == all[i]; });
    auto &half = halves.emplace_back(&*values, std::vector<uint16_t>()).second;
    for (float x : *values)
      half.push_back(std::bit_cast<uint32_t>(x) >> 16); // they are numbers of bfloat16
    all[i] = half.data();
  };
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    exchange(i, function.getArgAttr(i, nn::kStored));
  for (unsigned i = 0; i < function.getNumResults(); ++i)
    exchange(function.getNumArguments() + i, function.getResultAttr(i, nn::kStored));
  executor.run(1, T, all);
  for (auto &[values, half] : halves)
    for (auto [x, bits] : llvm::zip(*values, half))
      x = std::bit_cast<float>(uint32_t(bits) << 16);
}

void compareFunction(const FunctionCase &c, double bound) {
  CompileOptions options;
  options.documents = c.documents;
  Compilation onCpu(options);
  FuncOp function;
  auto module = moduleOf(onCpu, c, function);
  auto bindings = [&] { return Bindings(function, 1, c.T, 20, c.decay, c.isLog, c.bf16, c.isHard); };
  Bindings want = bindings(), have = bindings();
  auto cpu = CpuProgram::compile(*module, {function.getName()}, 2);
  ASSERT_TRUE(succeeded(cpu));
  (*cpu)->entry(function.getName()).run(1, c.T, want.all);

  options.target = Target::Cuda;
  options.precision = c.bf16 ? Precision::BF16 : Precision::F32;
  options.chunk = c.bf16 ? 0 : 16;
  Compilation onDevice(options);
  auto deviceModule = moduleOf(onDevice, c, function);
  cuda::KernelSet kernels(c.bf16);
  auto plan = buildPlan(function, kernels);
  ASSERT_TRUE(succeeded(plan));
  played::playKernels(*plan, kernels.kernels());
  runtime::Executor executor(std::move(*plan));
  runWithHalves(executor, function, c.T, have);
  for (size_t i = want.firstResult; i < want.floats.size(); ++i)
    EXPECT_LT(distance(have.floats[i], want.floats[i], 1e-9), bound)
        << c.name << ", T " << c.T << ", result " << i - want.firstResult << ": " << have.floats[i][0] << " " << have.floats[i][1] << " for "
        << want.floats[i][0] << " " << want.floats[i][1];
}
} // namespace

TEST(CudaPlayScanTest, GatedDeltaRule) {
  const std::string file = "bare_scan/gated_delta.tg";
  const std::map<std::string, int64_t> sizes = {{"H", 1}, {"K", 32}, {"V", 16}};
  compareFunction({file, "gated_delta", sizes, 20}, 0.01);
  compareFunction({file, "gated_delta", sizes, 70, /*isVjp=*/true}, 0.02);
}
TEST(CudaPlayScanTest, GatedLinearAttention) {
  const std::map<std::string, int64_t> sizes = {{"H", 1}, {"K", 16}, {"V", 32}};
  compareFunction({"gla/gla.tg", "gated_scan", sizes, 20, false, true, /*decay=*/3}, 5e-3);
  compareFunction({"gla/gla.tg", "gated_scan", sizes, 70, /*isVjp=*/true, true, /*decay=*/3}, 0.02);
  // The gradient of a log decay is a running sum of differences: held as tight as all others.
  for (int64_t T : {20, 70, 300})
    compareFunction({"../frontends/python/tidegate/fla/gla.tg", "gla", sizes, T, /*isVjp=*/true, true, /*decay=*/3, false, /*isLog=*/true}, 5e-3);
}
// The gradient of one gate a head sums differences that cancel, at T = 1 to nothing.
TEST(CudaPlayScanTest, OneGateAHead) {
  const std::map<std::string, int64_t> sizes = {{"H", 1}, {"HV", 1}, {"K", 32}, {"V", 32}};
  const std::string folder = "../frontends/python/tidegate/fla/";
  for (int64_t T : {1, 20, 300}) {
    FunctionCase c{folder + "simple_gla.tg", "simple_gla", sizes, T, /*isVjp=*/true, /*bf16=*/true, /*decay=*/3,
                   /*documents=*/false, /*isLog=*/true};
    compareFunction(c, 5e-3);
    c.file = folder + "delta.tg";
    c.name = "gated_delta_rule";
    compareFunction(c, 8e-3);
  }
}
// The same where a token adds twice.
TEST(CudaPlayScanTest, OneGateAHeadOfTwoAdds) {
  compareFunction({"delta_product/delta_product.tg", "delta_product", {{"H", 1}, {"K", 16}, {"V", 16}, {"n", 2}}, 100,
                   /*isVjp=*/true, /*bf16=*/true, /*decay=*/3, /*documents=*/false, /*isLog=*/true},
                  5e-3);
}
// The caller's tensors in bfloat16, gates among them, and results and gradients too.
TEST(CudaPlayScanTest, RowsOfTheCallerInHalf) {
  const std::map<std::string, int64_t> sizes = {{"H", 2}, {"HV", 2}, {"K", 48}, {"V", 32}};
  const std::string folder = "../frontends/python/tidegate/fla/";
  for (bool isVjp : {false, true}) {
    FunctionCase c{folder + "gla.tg", "gla", sizes, 70, isVjp, /*bf16=*/true, /*decay=*/3, /*documents=*/false,
                   /*isLog=*/true};
    c.half = true;
    compareFunction(c, 8e-3);
    c.file = folder + "delta.tg";
    c.name = "gated_delta_rule";
    compareFunction(c, 8e-3);
  }
}
// Documents begin anywhere, in the middle of a chunk above all.
TEST(CudaPlayScanTest, PackedDocuments) {
  const std::map<std::string, int64_t> sizes = {{"H", 1}, {"K", 16}, {"V", 16}};
  const std::string file = "bare_scan/gated_delta.tg";
  compareFunction({file, "gated_delta", sizes, 70, /*isVjp=*/true, /*bf16=*/true, -1, /*documents=*/true}, 0.03);
  compareFunction({file, "gated_delta", sizes, 20, /*isVjp=*/true, /*bf16=*/false, -1, /*documents=*/true}, 2e-5);
}
TEST(CudaPlayScanTest, PackedDocumentsUnderChannelDecay) {
  const std::map<std::string, int64_t> sizes = {{"H", 1}, {"K", 16}, {"V", 32}};
  compareFunction({"gla/gla.tg", "gated_scan", sizes, 70, /*isVjp=*/true, /*bf16=*/true, 3, /*documents=*/true}, 0.03);
}
// A value that documents start from reaches into them under sums of log decays, which hard gates make large.
TEST(CudaPlayScanTest, PackedDocumentsBehindHardGates) {
  const std::map<std::string, int64_t> sizes = {{"H", 1}, {"HV", 1}, {"K", 16}, {"V", 16}};
  FunctionCase c{"../frontends/python/tidegate/fla/delta.tg", "gated_delta_rule", sizes, 70, /*isVjp=*/false};
  c.decay = 3, c.documents = c.isLog = c.isHard = true;
  for (bool isVjp : {false, true}) {
    c.isVjp = isVjp;
    compareFunction(c, 8e-3);
  }
}
// States of more numbers than a block keeps in registers: slabs in the chain, streamed around it.
TEST(CudaPlayScanTest, WideStates) {
  const std::map<std::string, int64_t> sizes = {{"H", 2}, {"K", 144}, {"V", 128}};
  compareFunction({"bare_scan/gated_delta.tg", "gated_delta", sizes, 70, /*isVjp=*/true}, 0.03);
}
TEST(CudaPlayScanTest, WideStatesInFloat) {
  const std::map<std::string, int64_t> sizes = {{"H", 1}, {"K", 144}, {"V", 128}};
  compareFunction({"bare_scan/gated_delta.tg", "gated_delta", sizes, 20, /*isVjp=*/true, /*bf16=*/false}, 2e-5);
}

TEST_P(CudaPlayTest, FloatKernelsAgree) { compare(/*bf16=*/false, 2e-5); }
TEST_P(CudaPlayTest, TensorCoreKernelsAgree) { compare(/*bf16=*/true, 0.05); }

static const ParamList kTiny = {{"D", "32"}, {"L", "1"}, {"H", "2"}, {"vocab", "20"}};
static ParamList with(ParamList more) {
  ParamList all = kTiny;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

INSTANTIATE_TEST_SUITE_P(
    Examples, CudaPlayTest,
    testing::Values(Case{"golden_gla", "gla", {{"D", "64"}, {"L", "1"}, {"H", "2"}, {"vocab", "97"}, {"rank", "8"}}, 2, 96}, Case{"gla", "gla", with({{"mlp_width", "48"}})},
                    Case{"delta_net", "delta_net", with({{"mlp_width", "48"}})},
                    Case{"gated_deltanet", "gated_deltanet", with({{"mlp_width", "48"}, {"head_dim", "16"}})}.forRaces(),
                    Case{"gdn_grouped", "gated_deltanet", with({{"mlp_width", "48"}, {"head_dim", "16"}, {"H_v", "4"}})},
                    Case{"kda", "kda", with({{"mlp_width", "48"}, {"head_dim", "16"}})}.forRaces(),
                    Case{"mamba2", "mamba2", {{"D", "16"}, {"L", "1"}, {"head_dim", "16"}, {"N", "16"}, {"vocab", "20"}}},
                    Case{"rwkv7", "rwkv7", {{"D", "32"}, {"L", "1"}, {"head_dim", "16"}, {"vocab", "20"}, {"decay_rank", "8"}, {"rate_rank", "8"}, {"value_rank", "8"}, {"gate_rank", "8"}, {"mlp_width", "48"}}, 1, 70, 32},
                    Case{"lact", "lact", {{"D", "32"}, {"L", "1"}, {"H", "2"}, {"N", "2"}, {"vocab", "20"}, {"mlp_width", "48"}, {"chunk", "16"}, {"window", "16"}, {"muon", "true"}, {"rank", "4"}}, 2, 40, 0, 3},
                    Case{"retnet", "retnet", with({{"mlp_width", "48"}})},
                    Case{"hgrn2", "hgrn2", {{"D", "32"}, {"L", "1"}, {"expand", "16"}, {"vocab", "20"}, {"mlp_width", "48"}}},
                    Case{"delta_product", "delta_product", with({{"mlp_width", "48"}, {"head_dim", "16"}}), 1, 70, 32}),
    [](const auto &info) { return info.param.name; });
