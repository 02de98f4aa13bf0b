//===- RunsCommandTest.cpp --------------------------------------*- C++ -*-===//
// runs and plot on runs that the tool made.
//===----------------------------------------------------------------------===//
#include "tests/unit/cli/ToolRun.h"

#include <nlohmann/json.hpp>

using namespace tidegate::test;
using nlohmann::json;

namespace {
class RunsCommandTest : public ToolTest {
protected:
  void train(const std::string &out, const std::string &more = "") {
    ToolRun run = tool("train m.tg --data text --steps 30 --batch 2 --seq 32 --eval-every 10 --out " + out + " " + more);
    ASSERT_EQ(run.code, 0) << run.err;
  }
};
} // namespace

TEST_F(RunsCommandTest, ListsStates) {
  train("out/a");
  train("out/b", "--lr 0.05");
  tool("train m.tg --data text --steps 1000000 --seq 32 --out out/c & pid=$!; "
       "while ! grep -q step out/c/metrics.jsonl 2>/dev/null; do sleep 0.02; done; sleep 0.1; kill -KILL $pid; wait $pid");
  ToolRun run = tool("runs out");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(contains(run.out, "out/a  done                  30/30")) << run.out;
  EXPECT_TRUE(contains(run.out, "step-30")) << run.out;
  EXPECT_TRUE(contains(run.out, "out/c  killed")) << run.out;
  json runs = json::parse(tool("runs out --format json").out)["runs"];
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[1]["path"], "out/b");
  EXPECT_EQ(runs[1]["state"], "done");
  EXPECT_LT(runs[1]["held_out_loss"], runs[0]["held_out_loss"]) << "the higher rate learns more in 30 steps";
  EXPECT_EQ(runs[2]["steps"], 1000000);
  expectFailure(1, "runs nowhere", "'nowhere' does not exist");
  expectFailure(1, "runs text", "'text' is a file");
}

TEST_F(RunsCommandTest, ARunningRunIsSeen) {
  ToolRun run = tool("train m.tg --data text --steps 1000000 --seq 32 --out run > log 2>&1 & pid=$!; "
                     "while ! grep -q step run/metrics.jsonl 2>/dev/null; do sleep 0.02; done; '" TIDEGATE_TOOL
                     "' runs .; kill -TERM $pid; wait $pid");
  EXPECT_TRUE(contains(run.out, "running")) << run.out << run.err;
  EXPECT_TRUE(contains(tool("runs .").out, "interrupted"));
}

TEST_F(RunsCommandTest, PlotsSeveralRuns) {
  train("a");
  train("b", "--lr 0.05");
  ToolRun run = tool("plot a b/ --out both.svg --title 'two rates'");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.out, "both.svg\n");
  std::string svg = readText(path("both.svg"));
  for (const char *part : {">a</text>", ">b</text>", "two rates", "loss (nats per token)", "<circle"})
    EXPECT_TRUE(contains(svg, part)) << part;
  EXPECT_EQ(tool("plot a --metric lr --x tokens --out lr.png").code, 0);
  EXPECT_EQ(readText(path("lr.png")).substr(1, 3), "PNG");
  expectFailure(1, "plot a none", "cannot open 'none/metrics.jsonl'");
  expectFailure(2, "plot a --metric los", "did you mean 'loss'?");
  expectFailure(1, "plot a --out curves.gif", "end in .svg or .png, but got 'curves.gif'");
  expectFailure(2, "plot", "expected RUN...");
}
