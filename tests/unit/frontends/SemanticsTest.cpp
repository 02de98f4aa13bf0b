//===- SemanticsTest.cpp - Programs mean what they say ----------*- C++ -*-===//
// Programs are generated in double precision and executed by the reference
// interpreter: the GLA example against stored results of its reference
// implementation, the less common forms of scan and contraction against plain
// loops written here.
//===----------------------------------------------------------------------===//
#include "compiler/Reference/Interpreter.h"
#include "frontends/dsl/Frontend.h"
#include "frontends/dsl/HfConfig.h"
#include "runtime/core/Safetensors.h"
#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace tidegate;
using namespace tidegate::dsl;
using reference::Tensor;
using Tensors = std::map<std::string, Tensor>;

namespace {

/// Runs an entry on inputs by name; weights come from the same map.
std::vector<Tensor> execute(const LoadOptions &load, GenerateOptions options, const Tensors &inputs) {
  Diagnostics diagnostics;
  auto program = Program::load(load, diagnostics);
  mlir::MLIRContext context;
  options.f64 = true;
  auto module = program ? program->generate(context, options, diagnostics) : nullptr;
  EXPECT_TRUE(module) << diagnostics.str();
  if (!module)
    return {};
  auto func = module->lookupSymbol<mlir::func::FuncOp>(options.entry.empty() ? "model" : options.entry);
  std::vector<Tensor> arguments;
  for (unsigned i = 0; i < func.getNumArguments(); ++i) {
    auto name = func.getArgAttrOfType<mlir::StringAttr>(i, "nn.weight");
    name = name ? name : func.getArgAttrOfType<mlir::StringAttr>(i, "nn.name");
    auto found = inputs.find(name.str());
    EXPECT_NE(found, inputs.end()) << name.str();
    if (found == inputs.end())
      return {};
    arguments.push_back(found->second);
  }
  auto results = reference::run(func, arguments);
  EXPECT_TRUE(mlir::succeeded(results));
  return mlir::succeeded(results) ? *results : std::vector<Tensor>();
}

std::vector<Tensor> executeText(const std::string &text, const std::string &entry, const Tensors &inputs,
                                std::map<std::string, int64_t> dims = {}) {
  LoadOptions load;
  load.path = "test.tg";
  load.text = text;
  GenerateOptions options;
  options.entry = entry;
  options.dims = std::move(dims);
  return execute(load, options, inputs);
}

Tensor randomTensor(std::vector<int64_t> shape, unsigned seed) {
  Tensor tensor = Tensor::zeros(std::move(shape));
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  for (double &value : tensor.values)
    value = normal(random);
  return tensor;
}

/// max |x - y| / max |y|
double distance(const std::vector<double> &x, const std::vector<double> &y) {
  EXPECT_EQ(x.size(), y.size());
  double difference = 0, scale = 0;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    difference = std::max(difference, std::isfinite(x[i]) ? std::abs(x[i] - y[i]) : INFINITY);
    scale = std::max(scale, std::abs(y[i]));
  }
  return difference / scale;
}

class GoldenTest : public ::testing::TestWithParam<const char *> {};

/// Config, weights under their keys, and logits are the reference's.
TEST_P(GoldenTest, LogitsOfTheReference) {
  std::string folder = std::string(TIDEGATE_SOURCE_DIR "/tests/golden/") + GetParam();
  Diagnostics diagnostics;
  auto params = paramsFromConfig(folder + "/config.json", diagnostics);
  ASSERT_TRUE(params.has_value()) << diagnostics.str();
  runtime::SafetensorsFile weights(folder + "/model.safetensors"), golden(folder + "/golden.safetensors");
  Tensors inputs;
  for (const auto &[name, entry] : weights.entries()) {
    runtime::HostTensor values = weights.tensor(name).to(runtime::Dtype::F64);
    inputs[name] = {entry.shape, {values.as<double>().begin(), values.as<double>().end()}, {}};
  }
  runtime::HostTensor ids = golden.tensor("input_ids").to(runtime::Dtype::I32);
  inputs["ids"] = {ids.shape(), {}, {ids.as<int32_t>().begin(), ids.as<int32_t>().end()}};
  LoadOptions load;
  load.path = TIDEGATE_SOURCE_DIR "/examples/gla/gla.tg";
  load.params = *params;
  std::vector<Tensor> results = execute(load, {}, inputs);
  ASSERT_EQ(results.size(), 1u);
  runtime::HostTensor logits = golden.tensor("logits").to(runtime::Dtype::F64);
  EXPECT_EQ(results[0].shape, logits.shape());
  // The reference ran in fp32: an fp64 evaluation is within 9e-6 of it.
  EXPECT_LE(distance(results[0].values, {logits.as<double>().begin(), logits.as<double>().end()}), 1e-5);
}
INSTANTIATE_TEST_SUITE_P(Gla, GoldenTest, ::testing::Values("gla_rfull", "gla_r8"));

