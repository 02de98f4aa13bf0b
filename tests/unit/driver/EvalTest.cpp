//===- EvalTest.cpp ---------------------------------------------*- C++ -*-===//
// Evaluations of a compiled model: against one full forward a sequence, and
// independent of padding, batches and order.
//===----------------------------------------------------------------------===//
#include "runtime/eval/LogLikelihood.h"
#include "runtime/eval/Perplexity.h"
#include "tests/unit/driver/TinyModels.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::eval;
using namespace tidegate::test;

namespace {

std::unique_ptr<train::Model> model() {
  CompileOptions options;
  options.precision = Precision::F64;
  options.threads = 1;
  auto model = initialised(tinyGla(), options);
  for (size_t i = 0; i < model->parameters().size(); ++i) // Away from the uniform distribution.
    for (double &w : model->parameter(i).as<double>())
      w *= 4;
  return model;
}

/// Lengths around the chunk sizes and far from each other.
std::vector<ScoredSequence> someSequences() {
  std::vector<ScoredSequence> sequences;
  runtime::RandomStream random(8, "sequences");
  uint64_t draw = 0;
  for (int64_t length : {2, 3, 17, 64, 65, 66, 5, 40, 130, 9}) {
    ScoredSequence sequence{{}, 1 + length / 3};
    for (int64_t i = 0; i < length; ++i)
      sequence.ids.push_back(int32_t(random.below(40, draw++)));
    sequences.push_back(sequence);
  }
  return sequences;
}

} // namespace

TEST(EvalTest, LogLikelihoodsEqualADirectForwardWhateverTheBatch) {
  auto gla = model();
  const auto sequences = someSequences();
  std::vector<double> direct;
  std::vector<bool> greedy;
  for (const ScoredSequence &sequence : sequences) {
    const int64_t T = int64_t(sequence.ids.size());
    const runtime::HostTensor logits = gla->logits(sequence.ids, 1, T);
    double sum = 0;
    bool best = true;
    for (int64_t t = T - sequence.scored; t < T; ++t) {
      const auto row = logits.as<double>().subspan((t - 1) * 40, 40);
      double total = 0;
      for (double z : row)
        total += std::exp(z);
      sum += row[sequence.ids[t]] - std::log(total);
      best &= row[sequence.ids[t]] == *std::max_element(row.begin(), row.end());
    }
    direct.push_back(sum);
    greedy.push_back(best);
  }
  for (int64_t B : {1, 3, 4, 32}) {
    const auto scores = logLikelihoods(*gla, sequences, B);
    for (size_t i = 0; i < sequences.size(); ++i) {
      EXPECT_NEAR(scores[i].logLikelihood, direct[i], 1e-12 * std::abs(direct[i])) << "B = " << B << ", sequence " << i;
      EXPECT_EQ(scores[i].greedy, greedy[i]) << "B = " << B << ", sequence " << i;
    }
  }
  std::vector<ScoredSequence> reversed(sequences.rbegin(), sequences.rend());
  const auto scores = logLikelihoods(*gla, reversed, 3);
  for (size_t i = 0; i < sequences.size(); ++i)
    EXPECT_NEAR(scores[sequences.size() - 1 - i].logLikelihood, direct[i], 1e-12 * std::abs(direct[i])) << i;
}

TEST(EvalTest, PerplexityIsTheLikelihoodOfItsWindows) {
  auto gla = model();
  const RandomTokens tokens(1, 150, 40);
  std::vector<ScoredSequence> windows;
  for (size_t first = 0; first < 150; first += 32) {
    std::vector<int32_t> ids(tokens.ids.begin() + first, tokens.ids.begin() + std::min<size_t>(first + 32, 150));
    windows.push_back({ids, int64_t(ids.size()) - 1});
  }
  double nats = 0;
  for (const SequenceScore &score : logLikelihoods(*gla, windows, 2))
    nats -= score.logLikelihood;
  for (int64_t B : {1, 2, 5}) {
    const PerplexityResult result = perplexity(*gla, TokenStream::of(tokens.ids), B, 32);
    EXPECT_EQ(result.predicted, 145);
    EXPECT_NEAR(result.nats, nats, 1e-12 * nats) << B;
  }
}
