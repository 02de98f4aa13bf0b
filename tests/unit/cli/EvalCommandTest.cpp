//===- EvalCommandTest.cpp --------------------------------------*- C++ -*-===//
// eval from the shell: its three measures, and bad input.
//===----------------------------------------------------------------------===//
#include "runtime/data/Prepare.h"
#include "runtime/data/Tokenizer.h"
#include "tests/unit/cli/ToolRun.h"

#include <cmath>
#include <nlohmann/json.hpp>

using namespace tidegate::test;
using nlohmann::json;

namespace {
class EvalCommandTest : public ToolTest {
protected:
  EvalCommandTest() {
    EXPECT_EQ(tool("train m.tg --data text --steps 60 --batch 2 --seq 32 --lr 0.05 --out run").code, 0);
    writeText(path("held"), "the cat sat. a dog!\nthe cat sat. the cat");
    writeText(path("r.jsonl"), R"({"task": "a", "id": "x", "context": "the c", "continuations": ["at", "q!"], "gold": 0}
{"task": "b", "context": "the cat sat", "continuations": ["."]}
{"task": "a", "context": "", "continuations": ["the", "zzz"], "gold": 1}
)");
  }
  std::vector<json> lines(const std::string &text) {
    std::vector<json> all;
    std::string line;
    for (std::istringstream in(text); std::getline(in, line);)
      all.push_back(json::parse(line));
    return all;
  }
};
} // namespace

TEST_F(EvalCommandTest, Perplexity) {
  ToolRun run = tool("eval run --data held");
  ASSERT_EQ(run.code, 0) << run.err;
  json result = json::parse(run.lastLine());
  EXPECT_EQ(result["tokens"], 40);
  EXPECT_EQ(result["seq"], 32) << "the run's windows";
  EXPECT_EQ(result["windows"], 2);
  EXPECT_EQ(result["predicted"], 38);
  EXPECT_EQ(result["checkpoint"], "run/step-60");
  EXPECT_NEAR(result["perplexity"], std::exp(double(result["nats_per_token"])), 1e-9);
  EXPECT_NEAR(result["bits_per_byte"], double(result["nats_per_token"]) / std::log(2.0), 1e-9);
  EXPECT_LT(result["perplexity"], 100) << "it learned something";
  EXPECT_TRUE(contains(run.out, "bits per byte"));

  json one = json::parse(tool("eval run/step-60 --data held --batch 1 --precision f64").lastLine()),
       many = json::parse(tool("eval run/step-60 --data held --batch 50 --precision f64").lastLine());
  EXPECT_NEAR(one["perplexity"], double(many["perplexity"]), 1e-11);
  json part = json::parse(tool("eval run --data held --max-tokens 10 --seq 4").lastLine());
  EXPECT_EQ(part["tokens"], 10);
  EXPECT_EQ(part["predicted"], 7);
}

TEST_F(EvalCommandTest, ShardsAreTheirTokens) {
  // Two documents; each starts with id 256, which stands for no byte.
  writeText(path("a.jsonl"), "{\"text\": \"the cat sat.\"}\n{\"text\": \"a dog!\"}\n");
  tidegate::data::PrepareOptions options;
  options.inputs = {path("a.jsonl")};
  options.out = path("shards");
  tidegate::data::prepare(options, *tidegate::data::makeByteTokenizer(), {});
  json result = json::parse(tool("eval run --data shards --tokenizer bytes --precision f64").lastLine());
  EXPECT_EQ(result["tokens"], 12 + 6 + 2);
  EXPECT_EQ(result["predicted"], 19);
  writeText(path("same"), "_the cat sat._a dog!"); // As many tokens.
  json text = json::parse(tool("eval run --data same --precision f64").lastLine());
  EXPECT_EQ(text["predicted"], 19);
  EXPECT_NE(text["perplexity"], result["perplexity"]);
  json half = json::parse(tool("eval run --data shards --max-tokens 13").lastLine());
  EXPECT_EQ(half["predicted"], 12);
  expectFailure(1, "eval run --data . --tokenizer bytes", "dataset.json");
  expectFailure(1, "eval run --data held --tokenizer nowhere", "'nowhere' does not exist");
}

