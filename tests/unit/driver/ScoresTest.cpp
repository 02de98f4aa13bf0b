//===- ScoresTest.cpp - What models say of labels, without whole logits ---===//
// Log-probabilities and likeliest ids that are computed for blocks of rows, on the CPU,
// against whole logits of the same model. Their kernels for a GPU: unit.ScoresPlay.
//===----------------------------------------------------------------------===//
#include "compiler/Driver/CpuModel.h"
#include "runtime/core/Error.h"
#include "runtime/eval/LogLikelihood.h"
#include "tests/unit/driver/LabelReference.h"
#include "tests/unit/driver/TinyModels.h"

#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::test;

namespace {
constexpr int64_t kVocab = 300;

/// Logits that no product gives: one block.
constexpr const char *kTable = R"(
param V = 300
model Tiny(ids: [T] int) -> [T, V] { return embedding(ids, V, V, 1) as table }
)";
constexpr const char *kProduct = R"(
param V = 300, D = 8
model Tiny(ids: [T] int) -> [T, V] {
  return linear(embedding(ids, V, D, 1) as embed, V, bias = true, std = 0.5) as head
}
)";

ProgramSource program(const char *text) { return {"tiny.tg", {}, {{"tiny.tg", text}}}; }

std::unique_ptr<train::Model> modelOf(const ProgramSource &source, Precision precision, bool documents = false) {
  return initialised(source, {.precision = precision, .threads = 2, .documents = documents});
}

runtime::HostSpan parameter(train::Model &model, const std::string &name) {
  for (size_t i = 0; i < model.parameters().size(); ++i)
    if (model.parameters()[i].name == name)
      return model.parameter(i);
  throw std::out_of_range("no parameter " + name);
}

/// Of the logits' sums in f64.
double boundOf(train::Model &model) { return model.dtype() == runtime::Dtype::F64 ? 1e-12 : 1e-5; }

void expectThoseOfWholeLogits(train::Model &model, int64_t B, int64_t T, std::span<const int32_t> positions = {}) {
  SCOPED_TRACE(std::to_string(B) + " x " + std::to_string(T));
  RandomTokens tokens(B, T, model.vocab());
  const runtime::HostTensor logits = model.logits(tokens.ids, B, T, positions);
  chooseLabels(logits, tokens.labels);
  const train::LabelScores want = scoresOfLogits(logits, tokens.labels),
                           have = model.scores({tokens.ids, tokens.labels, B, T, positions});
  ASSERT_EQ(have.logProbability.size(), want.logProbability.size());
  ASSERT_EQ(have.isLikeliest.size(), want.isLikeliest.size());
  for (size_t i = 0; i < want.logProbability.size(); ++i) {
    EXPECT_NEAR(have.logProbability[i], want.logProbability[i], boundOf(model)) << i << ", label " << tokens.labels[i];
    EXPECT_EQ(have.isLikeliest[i], want.isLikeliest[i]) << i << ", label " << tokens.labels[i];
  }
}

// One row; fewer than fill a block; blocks without rows; a shorter last block; whole blocks.
constexpr std::pair<int64_t, int64_t> kSizes[] = {{1, 1}, {3, 5}, {1, 17}, {2, 41}, {3, 43}, {4, 32}};
} // namespace

class ScoresTest : public testing::TestWithParam<Precision> {};

TEST_P(ScoresTest, AreThoseOfWholeLogits) {
  for (const char *text : {kSoftCap, kGate, kTable, kProduct}) {
    SCOPED_TRACE(text);
    auto model = modelOf(program(text), GetParam());
    for (auto [B, T] : kSizes)
      expectThoseOfWholeLogits(*model, B, T);
  }
}

TEST_P(ScoresTest, OfAModelWithRecurrences) {
  auto model = modelOf(tinyGla(), GetParam());
  for (auto [B, T] : {std::pair<int64_t, int64_t>{1, 1}, {2, 41}, {2, 70}})
    expectThoseOfWholeLogits(*model, B, T);
}

TEST_P(ScoresTest, OfDocuments) {
  auto model = modelOf(tinyGla(), GetParam(), /*documents=*/true);
  const int64_t B = 2, T = 41;
  std::vector<int32_t> positions;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < T; ++t)
      positions.push_back(int32_t(t < 7 + 5 * b ? t : t - 7 - 5 * b));
  expectThoseOfWholeLogits(*model, B, T, positions);
  expectThoseOfWholeLogits(*model, B, T);
  RandomTokens tokens(B, T, 40);
  train::TokenBatch batch = tokens.all();
  const double whole = model->scores(batch).logProbability.back();
  batch.positions = positions;
  EXPECT_NE(model->scores(batch).logProbability.back(), whole);
}

