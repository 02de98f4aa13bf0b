//===- CpuCodeTest.cpp - CPU kernels against the reference ------*- C++ -*-===//
// Every public function of tests/exec/*.mlir runs compiled, in f64 and f32, and
// through the reference interpreter, at several batch sizes and lengths.
//===----------------------------------------------------------------------===//
#include "compiler/Plan/CpuProgram.h"
#include "compiler/Reference/Interpreter.h"
#include "ir/InitAllDialects.h"
#include "mlir/Parser/Parser.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <sstream>

using namespace mlir;
using namespace tidegate;

namespace {
std::string readFile(const std::filesystem::path &path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string replaceAll(std::string text, const std::string &from, const std::string &to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

/// Sizes of a type's `?` dimensions: B, then T; steps of scans do not enter functions.
std::vector<int64_t> shapeOf(Type type, int64_t B, int64_t T) {
  std::vector<int64_t> shape;
  int dynamic = 0;
  for (int64_t size : cast<RankedTensorType>(type).getShape())
    shape.push_back(!ShapedType::isDynamic(size) ? size : dynamic++ == 0 ? B : T);
  return shape;
}

/// Runs `entry` compiled with element type T; results widened.
template <typename Real>
std::vector<std::vector<double>> runCompiled(CpuProgram &program, func::FuncOp entry,
                                             const std::vector<reference::Tensor> &args,
                                             const std::vector<reference::Tensor> &expected, int64_t B, int64_t T) {
  std::vector<std::vector<Real>> numbers;
  std::vector<std::vector<int32_t>> ids;
  std::vector<void *> bindings;
  numbers.reserve(args.size() + expected.size());
  ids.reserve(args.size());
  for (const auto &arg : args) {
    if (!arg.ids.empty()) {
      ids.push_back(arg.ids);
      bindings.push_back(ids.back().data());
      continue;
    }
    numbers.emplace_back(arg.values.begin(), arg.values.end());
    bindings.push_back(numbers.back().data());
  }
  size_t first = numbers.size();
  for (const auto &result : expected) {
    numbers.emplace_back(result.values.size(), std::numeric_limits<Real>::quiet_NaN());
    bindings.push_back(numbers.back().data());
  }
  program.entry(entry.getName()).run(B, T, bindings);
  std::vector<std::vector<double>> results;
  for (size_t i = first; i < numbers.size(); ++i)
    results.emplace_back(numbers[i].begin(), numbers[i].end());
  return results;
}

template <typename Real>
void compareFile(const std::filesystem::path &path, double bound) {
  DialectRegistry registry;
  registerAllDialects(registry);
  MLIRContext context(registry);
  std::string text = readFile(path);
  if (sizeof(Real) == 4)
    text = replaceAll(text, "f64", "f32");
  auto module = parseSourceString<ModuleOp>(text, &context);
  ASSERT_TRUE(module) << path;
  llvm::SmallVector<llvm::StringRef> entries;
  for (auto f : module->getOps<func::FuncOp>())
    if (!f.isPrivate())
      entries.push_back(f.getName());
  ASSERT_FALSE(entries.empty());
  auto program = CpuProgram::compile(*module, entries, 2);
  ASSERT_TRUE(succeeded(program)) << path;
  for (llvm::StringRef name : entries) {
    auto entry = module->lookupSymbol<func::FuncOp>(name);
    for (auto [B, T] : {std::pair{1, 1}, {2, 17}, {1, 40}, {3, 85}}) {
      std::mt19937_64 random(B * 1000 + T);
      std::normal_distribution<double> normal;
      std::uniform_int_distribution<int> index(-2, 8);
      std::vector<reference::Tensor> args;
      for (Type type : entry.getArgumentTypes()) {
        auto tensor = reference::Tensor::zeros(shapeOf(type, B, T));
        if (isa<FloatType>(cast<RankedTensorType>(type).getElementType())) {
          for (double &x : tensor.values)
            x = static_cast<Real>(normal(random));
        } else {
          tensor.ids.resize(tensor.values.size());
          for (int32_t &id : tensor.ids)
            id = index(random);
          tensor.values.clear();
        }
        args.push_back(tensor);
      }
      auto expected = reference::run(entry, args);
      ASSERT_TRUE(succeeded(expected)) << name.str();
      auto results = runCompiled<Real>(**program, entry, args, *expected, B, T);
      for (size_t r = 0; r < results.size(); ++r) {
        double worst = 0, scale = 1e-30;
        ASSERT_EQ(results[r].size(), (*expected)[r].values.size());
        for (size_t i = 0; i < results[r].size(); ++i) {
          double want = (*expected)[r].values[i], have = results[r][i];
          worst = std::isfinite(have) || have == want ? std::max(worst, have == want ? 0 : std::abs(have - want))
                                                      : std::numeric_limits<double>::infinity();
          scale = std::max(scale, std::isfinite(want) ? std::abs(want) : 0);
        }
        EXPECT_LE(worst / scale, bound) << name.str() << " result " << r << " B=" << B << " T=" << T;
      }
    }
  }
}

/// The largest error of exp in units of the last place, over numbers from one end of its range to the other.
template <typename Real>
double worstExponential() {
  DialectRegistry registry;
  registerAllDialects(registry);
  MLIRContext context(registry);
  std::string text = R"(func.func @exp(%x: tensor<?x?x8xf64>) -> tensor<?x?x8xf64> {
    %y = nn.map rows 2 (%x) operand_rows [true] result_rows [true] {
    ^bb0(%a: tensor<8xf64>):
      %e = nn.exp %a : tensor<8xf64>
      nn.yield %e : tensor<8xf64>
    } : (tensor<?x?x8xf64>) -> tensor<?x?x8xf64>
    return %y : tensor<?x?x8xf64>
  })";
  auto module = parseSourceString<ModuleOp>(sizeof(Real) == 4 ? replaceAll(text, "f64", "f32") : text, &context);
  if (!module)
    return INFINITY;
  auto program = CpuProgram::compile(*module, {"exp"}, 1);
  if (failed(program))
    return INFINITY;
  using Limits = std::numeric_limits<Real>;
  std::vector<Real> x{0, Real(-0.0), Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(), Limits::max(),
                      Limits::lowest(), Limits::denorm_min()};
  std::mt19937_64 random(3);
  const double end = std::log(double(Limits::max())) + 2, begin = std::log(double(Limits::min())) - 40;
  std::uniform_real_distribution<double> anywhere(begin, end), near(-1, 1);
  while (x.size() < 80000)
    x.push_back(Real(x.size() % 2 ? anywhere(random) : near(random)));
  std::vector<Real> y(x.size());
  std::vector<void *> bindings{x.data(), y.data()};
  (*program)->entry("exp").run(1, int64_t(x.size()) / 8, bindings);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    long double want = std::exp((long double)x[i]);
    if (std::isnan(x[i]) || std::isinf(Real(want))) {
      if (std::isnan(x[i]) ? !std::isnan(y[i]) : y[i] != Limits::infinity())
        return INFINITY;
      continue;
    }
    int exponent = std::max(std::ilogb(double(want) > 0 ? double(want) : double(Limits::min())),
                            Limits::min_exponent - 1);
    long double unit = std::ldexp(1.0L, exponent - Limits::digits + 1);
    worst = std::max(worst, double(std::abs((long double)y[i] - want) / unit));
  }
  return worst;
}
} // namespace

