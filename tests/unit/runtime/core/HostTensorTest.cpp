//===- HostTensorTest.cpp ---------------------------------------*- C++ -*-===//
// Shapes, conversions and refusals of host tensors.
//===----------------------------------------------------------------------===//
#include "runtime/core/HostTensor.h"
#include "runtime/core/Error.h"
#include "tests/unit/runtime/TestFiles.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

using namespace tidegate::runtime;
using tidegate::test::messageOf;

TEST(HostTensorTest, StartsAtZeroAndKnowsItsShape) {
  HostTensor tensor(Dtype::F64, {2, 3});
  EXPECT_EQ(tensor.elements(), 6);
  EXPECT_EQ(tensor.bytes().size(), 48u);
  for (double value : tensor.as<double>())
    EXPECT_EQ(value, 0);
  EXPECT_EQ(shapeText(tensor.shape()), "[2, 3]");
}

TEST(HostTensorTest, RefusesAnotherElementType) {
  HostTensor tensor(Dtype::F32, {1});
  EXPECT_EQ(messageOf<RuntimeError>([&] { tensor.as<double>(); }),
            "expected f64 elements, but the tensor holds f32");
}

TEST(HostTensorTest, RefusesShapesWithoutACount) {
  int64_t negative[] = {2, -1}, huge[] = {int64_t(1) << 40, int64_t(1) << 40};
  EXPECT_THROW(elementCount(negative), RuntimeError);
  EXPECT_THROW(elementCount(huge), RuntimeError);
  EXPECT_THROW((HostTensor::of<float>({2}, std::vector<float>{1, 2, 3})), RuntimeError);
}

HostTensor halves(Dtype dtype, std::vector<uint16_t> bits) {
  HostTensor tensor(dtype, {static_cast<int64_t>(bits.size())});
  std::memcpy(tensor.bytes().data(), bits.data(), bits.size() * 2);
  return tensor;
}

TEST(HostTensorTest, ReadsHalfPrecision) {
  // 1, -2, largest normal, smallest subnormal, infinity, NaN.
  HostTensor wide = halves(Dtype::F16, {0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00, 0x7e00}).to(Dtype::F64);
  auto values = wide.as<double>();
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[1], -2);
  EXPECT_EQ(values[2], 65504);
  EXPECT_EQ(values[3], std::ldexp(1.0, -24));
  EXPECT_TRUE(std::isinf(values[4]));
  EXPECT_TRUE(std::isnan(values[5]));
}

TEST(HostTensorTest, ReadsBrainFloat) {
  HostTensor wide = halves(Dtype::BF16, {0x3f80, 0xc040, 0x0001}).to(Dtype::F32);
  auto values = wide.as<float>();
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[1], -3);
  EXPECT_EQ(values[2], std::ldexp(1.0f, -133));
}

std::vector<uint16_t> bitsOf(const HostTensor &tensor) {
  std::vector<uint16_t> bits(tensor.elements());
  std::memcpy(bits.data(), tensor.bytes().data(), tensor.bytes().size());
  return bits;
}

TEST(HostTensorTest, EverySixteenBitFloatComesBack) {
  for (Dtype dtype : {Dtype::F16, Dtype::BF16}) {
    std::vector<uint16_t> all;
    const int exponent = dtype == Dtype::F16 ? 0x7c00 : 0x7f80;
    for (int bits = 0; bits < 0x10000; ++bits)
      if ((bits & exponent) != exponent || (bits & 0x7fff) == exponent) // NaNs are many
        all.push_back(static_cast<uint16_t>(bits));
    EXPECT_EQ(bitsOf(halves(dtype, all).to(Dtype::F32).to(dtype)), all);
    EXPECT_EQ(bitsOf(halves(dtype, all).to(Dtype::F64).to(dtype)), all);
  }
}

TEST(HostTensorTest, RoundsToSixteenBitsToNearestEven) {
  const double ulp = std::ldexp(1.0, -10), tiny = std::ldexp(1.0, -24);
  auto half = HostTensor::of<double>({8}, std::vector<double>{1 + ulp / 2, 1 + 3 * ulp / 2, 1 + ulp * 0.5000001,
                                                             2 - ulp / 2, tiny / 2, tiny * 0.5000001, -tiny * 1.5,
                                                             std::nan("")});
  EXPECT_EQ(bitsOf(half.to(Dtype::F16)),
            (std::vector<uint16_t>{0x3c00, 0x3c02, 0x3c01, 0x4000, 0x0000, 0x0001, 0x8002, 0x7e00}));
  auto brain = HostTensor::of<float>({3}, std::vector<float>{1.00390625f, 1.01171875f, -3e38f});
  EXPECT_EQ(bitsOf(brain.to(Dtype::BF16)), (std::vector<uint16_t>{0x3f80, 0x3f82, 0xff62}));
  auto large = HostTensor::of<double>({1}, std::vector<double>{65520});
  EXPECT_EQ(messageOf<RuntimeError>([&] { large.to(Dtype::F16); }),
            "expected values that fit f16, but got 65520.000000");
}

TEST(HostTensorTest, ConvertsIntegersOnlyWhereTheyFit) {
  auto small = HostTensor::of<int64_t>({2}, std::vector<int64_t>{-5, 7}).to(Dtype::I32);
  EXPECT_EQ(small.as<int32_t>()[0], -5);
  auto large = HostTensor::of<int64_t>({1}, std::vector<int64_t>{int64_t(1) << 33});
  EXPECT_EQ(messageOf<RuntimeError>([&] { large.to(Dtype::I32); }),
            "expected values that fit i32, but got 8589934592");
  EXPECT_EQ(messageOf<RuntimeError>([&] { small.to(Dtype::F32); }),
            "expected f32 values, but the tensor holds i32");
}
