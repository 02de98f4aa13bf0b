//===- AttentionTest.cpp - Attention by one and by many threads -----------===//
// Values are compared with the reference in tests/unit/codegen.
#include "runtime/core/Attention.h"
#include "runtime/core/Plan.h"
#include "runtime/core/Random.h"

#include <gtest/gtest.h>
#include <algorithm>
#include <cmath>
#include <omp.h>
#include <vector>

using namespace tidegate::runtime;

namespace {
std::vector<float> draw(const char *name, int64_t count, float scale = 1) {
  RandomStream stream(1, name);
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i)
    values[i] = scale * float(stream.normalPair(i)[0]);
  return values;
}

TEST(AttentionTest, ResultsDoNotDependOnThreads) {
  const AttentionSizes n{2, 150, 4, 2, 16, 24, 70};
  const int64_t tokens = n.B * n.T, keys = tokens * n.G * n.K, values = tokens * n.G * n.V;
  auto q = draw("q", tokens * n.H * n.K), k = draw("k", keys), v = draw("v", values),
       dy = draw("dy", tokens * n.H * n.V);
  auto run = [&](int threads) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    std::vector<float> y(dy.size()), lse(tokens * n.H), dq(q.size()), dk(keys), dv(values);
    AttentionInputs<float> in{q.data(), k.data(), v.data()};
    attention(n, in, y.data(), lse.data());
    attentionGrad<float>(n, in, {y.data(), lse.data(), dy.data()}, {dq.data(), dk.data(), dv.data()});
    omp_set_num_threads(before);
    std::vector<float> all;
    for (const auto *part : {&y, &lse, &dq, &dk, &dv})
      all.insert(all.end(), part->begin(), part->end());
    return all;
  };
  EXPECT_EQ(run(1), run(3));
}

// Scores of some thousands, of either sign: one key takes it all.
TEST(AttentionTest, LargeScoresStayFinite) {
  const AttentionSizes n{1, 100, 1, 1, 8, 8, 100};
  auto q = draw("q", n.T * n.K, 100), k = draw("k", n.T * n.K, 100), v = draw("v", n.T * n.V), dy = draw("dy", n.T * n.V);
  std::vector<float> y(dy.size()), lse(n.T), dq(q.size()), dk(k.size()), dv(v.size());
  AttentionInputs<float> in{q.data(), k.data(), v.data()};
  attention(n, in, y.data(), lse.data());
  attentionGrad<float>(n, in, {y.data(), lse.data(), dy.data()}, {dq.data(), dk.data(), dv.data()});
  float largest = 0;
  for (const auto *part : {&y, &lse, &dq, &dk, &dv})
    for (float x : *part) {
      ASSERT_TRUE(std::isfinite(x));
      largest = std::max(largest, std::abs(x));
    }
  EXPECT_GT(largest, 1000); // lse
}

// Documents of 40 tokens; in the second all is NaN. The first and the third do not notice, nor do tokens
// before one that is NaN.
TEST(AttentionTest, WhatATokenDoesNotSeeStaysOut) {
  const AttentionSizes n{1, 120, 1, 1, 8, 8, 100};
  auto run = [&](int64_t from, int64_t to) {
    auto q = draw("q", n.T * n.K), k = draw("k", n.T * n.K), v = draw("v", n.T * n.V), dy = draw("dy", n.T * n.V);
    for (auto *part : {&q, &k, &v, &dy})
      std::fill(part->begin() + from * 8, part->begin() + to * 8, std::nanf(""));
    std::vector<int32_t> positions(n.T);
    for (int64_t t = 0; t < n.T; ++t)
      positions[t] = int32_t(t % 40);
    std::vector<float> y(dy.size()), lse(n.T), dq(q.size()), dk(k.size()), dv(v.size());
    AttentionInputs<float> in{q.data(), k.data(), v.data(), positions.data()};
    attention(n, in, y.data(), lse.data());
    attentionGrad<float>(n, in, {y.data(), lse.data(), dy.data()}, {dq.data(), dk.data(), dv.data()});
    return std::vector{y, dq, dk, dv};
  };
  auto clean = run(0, 0), spoilt = run(40, 80), late = run(100, 120);
  for (size_t i = 0; i < clean.size(); ++i)
    for (int64_t t = 0; t < n.T; ++t)
      for (int64_t d = t * 8; d < t * 8 + 8; ++d) {
        EXPECT_EQ(t < 40 || t >= 80 ? clean[i][d] : 0, t < 40 || t >= 80 ? spoilt[i][d] : 0) << i << ", token " << t;
        if (t < 100 && i == 0)
          EXPECT_EQ(clean[i][d], late[i][d]) << "token " << t;
      }
}

TEST(AttentionTest, WorkIsThatOfTheWindow) {
  Attention a;
  a.batch.batch = 1;
  a.tokens.tokens = 1;
  a.heads = 3;
  a.window = 4;
  EXPECT_EQ(a.pairs(2, 3), 2 * 3 * (1 + 2 + 3));
  EXPECT_EQ(a.pairs(2, 6), 2 * 3 * (1 + 2 + 3 + 4 + 4 + 4));
}
} // namespace
