//===- CheckpointWriterTest.cpp ---------------------------------*- C++ -*-===//
// What is saved is the state at the time of the call, and errors come back.
//===----------------------------------------------------------------------===//
#include "runtime/train/CheckpointWriter.h"
#include "runtime/core/Error.h"
#include "runtime/train/Init.h"
#include "tests/unit/runtime/BigramModel.h"
#include "tests/unit/runtime/TestFiles.h"

#include <gtest/gtest.h>

using namespace tidegate::train;
using namespace tidegate::test;
using tidegate::runtime::RuntimeError;

namespace {
RunState stateAt(int64_t step) {
  RunState state;
  state.step = step;
  state.tokens = 7 * step;
  state.skippedInARow = 2;
  state.data = {{"document", step}};
  return state;
}
} // namespace

TEST(CheckpointWriterTest, SavesTheStateOfTheCall) {
  ScratchDirectory scratch;
  CheckpointDirectory directory(scratch.path("run"), 2);
  CheckpointWriter writer(directory);
  BigramModel<float> model(64), loaded(64);
  initialiseParameters(model, 3);
  EXPECT_FALSE(writer.poll()) << "nothing was asked for";
  for (int64_t step = 1; step <= 4; ++step) {
    model.parameter(0).set(5, double(step));
    model.moment(1, 1).set(2, double(10 * step));
    writer.save(model, stateAt(step));
    model.parameter(0).set(5, -1); // The training goes on.
    model.moment(1, 1).set(2, -1);
  }
  EXPECT_EQ(writer.finish(), scratch.path("run/step-4"));
  EXPECT_FALSE(writer.finish());
  EXPECT_EQ(directory.names(), (std::vector<std::string>{"step-3", "step-4"}));
  for (int64_t step : {3, 4}) {
    const std::string path = scratch.path("run/step-" + std::to_string(step));
    RunState state = readCheckpoint(path);
    EXPECT_EQ(state.tokens, 7 * step);
    EXPECT_EQ(state.skippedInARow, 2);
    EXPECT_EQ(state.data["document"], step);
    loadCheckpoint(path, loaded);
    EXPECT_EQ(loaded.parameter(0).get(5), double(step));
    EXPECT_EQ(loaded.moment(1, 1).get(2), double(10 * step));
  }
}

TEST(CheckpointWriterTest, ErrorsComeBackAndTheNextSaveWorks) {
  ScratchDirectory scratch;
  CheckpointDirectory directory(scratch.path("run"), 0);
  CheckpointWriter writer(directory);
  BigramModel<float> model(16);
  writer.save(model, stateAt(1));
  writer.finish();
  writeText(scratch.path("run/.step-2"), "in the way");
  writer.save(model, stateAt(2));
  EXPECT_NE(messageOf<RuntimeError>([&] { writer.finish(); }).find("cannot save checkpoint"), std::string::npos);
  writer.save(model, stateAt(3));
  EXPECT_EQ(writer.finish(), scratch.path("run/step-3"));
  EXPECT_EQ(directory.names(), (std::vector<std::string>{"step-1", "step-3"}));
}
