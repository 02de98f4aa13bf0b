//===- ShardTest.cpp --------------------------------------------*- C++ -*-===//
// What is written is read; damage is named; units do not depend on workers.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/data/DataSet.h"
#include "runtime/data/Prepare.h"
#include "tests/unit/runtime/TestFiles.h"

#include <gtest/gtest.h>

using namespace tidegate::data;
using namespace tidegate::test;
using tidegate::runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

std::vector<int32_t> tokensOf(const Shard &shard) {
  std::vector<int32_t> ids(shard.tokens());
  shard.read(0, ids);
  return ids;
}

std::string lines(int n) {
  std::string text;
  for (int i = 0; i < n; ++i)
    text += "line " + std::to_string(i * 7919) + (i % 50 ? "\n" : " is the long one \xc3\xa9\n");
  return text;
}

/// Every file of a data set but the plan, which holds times and paths.
std::string contentOf(const std::string &directory) {
  std::string all;
  for (const std::string &name : listing(directory))
    if (name != "prepare.json")
      all += name + "\n" + readText(directory + "/" + name);
  return all;
}

PrepareOptions optionsFor(const ScratchDirectory &scratch, const std::string &out, int64_t workers) {
  PrepareOptions options;
  options.inputs = {scratch.path("a.txt"), scratch.path("b.jsonl")};
  options.out = scratch.path(out);
  options.shardBytes = 4096;
  options.workers = workers;
  return options;
}

void writeInputs(const ScratchDirectory &scratch) {
  writeText(scratch.path("a.txt"), lines(1500));
  std::string jsonl;
  for (int i = 0; i < 300; ++i)
    jsonl += "{\"id\": " + std::to_string(i) + ", \"text\": \"document " + std::to_string(i) + "\\n\"}\n";
  writeText(scratch.path("b.jsonl"), jsonl);
}

} // namespace

TEST(ShardTest, WritesAndReadsBothWidths) {
  ScratchDirectory scratch;
  for (uint32_t vocab : {300u, 70000u}) {
    const std::string path = scratch.path(std::to_string(vocab));
    const int32_t top = static_cast<int32_t>(vocab) - 1;
    ShardWriter writer(path, 5, vocab, 0xabcdef);
    writer.startDocument();
    writer.add(std::vector<int32_t>{1, 2, top});
    writer.startDocument();
    writer.startDocument();
    writer.add(std::vector<int32_t>{4});
    writer.countSource(17);
    writer.finish();
    const Shard shard(path, true);
    EXPECT_EQ(shard.header().tokenBytes, vocab == 300 ? 2u : 4u);
    EXPECT_EQ(shard.header().number, 5u);
    EXPECT_EQ(shard.header().sourceBytes, 17u);
    EXPECT_EQ(tokensOf(shard), (std::vector<int32_t>{1, 2, top, 4}));
    ASSERT_EQ(shard.documents(), 2);
    EXPECT_EQ(shard.documentStart(1), 3);
    EXPECT_EQ(shard.documentOf(2), 0);
    EXPECT_EQ(shard.documentOf(3), 1);
  }
}

TEST(ShardTest, EveryDamagedByteIsFound) {
  ScratchDirectory scratch;
  const std::string path = scratch.path("shard-00000.tgs");
  ShardWriter writer(path, 0, 256, 1);
  for (int i = 0; i < 20; ++i)
    writer.add(std::vector<int32_t>{i, i + 1, i + 2});
  writer.finish();
  const std::string good = readText(path);
  for (size_t at = 0; at < good.size(); at = at == 63 ? kShardHeaderBytes : at + 1) { // The rest of the page is not used.
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    writeText(path, bad);
    EXPECT_NE(messageOf<RuntimeError>([&] { Shard(path, true); }).find("shard-00000.tgs' is damaged"), std::string::npos)
        << at;
  }
  for (size_t size : {size_t(0), size_t(100), kShardHeaderBytes, good.size() - 1}) {
    writeText(path, good.substr(0, size));
    EXPECT_NE(messageOf<RuntimeError>([&] { Shard{path}; }).find("is damaged"), std::string::npos) << size;
  }
}

TEST(PrepareTest, TokensAreTheTextsWithABeginning) {
  ScratchDirectory scratch;
  writeInputs(scratch);
  const auto tokenizer = makeByteTokenizer();
  const PrepareSummary summary = prepare(optionsFor(scratch, "out", 1), *tokenizer);
  EXPECT_GT(summary.work.shards, 5);
  std::vector<int32_t> ids;
  int64_t documents = 0;
  for (const auto &shard : openShards(scratch.path("out"), true)) {
    const std::vector<int32_t> part = tokensOf(*shard);
    ids.insert(ids.end(), part.begin(), part.end());
    documents += shard->documents();
  }
  std::string expected = lines(1500);
  for (int i = 0; i < 300; ++i)
    expected += "document " + std::to_string(i) + "\n";
  EXPECT_TRUE(tokenizer->decode(ids) == expected);
  EXPECT_EQ(ids.size(), expected.size() + 301) << "one BOS for the text, one for each line of JSONL";
  EXPECT_EQ(ids[0], 256);
  EXPECT_EQ(summary.manifest["documents"], documents);
  EXPECT_EQ(summary.manifest["text_bytes"], expected.size());
}

