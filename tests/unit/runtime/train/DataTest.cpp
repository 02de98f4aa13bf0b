//===- DataTest.cpp ---------------------------------------------*- C++ -*-===//
// The evaluation's coverage and the gzip baseline.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/data/Tokenizer.h"
#include "runtime/train/Evaluate.h"
#include "runtime/train/Init.h"
#include "tests/unit/runtime/BigramModel.h"
#include "tests/unit/runtime/TestFiles.h"

#include <cstdio>
#include <gtest/gtest.h>
#include <numbers>

using namespace tidegate::train;
using namespace tidegate::test;
using tidegate::runtime::RuntimeError;

namespace {
/// Text in which every byte tells its position modulo 251.
std::string positions(size_t n) {
  std::string text(n, '\0');
  for (size_t i = 0; i < n; ++i)
    text[i] = static_cast<char>(i % 251);
  return text;
}
} // namespace

TEST(EvaluateTest, CountsEveryByteOnceForAnyWindowing) {
  BigramModel<double> model(259);
  initialiseParameters(model, 1);
  std::string text = positions(1003);
  double sum = 0;
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    int32_t id = static_cast<unsigned char>(text[i]), label = static_cast<unsigned char>(text[i + 1]);
    sum += model.evalLoss({{&id, 1}, {&label, 1}, 1, 1}).loss;
  }
  tidegate::data::HeldOut heldOut{tidegate::data::makeByteTokenizer()->encode(text), 1003};
  for (auto [B, T] : {std::pair{1, 1}, {3, 7}, {4, 256}, {2, 5000}}) {
    TextLoss loss = evaluateText(model, heldOut, 256, 1 << 20, B, T);
    EXPECT_NEAR(loss.nats, sum / 1002, 1e-12) << B << " x " << T;
    EXPECT_NEAR(loss.bitsPerByte, (sum / std::numbers::ln2 + 8) / 1003, 1e-12);
    EXPECT_EQ(loss.bytes, 1003);
    EXPECT_EQ(evaluateText(model, heldOut, 256, 500, B, T).tokens, 500);
  }
  heldOut.textBytes = 4012; // Tokens of four bytes each.
  TextLoss loss = evaluateText(model, heldOut, 1024, 1 << 20, 2, 50);
  EXPECT_NEAR(loss.bitsPerByte, (sum / std::numbers::ln2 + 10) / 4012, 1e-12);
  EXPECT_EQ(evaluateText(model, heldOut, 1024, 500, 2, 50).bytes, 2000);
  EXPECT_THROW(evaluateText(model, {{1}, 1}, 256, 9, 1, 1), RuntimeError);
}

TEST(EvaluateTest, GzipAgreesWithTheProgram) {
  ScratchDirectory scratch;
  std::string text;
  for (int i = 0; i < 40000; ++i)
    text += "the word " + std::to_string(i * 7919 % 1013) + (i % 3 ? " follows\n" : ", and then ");
  writeText(scratch.path("t"), text);
  if (std::system(("gzip -9 -c '" + scratch.path("t") + "' > '" + scratch.path("t.gz") + "'").c_str()) != 0)
    GTEST_SKIP() << "no gzip program";
  double expected = 8.0 * double(std::filesystem::file_size(scratch.path("t.gz"))) / double(text.size());
  EXPECT_NEAR(gzipBitsPerByte(text), expected, 0.01 * expected);
}
