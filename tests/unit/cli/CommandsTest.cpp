//===- CommandsTest.cpp -----------------------------------------*- C++ -*-===//
// The other commands from the shell: help, results, and each kind of failure.
//===----------------------------------------------------------------------===//
#include "runtime/core/Safetensors.h"
#include "tests/unit/cli/ToolRun.h"

#include <nlohmann/json.hpp>

using namespace tidegate::test;
using namespace tidegate::runtime;
using nlohmann::json;

namespace {

class CommandsTest : public ToolTest {
protected:
  void writeTensors(const std::string &name, const std::map<std::string, HostTensor> &tensors) {
    std::vector<NamedTensor> all;
    for (const auto &[key, tensor] : tensors)
      all.push_back(named(key, tensor));
    writeSafetensorsFile(path(name), all);
  }
};

HostTensor values(std::vector<int64_t> shape, std::vector<double> elements) {
  return HostTensor::of<double>(std::move(shape), elements);
}

} // namespace

TEST_F(CommandsTest, HelpVersionAndUnknownCommands) {
  ToolRun help = tool("help");
  EXPECT_EQ(help.code, 0);
  for (const char *command : {"train", "generate", "params", "emit", "run", "verify", "plan"}) {
    EXPECT_TRUE(contains(help.out, std::string("\n  ") + command + " ")) << help.out;
    ToolRun own = tool(std::string(command) + " --help"), other = tool(std::string("help ") + command);
    EXPECT_EQ(own.code, 0);
    EXPECT_TRUE(contains(own.out, std::string("usage: tidegate ") + command)) << own.out;
    EXPECT_EQ(own.out, other.out);
  }
  EXPECT_TRUE(contains(tool("version").out, "tidegate 0."));
  expectFailure(2, "", "usage: tidegate COMMAND");
  expectFailure(2, "trian", "unknown command 'trian'; did you mean 'train'?\nvalid commands: train, generate");
  expectFailure(2, "help nothing", "unknown command 'nothing'");
}

TEST_F(CommandsTest, ResultsThatCannotBePrintedAreAFailure) {
  ToolRun run = tool("params m.tg > /dev/full");
  EXPECT_EQ(run.code, 1);
  EXPECT_TRUE(contains(run.err, "cannot write to standard output")) << run.err;
}

TEST_F(CommandsTest, ACrashIsOurBug) {
  writeText(path("crash.tg"), "crash\n");
  expectFailure(3, "params crash.tg", "this is a bug in tidegate");
  const std::string whence = tool("params crash.tg").err;
  EXPECT_TRUE(contains(whence, "SIGABRT\n") && contains(whence, "tidegate-fake(")) << whence;
}

TEST_F(CommandsTest, Params) {
  EXPECT_EQ(tool("params m.tg").out, "74256 parameters in 2 tensors\n");
  EXPECT_EQ(tool("params m.tg --set V=10").out, "110 parameters in 2 tensors\n");
  EXPECT_TRUE(contains(tool("params m.tg --tensors").out, "table.weight"));
  json object = json::parse(tool("params m.tg --set V=10 --format json --tensors").out);
  EXPECT_EQ(object["parameters"], 110);
  EXPECT_EQ(object["tensors"][1]["shape"], json({10}));
  EXPECT_EQ(object["tensors"][1]["decay"], false);
  expectFailure(1, "params none.tg", "cannot open 'none.tg'");
  expectFailure(2, "params m.tg --format yaml", "valid values: text, json");
}

TEST_F(CommandsTest, Emit) {
  EXPECT_EQ(tool("emit m.tg --stage graph").out, "graph of vocab 272\n");
  EXPECT_EQ(tool("emit m.tg --stage=plan --set V=9").out, "plan of vocab 9\n");
  expectFailure(2, "emit m.tg --stage grph", "cannot be 'grph'; did you mean 'graph'?\nvalid values: graph, plan");
  expectFailure(2, "emit m.tg", "expected option '--stage'");
  ToolRun run = tool("emit m.tg --save-temps temps");
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(readText(path("temps/m.graph")), "graph of vocab 272\n");
  EXPECT_EQ(listing(path("temps")), (std::set<std::string>{"m.graph", "m.plan"}));
}

