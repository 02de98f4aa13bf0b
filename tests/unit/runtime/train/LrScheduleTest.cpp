//===- LrScheduleTest.cpp ---------------------------------------*- C++ -*-===//
// The reference trainer's values, and the edges of the definition.
//===----------------------------------------------------------------------===//
#include "runtime/train/LrSchedule.h"
#include "runtime/core/Error.h"

#include <gtest/gtest.h>

using namespace tidegate::train;

TEST(LrScheduleTest, CosineVectors) {
  LrSchedule schedule{1, 10000, 512, DecayShape::Cosine, 0.1, std::nullopt};
  const std::pair<int64_t, double> vectors[] = {{1, 0.001953125},     {512, 1},   {513, 1},
                                                {514, 0.9999999753},  {2884, 0.8683033934}, {5257, 0.55},
                                                {7629, 0.2318019485}, {10000, 0.1000000247}};
  for (auto [step, factor] : vectors) // Given to ten digits.
    EXPECT_NEAR(schedule.rate(step), factor, 1e-10) << "step " << step;
}

TEST(LrScheduleTest, WarmupStableDecayVectors) {
  LrSchedule schedule{2, 10000, 512, DecayShape::Cosine, 0.1, 0.2};
  EXPECT_EQ(schedule.rate(8000), 2);
  EXPECT_EQ(schedule.rate(8001), 2);
  EXPECT_NEAR(schedule.rate(9001), 2 * 0.55, 1e-12);
}

TEST(LrScheduleTest, ShapesAndEdges) {
  LrSchedule linear{1, 4, 0, DecayShape::Linear, 0, std::nullopt};
  EXPECT_EQ(linear.rate(1), 1);
  EXPECT_DOUBLE_EQ(linear.rate(2), 0.75);
  EXPECT_DOUBLE_EQ(linear.rate(4), 0.25);
  EXPECT_DOUBLE_EQ(linear.rate(100), 0) << "past the end the floor holds";
  LrSchedule root{1, 4, 0, DecayShape::Sqrt, 0, std::nullopt};
  EXPECT_DOUBLE_EQ(root.rate(2), 0.5);
  LrSchedule onlyWarmup{1, 4, 4, DecayShape::Cosine, 0.1, std::nullopt};
  EXPECT_DOUBLE_EQ(onlyWarmup.rate(4), 1);
}

TEST(LrScheduleTest, RefusesValuesOutOfRange) {
  using tidegate::runtime::RuntimeError;
  EXPECT_THROW((LrSchedule{1, 0, 0, DecayShape::Cosine, 0.1, std::nullopt}.validate()), RuntimeError);
  EXPECT_THROW((LrSchedule{1, 10, 11, DecayShape::Cosine, 0.1, std::nullopt}.validate()), RuntimeError);
  EXPECT_THROW((LrSchedule{1, 10, 1, DecayShape::Cosine, 1.5, std::nullopt}.validate()), RuntimeError);
  EXPECT_THROW((LrSchedule{1, 10, 1, DecayShape::Cosine, 0.1, 2}.validate()), RuntimeError);
  EXPECT_NO_THROW((LrSchedule{1, 10, 10, DecayShape::Cosine, 0.1, 1}.validate()));
}
