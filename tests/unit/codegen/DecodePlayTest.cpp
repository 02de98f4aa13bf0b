//===- DecodePlayTest.cpp - Decoding on the GPU, without one ----------------===//
// The plans with which a GPU decodes, their kernels played on the CPU, against the
// logits of all tokens at once: from a prefix of one token, of half, of all but one.
//===----------------------------------------------------------------------===//
#include "tests/unit/codegen/PlayedModel.h"
#include "tests/unit/driver/TinyModels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::test;
using played::PlayedModel;
using runtime::HostTensor;

namespace {
struct Case {
  std::string name;
  ProgramSource source;
  size_t plans = 1; ///< Those of full chunks included.
  bool documents = false;
  int64_t T = 21; ///< More than a chunk of decoding.
};
void PrintTo(const Case &c, std::ostream *os) { *os << c.name; }

Case example(const std::string &name, ParamList params, size_t plans = 1) {
  params.insert(params.end(), {{"D", "32"}, {"L", "2"}, {"vocab", "20"}});
  return {name, {TIDEGATE_SOURCE_DIR "/examples/" + name + "/" + name + ".tg", params, {}}, plans};
}

/// The same weights in both, all of them off their trivial initial values; numbers of bfloat16, so that both precisions
/// compute with the same.
void fill(train::Model &model) {
  train::initialiseParameters(model, 3);
  for (size_t p = 0; p < model.parameters().size(); ++p) {
    runtime::RandomStream random(7, model.parameters()[p].name);
    runtime::HostSpan weight = model.parameter(p);
    // Rates of fast weights that matter within a few tokens.
    const double shift = model.parameters()[p].name.ends_with("lr_proj.bias") ? 7 : 0;
    for (int64_t i = 0; i < weight.elements; ++i) {
      const float x = float(weight.get(i) + shift + 0.05 * random.normalPair(i)[0]);
      weight.set(i, std::bit_cast<float>((std::bit_cast<uint32_t>(x) + 0x8000u) & 0xffff0000u));
    }
  }
}

class DecodePlayTest : public testing::TestWithParam<Case> {
protected:
  static constexpr int64_t B = 2;
  const int64_t T = GetParam().T;

  void load(Precision precision) {
    CompileOptions options;
    options.documents = GetParam().documents;
    oracle = compileModel(GetParam().source, options);
    model = std::make_unique<PlayedModel>(GetParam().source, precision, GetParam().documents);
    fill(*oracle);
    fill(*model);
    if (GetParam().documents) // one that ends at once, in the middle of what is fed, and behind it
      for (int64_t t : {0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 2, 3, 4, 5, 6, 7, 8})
        positions.push_back(int32_t(t));
    for (int64_t t = 0; GetParam().documents && t < T; ++t)
      positions.push_back(int32_t(t));
    full = oracle->logits(tokens.ids, B, T, positions);
  }

  /// Calls `check` with the logits after each call's last token, and where in `full` they should be.
  template <typename Check>
  void decode(int64_t prefix, Check check) {
    auto decoder = model->decoder(B);
    for (int64_t fed = 0; fed < T;) {
      const int64_t count = fed == 0 ? prefix : 1;
      auto part = [&](const std::vector<int32_t> &all) {
        std::vector<int32_t> rows;
        for (int64_t b = 0; b < B && !all.empty(); ++b)
          rows.insert(rows.end(), all.begin() + b * T + fed, all.begin() + b * T + fed + count);
        return rows;
      };
      HostTensor row = decoder->feed(part(tokens.ids), count, part(positions));
      fed += count;
      for (int64_t b = 0; b < B; ++b)
        check(row.as<float>().subspan(b * 20, 20), full.as<float>().subspan((b * T + fed - 1) * 20, 20));
    }
  }

  const RandomTokens tokens{B, T, 20};
  std::vector<int32_t> positions;
  std::unique_ptr<train::Model> oracle;
  std::unique_ptr<PlayedModel> model;
  HostTensor full;
};
} // namespace