TEST(SemanticsTest, GroupedHeadsShareKeys) {
  const int B = 2, T = 5, H = 4, K = 3, V = 2, G = 2;
  Tensors in = {{"k", randomTensor({B, T, H / G, K}, 1)}, {"v", randomTensor({B, T, H, V}, 2)}};
  auto results = executeText("fn f(k: [T, 2, 3], v: [T, 4, 2]) {\n"
                             "  scan over t, h in 4 {\n"
                             "    state S: [3, 2] = 0\n"
                             "    S = S + outer(k[t, h / 2], v[t, h])\n"
                             "    y[t, h] = k[t, h / 2] . S\n"
                             "  }\n"
                             "  return y\n"
                             "}\n",
                             "f", in);
  ASSERT_EQ(results.size(), 1u);
  std::vector<double> expected;
  const auto &k = in["k"].values, &v = in["v"].values;
  for (int b = 0; b < B; ++b)
    for (int t = 0; t < T; ++t)
      for (int h = 0; h < H; ++h)
        for (int j = 0; j < V; ++j) {
          double sum = 0;
          for (int s = 0; s <= t; ++s)
            for (int i = 0; i < K; ++i)
              sum += k[((b * T + t) * (H / G) + h / G) * K + i] * k[((b * T + s) * (H / G) + h / G) * K + i] *
                     v[((b * T + s) * H + h) * V + j];
          expected.push_back(sum);
        }
  EXPECT_LE(distance(results[0].values, expected), 1e-13);
}

TEST(SemanticsTest, OperandsWithoutTimeOrHeadsAreRepeated) {
  const int B = 2, T = 3, H = 2, N = 4;
  Tensors in = {{"x", randomTensor({B, T, H, N}, 1)}, {"b", randomTensor({B, T, N}, 2)},
                {"c", randomTensor({B, H, N}, 3)},    {"d", randomTensor({B, N}, 4)},
                {"w", randomTensor({H, N}, 5)},       {"u", randomTensor({N}, 6)}};
  auto results = executeText("layer f(x: [T, 2, 4], b: [T, 4], c: [2, 4], d: [4]) {\n"
                             "  weight w: [2, 4] = 0\n"
                             "  weight u: [4] = 0\n"
                             "  scan over t, h in 2 { y[t, h] = x[t, h] + b[t] * c[h] + d * w[h] * u }\n"
                             "  return y\n"
                             "}\n",
                             "f", in);
  ASSERT_EQ(results.size(), 1u);
  std::vector<double> expected;
  for (int b = 0; b < B; ++b)
    for (int t = 0; t < T; ++t)
      for (int h = 0; h < H; ++h)
        for (int n = 0; n < N; ++n)
          expected.push_back(in["x"].values[((b * T + t) * H + h) * N + n] +
                             in["b"].values[(b * T + t) * N + n] * in["c"].values[(b * H + h) * N + n] +
                             in["d"].values[b * N + n] * in["w"].values[h * N + n] * in["u"].values[n]);
  EXPECT_LE(distance(results[0].values, expected), 1e-14);
}

/// Initial states: with the batch, per head as a weight, for all heads, a number.
TEST(SemanticsTest, InitialStatesOfEveryKind) {
  const int B = 3, T = 4, H = 2, N = 2;
  Tensors in = {{"x", randomTensor({B, T, H, N}, 1)},
                {"s0", randomTensor({B, H, N}, 2)},
                {"r0", randomTensor({B, N}, 3)},
                {"w0", randomTensor({H, N}, 4)},
                {"v0", randomTensor({N}, 5)}};
  auto results = executeText("layer f(x: [T, 2, 2], s0: [2, 2], r0: [2]) {\n"
                             "  weight w0: [2, 2] = 0\n"
                             "  weight v0: [2] = 0\n"
                             "  scan over t, h in 2 {\n"
                             "    state a: [2] = s0\n"
                             "    state b: [2] = r0\n"
                             "    state c: [2] = w0\n"
                             "    state d: [2] = v0\n"
                             "    state e: [2] = 0.5\n"
                             "    state z: [2]\n"
                             "    a = a + x[t, h]\n"
                             "    b = b + x[t, h]\n"
                             "    c = c + x[t, h]\n"
                             "    d = d + x[t, h]\n"
                             "    e = e + x[t, h]\n"
                             "    z = z + x[t, h]\n"
                             "  }\n"
                             "  return a, b, c, d, e, z\n"
                             "}\n",
                             "f", in);
  ASSERT_EQ(results.size(), 6u);
  std::vector<double> expected[6];
  for (int b = 0; b < B; ++b)
    for (int h = 0; h < H; ++h)
      for (int n = 0; n < N; ++n) {
        double sum = 0;
        for (int t = 0; t < T; ++t)
          sum += in["x"].values[((b * T + t) * H + h) * N + n];
        expected[0].push_back(sum + in["s0"].values[(b * H + h) * N + n]);
        expected[1].push_back(sum + in["r0"].values[b * N + n]);
        expected[2].push_back(sum + in["w0"].values[h * N + n]);
        expected[3].push_back(sum + in["v0"].values[n]);
        expected[4].push_back(sum + 0.5);
        expected[5].push_back(sum);
      }
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(results[i].shape, (std::vector<int64_t>{B, H, N})) << i;
    EXPECT_LE(distance(results[i].values, expected[i]), 1e-14) << i;
  }
}

