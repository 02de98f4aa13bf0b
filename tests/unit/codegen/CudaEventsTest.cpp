//===- CudaEventsTest.cpp - Every kind of event on the GPU, played on the CPU -===//
// Recurrences with each kind of event, their generated kernels played on the CPU, against the token form in the
// reference interpreter: results, and the gradient of every input, initial states included.
//===----------------------------------------------------------------------===//
#include "compiler/Driver/CudaModel.h"
#include "compiler/Reference/Interpreter.h"
#include "passes/Tile/Passes.h"
#include "runtime/core/Executor.h"
#include "runtime/cuda/KernelCache.h"
#include "runtime/cuda/Kernels.h"
#include "tests/unit/codegen/PlayedKernels.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace tidegate;
using mlir::func::FuncOp;
using Tensors = std::vector<reference::Tensor>;

namespace {
constexpr double kFloatBound = 2e-5, kBf16Bound = 0.03;
/// Gradients are compared at such a share of the largest one at least: those of decays are sums that cancel.
constexpr double kFloatFloor = 1e-2, kBf16Floor = 0.1;

/// A recurrence: a, b and g are log decays along keys, along values and for all; rates r and beta lie in [0, 1].
struct Program {
  std::string name, arguments, body;
  int64_t chunk = 16, H = 2, K = 16, V = 32; ///< Chunk 0: the compiler's choice.
  bool documents = false;
  bool findsRaces = false;
  std::vector<std::pair<int64_t, int64_t>> sizes = {{1, 1}, {2, 17}, {1, 53}}; ///< B, T.

  /// Also checked for races, which takes twice the time.
  Program forRaces() && { return findsRaces = true, std::move(*this); }
  Program of(int64_t B, int64_t T) && { return sizes = {{B, T}}, std::move(*this); }
};
void PrintTo(const Program &p, std::ostream *os) { *os << p.name; }

std::string textOf(const Program &p) {
  const bool isTransposed = p.body.find("S: [V, K]") != std::string::npos;
  const bool readsBefore = p.body.find("p[t, h]") != std::string::npos;
  return "fn f(" + p.arguments + ")\n    -> " + (readsBefore ? "[T, H, V], " : "") + "[T, H, V], " +
         (isTransposed ? "[H, V, K]" : "[H, K, V]") + " {\n  scan over t, h in H {\n" + p.body + "  }\n  return " +
         (readsBefore ? "p, " : "") + "o, S\n}\n";
}

/// The function of a program, or its vector-Jacobian product, as it runs on `target`.
struct Built {
  Compilation compilation;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  FuncOp function;

  Built(const Program &p, CompileOptions options, bool isVjp) : compilation(options) {
    module = moduleOf(compilation, p, isVjp);
    for (auto f : module->getOps<FuncOp>())
      if (!f.isPrivate())
        function = f;
  }

  /// Public is that function alone.
  static mlir::OwningOpRef<mlir::ModuleOp> moduleOf(Compilation &compilation, const Program &p, bool isVjp) {
    LoadedProgram program({"f.tg", {}, {{"f.tg", textOf(p)}}});
    dsl::GenerateOptions generate;
    generate.entry = "f";
    generate.dims = {{"H", p.H}, {"K", p.K}, {"V", p.V}};
    auto module = compilation.generate(program, generate);
    compilation.lowerEntry(*module, isVjp);
    if (compilation.options.target == Target::Cuda)
      compilation.fuse(*module);
    return module;
  }
};

/// Of the initial part of an argument list "q: [T, H, K], ...", the names.
std::vector<std::string> namesOf(const std::string &arguments) {
  std::vector<std::string> names;
  for (size_t at = 0, colon; (colon = arguments.find(':', at)) != std::string::npos;
       at = arguments.find(']', colon) + 3)
    names.push_back(arguments.substr(at, colon - at));
  return names;
}

/// Log decays of {0, mild, strong, -1000}.
double drawLogDecay(std::mt19937_64 &random) {
  std::uniform_real_distribution<double> unit(0, 1);
  const double kind = unit(random), x = unit(random);
  return kind < 0.1 ? 0 : kind < 0.85 ? -0.2 * x : kind < 0.97 ? -5 * x : -1000;
}

Tensors drawArguments(const Program &p, FuncOp function, int64_t B, int64_t T) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> unit(0, 1);
  const auto names = namesOf(p.arguments);
  Tensors result;
  for (auto [i, type] : llvm::enumerate(function.getArgumentTypes())) {
    auto tensorType = mlir::cast<mlir::RankedTensorType>(type);
    std::vector<int64_t> shape(tensorType.getShape());
    for (int64_t dynamic = 0; int64_t &size : shape)
      if (mlir::ShapedType::isDynamic(size))
        size = dynamic++ == 0 ? B : T;
    auto &tensor = result.emplace_back(reference::Tensor::zeros(shape));
    if (tensorType.getElementType().isInteger(32)) { // positions: documents of 1 to 23 tokens, one from before the row
      tensor.values.clear();
      for (int64_t b = 0; b < B; ++b)
        for (int64_t t = 0, left = 0, position = 5; t < T; ++t, ++position) {
          if (t > 0 && left-- == 0)
            position = 0, left = int64_t(random() % 23);
          tensor.ids.push_back(int32_t(position));
        }
      continue;
    }
    const std::string name = i < names.size() ? names[i] : "";
    for (double &x : tensor.values) {
      if (name == "a" || name == "b" || name == "g")
        x = drawLogDecay(random);
      else if (name == "d") // decays whose sign is known in bfloat16; by one near 0 its own gradient is divided
        x = normal(random), x += std::copysign(0.5, x);
      else if (name == "r" || name == "beta")
        x = unit(random);
      else
        x = normal(random) / (name == "k" || name == "k2" || name == "w" ? std::sqrt(double(shape.back())) : 1);
      x = float(x);
    }
  }
  return result;
}

