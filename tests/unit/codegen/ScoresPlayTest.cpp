//===- ScoresPlayTest.cpp - Scores of labels for a GPU, played on the CPU ---===//
// The kernels of @scores against the CPU's logits, with memory in float and in bfloat16:
// what products read is numbers of bfloat16, so that only rounded logits would differ.
//===----------------------------------------------------------------------===//
#include "tests/unit/codegen/PlayedModel.h"
#include "tests/unit/driver/LabelReference.h"
#include "tests/unit/driver/TinyModels.h"

#include <bit>
#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::test;

namespace {
struct Case {
  std::string name;
  ProgramSource source;
  Precision precision = Precision::F32;
  bool documents = false, hasTies = false;
  bool roundsHidden = false; ///< Then the logits are those that the GPU's @model returns.
};
void PrintTo(const Case &c, std::ostream *os) { *os << c.name; }

/// A row of logits is wider than one warp works on; with whole-number weights many are equal.
ProgramSource wide() {
  return {"wide.tg", {}, {{"wide.tg", R"(
param V = 5000, D = 16
model Wide(ids: [T] int) -> [T, V] {
  return linear(embedding(ids, V, D, 1) as embed, V, bias = true, std = 0.5) as head
}
)"}}};
}
ProgramSource softCap() {
  return {"cap.tg", {}, {{"cap.tg", R"(
param V = 300, D = 16
model Cap(ids: [T] int) -> [T, V] {
  return 4 * tanh(linear(embedding(ids, V, D, 1) as embed, V, std = 0.5) as head / 4)
}
)"}}};
}

class ScoresPlayTest : public testing::TestWithParam<Case> {};
} // namespace

TEST_P(ScoresPlayTest, AreThoseOfWholeLogits) {
  const Case &c = GetParam();
  auto cpu = compileModel(c.source, {.documents = c.documents});
  played::PlayedModel model(c.source, c.precision, c.documents);
  for (train::Model *each : {cpu.get(), static_cast<train::Model *>(&model)}) {
    train::initialiseParameters(*each, 11);
    runtime::RandomStream random(4, "ties");
    uint64_t draw = 0;
    for (size_t p = 0; p < each->parameters().size(); ++p)
      for (float &w : each->parameter(p).as<float>())
        w = c.hasTies ? float(random.below(3, draw++)) - 1
                      : std::bit_cast<float>(std::bit_cast<uint32_t>(w) & 0xffff0000u);
  }

  RandomTokens tokens(2, 41, model.vocab());
  std::vector<int32_t> positions;
  for (int64_t i = 0; i < 2 * 41 && c.documents; ++i)
    positions.push_back(int32_t(i % 41 < 9 ? i % 41 : i % 41 - 9));
  train::Model &direct = c.roundsHidden ? model : *cpu;
  const runtime::HostTensor logits = direct.logits(tokens.ids, tokens.B, tokens.T, positions);
  chooseLabels(logits, tokens.labels);
  const train::LabelScores want = scoresOfLogits(logits, tokens.labels),
                           have = model.scores({tokens.ids, tokens.labels, tokens.B, tokens.T, positions});
  int64_t lost = 0;
  for (size_t i = 0; i < tokens.labels.size(); ++i) {
    EXPECT_NEAR(have.logProbability[i], want.logProbability[i], 1e-5) << i << ", label " << tokens.labels[i];
    EXPECT_EQ(have.isLikeliest[i], want.isLikeliest[i]) << i << ", label " << tokens.labels[i];
    lost += i % 6 == 2 && !want.isLikeliest[i]; // the last of equals
  }
  EXPECT_EQ(c.hasTies, lost > 0);
}

INSTANTIATE_TEST_SUITE_P(
    Models, ScoresPlayTest,
    testing::Values(Case{"wide", wide()}, Case{"wide_ties", wide(), Precision::F32, false, true},
                    Case{"wide_bf16", wide(), Precision::BF16},
                    Case{"wide_ties_bf16", wide(), Precision::BF16, false, true}, Case{"soft_cap", softCap()},
                    Case{"soft_cap_bf16", softCap(), Precision::BF16}, Case{"gla", tinyGla()},
                    Case{"gla_bf16", tinyGla(), Precision::BF16, false, false, /*roundsHidden=*/true},
                    Case{"gla_documents", tinyGla(), Precision::F32, true}),
    [](const auto &info) { return info.param.name; });