TEST(SemanticsTest, ScanWithoutHeads) {
  const int B = 2, T = 6, N = 3;
  Tensors in = {{"x", randomTensor({B, T, N}, 1)}};
  auto results = executeText("fn f(x: [T, 3]) -> [T, 3], [3] {\n"
                             "  scan over t {\n"
                             "    state m: [3] = 1\n"
                             "    m = 0.75 * m + 0.25 * x[t]\n"
                             "    y[t] = m\n"
                             "  }\n"
                             "  return y, m\n"
                             "}\n",
                             "f", in);
  ASSERT_EQ(results.size(), 2u);
  std::vector<double> outputs(B * T * N), last;
  for (int b = 0; b < B; ++b)
    for (int n = 0; n < N; ++n) {
      double m = 1;
      for (int t = 0; t < T; ++t) {
        m = 0.75 * m + 0.25 * in["x"].values[(b * T + t) * N + n];
        outputs[(b * T + t) * N + n] = m;
      }
      last.push_back(m);
    }
  EXPECT_LE(distance(results[0].values, outputs), 1e-15);
  EXPECT_LE(distance(results[1].values, last), 1e-15);
}

/// The batch on either side of '.', on both, on none.
TEST(SemanticsTest, ContractionsKeepTheBatchInFront) {
  const int B = 2, M = 3, K = 4, N = 5;
  Tensors in = {{"m", randomTensor({B, K, N}, 1)}, {"x", randomTensor({B, M, K}, 2)}, {"w", randomTensor({M, K}, 3)}};
  auto results = executeText("layer f(m: [4, 5], x: [3, 4]) {\n"
                             "  weight w: [3, 4] = 0\n"
                             "  return x . m, w . m, x . transpose(w), w . transpose(w) . x, outer(x, x)\n"
                             "}\n",
                             "f", in);
  ASSERT_EQ(results.size(), 5u);
  auto m = [&](int b, int k, int n) { return in["m"].values[(b * K + k) * N + n]; };
  auto x = [&](int b, int i, int k) { return in["x"].values[(b * M + i) * K + k]; };
  auto w = [&](int, int i, int k) { return in["w"].values[i * K + k]; };
  auto product = [&](int rows, int inner, int columns, auto left, auto right) {
    std::vector<double> all;
    for (int b = 0; b < B; ++b)
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) {
          double sum = 0;
          for (int k = 0; k < inner; ++k)
            sum += left(b, i, k) * right(b, k, j);
          all.push_back(sum);
        }
    return all;
  };
  auto wT = [&](int b, int k, int i) { return w(b, i, k); };
  EXPECT_LE(distance(results[0].values, product(M, K, N, x, m)), 1e-14);
  EXPECT_LE(distance(results[1].values, product(M, K, N, w, m)), 1e-14);
  EXPECT_LE(distance(results[2].values, product(M, K, M, x, wT)), 1e-14);
  std::vector<double> square = product(M, K, M, w, wT);
  auto gram = [&](int b, int i, int j) { return square[(b * M + i) * M + j]; };
  EXPECT_LE(distance(results[3].values, product(M, M, K, gram, x)), 1e-14);
  std::vector<double> outer;
  for (int b = 0; b < B; ++b)
    for (int i = 0; i < M; ++i)
      for (int k = 0; k < K; ++k)
        for (int l = 0; l < K; ++l)
          outer.push_back(x(b, i, k) * x(b, i, l));
  EXPECT_LE(distance(results[4].values, outer), 1e-14);
}