// Weights of few whole numbers, so that several ids often share the largest logit exactly.
TEST_P(ScoresTest, OfEqualsTheFirstIsLikeliest) {
  auto model = modelOf(program(kProduct), GetParam());
  runtime::RandomStream random(4, "ties");
  uint64_t draw = 0;
  for (size_t p = 0; p < model->parameters().size(); ++p)
    for (int64_t i = 0; i < model->parameter(p).elements; ++i)
      model->parameter(p).set(i, double(random.below(3, draw++)) - 1);
  RandomTokens tokens(5, 61, kVocab);
  const runtime::HostTensor logits = model->logits(tokens.ids, 5, 61, {});
  int64_t ties = 0;
  for (auto labels : {tokens.labels, std::vector<int32_t>(5 * 61, 0)}) {
    chooseLabels(logits, labels);
    const train::LabelScores scores = model->scores({tokens.ids, labels, 5, 61}), want = scoresOfLogits(logits, labels);
    EXPECT_EQ(scores.isLikeliest, want.isLikeliest);
    for (size_t i = 0; i < labels.size(); ++i)
      ties += i % 6 == 2 && !want.isLikeliest[i]; // the last of several
  }
  EXPECT_GT(ties, 20) << "the test is about them";
  // All logits equal: id 0 alone.
  for (size_t p = 0; p < model->parameters().size(); ++p)
    for (int64_t i = 0; i < model->parameter(p).elements; ++i)
      model->parameter(p).set(i, 0);
  const std::vector<int32_t> ids{1, 2, 3, 4}, labels{0, 1, 299, -100};
  const train::LabelScores scores = model->scores({ids, labels, 1, 4});
  EXPECT_EQ(scores.isLikeliest, (std::vector<bool>{true, false, false, false}));
  for (int i = 0; i < 3; ++i)
    EXPECT_NEAR(scores.logProbability[i], -std::log(300.0), boundOf(*model));
  EXPECT_EQ(scores.logProbability[3], 0);
}

TEST_P(ScoresTest, OfLogitsThatAreNotFinite) {
  auto model = modelOf(program(kProduct), GetParam());
  const std::vector<int32_t> ids{1, 2, 3, 4}, labels{7, 8, -100, 9};
  const train::LabelScores before = model->scores({ids, labels, 1, 4});
  auto bias = parameter(*model, "head.bias");
  bias.set(8, -INFINITY); // An id that never comes: a probability of 0, and the others' as without it.
  const train::LabelScores never = model->scores({ids, labels, 1, 4});
  EXPECT_EQ(never.logProbability[1], -INFINITY);
  EXPECT_FALSE(never.isLikeliest[1]);
  EXPECT_GT(never.logProbability[0], before.logProbability[0]);
  EXPECT_LT(never.logProbability[0], 0);
  EXPECT_EQ(never.logProbability[2], 0);
  for (double value : {double(NAN), double(INFINITY)}) {
    bias.set(8, value);
    const train::LabelScores broken = model->scores({ids, labels, 1, 4});
    for (int i : {0, 1, 3})
      EXPECT_TRUE(std::isnan(broken.logProbability[i])) << value << " " << i;
    EXPECT_EQ(broken.logProbability[2], 0) << "no label";
    EXPECT_FALSE(broken.isLikeliest[2]) << "no label";
    EXPECT_THROW(eval::logLikelihoods(*model, std::vector<eval::ScoredSequence>{{{1, 2, 3}, 1}}, 1),
                 runtime::RuntimeError);
  }
}

TEST_P(ScoresTest, LabelsOutsideAreErrors) {
  auto model = modelOf(program(kProduct), GetParam());
  const std::vector<int32_t> ids{1, 2}, labels{7, 300};
  try {
    model->scores({ids, labels, 1, 2});
    ADD_FAILURE() << "expected an error";
  } catch (const runtime::RuntimeError &error) {
    EXPECT_STREQ(error.what(), "label 300 at row 0, position 1 is not in the vocabulary of 300");
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, ScoresTest, testing::Values(Precision::F32, Precision::F64),
                         [](const auto &info) { return info.param == Precision::F32 ? "f32" : "f64"; });

TEST(ScoresPrecisionTest, OfALargeVocabularyInFloat) {
  constexpr int64_t kLarge = 32000;
  auto model = modelOf({"tiny.tg", {{"V", "32000"}}, {{"tiny.tg", kProduct}}}, Precision::F32);
  expectThoseOfWholeLogits(*model, 2, 19);
  auto bias = parameter(*model, "head.bias"), weight = parameter(*model, "head.weight");
  auto all = [](runtime::HostSpan to, double value) {
    for (int64_t i = 0; i < to.elements; ++i)
      to.set(i, value);
  };
  all(bias, 1000);
  expectThoseOfWholeLogits(*model, 2, 19);
  // The worst for a sum in float: all but one of its terms are the same, and every addition rounds to the same side.
  all(weight, 0);
  for (double below : {0.3, 0.7, 1.1, 2.9, 4.3, 5.7}) {
    all(bias, -below);
    bias.set(kLarge / 2, 0);
    expectThoseOfWholeLogits(*model, 1, 6);
  }
}

TEST(ScoresPlanTest, LogitsAreNeverWhole) {
  Compilation compilation({});
  LoadedProgram loaded(program(kProduct));
  auto compiled = [&](ModelPart part) {
    auto result = CpuProgram::compile(*buildPart(compilation, loaded, part), entriesOf(part), 1);
    return std::move(*result);
  };
  auto scores = compiled(ModelPart::Scores);
  runtime::Executor &executor = scores->entry("scores");
  const int64_t B = 4, T = 2000;
  const int64_t largest = runtime::RowBlocks{8}.rows(B, T) * kVocab;
  for (const runtime::Buffer &buffer : executor.plan().buffers)
    EXPECT_LE(buffer.elements.at(B, T), largest);
  EXPECT_LT(executor.arenaBytes(B, T), B * T * kVocab * 4 / 6);
}
