//===- TrainCommandTest.cpp -------------------------------------*- C++ -*-===//
// train and generate from the shell: results, resuming, signals, and bad
// input that must leave everything as it was.
//===----------------------------------------------------------------------===//
#include "runtime/core/Safetensors.h"
#include "tests/unit/cli/ToolRun.h"

#include <nlohmann/json.hpp>
#include <unistd.h>

using namespace tidegate::test;
using nlohmann::json;

namespace {
const std::string kTrain = "train m.tg --data text --steps 30 --batch 2 --seq 32 --lr 0.05 ";

class TrainCommandTest : public ToolTest {};
} // namespace

TEST_F(TrainCommandTest, TheLastLineIsAJsonObject) {
  ToolRun run = tool(kTrain + "--out run --save-every 10 --eval-every 15 --sample-prompt 'the ' --sample-tokens 20");
  ASSERT_EQ(run.code, 0) << run.err;
  json result = json::parse(run.lastLine());
  EXPECT_EQ(result["status"], "done");
  EXPECT_EQ(result["step"], 30);
  EXPECT_EQ(result["parameters"], 272 * 272 + 272);
  EXPECT_EQ(result["checkpoint"], "run/step-30");
  EXPECT_LT(result["valid_bits_per_byte"], 8);
  EXPECT_GT(result["gzip_bits_per_byte"], 0);
  EXPECT_GT(result["tokens_per_second"], 0);
  EXPECT_TRUE(contains(run.out, "gzip -9")) << run.out;
  EXPECT_TRUE(contains(run.out, "--- sample\nthe ")) << run.out;
  EXPECT_TRUE(contains(run.err, "step 15  held-out loss")) << run.err;
  EXPECT_EQ(listing(path("run")), (std::set<std::string>{"metrics.jsonl", "step-10", "step-20", "step-30", "tensorboard"}));
}

TEST_F(TrainCommandTest, ResumingEqualsNotStopping) {
  ASSERT_EQ(tool(kTrain + "--out whole").code, 0);
  ASSERT_EQ(tool(kTrain + "--out part --save-every 10").code, 0);
  std::filesystem::remove_all(path("part/step-30"));
  std::filesystem::resize_file(path("part/step-20/model.safetensors"), 1000);
  ToolRun rest = tool(kTrain + "--out part --resume auto");
  ASSERT_EQ(rest.code, 0) << rest.err;
  EXPECT_TRUE(contains(rest.err, "passed over: checkpoint 'part/step-20' is damaged: model.safetensors")) << rest.err;
  EXPECT_TRUE(contains(rest.err, "resuming from part/step-10")) << rest.err;
  for (const char *file : {"model.safetensors", "optimizer.safetensors", "run.json"})
    EXPECT_EQ(readText(path("whole/step-30/") + file), readText(path("part/step-30/") + file)) << file;
  ToolRun again = tool(kTrain + "--resume part/step-30");
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_TRUE(json::parse(again.lastLine())["train_loss"].is_null()) << "nothing was left to train";
}

TEST_F(TrainCommandTest, ResumeSaysWhatChanged) {
  ASSERT_EQ(tool(kTrain + "--out run").code, 0);
  ToolRun run = tool(kTrain + "--out run --resume auto --steps 40 --batch 3");
  EXPECT_EQ(run.code, 2) << "an option given twice";
  run = tool("train m.tg --data text --steps 40 --batch 3 --seq 32 --lr 0.05 --out run --resume auto");
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(contains(run.err, "note: steps was 30 in the checkpoint and is 40 now")) << run.err;
  EXPECT_TRUE(contains(run.err, "note: batch was 2 in the checkpoint and is 3 now")) << run.err;
  EXPECT_TRUE(contains(tool(kTrain + "--out new --resume auto").err, "no checkpoint in 'new' yet"));
}

