//===- ShortConvTest.cpp - Convolutions by one and by many threads --------===//
// Values are compared with the reference in tests/unit/codegen.
#include "runtime/core/ShortConv.h"
#include "runtime/core/Random.h"

#include <gtest/gtest.h>
#include <omp.h>
#include <vector>

using namespace tidegate::runtime;

namespace {
std::vector<float> draw(const char *name, int64_t count) {
  RandomStream stream(1, name);
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i)
    values[i] = float(stream.normalPair(i)[0]);
  return values;
}

TEST(ShortConvTest, ResultsDoNotDependOnThreads) {
  const ShortConvSizes sizes{2, 150, 200, 4};
  const int64_t rows = sizes.B * sizes.T * sizes.C, edge = sizes.B * (sizes.W - 1) * sizes.C;
  auto x = draw("x", rows), dy = draw("dy", rows), w = draw("w", sizes.C * sizes.W), past = draw("past", edge);
  std::vector<int32_t> restarts(sizes.B * sizes.T);
  for (size_t i = 0; i < restarts.size(); ++i)
    restarts[i] = int32_t(i % 7); // documents of 7 tokens, the first of a row may have begun before
  auto run = [&](int threads, const int32_t *positions) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    std::vector<float> y(rows), next(edge), dx(rows), dpast(edge), dw(w.size());
    shortConv(sizes, x.data(), w.data(), past.data(), positions, y.data(), next.data());
    shortConvInputGrad(sizes, dy.data(), w.data(), past.data(), positions, dx.data(), dpast.data());
    shortConvWeightGrad(sizes, x.data(), dy.data(), past.data(), positions, dw.data());
    omp_set_num_threads(before);
    std::vector<float> all;
    for (const auto *part : {&y, &next, &dx, &dpast, &dw})
      all.insert(all.end(), part->begin(), part->end());
    return all;
  };
  EXPECT_EQ(run(1, nullptr), run(3, nullptr));
  EXPECT_EQ(run(1, restarts.data()), run(3, restarts.data()));
  EXPECT_NE(run(1, nullptr), run(1, restarts.data()));
}
} // namespace
