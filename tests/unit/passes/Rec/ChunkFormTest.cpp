//===- ChunkFormTest.cpp - Chunk form equals token form in fp64 -----------===//
#include "Chunked.h"
#include "EventPrograms.h"

#include <cmath>

using namespace tidegate;
using namespace tidegate::test;

// The contract is 1e-10. The worst case of these programs was seen at 6e-13; the
// bound leaves room for another compiler's rounding.
static constexpr double kTolerance = 1e-11;

static void expectChunkEqualsToken(const Case &c, int64_t chunk, const std::string &what) {
  Module m(c.text);
  auto token = m.run("f", c.arguments);
  toChunk(m, chunk);
  auto chunked = m.run("f", c.arguments);
  ASSERT_EQ(token.size(), chunked.size()) << c.text;
  for (size_t i = 0; i < token.size(); ++i)
    EXPECT_LE(relativeError(chunked[i], token[i]), kTolerance) << what << ", result " << i << "\n" << c.text;
}

static const std::vector<std::pair<std::string, std::vector<double>>> kGates = {
    {"0", {0}},       {"-1e-3", {-1e-3}},  {"-5", {-5}},
    {"-50", {-50}},   {"-1000", {-1000}},  {"mixed", {0, -1e-3, -0.3, -5, -50, -1000, -INFINITY}},
};
static const int64_t kTokens[] = {1, 2, 15, 16, 17, 63, 64, 65, 200, 1000};
static const int64_t kWidths[] = {1, 8, 24, 32, 80};

/// Known recurrences.
static const std::vector<std::pair<std::string, std::vector<Event>>> kPrograms = {
    {"gated linear attention", {{'s'}, {'a'}, {'r'}}},
    {"scalar decay", {{'c'}, {'a'}, {'r'}}},
    {"delta rule", {{'a', true, true}, {'r'}}},
    {"gated delta rule", {{'c'}, {'a', true, true}, {'r'}}},
    {"gated delta rule per channel", {{'s'}, {'a', true, true}, {'r'}}},
    {"stale read", {{'s'}, {'a', false, true, true}, {'a'}, {'r'}}},
    {"two adds with a read between", {{'s'}, {'a', true, true}, {'r'}, {'a', true, true}, {'r'}}},
    {"two scales", {{'c'}, {'a', true, true}, {'s'}, {'r'}}},
    {"read before the update", {{'r'}, {'s'}, {'a'}}},
};

TEST(ChunkFormTest, KnownRecurrencesAtEveryLengthAndGate) {
  std::mt19937 random(7);
  size_t n = 0;
  for (int64_t tokens : kTokens)
    for (const auto &[gateName, gates] : kGates) {
      const auto &[name, events] = kPrograms[n % kPrograms.size()];
      Sizes sizes{1, tokens, 1, kWidths[random() % 5], kWidths[random() % 5]};
      if (tokens <= 65)
        sizes.batch = 1 + n % 2, sizes.heads = 1 + n / 2 % 2;
      else
        sizes.keys = kWidths[n % 5];
      int64_t chunk = tokens > 65 || n % 2 ? 64 : 16;
      Case c = makeCase(events, sizes, random, gatesFrom(gates, random));
      expectChunkEqualsToken(c, chunk, name + " with gates " + gateName + ", T " + std::to_string(tokens));
      ++n;
    }
}

TEST(ChunkFormTest, RandomPrograms) {
  std::mt19937 random(11);
  for (int n = 0; n < 80; ++n) {
    Sizes sizes{1 + int64_t(random() % 2), kTokens[random() % 8], 1 + int64_t(random() % 2), kWidths[random() % 4],
                kWidths[random() % 4]};
    const auto &[gateName, gates] = kGates[n % kGates.size()];
    Case c = makeCase(randomEvents(random), sizes, random, gatesFrom(gates, random));
    expectChunkEqualsToken(c, n % 3 ? 16 : 64, "program " + std::to_string(n) + " with gates " + gateName);
  }
}
