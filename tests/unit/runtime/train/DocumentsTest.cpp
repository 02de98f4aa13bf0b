//===- DocumentsTest.cpp - Positions and boundaries of documents ----------===//
#include "runtime/train/Documents.h"
#include "runtime/core/Error.h"

#include <gtest/gtest.h>

using namespace tidegate::train;
using Positions = std::vector<int32_t>;

static std::string errorOf(const std::vector<int64_t> &boundaries, int64_t T) {
  try {
    positionsOfBoundaries(boundaries, T);
  } catch (const tidegate::runtime::RuntimeError &error) {
    return error.what();
  }
  return "none";
}

TEST(DocumentsTest, BoundariesBecomePositions) {
  const int64_t several[] = {0, 1, 4, 6}, one[] = {0, 3};
  EXPECT_EQ(positionsOfBoundaries(several, 6), (Positions{0, 0, 1, 2, 0, 1}));
  EXPECT_EQ(positionsOfBoundaries(one, 3), (Positions{0, 1, 2}));
}

TEST(DocumentsTest, BoundariesThatCutNoRow) {
  EXPECT_EQ(errorOf({}, 4), "expected at least 2 document boundaries, 0 and the number of tokens, but got 0");
  EXPECT_EQ(errorOf({1, 4}, 4), "expected document boundaries that start at 0, but the first is 1");
  EXPECT_EQ(errorOf({0, 3, 2, 4}, 4), "expected increasing document boundaries, but number 2 is 2 after 3");
  EXPECT_EQ(errorOf({0, 3}, 4), "expected document boundaries that end at the 4 tokens of the row, but the last is 3");
}

TEST(DocumentsTest, RowsWithoutPositionsAreOneDocument) {
  EXPECT_EQ(positionsOfRows(2, 3), (Positions{0, 1, 2, 0, 1, 2}));
  const int32_t fed[] = {5, 0};
  EXPECT_EQ(positionsOfRows(2, 2, fed), (Positions{5, 6, 0, 1}));
}

TEST(DocumentsTest, PositionsContinueOrStart) {
  const int32_t fed[] = {5, 2};
  EXPECT_NO_THROW(checkPositions(Positions{7, 8, 0, 0, 1, 2}, 2, 3));
  EXPECT_NO_THROW(checkPositions(Positions{5, 6, 0, 0, 1, 2}, 2, 3, fed));
  EXPECT_THROW(checkPositions(Positions{5, 6, 0, 1, 2, 3}, 2, 3, fed), tidegate::runtime::RuntimeError);
  EXPECT_THROW(checkPositions(Positions{0, 2}, 1, 2), tidegate::runtime::RuntimeError);
  EXPECT_THROW(checkPositions(Positions{0, 1, 2}, 1, 2), tidegate::runtime::RuntimeError);
}
