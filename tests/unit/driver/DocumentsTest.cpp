//===- DocumentsTest.cpp - A model and the documents of its rows ----------===//
// That packed documents equal separate runs is a rung of `tidegate verify`; here
// is what a caller of the model may rely on beyond that.
#include "runtime/core/Error.h"
#include "tests/unit/driver/TinyModels.h"

#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::test;

static CompileOptions withDocuments() {
  CompileOptions options;
  options.precision = Precision::F64;
  options.documents = true;
  return options;
}

static std::string errorOf(const std::function<void()> &run) {
  try {
    run();
  } catch (const runtime::RuntimeError &error) {
    return error.what();
  }
  return "none";
}

TEST(DocumentsTest, WithoutPositionsARowIsOneDocument) {
  CompileOptions plain = withDocuments();
  plain.documents = false;
  auto packed = initialised(tinyGla(), withDocuments()), whole = initialised(tinyGla(), plain);
  EXPECT_TRUE(packed->hasDocuments());
  EXPECT_FALSE(whole->hasDocuments());
  RandomTokens tokens(2, 20, 40);
  EXPECT_EQ(packed->evalLoss(tokens.all()).loss, whole->evalLoss(tokens.all()).loss);
  const std::vector<int32_t> positions(40, 0); // Documents of one token each.
  train::TokenBatch batch = tokens.all();
  batch.positions = positions;
  EXPECT_NE(packed->evalLoss(batch).loss, whole->evalLoss(tokens.all()).loss);
  EXPECT_NE(errorOf([&] { whole->evalLoss(batch); }).find("expected tokens without document positions, but got some"),
            std::string::npos);
  batch.positions = std::span(positions).first(39);
  EXPECT_EQ(errorOf([&] { packed->evalLoss(batch); }), "expected 2 x 20 positions, but got 39");
}

TEST(DocumentsTest, ADecoderContinuesOrStartsADocument) {
  auto model = initialised(tinyGla(), withDocuments());
  const std::vector<int32_t> ids = {3, 1, 4, 1, 5, 9}, positions = {0, 1, 2, 3, 0, 1};
  auto decoder = model->decoder(1), again = model->decoder(1);
  decoder->feed(std::span(ids).first(3), 3); // Positions 0, 1, 2 by themselves.
  EXPECT_EQ(errorOf([&] { decoder->feed(std::span(ids).first(1), 1, std::span(positions).subspan(1, 1)); }),
            "position 1 at row 0, token 0 neither continues the document (3) nor starts one (0)");
  auto last = decoder->feed(std::span(ids).subspan(3), 3, std::span(positions).subspan(3));
  auto alone = again->feed(std::span(ids).subspan(4), 2);
  for (int64_t v = 0; v < 40; ++v)
    EXPECT_NEAR(last.view().get(v), alone.view().get(v), 1e-13);
}