TEST_F(EvalCommandTest, AnotherTokenizer) {
  const std::string file = TIDEGATE_SOURCE_DIR "/tests/unit/runtime/data/Inputs/llama2.json";
  const auto tokenizer = tidegate::data::openTokenizer(file);
  const std::string vocab = std::to_string(tokenizer->vocab());
  ASSERT_EQ(tool("train m.tg --set V=" + vocab + " --data text --tokenizer " + file + " --steps 1 --seq 16 --out wide").code, 0);
  json result = json::parse(tool("eval wide --data held").lastLine());
  EXPECT_EQ(result, json::parse(tool("eval wide --data held --tokenizer " + file).lastLine())) << "the same one";
  EXPECT_EQ(result["tokens"], tokenizer->prefix().size() + tokenizer->encode(readText(path("held"))).size());
  EXPECT_EQ(result["bytes"], 40);
  auto scores = lines(tool("eval wide --requests r.jsonl").out);
  const size_t before = tokenizer->encode("the cat sat").size(), all = tokenizer->encode("the cat sat.").size();
  EXPECT_EQ(scores.at(1)["tokens"], json({all - before}));
  EXPECT_EQ(scores.at(2)["tokens"][0], tokenizer->encode("the").size()) << "an empty context is what begins a text";

  tidegate::data::PrepareOptions options;
  options.inputs = {path("held")};
  options.out = path("shards");
  tidegate::data::prepare(options, *tidegate::data::makeByteTokenizer(), {});
  expectFailure(1, "eval wide --data shards", "was made by another one");
  expectFailure(1, "eval run --requests r.jsonl --tokenizer " + file,
                "checkpoint 'run/step-60' was trained with tokenizer 'bytes' (");
}

TEST_F(EvalCommandTest, Requests) {
  ToolRun run = tool("eval run --requests r.jsonl --precision f64");
  ASSERT_EQ(run.code, 0) << run.err;
  auto all = lines(run.out);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0]["id"], "x");
  EXPECT_EQ(all[0]["tokens"], json({2, 2}));
  EXPECT_EQ(all[0]["acc"], 1);
  EXPECT_EQ(all[0]["acc_norm"], 1);
  EXPECT_FALSE(all[1].contains("acc_norm"));
  EXPECT_EQ(all[2]["acc"], 0);
  json tasks = all[3]["tasks"];
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[0]["task"], "a");
  EXPECT_EQ(tasks[0]["acc"], 0.5);
  EXPECT_NEAR(tasks[0]["acc_stderr"], 0.5, 1e-12);
  EXPECT_TRUE(tasks[1]["acc_stderr"].is_null());
  EXPECT_NEAR(tasks[1]["perplexity"], std::exp(-double(all[1]["log_likelihoods"][0])), 1e-9);
  EXPECT_TRUE(contains(run.err, "acc_norm")) << run.err;

  ToolRun out = tool("eval run --requests - --batch 1 --precision f64 --out scores < r.jsonl");
  ASSERT_EQ(out.code, 0) << out.err;
  EXPECT_EQ(lines(out.out).size(), 1u) << "the summary";
  EXPECT_EQ(lines(readText(path("scores"))), std::vector<json>(all.begin(), all.end() - 1));
}

TEST_F(EvalCommandTest, Mqar) {
  ToolRun run = tool("eval run --task mqar --pairs 2,16 --mqar-vocab 200 --examples 20");
  ASSERT_EQ(run.code, 0) << run.err;
  json results = json::parse(run.lastLine())["results"];
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[1]["pairs"], 16);
  EXPECT_EQ(results[1]["seq"], 64);
  EXPECT_EQ(results[1]["vocab"], 200);
  EXPECT_EQ(results[1]["examples"], 20);
  EXPECT_LT(results[1]["accuracy"], 0.2) << "a bigram model cannot recall";
  json other = json::parse(tool("eval run --task mqar --pairs 16 --mqar-vocab 200 --examples 20 --batch 3").lastLine());
  EXPECT_EQ(other["results"][0]["accuracy"], results[1]["accuracy"]);
}

