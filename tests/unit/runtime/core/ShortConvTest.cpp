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
  auto run = [&](int threads) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    std::vector<float> y(rows), next(edge), dx(rows), dpast(edge), dw(w.size());
    shortConv(sizes, x.data(), w.data(), past.data(), y.data(), next.data());
    shortConvInputGrad(sizes, dy.data(), w.data(), past.data(), dx.data(), dpast.data());
    shortConvWeightGrad(sizes, x.data(), dy.data(), past.data(), dw.data());
    omp_set_num_threads(before);
    std::vector<float> all;
    for (const auto *part : {&y, &next, &dx, &dpast, &dw})
      all.insert(all.end(), part->begin(), part->end());
    return all;
  };
  EXPECT_EQ(run(1), run(3));
}
} // namespace