TEST(CpuCodeTest, ExponentialsInF32) { EXPECT_LE(worstExponential<float>(), 1.5); }
TEST(CpuCodeTest, ExponentialsInF64) { EXPECT_LE(worstExponential<double>(), 1.5); }
TEST(CpuCodeTest, MapsAgreeInF64) { compareFile<double>(TIDEGATE_SOURCE_DIR "/tests/exec/map.mlir", 1e-13); }
TEST(CpuCodeTest, MapsAgreeInF32) { compareFile<float>(TIDEGATE_SOURCE_DIR "/tests/exec/map.mlir", 3e-6); }
TEST(CpuCodeTest, ScansAgreeInF64) { compareFile<double>(TIDEGATE_SOURCE_DIR "/tests/exec/scan.mlir", 1e-12); }
TEST(CpuCodeTest, ScansAgreeInF32) { compareFile<float>(TIDEGATE_SOURCE_DIR "/tests/exec/scan.mlir", 2e-5); }
TEST(CpuCodeTest, ConvolutionsAgreeInF64) { compareFile<double>(TIDEGATE_SOURCE_DIR "/tests/exec/conv.mlir", 1e-14); }
TEST(CpuCodeTest, ConvolutionsAgreeInF32) { compareFile<float>(TIDEGATE_SOURCE_DIR "/tests/exec/conv.mlir", 1e-6); }
TEST(CpuCodeTest, AttentionAgreesInF64) { compareFile<double>(TIDEGATE_SOURCE_DIR "/tests/exec/attention.mlir", 1e-12); }
TEST(CpuCodeTest, AttentionAgreesInF32) { compareFile<float>(TIDEGATE_SOURCE_DIR "/tests/exec/attention.mlir", 5e-6); }
