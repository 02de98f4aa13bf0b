//===- TrainerTest.cpp ------------------------------------------*- C++ -*-===//
// The loop learns, resumes to the bit, stops when told, and counts what it
// skips.
//===----------------------------------------------------------------------===//
#include "runtime/train/Trainer.h"
#include "runtime/core/Error.h"
#include "runtime/train/Init.h"
#include "runtime/train/Interrupt.h"
#include "tests/unit/runtime/BigramModel.h"
#include "tests/unit/runtime/TestFiles.h"

#include <csignal>
#include <gtest/gtest.h>

namespace data = tidegate::data;
using namespace tidegate::train;
using namespace tidegate::test;

namespace {

class TrainerTest : public testing::Test {
protected:
  TrainerTest() {
    std::string text;
    for (int i = 0; i < 3000; ++i)
      text += i % 7 ? "abcd " : "ef\n";
    writeText(scratch.path("text"), text);
    settings.batch = 2;
    settings.seq = 32;
    settings.schedule = {0.05, 40, 4, DecayShape::Cosine, 0.1, std::nullopt};
  }

  TrainSummary run(BigramModel<float> &model, const std::string &out, RunState &state,
                   std::function<bool()> stop = [] { return false; }) {
    data::DataOptions options;
    options.paths = {scratch.path("text")};
    options.heldOut = 0.05;
    options.seed = state.seed;
    data::OpenedData data = data::openData(options);
    if (!state.data.is_null())
      data.training->restore(state.data);
    CheckpointDirectory directory(scratch.path(out), 0);
    std::FILE *sink = std::fopen(scratch.path("log").c_str(), "w");
    TrainSummary summary;
    {
      Progress progress(sink, false);
      RunLog log(scratch.path(out), state.step);
      log.begin(nlohmann::ordered_json::object());
      RunSurroundings run{directory, progress, log, {}, stop};
      summary = train(model, data, settings, state, run);
    }
    std::fclose(sink);
    return summary;
  }

  ScratchDirectory scratch;
  TrainSettings settings;
};

RunState freshState() {
  RunState state;
  state.seed = 5;
  return state;
}

} // namespace

TEST_F(TrainerTest, LearnsAndReports) {
  BigramModel<float> model(259);
  initialiseParameters(model, 5);
  RunState state = freshState();
  settings.evalEvery = 20;
  TrainSummary summary = run(model, "a", state);
  EXPECT_EQ(summary.step, 40);
  ASSERT_TRUE(summary.heldOut);
  EXPECT_LT(summary.heldOut->bitsPerByte, 3) << "from 8 bits at the start";
  EXPECT_GT(summary.tokensPerSecond, 0);
  EXPECT_EQ(summary.checkpoint, scratch.path("a/step-40"));
  std::string log = readText(scratch.path("log"));
  for (const char *line : {"step 1/40  loss 5.55", "step 10/40", "step 20  held-out loss", "step 40/40", "saved "})
    EXPECT_NE(log.find(line), std::string::npos) << line << " in:\n" << log;
}

TEST_F(TrainerTest, ResumingGivesTheSameBits) {
  BigramModel<float> straight(259), first(259), second(259);
  RunState state = freshState();
  initialiseParameters(straight, 5);
  TrainSummary whole = run(straight, "a", state);

  state = freshState();
  initialiseParameters(first, 5);
  int polls = 0;
  TrainSummary part = run(first, "b", state, [&] { return polls++ == 17; });
  EXPECT_TRUE(part.interrupted);
  EXPECT_FALSE(part.heldOut);
  EXPECT_EQ(part.checkpoint, scratch.path("b/step-17"));

  FoundCheckpoint found = findCheckpoint(scratch.path("b"));
  loadCheckpoint(*found.path, second);
  TrainSummary rest = run(second, "b", found.state);
  EXPECT_EQ(rest.trainLoss, whole.trainLoss);
  EXPECT_EQ(rest.heldOut->nats, whole.heldOut->nats);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_TRUE(std::ranges::equal(second.parameter(i).bytes(), straight.parameter(i).bytes()));
  EXPECT_EQ(readText(scratch.path("a/step-40/optimizer.safetensors")),
            readText(scratch.path("b/step-40/optimizer.safetensors")));
}

TEST_F(TrainerTest, SkippedStepsAreCountedAndAdamDoesNotSeeThem) {
  BigramModel<float> model(259);
  initialiseParameters(model, 5);
  model.poison = 3; // Every step whose update would be the third fails until the run gives up.
  RunState state = freshState();
  settings.schedule.steps = 10;
  TrainSummary summary = run(model, "a", state);
  EXPECT_EQ(summary.skipped, 8);
  EXPECT_EQ(readCheckpoint(summary.checkpoint).skipped, 8);
  EXPECT_NE(readText(scratch.path("log")).find("(8 skipped)"), std::string::npos);
  settings.schedule.steps = 500;
  state = freshState();
  EXPECT_NE(messageOf<tidegate::runtime::RuntimeError>([&] { run(model, "b", state); }).find("100 steps in a row"),
            std::string::npos);
}

TEST_F(TrainerTest, SavesEveryNStepsAndAtTheEnd) {
  BigramModel<float> model(259);
  RunState state = freshState();
  settings.saveEvery = 15;
  run(model, "a", state);
  EXPECT_EQ(listing(scratch.path("a")), (std::set<std::string>{"metrics.jsonl", "step-15", "step-30", "step-40", "tensorboard"}));
}

TEST_F(TrainerTest, SignalsAskToStop) {
  InterruptGuard guard;
  EXPECT_FALSE(InterruptGuard::requested());
  std::raise(SIGTERM);
  EXPECT_TRUE(InterruptGuard::requested());
}

TEST(ProgressTest, Texts) {
  EXPECT_EQ(durationText(65.2), "1:05");
  EXPECT_EQ(durationText(7384), "2:03:04");
  EXPECT_EQ(durationText(NAN), "?");
  EXPECT_EQ(progressText({120, 1000, 1.83421, 3e-4, 0.913, 18432, 65, 0}),
            "step 120/1000  loss 1.8342  lr 3.00e-04  norm 0.913  18.4k tokens/s  ETA 1:05");
}

TEST(ProgressTest, ATerminalKeepsOneLine) {
  ScratchDirectory scratch;
  std::FILE *file = std::fopen(scratch.path("p").c_str(), "w");
  {
    Progress progress(file, true);
    progress.report({1, 2, 1, 1, 1, 1, 1, 0}, false);
    progress.note("remark");
    progress.report({2, 2, 1, 1, 1, 1, 1, 0}, true);
  }
  std::fclose(file);
  std::string text = readText(scratch.path("p"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 2);
  EXPECT_NE(text.find("\nremark\n\r"), std::string::npos);
}