Tensors runOnHost(FuncOp function, const Tensors &arguments) {
  auto results = reference::run(function, arguments);
  EXPECT_TRUE(succeeded(results));
  return succeeded(results) ? std::move(*results) : Tensors();
}

/// The kernels of a function, played.
class Played {
public:
  Played(const Program &p, bool isVjp, bool bf16) {
    CompileOptions options;
    options.target = Target::Cuda;
    options.precision = bf16 ? Precision::BF16 : Precision::F32;
    options.chunk = p.chunk;
    options.documents = p.documents;
    Compilation compilation(options);
    PlannedKernels planned = planKernels(
        compilation, [&] { return Built::moduleOf(compilation, p, isVjp); }, {isVjp ? "f.vjp" : "f"});
    for (const cuda::KernelSource &kernel : planned.kernels.kernels())
      EXPECT_LE(kernel.sharedBytes, tile::kBlockBytes) << kernel.name;
    played::playKernels(planned.plans.front(), planned.kernels.kernels(), p.findsRaces);
    executor = std::make_unique<runtime::Executor>(std::move(planned.plans.front()));
  }

  /// Results of the shapes of `like`.
  Tensors run(int64_t B, int64_t T, const Tensors &arguments, const Tensors &like) {
    std::vector<std::vector<float>> floats;
    std::vector<std::vector<int32_t>> ids;
    floats.reserve(arguments.size() + like.size());
    ids.reserve(arguments.size());
    std::vector<void *> bindings;
    for (const auto &argument : arguments)
      if (argument.ids.empty())
        bindings.push_back(floats.emplace_back(argument.values.begin(), argument.values.end()).data());
      else
        bindings.push_back(ids.emplace_back(argument.ids).data());
    Tensors results = like;
    for (const auto &result : like)
      bindings.push_back(floats.emplace_back(result.values.size(), NAN).data());
    executor->run(B, T, bindings);
    for (size_t i = 0; i < like.size(); ++i)
      std::copy_n(static_cast<float *>(bindings[arguments.size() + i]), like[i].values.size(),
                  results[i].values.begin());
    return results;
  }

private:
  std::unique_ptr<runtime::Executor> executor;
};

double normOf(const reference::Tensor &x) {
  double square = 0;
  for (double v : x.values)
    square += v * v;
  return std::sqrt(square);
}

void expectNear(const Tensors &have, const Tensors &want, double bound, double floor, const std::string &what) {
  double largest = 0;
  for (const auto &tensor : want)
    largest = std::max(largest, normOf(tensor));
  for (size_t i = 0; i < want.size(); ++i) {
    reference::Tensor difference = want[i];
    for (size_t e = 0; e < difference.values.size(); ++e)
      difference.values[e] -= have[i].values[e];
    EXPECT_LE(normOf(difference), bound * std::max(normOf(want[i]), floor * largest)) << what << ' ' << i;
  }
}

class CudaEventsTest : public testing::TestWithParam<Program> {
protected:
  void compare(bool bf16) {
    const Program &p = GetParam();
    CompileOptions options;
    options.form = ScanForm::Token;
    options.documents = p.documents;
    Built values(p, options, false), gradients(p, options, true);
    Played playedValues(p, false, bf16), playedGradients(p, true, bf16);
    const double bound = bf16 ? kBf16Bound : kFloatBound, floor = bf16 ? kBf16Floor : kFloatFloor;
    for (auto [B, T] : p.sizes) {
      SCOPED_TRACE(testing::Message() << "B " << B << ", T " << T);
      Tensors arguments = drawArguments(p, values.function, B, T), want = runOnHost(values.function, arguments);
      expectNear(playedValues.run(B, T, arguments, want), want, bound, floor, "result");
      Tensors all = drawArguments(p, gradients.function, B, T); // cotangents behind the same arguments
      std::copy(arguments.begin(), arguments.end(), all.begin());
      want = runOnHost(gradients.function, all);
      expectNear(playedGradients.run(B, T, all, want), want, bound, floor, "gradient of argument");
    }
  }
};
} // namespace

