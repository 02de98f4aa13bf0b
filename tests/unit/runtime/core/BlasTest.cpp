//===- BlasTest.cpp ---------------------------------------------*- C++ -*-===//
// Both products against plain loops, over transposes, strides and edge sizes.
//===----------------------------------------------------------------------===//
#include "runtime/core/Blas.h"
#include "runtime/core/Random.h"

#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <limits>
#include <omp.h>
#include <optional>
#include <string>
#include <vector>

using namespace tidegate::runtime;

namespace {

template <typename T>
using Product = void (*)(bool, bool, int64_t, int64_t, int64_t, T, const T *, int64_t, const T *, int64_t, T, T *,
                         int64_t);

template <typename T>
std::vector<T> randomValues(int64_t n, const char *name) {
  RandomStream stream(5, name);
  std::vector<T> values(n);
  for (int64_t i = 0; i < n; ++i)
    values[i] = static_cast<T>(2 * stream.uniform(i) - 1);
  return values;
}

template <typename T>
void check(Product<T> product, int64_t m, int64_t n, int64_t k, bool transA, bool transB, T alpha, T beta) {
  const int64_t lda = (transA ? m : k) + 3, ldb = (transB ? k : n) + 1, ldc = n + 2;
  auto a = randomValues<T>((transA ? k : m) * lda + 1, "a"), b = randomValues<T>((transB ? n : k) * ldb + 1, "b");
  auto c = randomValues<T>(m * ldc + 1, "c");
  auto before = c;
  if (beta == T(0)) // Must not be read.
    for (int64_t i = 0; i < m; ++i)
      std::fill_n(c.begin() + i * ldc, n, std::numeric_limits<T>::quiet_NaN());
  product(transA, transB, m, n, k, alpha, a.data(), lda, b.data(), ldb, beta, c.data(), ldc);
  const double tolerance = std::numeric_limits<T>::epsilon() * 4 * (k + 4);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < k; ++p)
        sum += double(transA ? a[p * lda + i] : a[i * lda + p]) * double(transB ? b[j * ldb + p] : b[p * ldb + j]);
      double expected = alpha * sum + (beta == T(0) ? 0 : beta * double(before[i * ldc + j]));
      ASSERT_NEAR(c[i * ldc + j], expected, tolerance) << m << "x" << n << "x" << k << " at " << i << ", " << j;
    }
    for (int64_t j = n; j < ldc; ++j) // Between the rows nothing is written.
      ASSERT_EQ(c[i * ldc + j], before[i * ldc + j]);
  }
}

template <typename T>
void sweep(Product<T> product) {
  const std::array<int64_t, 3> sizes[] = {{1, 1, 1}, {3, 5, 7}, {4, 32, 16}, {17, 33, 300}, {65, 530, 9}, {5, 6, 0}};
  for (auto [m, n, k] : sizes)
    for (int flags = 0; flags < 4; ++flags)
      for (auto [alpha, beta] : {std::pair<T, T>{1, 0}, {T(0.5), 1}, {-1, T(0.25)}})
        check<T>(product, m, n, k, flags & 1, flags & 2, alpha, beta);
}

} // namespace

TEST(BlasTest, LibraryF32) { sweep<float>(gemm); }
TEST(BlasTest, LibraryF64) { sweep<double>(gemm); }
TEST(BlasTest, BuiltinF32) { sweep<float>(builtinGemm<float>); }
TEST(BlasTest, BuiltinF64) { sweep<double>(builtinGemm<double>); }

TEST(BlasTest, BuiltinGivesTheSameBitsForAnyNumberOfThreads) {
  const int64_t m = 70, n = 90, k = 600;
  auto a = randomValues<float>(m * k, "a"), b = randomValues<float>(k * n, "b");
  std::vector<float> one(m * n), several(m * n);
  int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  builtinGemm<float>(false, false, m, n, k, 1, a.data(), k, b.data(), n, 0, one.data(), n);
  omp_set_num_threads(3);
  builtinGemm<float>(false, false, m, n, k, 1, a.data(), k, b.data(), n, 0, several.data(), n);
  omp_set_num_threads(threads);
  EXPECT_EQ(one, several);
}

TEST(BlasTest, WorksInsideAParallelRegion) {
  const int64_t n = 96;
  auto a = randomValues<float>(n * n, "a"), b = randomValues<float>(n * n, "b");
  std::vector<float> expected(n * n);
  gemm(false, true, n, n, n, 1.0f, a.data(), n, b.data(), n, 0.0f, expected.data(), n);
  std::vector<std::vector<float>> results(4, std::vector<float>(n * n));
#pragma omp parallel for num_threads(2)
  for (int r = 0; r < 4; ++r)
    gemm(false, true, n, n, n, 1.0f, a.data(), n, b.data(), n, 0.0f, results[r].data(), n);
  for (const auto &result : results)
    for (int64_t i = 0; i < n * n; ++i)
      ASSERT_NEAR(result[i], expected[i], 1e-4);
}

std::optional<std::string> coreType() {
  const char *value = std::getenv("OPENBLAS_CORETYPE");
  return value ? std::optional<std::string>(value) : std::nullopt;
}
const std::optional<std::string> coreTypeAtStart = coreType();

TEST(BlasTest, OpeningItLeavesTheEnvironmentAsItWas) {
  blasDescription();
  EXPECT_EQ(coreType(), coreTypeAtStart);
}

TEST(BlasTest, SaysWhatItUses) { EXPECT_FALSE(blasDescription().empty()); }
