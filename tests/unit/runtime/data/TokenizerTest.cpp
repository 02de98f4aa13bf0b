//===- TokenizerTest.cpp ----------------------------------------*- C++ -*-===//
// Ids and texts equal those of the libraries `tokenizers` and `sentencepiece`
// (Inputs/expected.json), for texts that are hard to get right.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/data/TextCodec.h"
#include "runtime/data/Utf8.h"
#include "tests/unit/runtime/TestFiles.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <thread>

using namespace tidegate::data;
using namespace tidegate::test;
using nlohmann::json;
using tidegate::runtime::RuntimeError;

namespace {

const std::string kInputs = TIDEGATE_SOURCE_DIR "/tests/unit/runtime/data/Inputs/";

const json &expected() {
  static const json file = json::parse(readText(kInputs + "expected.json"));
  return file;
}

class KnownTokenizerTest : public testing::TestWithParam<const char *> {};

} // namespace

TEST_P(KnownTokenizerTest, EqualsTheReference) {
  const std::string name = GetParam();
#ifndef TIDEGATE_SENTENCEPIECE
  if (name == "sp")
    GTEST_SKIP() << "built without SentencePiece";
#endif
  const auto tokenizer = openTokenizer(kInputs + name + (name == "sp" ? ".model" : ".json"));
  const json &known = expected()[name];
  EXPECT_EQ(tokenizer->vocab(), known["vocab"]);
  const auto texts = expected()["texts"].get<std::vector<std::string>>();
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::vector<int32_t> ids = tokenizer->encode(texts[i]);
    EXPECT_EQ(json(ids), known["ids"][i]) << i << ": " << json(texts[i]);
    EXPECT_EQ(tokenizer->decode(ids), known["decoded"][i].get<std::string>()) << i << ": " << json(texts[i]);
    // Token by token, behind any part of it, the text is the same.
    for (size_t before = 0; before <= ids.size() && before < 20; ++before) {
      TextStream stream(*tokenizer, std::span(ids).first(before));
      std::string text = tokenizer->decode(std::span(ids).first(before));
      const bool broken = text.ends_with("\xef\xbf\xbd"); // Half a character already.
      for (size_t t = before; t < ids.size(); ++t)
        text += stream.add(ids[t]);
      text += stream.finish();
      if (!broken)
        EXPECT_EQ(text, tokenizer->decode(ids)) << i << " behind " << before << ": " << json(texts[i]);
    }
  }
}

TEST_P(KnownTokenizerTest, ItsFilesAreItAgain) {
  const std::string name = GetParam();
#ifndef TIDEGATE_SENTENCEPIECE
  if (name == "sp")
    GTEST_SKIP() << "built without SentencePiece";
#endif
  const auto tokenizer = openTokenizer(kInputs + name + (name == "sp" ? ".model" : ".json"));
  ScratchDirectory scratch;
  for (const auto &[file, content] : tokenizer->files())
    writeText(scratch.path(file), content);
  EXPECT_EQ(openTokenizer(scratch.path(""))->hash(), tokenizer->hash());
  const auto ends = TextCodec{tokenizer, true}.ends();
  for (int32_t id : ends)
    EXPECT_FALSE(tokenizer->isText(id)) << id;
  EXPECT_FALSE(tokenizer->isText(-1));
  EXPECT_FALSE(tokenizer->isText(static_cast<int32_t>(tokenizer->vocab())));
}

TEST(TokenizerTest, AConfigBesideTheFileBelongsToIt) {
  ScratchDirectory scratch;
  std::filesystem::copy(kInputs + "gpt2.json", scratch.path("tokenizer.json"));
  const auto plain = openTokenizer(scratch.path(""));
  writeText(scratch.path("tokenizer_config.json"), R"({"bos_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>"}})");
  const auto configured = openTokenizer(scratch.path("tokenizer.json"));
  ASSERT_EQ(configured->files().size(), 2u);
  EXPECT_EQ(configured->files()[1].first, "tokenizer_config.json");
  EXPECT_EQ(configured->prefix(), plain->prefix());
}