TEST_F(TrainCommandTest, ASignalSavesAndAKillLosesNothing) {
  std::string endless = "train m.tg --data text --steps 1000000 --seq 32 --save-every 50 --out run & pid=$!; "
                        "while [ ! -d run/step-100 ]; do sleep 0.02; done; ";
  // `{ before tool args; }` runs the tool as a background job here.
  ToolRun run = tool(endless + "kill -TERM $pid; wait $pid");
  EXPECT_EQ(run.code, 0) << run.err;
  json result = json::parse(run.lastLine());
  EXPECT_EQ(result["status"], "interrupted");
  EXPECT_TRUE(result["valid_loss"].is_null());
  EXPECT_TRUE(std::filesystem::exists(path(result["checkpoint"].get<std::string>() + "/complete.json")));

  std::filesystem::remove_all(path("run"));
  tool(endless + "kill -KILL $pid; wait $pid");
  ToolRun rest = tool("train m.tg --data text --steps 100 --seq 32 --out run --resume auto");
  EXPECT_EQ(rest.code, 0) << rest.err;
  EXPECT_TRUE(contains(rest.err, "resuming from run/step-")) << rest.err;
}

TEST_F(TrainCommandTest, ConfigFileAndCommandLine) {
  writeText(path("c.cfg"), "# a comment\nsteps = 5\nbatch = 3\nset = V=300\nlr = 0.01\n");
  ToolRun run = tool("train m.tg --data text --seq 16 --config c.cfg --steps 7 --out run");
  ASSERT_EQ(run.code, 0) << run.err;
  json state = json::parse(readText(path("run/step-7/run.json")));
  EXPECT_EQ(state["settings"]["batch"], 3);
  EXPECT_EQ(state["settings"]["lr"], 0.01);
  EXPECT_EQ(state["program"]["params"], json::parse(R"([["V", "300"]])"));
  run = tool("train m.tg --data text --seq 16 --config c.cfg --set V=280 --out other");
  EXPECT_EQ(json::parse(run.lastLine())["parameters"], 280 * 281) << "the later --set wins";
  writeText(path("bad.cfg"), "stpes = 5\n");
  expectFailure(2, "train m.tg --data text --config bad.cfg",
                "'bad.cfg': unknown option 'stpes'; did you mean 'steps'?");
  writeText(path("bad.cfg"), "steps = many\n");
  expectFailure(2, "train m.tg --data text --config bad.cfg", "many");
  expectFailure(1, "train m.tg --data text --config none.cfg", "cannot open 'none.cfg'");
}

TEST_F(TrainCommandTest, BadCommandLines) {
  expectFailure(2, "train m.tg --data text --stpes 3", "unknown option '--stpes'; did you mean 'steps'?");
  expectFailure(2, "train m.tg --data text --stpes 3", "valid options: --help, --set");
  expectFailure(2, "train m.tg --data text --steps abc", "abc");
  expectFailure(2, "train m.tg --data text --batch 0", "option '--batch' expects at least 1, but got 0");
  expectFailure(2, "train m.tg --data text --lr-floor 2", "expects a number from 0 to 1, but got 2");
  expectFailure(2, "train m.tg --data text --decay cosin", "cannot be 'cosin'; did you mean 'cosine'?");
  expectFailure(2, "train m.tg --data text --precision f16", "valid values: f32, f64, bf16");
  expectFailure(2, "train m.tg --data text --device gpu", "valid values: cpu, cuda");
  expectFailure(2, "train m.tg --data text --set D", "expects NAME=VALUE, but got 'D'");
  expectFailure(2, "train m.tg --data text --keep 1", "expects 0 or at least 2");
  expectFailure(2, "train m.tg --data text --steps 5 --warmup 6", "expects at most the 5 steps");
  expectFailure(2, "train m.tg", "expected option '--data'");
  expectFailure(2, "train", "expected FILE");
  expectFailure(2, "train m.tg more.tg --data text", "expected one FILE");
  EXPECT_EQ(listing(scratch.path()), (std::set<std::string>{"m.tg", "text"})) << "nothing was created";
}

