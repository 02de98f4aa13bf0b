//===- VerifyPlayTest.cpp - The bf16 rung of `tidegate verify`, without a GPU ===//
// The ladder of a function with its kernels in bfloat16 played on the CPU: what holds
// here holds on a GPU to the order of sums within a product, at the same bounds.
//===----------------------------------------------------------------------===//
#include "compiler/Driver/CudaModel.h"
#include "compiler/tools/tidegate/verify/EntryLadder.h"
#include "compiler/tools/tidegate/verify/Ladder.h"
#include "runtime/core/Executor.h"
#include "tests/unit/codegen/PlayedKernels.h"
#include "tests/unit/codegen/PlayedModel.h"

#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::tool;
using Tensors = EntryProgram::Tensors;

namespace {
/// A function with the sizes that it leaves open, and the numbers of tokens that it is checked at.
struct Scan {
  ProgramSource source;
  std::string entry;
  std::map<std::string, int64_t> sizes;
  std::vector<int64_t> lengths = {1, 65};
};

/// A function, in bfloat16 unless said otherwise, its kernels played.
class PlayedEntry : public EntryProgram {
public:
  explicit PlayedEntry(const Scan &scan, Precision precision = Precision::BF16) : scan(scan), precision(precision) {
    specs = compileEntry(scan.source, scan.entry, {}, {}, scan.sizes);
  }

  const std::vector<ValueSpec> &inputs() const override { return specs->inputs(); }
  const std::vector<ValueSpec> &outputs() const override { return specs->outputs(); }

  Tensors run(const Tensors &given) override {
    Tensors results;
    for (const ValueSpec &spec : outputs())
      results.emplace(spec.name, runtime::HostTensor(spec.dtype, sizesOfAll(given).of(spec)));
    execute(forward, /*isVjp=*/false, given, {}, results, "");
    return results;
  }
  Tensors vjp(const Tensors &given, const Tensors &cotangents) override {
    Tensors results;
    for (const ValueSpec &spec : inputs())
      results.emplace("grad." + spec.name, runtime::HostTensor(spec.dtype, sizesOfAll(given).of(spec)));
    execute(backward, /*isVjp=*/true, given, cotangents, results, "grad.");
    return results;
  }

private:
  CallSizes sizesOfAll(const Tensors &given) const {
    EntryProgram::Views views;
    for (const auto &[name, tensor] : given)
      views.emplace(name, TensorView{tensor.dtype(), tensor.shape()});
    return specs->sizesOf(views);
  }

  void execute(std::unique_ptr<runtime::Executor> &executor, bool isVjp, const Tensors &given,
               const Tensors &cotangents, Tensors &results, const std::string &prefix) {
    if (!executor)
      executor = std::make_unique<runtime::Executor>(planOf(isVjp));
    std::vector<void *> bindings;
    auto bind = [&](const runtime::HostTensor &tensor) {
      bindings.push_back(const_cast<std::byte *>(tensor.bytes().data()));
    };
    for (const ValueSpec &spec : inputs())
      bind(given.at(spec.name));
    for (const ValueSpec &spec : outputs())
      if (isVjp)
        bind(cotangents.at(spec.name));
    for (const ValueSpec &spec : isVjp ? inputs() : outputs())
      bind(results.at(prefix + spec.name));
    const CallSizes sizes = sizesOfAll(given);
    executor->run(sizes.B, sizes.T, bindings);
  }

  runtime::Plan planOf(bool isVjp) {
    CompileOptions options;
    options.target = Target::Cuda;
    options.precision = precision;
    Compilation compilation(options);
    LoadedProgram program(scan.source);
    const auto build = [&] {
      dsl::GenerateOptions generate;
      generate.entry = scan.entry;
      generate.dims = scan.sizes;
      auto module = compilation.generate(program, generate);
      compilation.lowerEntry(*module, isVjp);
      compilation.fuse(*module);
      return module;
    };
    const std::string name = isVjp ? scan.entry + ".vjp" : scan.entry;
    PlannedKernels planned = planKernels(compilation, build, llvm::StringRef(name));
    played::playKernels(planned.plans.front(), planned.kernels.kernels());
    return std::move(planned.plans.front());
  }

