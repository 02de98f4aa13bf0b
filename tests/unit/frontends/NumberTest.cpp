//===- NumberTest.cpp - Exact compile-time numbers --------------*- C++ -*-===//
#include "frontends/dsl/Number.h"
#include <gtest/gtest.h>

using namespace tidegate::dsl;

namespace {

Number parsed(llvm::StringRef text) {
  std::optional<Number> number = Number::parse(text);
  EXPECT_TRUE(number.has_value()) << text.str();
  return number.value_or(Number(-1));
}

TEST(NumberTest, DecimalsAreFractions) {
  EXPECT_TRUE(parsed("0.5") == Number::fraction(1, 2));
  EXPECT_TRUE(parsed("1e3").isInteger());
  EXPECT_EQ(parsed("2.50e1").integer(), 25);
  EXPECT_EQ(parsed("1e-06").toDouble(), 1e-6);
}

TEST(NumberTest, FractionsOfDimensionsAreExact) {
  Number width = Number(1000) * parsed("0.7");
  ASSERT_TRUE(width.isInteger());
  EXPECT_EQ(width.integer(), 700);
  EXPECT_FALSE((Number(7) / Number(2)).isInteger());
  EXPECT_EQ((Number(7) / Number(2)).floor().integer(), 3);
  EXPECT_EQ((Number(-7) / Number(2)).floor().integer(), -4);
  EXPECT_EQ((Number(7) / Number(2)).ceil().integer(), 4);
}

TEST(NumberTest, OverflowBecomesInexact) {
  Number big = parsed("9223372036854775807");
  ASSERT_TRUE(big.isInteger());
  EXPECT_EQ(big.integer(), INT64_MAX);
  EXPECT_FALSE((big + Number(1)).isExact());
  EXPECT_FALSE((big * big).isExact());
  EXPECT_FALSE(parsed("9223372036854775808").isExact());
  EXPECT_FALSE(parsed("1e-300").isExact());
  EXPECT_FALSE(parsed("0.00000000000000000000000000001").isExact());
}

TEST(NumberTest, RejectsWhatNoDoubleHolds) {
  EXPECT_FALSE(Number::parse("1e999").has_value());
  EXPECT_FALSE(Number::parse("abc").has_value());
}

TEST(NumberTest, PrintsWhatReadsBack) {
  for (llvm::StringRef text : {"0", "12", "0.02", "1e-06", "0.5"})
    EXPECT_EQ(parsed(text).str(), text);
  EXPECT_EQ((Number(1) / Number(3)).str(), "1/3");
}

TEST(NumberTest, Compares) {
  EXPECT_TRUE(Number::fraction(1, 3) < Number::fraction(1, 2));
  EXPECT_FALSE(Number(2) < Number(2));
  EXPECT_TRUE(Number::fraction(2, 4) == Number::fraction(1, 2));
  EXPECT_TRUE(Number::inexact(0.5) == Number::fraction(1, 2));
}

} // namespace
