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