TEST_F(CommandsTest, Plan) {
  ToolRun run = tool("plan m.tg --batch 2 --seq 4");
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(contains(run.out, "batch 2 x 4 tokens: 3 steps, 2 GFLOP")) << run.out;
  EXPECT_TRUE(contains(run.out, "peak")) << run.out;
  EXPECT_FALSE(contains(run.out, "step  1"));
  EXPECT_TRUE(contains(tool("plan m.tg --steps").out, "step  1"));
  EXPECT_EQ(json::parse(tool("plan m.tg --batch 2 --seq 4 --format json").out)["peak_bytes"], 272 * 8 * 5);
  expectFailure(2, "plan m.tg --seq 0", "expects at least 1");
}

TEST_F(CommandsTest, RunWithGradients) {
  writeTensors("in", {{"x", values({1, 2, 3}, {1, 2, 3, 4, 5, 6})}, {"w", values({3}, {1, 10, 100})}});
  writeTensors("seed", {{"y", values({1, 2, 3}, {1, 1, 1, 1, 1, 2})}});
  ToolRun run = tool("run m.tg --entry scale --inputs in --outputs res --grad seed");
  ASSERT_EQ(run.code, 0) << run.err;
  SafetensorsFile result(path("res"));
  EXPECT_EQ(result.entries().size(), 3u);
  EXPECT_EQ(result.tensor("y").as<double>()[5], 600);
  EXPECT_EQ(result.tensor("grad.w").as<double>()[2], 3 + 2 * 6);
  EXPECT_EQ(result.tensor("grad.x").as<double>()[5], 200);
  ASSERT_EQ(tool("run m.tg --entry scale --inputs in --outputs plain").code, 0);
  EXPECT_EQ(SafetensorsFile(path("plain")).entries().size(), 1u);
}

TEST_F(CommandsTest, RunRefusesTensorsThatDoNotFit) {
  HostTensor x = values({1, 2, 3}, {1, 2, 3, 4, 5, 6}), w = values({3}, {1, 1, 1});
  const std::string run = "run m.tg --entry scale --inputs in --outputs res";
  writeText(path("res"), "keep me");
  writeTensors("in", {{"x", x}});
  expectFailure(1, run, "'in' has no tensor 'w'");
  writeTensors("in", {{"x", values({2, 3}, {1, 2, 3, 4, 5, 6})}, {"w", w}});
  expectFailure(1, run, "expected tensor 'x' of shape [B, T, 3], but it is [2, 3]");
  writeTensors("in", {{"x", x}, {"w", w}, {"X", w}});
  expectFailure(1, run, "tensor 'X' is no input; did you mean 'x'? (inputs: x, w)");
  writeTensors("in", {{"x", x}, {"w", HostTensor(Dtype::I64, {3})}});
  expectFailure(1, run, "'in', tensor 'w': expected f64 values, but the tensor holds i64");
  writeTensors("in", {{"x", x}, {"w", w}});
  writeTensors("seed", {{"y", values({1, 1, 3}, {1, 1, 1})}});
  expectFailure(1, run + " --grad seed", "expected T = 2 as in 'x', but tensor 'y' has 1");
  expectFailure(1, "run m.tg --entry scale --inputs none --outputs res", "cannot open 'none'");
  std::filesystem::resize_file(path("in"), 30);
  expectFailure(1, run, "'in' is not a valid safetensors file");
  expectFailure(2, "run m.tg --inputs in --outputs res", "expected option '--entry'");
  EXPECT_EQ(readText(path("res")), "keep me");
}

TEST_F(CommandsTest, VerifyWithoutGoldenClimbsTheLadder) {
  ToolRun run = tool("verify m.tg --set V=12 --seq 20");
  EXPECT_EQ(run.code, 0) << run.out << run.err;
  EXPECT_TRUE(contains(run.out, "comparisons hold")) << run.out;
  EXPECT_TRUE(contains(run.out, "gradients, chunk = differences")) << run.out;
  run = tool("verify m.tg --set V=12 --seq 20 --precision f32");
  EXPECT_EQ(run.code, 0) << run.out << run.err;
  EXPECT_TRUE(contains(run.out, "f32 decoding")) << run.out;
  EXPECT_FALSE(contains(run.out, "differences")) << run.out;
  expectFailure(2, "verify m.tg --precision bf16", "needs --device cuda");
  expectFailure(2, "verify m.tg --golden nowhere --precision bf16", "not in bf16");
  expectFailure(2, "verify m.tg --form token", "needs --golden");
  expectFailure(1, "verify m.tg --golden nowhere", "cannot open 'nowhere/config.json'");
}