TEST_P(DecodePlayTest, InFloatIsTheFullForward) {
  load(Precision::F32);
  float largest = 0;
  for (float x : full.as<float>())
    largest = std::max(largest, std::abs(x));
  for (int64_t prefix : {int64_t(1), T / 2, T - 1})
    decode(prefix, [&](auto have, auto want) {
      for (size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(have[i], want[i], 1e-5 * largest) << "prefix " << prefix;
    });
  EXPECT_EQ(GetParam().plans, model->numDecodings());
}

// By root mean square, as in the ladder of `tidegate verify`.
TEST_P(DecodePlayTest, InHalfIsTheFullForwardToItsShare) {
  load(Precision::BF16);
  for (int64_t prefix : {int64_t(1), T / 2, T - 1}) {
    double square = 0, norm = 0;
    decode(prefix, [&](auto have, auto want) {
      for (size_t i = 0; i < want.size(); ++i) {
        square += std::pow(double(have[i]) - want[i], 2);
        norm += std::pow(double(want[i]), 2);
      }
    });
    EXPECT_LT(std::sqrt(square / norm), 2e-2) << "prefix " << prefix;
    EXPECT_GT(square, 0) << "prefix " << prefix; // something was computed in bfloat16
  }
}

static Case packed(Case c) {
  c.name += "_packed";
  c.documents = true;
  return c;
}

/// Of more tokens than read their chunk's states at a time.
static Case longer(Case c) {
  c.T = 75;
  c.source.params.emplace_back("L", "1");
  return c;
}

/// A recurrence whose state begins with weights.
static Case learnedStart() {
  return {"learned_start", {"program.tg", {}, {{"program.tg", R"(
layer mixer(x: [T, 32]) -> [T, 32] {
  weight first: [2, 16, 16] ~ normal(0.5)
  q = heads(linear(x, 32) as q, 2); k = heads(linear(x, 32) as k, 2); v = heads(linear(x, 32) as v, 2)
  g = log_sigmoid(linear(x, 2) as g)
  scan over t, h in 2 {
    state S: [16, 16] = first
    S = exp(g[t, h]) * S + outer(k[t, h], v[t, h])
    o[t, h] = q[t, h] . S
  }
  return linear(flatten(o), 32) as o
}
model Learned(ids: [T] int) -> [T, 20] {
  h = embedding(ids, 20, 32) as embeddings
  h = h + mixer(rms_norm(h) as norm) as mixer
  return linear(h, 20) as head
}
)"}}}};
}

/// A memory with its normaliser, which begins with weights, and a gate per channel.
static Case severalStates() {
  return {"several_states", {"program.tg", {}, {{"program.tg", R"(
layer mixer(x: [T, 32]) -> [T, 32] {
  weight first: [2, 16] ~ normal(0.5)
  q = heads(linear(x, 32) as q, 2); k = heads(linear(x, 32) as k, 2); v = heads(linear(x, 32) as v, 2)
  f = sigmoid(linear(x, 2) as f)
  z = sigmoid(linear(x, 32) as z)
  scan over t, h in 2 {
    state S: [16, 16] = 0
    state n: [16] = first
    S = f[t, h] * S + outer(k[t, h], v[t, h])
    n = f[t, h] * n + k[t, h]
    o[t, h] = q[t, h] . S / maximum(abs(q[t, h] . n), 1)
  }
  scan over t {
    state s: [32] = 0
    s = (1 - z[t]) * s + z[t] * x[t]
    y[t] = s
  }
  return linear(flatten(o) + y, 32) as o
}
model Several(ids: [T] int) -> [T, 20] {
  h = embedding(ids, 20, 32) as embeddings
  h = h + mixer(rms_norm(h) as norm) as mixer
  return linear(h, 20) as head
}
)"}}}};
}

/// Chunks of two lengths: either, or both, are full before a token.
static Case twoLengths() {
  return {"two_lengths", {"program.tg", {}, {{"program.tg", R"(
fn memory(x: [T, 2, 16], C) -> [T, 2, 16] {
  scan over chunks c of C, h in 2 {
    state W: [16, 16] = 0
    o[c, h] = matmul(x[c, h], W)
    W = 0.9 * W + 0.2 * matmul(transpose(x[c, h]), transpose(x[c, h]))
  }
  return o
}
model Memories(ids: [T] int) -> [T, 20] {
  h = embedding(ids, 20, 32) as embeddings
  x = heads(linear(rms_norm(h) as norm, 32) as x, 2)
  h = h + flatten(memory(x, 3)) + flatten(memory(x, 5))
  return linear(h, 20) as head
}
)"}}}, /*plans=*/4};
}

static const ParamList kMlp = {{"H", "2"}, {"mlp_width", "48"}},
                       kHeads = {{"H", "2"}, {"mlp_width", "48"}, {"head_dim", "16"}};
/// Of the fast weights; chunks end in a prefix, at its end, and behind it.
static ParamList fastWeights(const std::string &chunk, const std::string &rank) {
  return {{"H", "2"}, {"N", "2"}, {"mlp_width", "48"}, {"window", "6"}, {"chunk", chunk}, {"rank", rank}};
}

INSTANTIATE_TEST_SUITE_P(
    Models, DecodePlayTest,
    testing::Values(example("gla", kMlp), packed(example("gla", kMlp)), example("delta_net", kMlp),
                    example("gated_deltanet", kHeads), packed(example("gated_deltanet", kHeads)),
                    example("rwkv7", {{"head_dim", "16"}, {"decay_rank", "8"}, {"rate_rank", "8"}, {"value_rank", "8"},
                                      {"gate_rank", "8"}, {"mlp_width", "48"}}),
                    example("mamba2", {{"head_dim", "16"}, {"N", "16"}}),
                    example("transformer", {{"H", "2"}, {"key_heads", "1"}, {"mlp_width", "48"}, {"context", "7"}}),
                    learnedStart(), severalStates(), packed(severalStates()), twoLengths(),
                    example("lact", fastWeights("7", "full"), /*plans=*/2),
                    longer(example("lact", fastWeights("70", "4"), /*plans=*/2))),
    [](const auto &info) { return info.param.name + "_" + std::to_string(info.index); });

// Without updates the logits would be others by far more than what the tests above allow in float.
TEST(FastWeightsTest, UpdatesChangeTheLogits) {
  const RandomTokens tokens(1, 21, 20);
  auto lastOf = [&](const std::string &chunk) {
    auto model = compileModel(example("lact", fastWeights(chunk, "full")).source, {});
    fill(*model);
    HostTensor all = model->logits(tokens.ids, 1, tokens.T);
    return std::vector<float>(all.as<float>().end() - 20, all.as<float>().end());
  };
  const std::vector<float> updated = lastOf("7"), never = lastOf("100");
  float most = 0, largest = 0;
  for (size_t i = 0; i < updated.size(); ++i) {
    most = std::max(most, std::abs(updated[i] - never[i]));
    largest = std::max(largest, std::abs(updated[i]));
  }
  EXPECT_GT(most, 1e-3 * largest);
}