TEST_F(EvalCommandTest, TrainingOnRecallIsKeptInTheRun) {
  const std::string train = "train m.tg --task mqar --pairs 2,20 --mqar-vocab 200 --batch 2 --steps 6 ";
  ToolRun run = tool(train + "--out whole");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(json::parse(run.lastLine())["valid_loss"].is_null()) << "no text is held out";
  json settings = json::parse(readText(path("whole/step-6/run.json")))["settings"];
  EXPECT_EQ(settings["task"], "mqar");
  EXPECT_EQ(settings["mqar"], json::parse(R"({"pairs": [2, 20], "vocab": 200, "power": 0.01, "fill": "zero"})"));
  EXPECT_EQ(settings["seq"], 80) << "4 tokens a pair";
  ASSERT_EQ(tool(train + "--out part --save-every 4").code, 0);
  std::filesystem::remove_all(path("part/step-6"));
  ASSERT_EQ(tool(train + "--out part --resume auto").code, 0);
  EXPECT_EQ(readText(path("part/step-6/model.safetensors")), readText(path("whole/step-6/model.safetensors")));

  json results = json::parse(tool("eval whole --task mqar --examples 3").lastLine())["results"];
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0]["vocab"], 200) << "as trained";
  EXPECT_EQ(results[1]["pairs"], 20);

  expectFailure(2, "train m.tg --task mqar --data text", "expected --data or --task, but got both");
  expectFailure(2, "train m.tg --task mqra", "did you mean 'mqar'?");
  expectFailure(1, "train m.tg --task mqar --out new",
                "training on the task needs a vocabulary of at least 8192, but the model's is 272; see --mqar-vocab");
  expectFailure(1, "train m.tg --task mqar --mqar-vocab 64 --out new", "more ids than the 64 tokens");
  EXPECT_FALSE(std::filesystem::exists(path("new")));
}

TEST_F(EvalCommandTest, BadInput) {
  expectFailure(2, "eval run", "expected exactly one of --data, --requests and --task, but got 0");
  expectFailure(2, "eval run --data held --task mqar", "expected exactly one of --data, --requests and --task");
  expectFailure(2, "eval run --task mqra", "did you mean 'mqar'?");
  expectFailure(2, "eval run --task mqar --pairs 4,x", "expects positive integers separated by commas, but got '4,x'");
  expectFailure(2, "eval run --data held --seq 1", "option '--seq' expects at least 2");
  expectFailure(1, "eval nowhere --data held", "'nowhere' does not exist");
  expectFailure(1, "eval run --data nowhere", "cannot open 'nowhere'");
  writeText(path("one"), "x");
  expectFailure(1, "eval run --data one", "expected at least 2 tokens in 'one', but got 1");
  writeText(path("bad.jsonl"), "{\"context\": \"a\", \"continuations\": [\"b\"]}\n{\"context\": \"a\"\n");
  expectFailure(1, "eval run --requests bad.jsonl", "bad.jsonl:2: expected a JSON object");
  writeText(path("bad.jsonl"), "{\"context\": \"a\", \"continuations\": [\"\"]}\n");
  expectFailure(1, "eval run --requests bad.jsonl",
                "bad.jsonl:1: expected text in every continuation, but number 0 is empty");
  writeText(path("long.jsonl"), "{\"context\": \"a\", \"continuations\": [\"" + std::string(33, 'b') + "\"]}\n");
  expectFailure(1, "eval run --requests long.jsonl", "long.jsonl:1: the continuation has 33 tokens");
  expectFailure(1, "eval run --requests nowhere.jsonl", "cannot open 'nowhere.jsonl'");
  EXPECT_NE(tool("eval run --task mqar --mqar-vocab 300 --examples 2").code, 0) << "more ids than the model has";
}

TEST_F(EvalCommandTest, IdsOutsideTheVocabulary) {
  writeText(path("z.jsonl"), "{\"context\": \"a\", \"continuations\": [\"\xc3\xbc\"]}\n");
  ASSERT_EQ(tool("train m.tg --set V=256 --data text --steps 1 --seq 16 --out narrow").code, 0);
  EXPECT_EQ(tool("eval narrow --requests z.jsonl").code, 0);
  writeText(path("empty.jsonl"), "{\"context\": \"\", \"continuations\": [\"b\"]}\n");
  expectFailure(1, "eval narrow --requests empty.jsonl", "empty.jsonl:1: the context has no token");
}
