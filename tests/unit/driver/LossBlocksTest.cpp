//===- LossBlocksTest.cpp - Logits that are never whole in memory ---------===//
// Losses and gradients that are computed for blocks of rows, on the CPU: against the
// logits of the whole batch, against differences, and where rows do not fill blocks.
//===----------------------------------------------------------------------===//
#include "runtime/core/Plan.h"
#include "tests/unit/driver/TinyModels.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::test;
using runtime::HostTensor;

namespace {
constexpr int64_t kVocab = 300;

struct Sizes {
  int64_t B, T;
};
void PrintTo(const Sizes &s, std::ostream *os) { *os << s.B << " x " << s.T; }

std::unique_ptr<train::Model> modelOf(const std::string &program) {
  return initialised({"tiny.tg", {}, {{"tiny.tg", program}}}, {.precision = Precision::F64, .threads = 2});
}

/// The mean of log sum exp - logit of the label, from whole logits.
double meanNll(const HostTensor &logits, const std::vector<int32_t> &labels) {
  double sum = 0, count = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0)
      continue;
    auto row = logits.as<double>().subspan(i * kVocab, kVocab);
    double exps = 0;
    for (double z : row)
      exps += std::exp(z);
    sum += std::log(exps) - row[labels[i]];
    ++count;
  }
  return count ? sum / count : 0;
}
/// Every third label is ignored. Loss, count and gradients from blocks against whole logits.
void expectThoseOfWholeLogits(train::Model &model, Sizes sizes) {
  RandomTokens all(sizes.B, sizes.T, kVocab);
  for (size_t i = 0; i < all.labels.size(); i += 3)
    all.labels[i] = -100;
  const double want = meanNll(model.logits(all.ids, all.B, all.T), all.labels);
  EXPECT_NEAR(model.evalLoss(all.all()).loss, want, 1e-12 * (1 + want));
  EXPECT_EQ(model.evalLoss(all.all()).count, std::ranges::count_if(all.labels, [](int32_t l) { return l >= 0; }));
  EXPECT_NEAR(model.lossAndGradients(all.all()).loss, want, 1e-12 * (1 + want));

  // The slope along the gradient of each parameter.
  for (size_t p = 0; p < model.parameters().size(); ++p) {
    auto gradient = model.gradient(p).as<double>();
    std::vector<double> direction(gradient.begin(), gradient.end());
    double norm = 0;
    for (double x : direction)
      norm += x * x;
    norm = std::sqrt(norm);
    if (std::ranges::all_of(all.labels, [](int32_t label) { return label < 0; })) {
      EXPECT_EQ(norm, 0) << model.parameters()[p].name;
      continue;
    }
    ASSERT_GT(norm, 0) << model.parameters()[p].name;
    auto lossAt = [&](double step) {
      auto weight = model.parameter(p).as<double>();
      for (size_t i = 0; i < direction.size(); ++i)
        weight[i] += step * direction[i] / norm;
      const double loss = meanNll(model.logits(all.ids, all.B, all.T), all.labels);
      for (size_t i = 0; i < direction.size(); ++i)
        weight[i] -= step * direction[i] / norm;
      return loss;
    };
    constexpr double kStep = 1e-5;
    EXPECT_NEAR((lossAt(kStep) - lossAt(-kStep)) / (2 * kStep), norm, 1e-7 * norm + 1e-9) << model.parameters()[p].name;
  }
}
} // namespace

class LossBlocksTest : public testing::TestWithParam<Sizes> {};

TEST_P(LossBlocksTest, LossAndGradientsAreThoseOfWholeLogits) {
  expectThoseOfWholeLogits(*modelOf(kSoftCap), GetParam());
}

// One row; fewer than fill a block; blocks without rows; a shorter last block; whole blocks.
INSTANTIATE_TEST_SUITE_P(Sizes, LossBlocksTest,
                         testing::Values(Sizes{1, 1}, Sizes{1, 2}, Sizes{3, 5}, Sizes{1, 17}, Sizes{2, 41},
                                         Sizes{3, 43}, Sizes{4, 32}, Sizes{5, 61}));

TEST(LossBlocksGateTest, RowsFromOutsideAndTheirGradients) { expectThoseOfWholeLogits(*modelOf(kGate), {2, 41}); }

TEST(LossBlocksPlanTest, LogitsAreNeverWhole) {
  const std::string plan = emitStage(tinyGla(), "plan", {.precision = Precision::F32}); // 40 ids, 32 wide: 2 blocks
  EXPECT_EQ(plan.find("B T 40 x"), std::string::npos) << plan;
  EXPECT_NE(plan.find("(B T/2) 40 x 4 bytes"), std::string::npos) << plan;
  EXPECT_NE(plan.find(" += "), std::string::npos) << plan;
}

TEST(LossBlocksPlanTest, EveryRowIsInOneBlock) {
  for (int64_t count : {1, 2, 7, 8})
    for (int64_t B : {1, 3})
      for (int64_t T = 1; T < 700; T = T * 3 / 2 + 1) {
        const runtime::RowBlocks blocks{count};
        int64_t sum = 0;
        for (int64_t n = 0; n < blocks.used(B, T); ++n) {
          EXPECT_GT(blocks.rowsOf(n, B, T), 0);
          EXPECT_LE(blocks.rowsOf(n, B, T), blocks.rows(B, T));
          sum += blocks.rowsOf(n, B, T);
        }
        EXPECT_EQ(sum, B * T) << count << " blocks of " << B << " x " << T;
        EXPECT_LE(blocks.used(B, T), count);
        EXPECT_LT(blocks.rows(B, T), B * T / count + 1 + runtime::RowBlocks::kMultiple);
      }
  EXPECT_EQ(runtime::RowBlocks{8}.rows(4, 8000), 4000);
}
