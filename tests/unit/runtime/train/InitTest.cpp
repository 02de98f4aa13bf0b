//===- InitTest.cpp ---------------------------------------------*- C++ -*-===//
// What `init` texts mean, and that values depend on seed and name alone.
//===----------------------------------------------------------------------===//
#include "runtime/train/Init.h"
#include "runtime/core/Error.h"
#include "tests/unit/runtime/TestFiles.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace tidegate::train;
using tidegate::runtime::Dtype;
using tidegate::runtime::HostTensor;
using tidegate::runtime::RuntimeError;

namespace {
HostTensor filled(const std::string &init, const std::string &name, uint64_t seed, int64_t n,
                  Dtype dtype = Dtype::F64) {
  HostTensor tensor(dtype, {n});
  initialise(parseInit(init, name), name, seed, tensor.view());
  return tensor;
}
} // namespace

TEST(InitTest, Distributions) {
  const int64_t n = 100001;
  double sum = 0, square = 0;
  HostTensor normal = filled("normal(0.02)", "w", 1, n);
  for (double x : normal.as<double>())
    sum += x, square += x * x;
  EXPECT_NEAR(sum / n, 0, 3e-4);
  EXPECT_NEAR(std::sqrt(square / n), 0.02, 2e-4);
  double low = 1, high = -1;
  HostTensor uniform = filled("uniform(-0.5, 0.25)", "w", 1, n);
  for (double x : uniform.as<double>())
    low = std::min(low, x), high = std::max(high, x);
  EXPECT_NEAR(low, -0.5, 1e-3);
  EXPECT_NEAR(high, 0.25, 1e-3);
  EXPECT_EQ(filled("zeros", "w", 1, 2).as<double>()[1], 0);
  EXPECT_EQ(filled("ones", "w", 1, 2).as<double>()[1], 1);
  EXPECT_EQ(filled("constant(-2.5)", "w", 1, 2).as<double>()[1], -2.5);
}

TEST(InitTest, ExpressionsOverDraws) {
  auto value = [](const std::string &init) { return filled(init, "w", 1, 2).as<double>()[1]; };
  const double u = value("uniform(1, 2)"), n = value("normal(0.5)");
  EXPECT_EQ(value("log(uniform(1, 2))"), std::log(u));
  EXPECT_EQ(value("add(mul(uniform(1, 2), 3), neg(0.5))"), u * 3 - 0.5);
  EXPECT_EQ(value("div(sub(normal(0.5), 1e-05), 2)"), (n - 1e-05) / 2);
  EXPECT_EQ(value("maximum(minimum(uniform(1, 2), 1), sqrt(exp(-4)))"), 1);
  EXPECT_NEAR(std::log1p(std::exp(value("softplus_inverse(0.1)"))), 0.1, 1e-15);
  EXPECT_NE(value("sub(uniform(1, 2), uniform(1, 2))"), 0) << "two distributions are drawn apart";
  std::string message = tidegate::test::messageOf<RuntimeError>([&] { value("log(constant(-1))"); });
  EXPECT_EQ(message, "the init of weight 'w' gives values that are not finite");
  // dt_bias of the reference: softplus of it is log-uniform in [0.001, 0.1].
  const std::string dt = "softplus_inverse(maximum(exp(uniform(-6.907755, -2.302585)), 0.0001))";
  HostTensor biases = filled(dt, "dt", 1, 3001);
  for (double x : biases.as<double>()) {
    EXPECT_GE(std::log1p(std::exp(x)), 0.00099);
    EXPECT_LE(std::log1p(std::exp(x)), 0.101);
  }
}

TEST(InitTest, DependsOnSeedAndNameOnly) {
  auto first = [](const HostTensor &tensor) { return tensor.as<double>()[0]; };
  EXPECT_EQ(first(filled("normal(1)", "a", 1, 7)), first(filled("normal(1)", "a", 1, 90)));
  EXPECT_NE(first(filled("normal(1)", "a", 1, 7)), first(filled("normal(1)", "b", 1, 7)));
  EXPECT_NE(first(filled("normal(1)", "a", 1, 7)), first(filled("normal(1)", "a", 2, 7)));
}

TEST(InitTest, SinglePrecisionIsTheRoundedDouble) {
  HostTensor wide = filled("normal(0.02)", "w", 1, 9), narrow = filled("normal(0.02)", "w", 1, 9, Dtype::F32);
  for (int i = 0; i < 9; ++i)
    EXPECT_EQ(narrow.as<float>()[i], static_cast<float>(wide.as<double>()[i]));
}

TEST(InitTest, RefusesOtherTextsNamingTheWeight) {
  for (const char *bad : {"", "gaussian(1)", "normal", "normal(x)", "normal(1", "normal(1,2,3)", "uniform(2,1)",
                          "zeros(1)", "normal(-1)", "normal(1 2)", "log()", "exp(1,2)", "normal(normal(1))", "zeros zeros",
                          "add(1", "nan"})
    EXPECT_NE(tidegate::test::messageOf<RuntimeError>([&] { parseInit(bad, "model.w"); }).find("weight 'model.w'"),
              std::string::npos) << bad;
}