TEST(SemanticsTest, LibraryFunctions) {
  Tensors in = {{"x", {{1, 2, 3}, {-800, 0, 2, 1, 1, 800}, {}}}};
  auto results = executeText(
      "fn f(x: [T, 3]) { return log_sigmoid(x), softmax(x), silu(x), l2_norm(x, eps = 0), relu(x) }", "f", in);
  ASSERT_EQ(results.size(), 5u);
  const double e2 = std::exp(2.0), root = std::sqrt(800.0 * 800 + 4), other = std::sqrt(800.0 * 800 + 2);
  auto logSigmoid = [](double x) { return std::min(x, 0.0) - std::log1p(std::exp(-std::abs(x))); };
  EXPECT_LE(distance(results[0].values, {-800, logSigmoid(0), logSigmoid(2), logSigmoid(1), logSigmoid(1), 0}), 1e-14);
  EXPECT_LE(distance(results[1].values, {0, 1 / (1 + e2), e2 / (1 + e2), 0, 0, 1}), 1e-14);
  auto silu = [](double x) { return x / (1 + std::exp(-x)); };
  EXPECT_LE(distance(results[2].values, {0, 0, silu(2), silu(1), silu(1), 800}), 1e-14);
  EXPECT_LE(distance(results[3].values, {-800 / root, 0, 2 / root, 1 / other, 1 / other, 800 / other}), 1e-14);
  EXPECT_EQ(results[4].values, (std::vector<double>{0, 0, 2, 1, 1, 800}));
}

/// Pairs of channels half a head apart turn by position * theta^(-2i/K), in the
/// caller's sizes, and inside a `repeat`.
TEST(SemanticsTest, RotaryTurnsPairsByPosition) {
  const int B = 2, T = 7, H = 2, K = 6;
  Tensors in = {{"x", randomTensor({B, T, H, K}, 1)}};
  auto results = executeText("fn f(x: [T, 2, 6]) {\n"
                             "  y = x\n"
                             "  repeat i in 2 { y = rotary(y, theta = 100) }\n"
                             "  return rotary(x), y\n"
                             "}\n",
                             "f", in);
  ASSERT_EQ(results.size(), 2u);
  for (auto [result, theta, turns] : {std::tuple(0, 10000.0, 1), {1, 100.0, 2}}) {
    std::vector<double> want;
    for (int row = 0; row < B * T * H; ++row)
      for (int d = 0; d < K; ++d) {
        int i = d % (K / 2), t = row / H % T;
        const double *x = in["x"].values.data() + row * K;
        double angle = turns * t * std::pow(theta, -2.0 * i / K), a = x[i], b = x[i + K / 2];
        want.push_back(d < K / 2 ? a * std::cos(angle) - b * std::sin(angle) : b * std::cos(angle) + a * std::sin(angle));
      }
    EXPECT_LE(distance(results[result].values, want), 1e-13);
  }
}

/// Positions of the innermost argument with T; a fn without one uses its caller's.
TEST(SemanticsTest, PositionsIotaAndConcat) {
  Tensors in = {{"x", {{2, 3, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, {}}}};
  auto results = executeText("fn angles(n) { return outer(positions(), iota(n)) }\n"
                             "fn f(x: [T, 2]) {\n"
                             "  scan over t { o[t] = x[t] * iota(2) }\n"
                             "  return concat(x, angles(3)), o\n"
                             "}\n",
                             "f", in);
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].values,
            (std::vector<double>{1, 2, 0, 0, 0, 3, 4, 0, 1, 2, 5,  6,  0, 2, 4,
                                 7, 8, 0, 0, 0, 9, 10, 0, 1, 2, 11, 12, 0, 2, 4}));
  EXPECT_EQ(results[1].values, (std::vector<double>{0, 2, 0, 4, 0, 6, 0, 8, 0, 10, 0, 12}));
}

/// Softmax over the window, with groups of two query heads.
TEST(SemanticsTest, AttentionLooksBackAWindow) {
  const int B = 2, T = 9, H = 4, G = 2, K = 3, V = 2, W = 4;
  Tensors in = {{"q", randomTensor({B, T, H, K}, 1)}, {"k", randomTensor({B, T, G, K}, 2)},
                {"v", randomTensor({B, T, G, V}, 3)}};
  auto results =
      executeText("fn f(q: [T, 4, 3], k: [T, 2, 3], v: [T, 2, 2]) { return attention(q, k, v, 4) }", "f", in);
  ASSERT_EQ(results.size(), 1u);
  auto at = [&](const char *name, int b, int t, int h, int i) {
    const reference::Tensor &x = in[name];
    return x.values[((b * T + t) * x.shape[2] + h) * x.shape[3] + i];
  };
  std::vector<double> want;
  for (int b = 0; b < B; ++b)
    for (int t = 0; t < T; ++t)
      for (int h = 0; h < H; ++h) {
        double total = 0, sums[V] = {};
        for (int s = std::max(0, t - W + 1); s <= t; ++s) {
          double score = 0;
          for (int i = 0; i < K; ++i)
            score += at("q", b, t, h, i) * at("k", b, s, h / 2, i);
          total += std::exp(score);
          for (int d = 0; d < V; ++d)
            sums[d] += std::exp(score) * at("v", b, s, h / 2, d);
        }
        for (double sum : sums)
          want.push_back(sum / total);
      }
  EXPECT_LE(distance(results[0].values, want), 1e-14);
}

} // namespace