TEST_F(TrainCommandTest, MicroBatchesTrainOnTheSameWindows) {
  ASSERT_EQ(tool("train m.tg --data text --steps 12 --batch 6 --seq 32 --lr 0.05 --precision f64 --out whole").code, 0);
  for (const char *how : {"--accumulate 3", "--global-batch 6"}) {
    ToolRun run = tool("train m.tg --data text --steps 12 --batch 2 --seq 32 --lr 0.05 --precision f64 --out parts " +
                       std::string(how));
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_TRUE(contains(run.err, "a step: 3 x 2 x 32 tokens, 6 GFLOP")) << run.err;
    json state = json::parse(readText(path("parts/step-12/run.json")));
    EXPECT_EQ(state["settings"]["accumulate"], 3);
    EXPECT_EQ(state["tokens"], 12 * 6 * 32);
    tidegate::runtime::SafetensorsFile whole(path("whole/step-12/model.safetensors")),
        parts(path("parts/step-12/model.safetensors"));
    auto a = whole.tensor("table.weight"), b = parts.tensor("table.weight");
    for (int64_t i = 0; i < a.elements(); ++i)
      ASSERT_NEAR(a.view().get(i), b.view().get(i), 1e-9) << i;
    std::filesystem::remove_all(path("parts"));
  }
  expectFailure(2, "train m.tg --data text --batch 4 --global-batch 6", "expects a multiple of the micro-batch of 4");
  expectFailure(2, "train m.tg --data text --accumulate 2 --global-batch 16", "cannot both be given");
}

TEST_F(TrainCommandTest, ActivationsFitTheMemory) {
  const std::string small = "train m.tg --data text --steps 2 --batch 2 --seq 8 --out ";
  EXPECT_TRUE(contains(tool(small + "a").err, "0 of 4 layers run again"));
  EXPECT_TRUE(contains(tool(small + "b --activations block").err, "4 of 4 layers run again"));
  // The stand-in's step needs 272 x 16 bytes and as many again for each layer that is kept.
  EXPECT_TRUE(contains(tool(small + "c --activations auto --memory 13056").err, "2 of 4 layers run again"));
  EXPECT_TRUE(contains(tool(small + "d --activations auto --memory 12.75K").err, "2 of 4 layers run again"));
  EXPECT_EQ(json::parse(readText(path("c/step-2/run.json")))["settings"]["recomputed-layers"], 2);
  expectFailure(2, "train m.tg --data text --activations auto", "needs '--memory BYTES'");
  expectFailure(2, "train m.tg --data text --memory 1G", "goes with '--activations auto'");
  expectFailure(2, "train m.tg --data text --activations auto --memory 12Q", "expects bytes such as 12G");
  expectFailure(2, "train m.tg --data text --activations all", "cannot be 'all'");
  EXPECT_TRUE(contains(tool("plan m.tg --batch 2 --seq 8 --activations block").out, "4 of 4 layers are run again"));
}

TEST_F(TrainCommandTest, TheRunIsNamedAfterItsSettings) {
  const std::string command = "train m.tg --data text --steps 3 --batch 2 --accumulate 4 --seq 8 --lr 3e-4 ";
  ToolRun run = tool(command + "--scale 350M");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(json::parse(run.lastLine())["checkpoint"], "out/m_350M_rfull_bs8_lr3e-4_steps3/step-3");
  run = tool("train m.tg --data text --steps 3 --batch 2 --seq 8 --lr 0.0125 --set rank=32");
  EXPECT_EQ(json::parse(run.lastLine())["checkpoint"], "out/m_74.3k_r32_bs2_lr1.25e-2_steps3/step-3");
  EXPECT_TRUE(contains(tool(command + "--scale 350M --resume auto").err, "resuming from")) << "the same name again";
}