TEST_P(CudaEventsTest, FloatKernelsAgree) { compare(false); }
TEST_P(CudaEventsTest, TensorCoreKernelsAgree) { compare(true); }

static const std::string kDelta = "q: [T, H, K], k: [T, H, K], v: [T, H, V]";

/// Heads of 128 x 128 fit a block in chunks that the compiler finds, and compile for both architectures.
TEST(CudaEventsCompileTest, WideHeads) {
  using namespace runtime::cuda;
  if (std::string why = Nvrtc::whyMissing(); !why.empty())
    GTEST_SKIP() << why;
  const Program p{"wide", kDelta + ", a: [T, H, K], b: [T, H, V], S0: [H, K, V]", R"(
    state S: [K, V] = S0
    S = diag(exp(a[t, h])) . S . diag(exp(b[t, h]))
    S = S + outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
)", 0, 2, 128, 128};
  for (Precision precision : {Precision::F32, Precision::BF16}) {
    CompileOptions options;
    options.target = Target::Cuda;
    options.precision = precision;
    Compilation compilation(options);
    const auto build = [&] { return Built::moduleOf(compilation, p, /*isVjp=*/true); };
    const auto made = planForCuda(compilation, build, {"f.vjp"});
    std::vector<const ProgramText *> programs;
    for (const KernelText &kernel : made.kernels) {
      programs.push_back(&kernel.program);
      EXPECT_LE(kernel.sharedBytes, 227 << 10) << kernel.name;
    }
    for (const char *architecture : {"sm_80", "sm_90a"})
      for (const auto &compiled : compileAll(programs, architecture, KernelCache("")))
        for (const KernelUse &use : compiled->kernels)
          std::printf("%s %-10s %3d registers, %3d bytes of spills\n", architecture, use.kernel.c_str(), use.registers,
                      use.spillBytes);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Events, CudaEventsTest,
    testing::Values(
        Program{"values_decay", kDelta + ", b: [T, H, V], S0: [H, K, V]", R"(
    state S: [K, V] = S0
    S = S . diag(exp(b[t, h]))
    S = S + outer(k[t, h], v[t, h])
    o[t, h] = q[t, h] . S
)"},
        Program{"values_decay_delta", kDelta + ", b: [T, H, V], beta: [T, H], S0: [H, K, V]", R"(
    state S: [K, V] = S0
    S = S . diag(exp(b[t, h]))
    S = S + beta[t, h] * outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S / sqrt(K)
)"},
        Program{"stale_read", kDelta + ", w: [T, H, K], b: [T, H, V]", R"(
    state S: [K, V] = 0
    read = w[t, h] . S
    S = S . diag(exp(b[t, h]))
    S = S + outer(k[t, h], v[t, h] - read)
    o[t, h] = q[t, h] . S
)"},
        Program{"keys_and_values_decay", kDelta + ", a: [T, H, K], b: [T, H, V], S0: [H, K, V]", R"(
    state S: [K, V] = S0
    S = diag(exp(a[t, h])) . S . diag(exp(b[t, h]))
    S = S + outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
)", 32}.forRaces(),
        Program{"several_adds", kDelta + ", b: [T, H, V], k2: [T, H, K], v2: [T, H, V]", R"(
    state S: [K, V] = 0
    p[t, h] = q[t, h] . S
    S = S . diag(exp(b[t, h]))
    S = S + outer(k[t, h], v[t, h] - k[t, h] . S)
    S = S + outer(k2[t, h], v2[t, h] - k2[t, h] . S)
    o[t, h] = q[t, h] . S
)"}.forRaces(),
        Program{"three_adds_across_blocks", kDelta + ", b: [T, H, V], k2: [T, H, K], g: [T, H]", R"(
    state S: [K, V] = 0
    stale = k2[t, h] . S
    S = exp(g[t, h]) * S
    S = S + outer(k[t, h], v[t, h] - k[t, h] . S)
    S = S . diag(exp(b[t, h]))
    S = S - 0.5 * outer(k2[t, h], stale)
    S = S + outer(k[t, h], 0.5 * v[t, h] - k2[t, h] . S)
    o[t, h] = q[t, h] . S
)", 16, 1, 16, 16},
        Program{"rate_per_value", kDelta + ", r: [T, H, V]", R"(
    state S: [K, V] = 0
    S = S + outer(k[t, h], r[t, h] * (v[t, h] - k[t, h] . S))
    o[t, h] = q[t, h] . S
)"},
        Program{"rate_per_value_under_decay", kDelta + ", r: [T, H, V], g: [T, H]", R"(
    state S: [K, V] = 0
    S = exp(g[t, h]) * S
    S = S + outer(k[t, h], r[t, h] * (v[t, h] - k[t, h] . S))
    o[t, h] = q[t, h] . S
)"},
        Program{"gate_of_a_batch_row", kDelta + ", r: [T, H], g: [H]", R"(
    state S: [K, V] = 0
    S = exp(r[t, h] * g[h]) * S + outer(r[t, h] * k[t, h], v[t, h])
    o[t, h] = q[t, h] . S
)"},
        Program{"signed_decays", kDelta + ", d: [T, H, V]", R"(
    state S: [K, V] = 0
    S = S . diag(tanh(d[t, h]))
    S = S + outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
)"},
        Program{"grouped_heads", "q: [T, 2, K], k: [T, 2, K], v: [T, H, V], b: [T, H, V]", R"(
    state S: [K, V] = 0
    S = S . diag(exp(b[t, h]))
    S = S + outer(k[t, h / 2], v[t, h] - k[t, h / 2] . S)
    o[t, h] = q[t, h / 2] . S
)", 16, 4},
        Program{"state_of_values_by_keys", kDelta + ", b: [T, H, V]", R"(
    state S: [V, K] = 0
    S = diag(exp(b[t, h])) . S
    S = S + outer(v[t, h] - S . k[t, h], k[t, h])
    o[t, h] = S . q[t, h]
)"},
        Program{"odd_widths", kDelta + ", b: [T, H, V], S0: [H, K, V]", R"(
    state S: [K, V] = S0
    S = S . diag(exp(b[t, h]))
    S = S + outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
)", 16, 1, 24, 40},
        Program{"documents", kDelta + ", b: [T, H, V]", R"(
    state S: [K, V] = 0
    S = S . diag(exp(b[t, h]))
    S = S + outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
)", 16, 1, 16, 16, /*documents=*/true},
        Program{"documents_from_a_state", kDelta + ", b: [T, H, V], S0: [H, K, V]", R"(
    state S: [K, V] = S0
    S = S . diag(exp(b[t, h]))
    S = S + outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
)", 16, 1, 16, 16, /*documents=*/true},
        Program{"wide_states", kDelta + ", a: [T, H, K], b: [T, H, V]", R"(
    state S: [K, V] = 0
    S = diag(exp(a[t, h])) . S . diag(exp(b[t, h]))
    S = S + outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
)", 16, 1, 144, 128},
        Program{"heads_of_128", kDelta + ", a: [T, H, K], b: [T, H, V]", R"(
    state S: [K, V] = 0
    S = diag(exp(a[t, h])) . S . diag(exp(b[t, h]))
    S = S + outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
)", 16, 1, 128, 128}),
    [](const auto &info) { return info.param.name; });

// What a block's shared memory holds only in parts: scans that are cut, states in slabs of 16 rows beside their
// gradients, initial values in float that products read slice by slice.
INSTANTIATE_TEST_SUITE_P(
    Wide, CudaEventsTest,
    testing::Values(
        Program{"keys_decay_delta_documents", kDelta + ", a: [T, H, K], beta: [T, H], S0: [H, K, V]", R"(
    state S: [K, V] = S0
    S = diag(exp(a[t, h])) . S
    S = S + beta[t, h] * outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
)", 0, 1, 256, 16, /*documents=*/true}.of(1, 37),
        Program{"keys_decay_documents", kDelta + ", a: [T, H, K], S0: [H, K, V]", R"(
    state S: [K, V] = S0
    S = diag(exp(a[t, h])) . S + outer(k[t, h], v[t, h])
    o[t, h] = q[t, h] . S
)", 0, 1, 192, 80, /*documents=*/true}.of(1, 37),
        Program{"gated_delta_documents", kDelta + ", g: [T, H], beta: [T, H], S0: [H, K, V]", R"(
    state S: [K, V] = S0
    S = exp(g[t, h]) * S
    S = S + beta[t, h] * outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S
)", 0, 1, 256, 256, /*documents=*/true}.of(1, 70),
        Program{"two_adds_of_which_one_reads", kDelta + ", a: [T, H, K], w: [T, H, K], k2: [T, H, K]", R"(
    state S: [K, V] = 0
    stale = w[t, h] . S
    S = diag(exp(a[t, h])) . S
    S = S + outer(k2[t, h], stale)
    S = S + outer(k[t, h], v[t, h])
    o[t, h] = q[t, h] . S
)", 0, 1, 160, 160}.of(2, 37)),
    [](const auto &info) { return info.param.name; });
