//===- AttentionDecodingTest.cpp - Positions and attention, compiled ------===//
#include "tests/unit/driver/TinyModels.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::test;

namespace {
ProgramSource tinyTransformer() {
  return {TIDEGATE_SOURCE_DIR "/examples/transformer/transformer.tg",
          {{"D", "16"}, {"L", "2"}, {"H", "2"}, {"key_heads", "1"}, {"vocab", "24"}, {"mlp_width", "16"}, {"context", "7"}},
          {}};
}
} // namespace

/// Feeds a prefix of every length, then token by token.
static void expectDecodes(const ProgramSource &source) {
  SCOPED_TRACE(source.path);
  auto model = initialised(source, {});
  const int64_t B = 2, T = 18, vocab = 24;
  RandomTokens tokens(B, T, vocab);
  runtime::HostTensor full = model->logits(tokens.ids, B, T);
  for (int64_t prefix = 1; prefix < T; ++prefix) {
    auto decoder = model->decoder(B);
    for (int64_t fed = 0; fed < T;) {
      const int64_t count = fed == 0 ? prefix : 1;
      std::vector<int32_t> ids;
      for (int64_t b = 0; b < B; ++b)
        ids.insert(ids.end(), tokens.ids.begin() + b * T + fed, tokens.ids.begin() + b * T + fed + count);
      runtime::HostTensor row = decoder->feed(ids, count);
      fed += count;
      for (int64_t b = 0; b < B; ++b)
        for (int64_t v = 0; v < vocab; ++v)
          ASSERT_NEAR(row.view().get(b * vocab + v), full.view().get((b * T + fed - 1) * vocab + v), 1e-5)
              << "prefix " << prefix << ", token " << fed - 1;
    }
  }
}

// A window of 7 tokens: prefixes below, at and above it.
TEST(AttentionDecodingTest, DecodingContinuesFromEveryPrefix) { expectDecodes(tinyTransformer()); }

// Positions beside recurrences, in a model without attention.
TEST(AttentionDecodingTest, PositionsGoOnBesideRecurrences) {
  expectDecodes({TIDEGATE_SOURCE_DIR "/examples/retnet/retnet.tg",
                 {{"D", "16"}, {"L", "1"}, {"H", "2"}, {"vocab", "24"}},
                 {}});
}

// Angles are computed in double and are of less than half a turn, so sine and cosine
// are exact to a float however far the position.
TEST(AttentionDecodingTest, RotaryHoldsAtPositionsOfAHundredThousand) {
  ProgramSource source{"turn.tg", {}, {{"turn.tg", "fn turn(x: [T, 1, 8]) -> [T, 1, 8] { return rotary(x) }\n"}}};
  const int64_t T = 100001;
  auto entry = compileEntry(source, "turn", {}, {{"x", {1, T, 1, 8}}});
  runtime::HostTensor x(runtime::Dtype::F32, {1, T, 1, 8});
  for (int64_t i = 0; i < x.elements(); ++i)
    x.view().set(i, i % 8 < 4 ? 1 : 0);
  auto results = entry->run({{"x", x}});
  ASSERT_EQ(results.size(), 1u);
  auto &y = results.begin()->second;
  for (int64_t t : {int64_t(0), int64_t(1), int64_t(4096), int64_t(65537), T - 1})
    for (int i = 0; i < 4; ++i) {
      const double angle = t * std::pow(10000.0, -i / 4.0);
      EXPECT_NEAR(y.view().get(t * 8 + i), std::cos(angle), 4e-7) << "token " << t << ", channel " << i;
      EXPECT_NEAR(y.view().get(t * 8 + i + 4), std::sin(angle), 4e-7);
    }
}

// At 16 times the length the plan of a training step holds 16 times the memory: no scores of all pairs.
TEST(AttentionDecodingTest, MemoryGrowsWithTheLength) {
  auto activations = [](int64_t T) {
    for (const auto &[name, bytes] : planModel(tinyTransformer(), 1, T, {}).classBytes)
      if (name == "activations")
        return bytes;
    return int64_t(0);
  };
  const int64_t shorter = activations(4096), longer = activations(65536);
  EXPECT_GE(longer, 15 * shorter);
  EXPECT_LE(longer, 17 * shorter);
}