TEST_F(TrainCommandTest, MetricsOfAStep) {
  ASSERT_EQ(tool(kTrain + "--out run --peak-flops 1e12").code, 0);
  std::istringstream lines(readText(path("run/metrics.jsonl")));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  json begin = json::parse(line);
  EXPECT_EQ(begin["event"], "begin");
  EXPECT_EQ(begin["flops_per_step"], 2e9);
  // 6 N + 12 layers width T a token; the stand-in says 4 layers.
  EXPECT_EQ(begin["reference_flops_per_step"], (6.0 * 272 * 273 + 12.0 * 4 * 272 * 32) * 64);
  ASSERT_TRUE(std::getline(lines, line));
  json step = json::parse(line);
  EXPECT_EQ(step["step"], 1);
  EXPECT_EQ(step["tokens"], 64);
  EXPECT_NEAR(step["mfu"].get<double>(), 2e9 / step["step_seconds"].get<double>() / 1e12, 1e-9);
  EXPECT_NEAR(step["tokens_per_second"].get<double>() * step["step_seconds"].get<double>(), 64, 1e-6);
  EXPECT_GT(step["memory_bytes"], 1 << 20);
  EXPECT_LE(step["data_seconds"], step["step_seconds"]);
}

TEST_F(TrainCommandTest, BadInputLeavesNothingBehind) {
  writeText(path("empty"), "");
  writeText(path("short"), "0123456789");
  writeText(path("wrong.tg"), "vocub 9\n");
  writeText(path("narrow.tg"), "vocab 100\n");
  auto before = listing(scratch.path());
  expectFailure(1, "train none.tg --data text", "cannot open 'none.tg': No such file");
  expectFailure(1, "train wrong.tg --data text", "wrong.tg:1:1: error: expected 'vocab N', but got 'vocub'");
  expectFailure(1, "train m.tg --data none", "cannot open 'none': no such file");
  expectFailure(1, "train m.tg --data empty", "expected text in 'empty', but the file is empty");
  expectFailure(1, "train m.tg --data short --seq 64", "needs 65 bytes of training text, but 'short' has 10");
  expectFailure(1, "train narrow.tg --data text", "a vocabulary of at least 256, but the model's is 100");
  expectFailure(1, "train m.tg --data text --out text/run", "cannot create the directory 'text/run'");
  expectFailure(1, "train m.tg --data text --resume nowhere", "'nowhere' does not exist");
  std::filesystem::remove(path("out")); // Parent of the default directory, empty.
  EXPECT_EQ(listing(scratch.path()), before);
}

TEST_F(TrainCommandTest, AnUsedDirectoryIsNotTrainedOver) {
  ASSERT_EQ(tool(kTrain + "--out run").code, 0);
  std::string weights = readText(path("run/step-30/model.safetensors"));
  expectFailure(1, kTrain + "--out run", "'run' already holds checkpoints; pass --resume auto");
  std::filesystem::resize_file(path("run/step-30/model.safetensors"), 10);
  expectFailure(1, kTrain + "--out run --resume auto", "it has no usable one");
  expectFailure(1, kTrain + "--resume run/step-30", "is damaged");
  expectFailure(1, "generate run", "no usable one");
  writeText(path("run/step-30/model.safetensors"), weights);
  EXPECT_EQ(tool("generate run --max-tokens 3").code, 0);
}

TEST_F(TrainCommandTest, ReadOnlyDirectory) {
  std::filesystem::create_directory(path("ro"));
  if (geteuid() != 0)
    std::filesystem::permissions(path("ro"), std::filesystem::perms(0555));
  // Root may write anywhere but into /proc and /sys.
  std::string directory = geteuid() == 0 ? "/proc/tidegate-run" : "ro/run";
  expectFailure(1, kTrain + "--out " + directory, "cannot create the directory");
}

TEST_F(TrainCommandTest, AFullDiskKeepsTheLastCheckpoint) {
  ASSERT_EQ(tool(kTrain + "--out run").code, 0);
  std::string weights = readText(path("run/step-30/model.safetensors"));
  ToolRun run = tool("train m.tg --data text --steps 60 --batch 2 --seq 32 --out run --resume auto", "ulimit -f 64;");
  EXPECT_EQ(run.code, 1) << run.err;
  EXPECT_TRUE(contains(run.err, "cannot write 'run/.step-60/model.safetensors'")) << run.err;
  EXPECT_EQ(listing(path("run")), (std::set<std::string>{"metrics.jsonl", "step-30", "tensorboard"}));
  EXPECT_EQ(readText(path("run/step-30/model.safetensors")), weights);
}