INSTANTIATE_TEST_SUITE_P(All, KnownTokenizerTest, testing::Values("gpt2", "llama3", "llama2", "metaspace", "sp"),
                         [](const auto &info) { return std::string(info.param); });

TEST(TokenizerTest, DocumentsBeginAsTheTemplateSays) {
  for (const char *name : {"llama3", "llama2"}) {
    const auto tokenizer = openTokenizer(kInputs + name + ".json");
    std::vector<int32_t> ids = tokenizer->prefix();
    for (int32_t id : tokenizer->encode("Hello world"))
      ids.push_back(id);
    EXPECT_EQ(json(ids), expected()[name]["full"][4]) << name;
  }
  EXPECT_EQ(openTokenizer(kInputs + "gpt2.json")->prefix(), std::vector<int32_t>{0});
  EXPECT_EQ(openTokenizer("bytes")->prefix(), std::vector<int32_t>{256});
}

TEST(TokenizerTest, ThreadsShareOne) {
  const auto tokenizer = openTokenizer(kInputs + "llama3.json");
  const auto texts = expected()["texts"].get<std::vector<std::string>>();
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int n = 0; n < 4; ++n)
    threads.emplace_back([&, n] {
      for (size_t i = 0; i < texts.size(); ++i)
        wrong[n] += json(tokenizer->encode(texts[i])) != expected()["llama3"]["ids"][i];
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(TokenizerTest, InvalidBytesBecomeReplacementCharacters) {
  EXPECT_EQ(utf8::valid("a\xff\xe2\x82z\xed\xa0\x80\xf0\x9f\x98"), "a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd"
                                                                   "\xef\xbf\xbd\xef\xbf\xbd");
  const auto tokenizer = openTokenizer(kInputs + "gpt2.json");
  EXPECT_EQ(tokenizer->encode("a\xff"), tokenizer->encode("a\xef\xbf\xbd"));
  EXPECT_EQ(openTokenizer("bytes")->decode(openTokenizer("bytes")->encode("a\xff")), "a\xff");
}

TEST(TokenizerTest, UnsupportedFeaturesAreNamed) {
  ScratchDirectory scratch;
  const json good = json::parse(readText(kInputs + "gpt2.json"));
  auto message = [&](const char *pointer, const json &value) {
    json bad = good;
    bad[json::json_pointer(pointer)] = value;
    writeText(scratch.path("tokenizer.json"), bad.dump());
    return messageOf<RuntimeError>([&] { openTokenizer(scratch.path()); });
  };
  EXPECT_EQ(message("/version", "1.0"), "");
  const std::tuple<const char *, json, const char *> kCases[] = {
      {"/model/type", "Unigram", "model.type: expected BPE"},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix"},
      {"/model/dropout", 0.1, "model.dropout"},
      {"/normalizer", {{"type", "BertNormalizer"}}, "normalizer.type: \"BertNormalizer\" is not supported"},
      {"/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Bert"}}}}}, "pre_tokenizer.pretokenizers[0].type"},
      {"/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}}, "pre_tokenizer.pattern"},
      {"/decoder", {{"type", "WordPiece"}}, "decoder.type"},
      {"/post_processor", {{"type", "BertProcessing"}}, "post_processor.type"},
      {"/added_tokens/0/single_word", true, "added_tokens[0].single_word"},
      {"/model/merges/0", "no-blank", "model.merges"}};
  for (const auto &[pointer, value, part] : kCases)
    EXPECT_NE(message(pointer, value).find(part), std::string::npos) << pointer << ": " << message(pointer, value);
  writeText(scratch.path("tokenizer.json"), "{");
  EXPECT_NE(messageOf<RuntimeError>([&] { openTokenizer(scratch.path()); }).find("is not a JSON object"), std::string::npos);
  EXPECT_NE(messageOf<RuntimeError>([&] { openTokenizer("nowhere"); }).find("does not exist"), std::string::npos);
}