  Scan scan;
  Precision precision;
  std::unique_ptr<EntryProgram> specs;
  std::unique_ptr<runtime::Executor> forward, backward;
};

class VerifyScanPlayTest : public testing::TestWithParam<Scan> {};
void PrintTo(const Scan &scan, std::ostream *os) { *os << scan.entry; }

const std::map<std::string, int64_t> kSizes = {{"H", 2}, {"K", 16}, {"V", 16}},
                                     kGrouped = {{"H", 2}, {"HV", 2}, {"K", 16}, {"V", 16}};
Scan ofLibrary(const std::string &file, const std::string &entry, const std::map<std::string, int64_t> &sizes) {
  return {{TIDEGATE_SOURCE_DIR "/frontends/python/tidegate/fla/" + file, {}, {}}, entry, sizes};
}
/// Starts from nothing, so that at T = 1 the gradient of its gate is 0 and that of its queries one number a head.
Scan fromNothing() {
  return {{"program.tg", {}, {{"program.tg", R"(
fn from_nothing(q: [T, H, K], k: [T, H, K], v: [T, H, V], g: [T, H], beta: [T, H]) -> [T, H, V] {
  scan over t, h in H {
    state S: [K, V] = 0
    S = exp(g[t, h]) * S
    S = S + beta[t, h] * outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
  }
  return o
}
)"}}}, "from_nothing", kSizes};
}

/// Of two adds a token, so that a step has twice the rows of its tokens where both read.
Scan twoAdds(const std::string &entry, const std::map<std::string, int64_t> &sizes) {
  return {{TIDEGATE_SOURCE_DIR "/tests/gpu/two_adds.tg", {}, {}}, entry, sizes};
}

/// Of several states, or of vectors.
Scan severalStates(const std::string &entry, const std::map<std::string, int64_t> &sizes) {
  return {{TIDEGATE_SOURCE_DIR "/tests/gpu/several_states.tg", {}, {}}, entry, sizes};
}

/// Under decays of the values, whose gradients are sums along a chunk in which what lies behind a token cancels.
Scan valuesDecay(const std::string &entry) {
  const ProgramSource source{TIDEGATE_SOURCE_DIR "/tests/gpu/decays_on_both_sides.tg", {}, {}};
  return {source, entry, {{"H", 1}, {"K", 32}, {"V", 32}}, {17, 63, 130}};
}

/// The forms of a function on the CPU, and its ladder.
class CompiledForms {
public:
  explicit CompiledForms(const Scan &scan)
      : scan(scan), token64(compile(Precision::F64, ScanForm::Token)),
        chunk64(compile(Precision::F64, ScanForm::Chunk)), chunk32(compile(Precision::F32, ScanForm::Chunk)) {}

  /// At one length, with `chunk16` for its kernels in bfloat16, and `played32` for those in float, which are the CPU's
  /// without it.
  VerifyReport climb(EntryProgram &chunk16, int64_t T, EntryProgram *played32 = nullptr, int64_t B = 2) {
    VerifyReport report;
    climbEntryLadder(scan.entry, {*token64, chunk64.get(), played32 ? played32 : chunk32.get(), &chunk16}, {B, {T}, 1},
                     {{}, steadyRanges(scan.source, scan.entry, {}, scan.sizes)}, report);
    return report;
  }

private:
  std::unique_ptr<EntryProgram> compile(Precision precision, ScanForm form) const {
    CompileOptions options;
    options.precision = precision;
    options.form = form;
    return compileEntry(scan.source, scan.entry, options, {}, scan.sizes);
  }

  Scan scan;
  std::unique_ptr<EntryProgram> token64, chunk64, chunk32;
};

/// Its gradient by one input is a tenth too small.
class Wrong : public PlayedEntry {
public:
  Wrong(const Scan &scan, std::string input) : PlayedEntry(scan), input(std::move(input)) {}

  Tensors vjp(const Tensors &given, const Tensors &cotangents) override {
    Tensors results = PlayedEntry::vjp(given, cotangents);
    for (float &x : results.at("grad." + input).as<float>())
      x *= 0.9f;
    return results;
  }

private:
  std::string input;
};
} // namespace

TEST_P(VerifyScanPlayTest, Holds) {
  const Scan &scan = GetParam();
  PlayedEntry chunk16(scan);
  CompiledForms forms(scan);
  for (int64_t T : scan.lengths) {
    const VerifyReport report = forms.climb(chunk16, T);
    std::ostringstream text;
    report.print(text, /*all=*/false);
    EXPECT_TRUE(report.holds()) << "T = " << T << "\n" << text.str();
  }
}

TEST(VerifyPlayTest, SeesAWrongGradient) {
  CompiledForms forms(fromNothing());
  for (const char *input : {"q", "g"}) {
    Wrong chunk16(fromNothing(), input);
    const VerifyReport report = forms.climb(chunk16, 20);
    EXPECT_FALSE(report.holds()) << input;
    for (const CheckRow &row : report.rows)
      if (!row.holds())
        EXPECT_EQ(row.tensor, std::string("grad.") + input);
  }
}

// Their kernels fit a block only when their scans are cut.
class VerifyWidePlayTest : public testing::TestWithParam<Scan> {};
TEST_P(VerifyWidePlayTest, Holds) {
  const Scan &scan = GetParam();
  PlayedEntry chunk16(scan), played32(scan, Precision::F32);
  const VerifyReport report = CompiledForms(scan).climb(chunk16, 65, &played32, /*B=*/1);
  std::ostringstream text;
  report.print(text, /*all=*/false);
  EXPECT_TRUE(report.holds()) << text.str();
}
INSTANTIATE_TEST_SUITE_P(
    Scans, VerifyWidePlayTest,
    testing::Values(ofLibrary("delta.tg", "kda", {{"H", 1}, {"HV", 1}, {"K", 256}, {"V", 256}}),
                    twoAdds("bounded_decay", {{"H", 1}, {"K", 160}, {"V", 32}})),
    [](const auto &info) { return info.param.entry; });

// In float too: on the CPU vectors go token by token.
class VerifySeveralStatesPlayTest : public testing::TestWithParam<Scan> {};
TEST_P(VerifySeveralStatesPlayTest, Holds) {
  const Scan &scan = GetParam();
  PlayedEntry chunk16(scan), played32(scan, Precision::F32);
  CompiledForms forms(scan);
  for (int64_t T : scan.lengths) {
    const VerifyReport report = forms.climb(chunk16, T, &played32);
    std::ostringstream text;
    report.print(text, /*all=*/false);
    EXPECT_TRUE(report.holds()) << "T = " << T << "\n" << text.str();
  }
}
INSTANTIATE_TEST_SUITE_P(Scans, VerifySeveralStatesPlayTest,
                         testing::Values(severalStates("sum_and_norm", kSizes),
                                         severalStates("slots", {{"H", 2}, {"K", 16}, {"V", 16}, {"M", 16}}),
                                         severalStates("two_memories", kSizes),
                                         severalStates("vectors", {{"H", 2}, {"V", 48}})),
                         [](const auto &info) { return info.param.entry; });

INSTANTIATE_TEST_SUITE_P(Scans, VerifyScanPlayTest,
                         testing::Values(ofLibrary("gla.tg", "gla", kSizes),
                                         ofLibrary("simple_gla.tg", "simple_gla", kSizes),
                                         ofLibrary("delta.tg", "delta_rule", kSizes),
                                         ofLibrary("delta.tg", "gated_delta_rule", kGrouped),
                                         ofLibrary("delta.tg", "kda", kGrouped), fromNothing(),
                                         twoAdds("two_steps", {{"H", 1}, {"K", 48}, {"V", 48}}),
                                         twoAdds("bounded_decay", kSizes),
                                         valuesDecay("both_decay"), valuesDecay("values_decay")),
                         [](const auto &info) { return info.param.entry; });

// Models in bfloat16, as a GPU has them in memory, at sizes where single numbers cancel.
struct PlayedCase {
  std::string name;
  ParamList params;
  int64_t T;
  std::vector<uint64_t> seeds;
};
void PrintTo(const PlayedCase &c, std::ostream *os) { *os << c.name; }

ParamList ofModel(int layers, int heads, ParamList more) {
  more.insert(more.end(), {{"D", "64"},
                           {"L", std::to_string(layers)},
                           {"H", std::to_string(heads)},
                           {"vocab", "40"},
                           {"mlp_width", "48"}});
  return more;
}

class VerifyModelPlayTest : public testing::TestWithParam<PlayedCase> {
protected:
  ProgramSource source() const {
    const std::string &name = GetParam().name;
    return {TIDEGATE_SOURCE_DIR "/examples/" + name + "/" + name + ".tg", GetParam().params, {}};
  }
};

/// Its first gradient may be wrong.
class MaybeWrong : public played::PlayedModel {
public:
  using PlayedModel::PlayedModel;

  float factor = 1;
  train::LossResult lossAndGradients(const train::TokenBatch &batch) override {
    const train::LossResult result = PlayedModel::lossAndGradients(batch);
    for (float &x : gradient(0).as<float>())
      x *= factor;
    return result;
  }
};

TEST_P(VerifyModelPlayTest, HoldsAndSeesAWrongGradient) {
  CompileOptions options;
  options.precision = Precision::F64;
  auto chunk64 = compileModel(source(), options);
  options.roundsStored = options.chunkLoops = true;
  auto rounded64 = compileModel(source(), options);
  MaybeWrong half(source(), Precision::BF16);
  const auto expect = [&](bool holds, uint64_t seed) {
    VerifyReport report;
    climbLadder({.chunk64 = *chunk64, .chunk16 = &half, .rounded64 = rounded64.get()}, {1, {GetParam().T}, seed},
                report);
    std::ostringstream text;
    report.print(text, /*all=*/false);
    EXPECT_EQ(report.holds(), holds) << "seed " << seed << "\n" << text.str();
  };
  for (uint64_t seed : GetParam().seeds)
    expect(true, seed);
  half.factor = 0.9f;
  expect(false, GetParam().seeds.front());
}
INSTANTIATE_TEST_SUITE_P(
    Models, VerifyModelPlayTest,
    // At T = 1 a norm stands behind q . k: near 0 its roundings are magnified, with seed 3 to a seventh of the logits.
    testing::Values(PlayedCase{"gla", ofModel(2, 2, {}), 1, {1, 3}},
                    PlayedCase{"delta_product", ofModel(1, 1, {{"head_dim", "16"}}), 65, {1}}),
    [](const auto &info) { return info.param.name; });
