//===- SweepCommandTest.cpp -------------------------------------*- C++ -*-===//
// A sweep trains its cells once, goes on after an interruption, and says what
// is wrong with its file.
//===----------------------------------------------------------------------===//
#include "tests/unit/cli/ToolRun.h"

#include <algorithm>
#include <nlohmann/json.hpp>

using namespace tidegate::test;

namespace {
class SweepCommandTest : public ToolTest {
protected:
  SweepCommandTest() {
    writeText(path("sweep.cfg"), "# four cells\n"
                                 "data = text\nout = cells\nsteps = 8\nbatch = 2\nseq = 16\nlr = 0.01\n\n"
                                 "[small]\nprogram = m.tg\nvary = rank: 2 full\n"
                                 "[large]\nprogram = m.tg\nset = V=300\nlr = 0.02\nvary = V: 280 290\n");
  }
};
} // namespace

TEST_F(SweepCommandTest, TrainsEveryCellOnce) {
  ToolRun run = tool("sweep sweep.cfg");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(contains(run.out, "| cell        | state | parameters | train loss | held-out loss | perplexity"))
      << run.out;
  std::string csv = readText(path("cells/sweep.csv"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 4);
  for (const char *row : {"\nsmall_r2,done,74256,", "\nsmall_rfull,done,74256,", "\nlarge_V=280,done,78680,",
                          "\nlarge_V=290,done,84390,"})
    EXPECT_TRUE(contains(csv, row)) << row << " in:\n" << csv;
  EXPECT_EQ(readText(path("cells/sweep.md")), run.out);
  auto state = nlohmann::json::parse(readText(path("cells/large_V=280/step-8/run.json")));
  EXPECT_EQ(state["settings"]["lr"], 0.02) << "the section's option wins";
  EXPECT_EQ(state["settings"]["batch"], 2);

  run = tool("sweep sweep.cfg");
  EXPECT_EQ(run.code, 0);
  EXPECT_FALSE(contains(run.err, "training")) << "all is done:\n" << run.err;
  EXPECT_EQ(readText(path("cells/sweep.csv")), csv);
}

TEST_F(SweepCommandTest, GoesOnAfterASignal) {
  ASSERT_EQ(tool("sweep sweep.cfg --out whole").code, 0);
  const std::string slow = "sweep sweep.cfg --out part";
  // The third cell cannot end by itself before the signal.
  writeText(path("sweep.cfg"), readText(path("sweep.cfg")) + "steps = 100000000\n");
  ToolRun run = tool(slow + " & pid=$!; while ! [ -s part/large_V=280/metrics.jsonl ]; do sleep 0.02; done; sleep 0.1; "
                            "kill -TERM $pid; wait $pid");
  EXPECT_EQ(run.code, 1) << run.err;
  EXPECT_TRUE(contains(run.err, "interrupted with 2 of 4 cells to go")) << run.err;
  EXPECT_TRUE(contains(tool("runs part").out, "interrupted"));
  run = tool("sweep sweep.cfg --out part & pid=$!; sleep 0.5; kill -KILL $pid; wait $pid; sleep 0.5");
  EXPECT_FALSE(contains(tool("runs part").out, "running")) << "a cell does not outlive its sweep";

  std::string file = readText(path("sweep.cfg"));
  writeText(path("sweep.cfg"), file.substr(0, file.rfind("steps = 1")));
  std::filesystem::remove_all(path("part/large_V=280")); // Beyond the 8 steps by now.
  run = tool("sweep sweep.cfg --out part");
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_FALSE(contains(run.err, "small_r2")) << "already done:\n" << run.err;
  for (const char *cell : {"small_rfull", "large_V=280", "large_V=290"}) {
    const std::string weights = std::string(cell) + "/step-8/model.safetensors";
    EXPECT_EQ(readText(path("whole/" + weights)), readText(path("part/" + weights))) << cell;
  }
}

TEST_F(SweepCommandTest, AFailedCellDoesNotStopTheOthers) {
  writeText(path("sweep.cfg"), "data = text\nsteps = 4\nbatch = 2\nseq = 16\n[bad]\nprogram = none.tg\n"
                               "[crash]\nprogram = c.tg\n[good]\nprogram = m.tg\n");
  writeText(path("c.tg"), "crash\n");
  ToolRun run = tool("sweep sweep.cfg");
  EXPECT_EQ(run.code, 1);
  EXPECT_TRUE(contains(run.err, "cell 1/3 bad: failed with exit code 1:")) << run.err;
  EXPECT_TRUE(contains(run.err, "cannot open 'none.tg'")) << run.err;
  EXPECT_TRUE(contains(run.err, "cell 2/3 crash: failed with exit code 3")) << run.err;
  EXPECT_TRUE(contains(run.out, "| good  | done")) << run.out;
  EXPECT_TRUE(contains(readText(path("out/sweep/sweep.csv")), "bad,failed,,,")) << run.out;
}

TEST_F(SweepCommandTest, ListsCommandLines) {
  ToolRun run = tool("sweep sweep.cfg --list --data other");
  EXPECT_EQ(run.code, 0);
  EXPECT_TRUE(contains(run.out, "tidegate train m.tg --out=cells/large_V=290 --resume=auto --steps=8 --batch=2 --seq=16 "
                                "--set=V=300 --lr=0.02 --set=V=290 --data=other\n"))
      << run.out;
  EXPECT_FALSE(std::filesystem::exists(path("cells")));
}

TEST_F(SweepCommandTest, BadFiles) {
  auto refused = [&](const std::string &text, const std::string &message) {
    writeText(path("bad.cfg"), text);
    expectFailure(1, "sweep bad.cfg", message);
  };
  refused("steps = 3\n", "expected a section [NAME]");
  refused("[a]\nsteps = 3\n", "'bad.cfg', line 1: section [a] has no `program = FILE`");
  refused("steps\n", "line 1: expected `option = value` or [NAME], but got 'steps'");
  refused("[a b]\n", "expected [NAME] without spaces");
  refused("[a]\nprogram = m.tg\n[a]\n", "line 3: section [a] is there twice");
  refused("[a]\nprogram = m.tg\nvary = rank\n", "expected `vary = PARAM: VALUE...`, but got 'rank'");
  refused("[a]\nprogram = m.tg\nvary = rank: 2 2\n", "two cells have the name 'a_r2'");
  refused("[a]\nresume = auto\n", "a sweep resumes by itself");
  writeText(path("bad.cfg"), "data = text\nstpes = 3\n[a]\nprogram = m.tg\n");
  expectFailure(2, "sweep bad.cfg", "unknown option '--stpes=3'; did you mean 'steps'?");
  expectFailure(1, "sweep none.cfg", "cannot open 'none.cfg'");
}
