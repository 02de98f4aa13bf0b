//===- DataTest.cpp ---------------------------------------------*- C++ -*-===//
// Splits, windows, the evaluation's coverage and the gzip baseline.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/train/ByteTokenizer.h"
#include "runtime/train/Evaluate.h"
#include "runtime/train/Init.h"
#include "runtime/train/TextData.h"
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

TEST(ByteTokenizerTest, RoundTripsEveryByteAndDropsSpecials) {
  std::string all = positions(251) + "\xfb\xfc\xfd\xfe\xff";
  auto ids = ByteTokenizer::encode(all);
  EXPECT_EQ(ids.back(), 255);
  ids.push_back(ByteTokenizer::kEos);
  EXPECT_EQ(ByteTokenizer::decode(ids), all);
}

TEST(TextDataTest, HoldsOutTheEnd) {
  ScratchDirectory scratch;
  writeText(scratch.path("t"), positions(1000));
  TextData five(scratch.path("t"), 0.05, 1 << 20), capped(scratch.path("t"), 0.5, 100), none(scratch.path("t"), 0, 5);
  EXPECT_EQ(five.training().size(), 950u);
  EXPECT_EQ(five.heldOut().size(), 50u);
  EXPECT_EQ(five.heldOut()[0], static_cast<char>(950 % 251));
  EXPECT_EQ(capped.heldOut().size(), 100u);
  EXPECT_TRUE(none.heldOut().empty());
}

TEST(TextDataTest, LabelsAreTheNextBytesAndBatchesRepeat) {
  ScratchDirectory scratch;
  writeText(scratch.path("t"), positions(1000));
  TextData data(scratch.path("t"), 0.05, 1 << 20);
  std::vector<int32_t> ids(4 * 9), labels(4 * 9), again(4 * 9), other(4 * 9);
  data.batch(7, 3, 4, 9, ids, labels);
  for (int i = 0; i < 36; ++i)
    EXPECT_EQ(labels[i], (ids[i] + 1) % 251);
  data.batch(7, 3, 4, 9, again, labels);
  EXPECT_EQ(ids, again);
  data.batch(7, 4, 4, 9, other, labels);
  EXPECT_NE(ids, other);
  data.batch(8, 3, 4, 9, other, labels);
  EXPECT_NE(ids, other);
}

TEST(TextDataTest, TheLongestWindowFitsAndOneMoreDoesNot) {
  ScratchDirectory scratch;
  writeText(scratch.path("t"), positions(100));
  TextData data(scratch.path("t"), 0.1, 1 << 20);
  std::vector<int32_t> ids(89), labels(89);
  data.batch(1, 1, 1, 89, ids, labels);
  EXPECT_EQ(ids[0], 0);
  EXPECT_EQ(labels[88], 89);
  std::string message = messageOf<RuntimeError>([&] { data.checkWindow(90); });
  EXPECT_NE(message.find("needs 91 bytes of training text, but '" + scratch.path("t") + "' has 90"),
            std::string::npos) << message;
}

TEST(TextDataTest, EmptyAndMissingFiles) {
  ScratchDirectory scratch;
  writeText(scratch.path("t"), "");
  EXPECT_NE(messageOf<RuntimeError>([&] { TextData(scratch.path("t"), 0.05, 10); }).find("the file is empty"),
            std::string::npos);
  EXPECT_NE(messageOf<RuntimeError>([&] { TextData(scratch.path("no"), 0.05, 10); }).find("No such file"),
            std::string::npos);
}

TEST(EvaluateTest, CountsEveryByteOnceForAnyWindowing) {
  BigramModel<double> model(259);
  initialiseParameters(model, 1);
  std::string text = positions(1003);
  double sum = 0;
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    int32_t id = static_cast<unsigned char>(text[i]), label = static_cast<unsigned char>(text[i + 1]);
    sum += model.evalLoss({{&id, 1}, {&label, 1}, 1, 1}).loss;
  }
  for (auto [B, T] : {std::pair{1, 1}, {3, 7}, {4, 256}, {2, 5000}}) {
    TextLoss loss = evaluateText(model, text, B, T);
    EXPECT_NEAR(loss.nats, sum / 1002, 1e-12) << B << " x " << T;
    EXPECT_NEAR(loss.bitsPerByte, (sum / std::numbers::ln2 + 8) / 1003, 1e-12);
    EXPECT_EQ(loss.bytes, 1003);
  }
  EXPECT_THROW(evaluateText(model, "x", 1, 1), RuntimeError);
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