TEST(PrepareTest, WorkersAndInterruptionsDoNotChangeTheResult) {
  ScratchDirectory scratch;
  writeInputs(scratch);
  const auto tokenizer = makeByteTokenizer();
  prepare(optionsFor(scratch, "one", 1), *tokenizer);
  prepare(optionsFor(scratch, "four", 4), *tokenizer);
  EXPECT_TRUE(contentOf(scratch.path("one")) == contentOf(scratch.path("four")));

  // As a kill leaves it: no manifest, a missing, a half and a damaged shard.
  const std::string four = scratch.path("four");
  fs::remove(four + "/dataset.json");
  fs::remove(four + "/shard-00001.tgs");
  writeText(four + "/shard-00002.tgs.part", "half");
  writeText(four + "/shard-00003.tgs", readText(four + "/shard-00003.tgs").substr(0, 5000));
  const PrepareSummary again = prepare(optionsFor(scratch, "four", 2), *tokenizer);
  EXPECT_EQ(again.kept, again.work.shards - 2);
  fs::remove(four + "/shard-00002.tgs.part");
  EXPECT_TRUE(contentOf(scratch.path("one")) == contentOf(four));

  PrepareOptions other = optionsFor(scratch, "four", 1);
  other.shardBytes = 8192;
  EXPECT_NE(messageOf<RuntimeError>([&] { prepare(other, *tokenizer); }).find("begun with other shard_bytes"),
            std::string::npos);
}

TEST(PrepareTest, LongLinesAreCutBetweenCharacters) {
  ScratchDirectory scratch;
  std::string text;
  for (int i = 0; i < 600000; ++i)
    text += "a\xe2\x82\xac";
  writeText(scratch.path("t"), text);
  PrepareOptions options;
  options.inputs = {scratch.path("t")};
  options.out = scratch.path("out");
  const auto tokenizer = makeByteTokenizer();
  prepare(options, *tokenizer);
  const auto shards = openShards(scratch.path("out"));
  ASSERT_EQ(shards.size(), 1u);
  std::vector<int32_t> ids = tokensOf(*shards[0]);
  EXPECT_TRUE(tokenizer->decode(ids) == text);
  ASSERT_GT(shards[0]->documents(), 1);
  for (int64_t i = 1; i < shards[0]->documents(); ++i)
    EXPECT_TRUE(ids[shards[0]->documentStart(i)] < 0x80 || ids[shards[0]->documentStart(i)] >= 0xc0);
}

TEST(PrepareTest, BadInputsAreNamed) {
  ScratchDirectory scratch;
  const auto tokenizer = makeByteTokenizer();
  auto message = [&](const std::string &name, const std::string &content) {
    writeText(scratch.path(name), content);
    PrepareOptions options;
    options.inputs = {scratch.path(name)};
    options.out = scratch.path("out-" + name);
    return messageOf<RuntimeError>([&] { prepare(options, *tokenizer); });
  };
  EXPECT_NE(message("a.jsonl", "{\"text\": \"x\"}\n{\"text\": 3}\n").find("a.jsonl', line 2: expected a string field 'text', but found number"),
            std::string::npos);
  EXPECT_NE(message("b.jsonl", "[1]\n").find("b.jsonl', line 1: expected a JSON object, but found a value of type array"),
            std::string::npos);
  EXPECT_NE(message("e.jsonl", "{\"text\": \"\xff\"}\n").find("e.jsonl', line 1: expected a JSON object, but found byte 11: "), std::string::npos);
  EXPECT_NE(message("c.txt.zst", "plain").find("c.txt.zst' is not a zstd file"), std::string::npos);
  EXPECT_NE(message("d.txt.gz", "\x1f\x8b\x08").find("d.txt.gz' is not a whole gzip file"), std::string::npos);
  EXPECT_NE(message("g.txt", "").find("expected text to prepare, but the inputs are empty"), std::string::npos);
  EXPECT_EQ(message("b.jsonl", "{\"text\": \"mended\"}\n"), "") << "nothing was made, so other inputs may follow";
  EXPECT_NE(message("f.txt.gz", "plain").find("f.txt.gz' is not a gzip file"), std::string::npos);
}
