//===- DataCommandTest.cpp --------------------------------------*- C++ -*-===//
// tidegate data from the shell: every kind of input, a kill, damage.
//===----------------------------------------------------------------------===//
#include "tests/unit/cli/ToolRun.h"

#include <nlohmann/json.hpp>

using namespace tidegate::test;
using nlohmann::json;

namespace {
class DataCommandTest : public ToolTest {};
} // namespace

TEST_F(DataCommandTest, PreparesPackedInputsAlike) {
  std::string jsonl;
  for (int i = 0; i < 50; ++i)
    jsonl += json{{"body", "text " + std::to_string(i)}}.dump() + "\n";
  writeText(path("a.jsonl"), jsonl);
  ASSERT_EQ(std::system(("gzip -k '" + path("a.jsonl") + "'").c_str()), 0);
  std::string shards[2];
  for (int i = 0; i < 2; ++i) {
    const std::string out = i ? "packed" : "plain";
    ToolRun run = tool("data prepare text " + std::string(i ? "a.jsonl.gz" : "a.jsonl") + " --field body --out " + out);
    ASSERT_EQ(run.code, 0) << run.err;
    const json result = json::parse(run.lastLine());
    EXPECT_EQ(result["documents"], 51);
    EXPECT_TRUE(contains(run.err, "MB/s per core")) << run.err;
    shards[i] = readText(path(out + "/shard-00000.tgs"));
  }
  EXPECT_TRUE(shards[0] == shards[1]);
  EXPECT_TRUE(contains(tool("data info plain").out, "1 shards, 51 documents, "));
  EXPECT_EQ(json::parse(tool("data info plain --format json").out)["vocab"], 258);
  EXPECT_TRUE(contains(tool("data check plain").out, "1 shards with "));
  ToolRun again = tool("data prepare text a.jsonl --field body --out plain");
  EXPECT_EQ(json::parse(again.lastLine())["kept"], 1);
}

TEST_F(DataCommandTest, AKilledCommandGoesOn) {
  std::string text;
  for (int i = 0; i < 300000; ++i)
    text += "line " + std::to_string(i) + "\n";
  writeText(path("big"), text);
  ASSERT_EQ(tool("data prepare big --shard-mb 1 --workers 1 --out whole").code, 0);
  for (const char *after : {"0.01", "0.03", "0.05"})
    tool("data prepare big --shard-mb 1 --workers 2 --out killed", std::string("timeout -s KILL ") + after);
  ASSERT_EQ(tool("data prepare big --shard-mb 1 --workers 2 --out killed").code, 0);
  ToolRun same = tool("data check killed", "cmp whole/dataset.json killed/dataset.json && for f in whole/*.tgs; do cmp $f "
                                           "killed/${f#whole/}; done &&");
  EXPECT_EQ(same.code, 0) << same.out << same.err;
  EXPECT_FALSE(contains(same.out, "differ")) << same.out;
}

TEST_F(DataCommandTest, ParquetComesThroughPython) {
  if (std::system("python3 -c 'import pyarrow' 2> /dev/null") != 0) {
    writeText(path("x.parquet"), "PAR1");
    expectFailure(1, "data prepare x.parquet --out o", "Parquet needs python3 with the package pyarrow");
    return;
  }
  ASSERT_EQ(std::system(("cd '" + path("") + "' && python3 -c 'import pyarrow as a, pyarrow.parquet as p; "
                         "p.write_table(a.table({\"text\": [\"one\", \"two\\n\", \"\"]}), \"x.parquet\")'").c_str()), 0);
  ToolRun run = tool("data prepare x.parquet --out o");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(json::parse(run.lastLine())["text_bytes"], 7);
  expectFailure(1, "data prepare x.parquet --field body --out p", "cannot read 'x.parquet'");
}

TEST_F(DataCommandTest, FailuresSayWhatAndWhere) {
  ASSERT_EQ(tool("data prepare text --out d").code, 0);
  expectFailure(1, "data check d", "shard 'd/shard-00000.tgs' is damaged",
                "printf x | dd of=d/shard-00000.tgs bs=1 seek=5000 conv=notrunc 2> /dev/null;");
  expectFailure(1, "data info nothing", "nothing/dataset.json");
  expectFailure(1, "data prepare nothing --out e", "cannot open 'nothing'");
  expectFailure(1, "data prepare text --out f --tokenizer m.tg", "as tokenizer, but got 'm.tg'");
  expectFailure(1, "data prepare text --out d --field other", "begun with other field");
  expectFailure(2, "data prepare text", "--out");
  expectFailure(2, "data prepair text", "prepare");
  expectFailure(2, "data", "expected prepare, info, check or tokens");
  EXPECT_EQ(tool("data tokens m.tg").out.substr(0, 8), "118\t\"v\"\n");
}