TEST_F(TrainCommandTest, TheTokenizerTravelsWithTheRun) {
  std::filesystem::copy(TIDEGATE_SOURCE_DIR "/tests/unit/runtime/data/Inputs/gpt2.json", path("tokenizer.json"));
  ASSERT_EQ(tool("data prepare text --tokenizer tokenizer.json --out set").code, 0);
  std::filesystem::remove(path("tokenizer.json"));
  const std::string train = "train m.tg --set V=640 --steps 60 --batch 2 --seq 32 --lr 0.05 ";
  ToolRun run = tool(train + "--data set --out run --sample-prompt 'the '");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(contains(run.out, "nats per token")) << run.out;
  EXPECT_TRUE(contains(run.out, "--- sample\nthe ")) << run.out;
  json state = json::parse(readText(path("run/step-60/run.json")));
  EXPECT_EQ(state["tokenizer"]["name"], "set");
  EXPECT_EQ(state["tokenizer"]["files"], json({"tokenizer.json"}));
  EXPECT_EQ(state["tokenizer"]["hash"], json::parse(tool("data info set --format json").out)["tokenizer_hash"]);

  // A text is read with the run's tokenizer, also when training goes on with one.
  run = tool("train m.tg --set V=640 --steps 70 --batch 2 --seq 32 --data text --out run --resume auto");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(json::parse(readText(path("run/step-70/run.json")))["tokenizer"], state["tokenizer"]);
  std::filesystem::remove_all(path("set"));
  std::filesystem::remove_all(path("out"));
  ToolRun text = tool("generate run/step-60 --prompt 'the c' --max-tokens 9 --temperature 0");
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_TRUE(contains(text.out, "the cat sat")) << text.out;
  EXPECT_EQ(json::parse(tool("eval run/step-60 --data text --seq 32").lastLine())["bytes"],
            std::filesystem::file_size(path("text")));
  expectFailure(1, "generate run --tokenizer bytes", "was trained with tokenizer 'set' (");
  expectFailure(1, train + "--data text --tokenizer bytes --out run --resume auto",
                "the checkpoint was trained with tokenizer 'set' (");

  // To the reference library's form and back.
  ASSERT_EQ(tool("export run/step-60 --out hf").code, 0);
  EXPECT_EQ(readText(path("hf/tokenizer.json")), readText(path("run/step-60/tokenizer.json")));
  ASSERT_EQ(tool("import hf --out back").code, 0);
  EXPECT_EQ(tool("generate back --prompt 'the c' --max-tokens 9 --temperature 0").out, text.out);
  EXPECT_TRUE(contains(tool("import hf --out other", "echo '{}' > hf/tokenizer.json;").err, "note: a tokenizer is left out: 'hf/tokenizer.json'"));

  writeText(path("run/step-60/tokenizer.json"), "{}");
  expectFailure(1, "generate run/step-60", "tokenizer.json should have");
}

TEST_F(TrainCommandTest, GenerateNeedsTheCheckpointOnly) {
  ASSERT_EQ(tool(kTrain + "--out run --set V=300").code, 0);
  std::filesystem::remove(path("m.tg"));
  ToolRun once = tool("generate run --prompt 'the c' --max-tokens 40 --seed 3"),
          again = tool("generate run/step-30 --prompt 'the c' --max-tokens 40 --seed 3"),
          other = tool("generate run --prompt 'the c' --max-tokens 40 --seed 4");
  EXPECT_EQ(once.code, 0) << once.err;
  EXPECT_EQ(once.out.substr(0, 5), "the c");
  EXPECT_EQ(once.out.size(), 5u + 40 + 1);
  EXPECT_EQ(once.out, again.out);
  EXPECT_NE(once.out, other.out);
  expectFailure(1, "generate text", "is a file");
  expectFailure(1, "generate .", "expected a checkpoint (step-N) in '.', but it has none");
  expectFailure(2, "generate run --top-p 0", "--top-p");
}
