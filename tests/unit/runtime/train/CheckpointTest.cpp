//===- CheckpointTest.cpp ---------------------------------------*- C++ -*-===//
// What was saved comes back to the bit, and no damage goes unseen.
//===----------------------------------------------------------------------===//
#include "runtime/train/Checkpoint.h"
#include "runtime/core/Error.h"
#include "runtime/core/Safetensors.h"
#include "runtime/train/Init.h"
#include "tests/unit/runtime/BigramModel.h"
#include "tests/unit/runtime/TestFiles.h"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/resource.h>

using namespace tidegate::train;
using namespace tidegate::test;
using tidegate::runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

class CheckpointTest : public testing::Test {
protected:
  CheckpointTest() {
    initialiseParameters(model, 3);
    for (size_t i = 0; i < model.parameters().size(); ++i)
      for (int k = 0; k < 2; ++k)
        initialise(parseInit("uniform(0, 1)", "m"), "m" + std::to_string(k), 4, model.moment(k, i));
    state.step = 10;
    state.seed = 77;
    state.program = {"m.tg", {{"D", "8"}}, {{"m.tg", "model \"text\"\n\xc3\xa9"}}};
    state.settings = {{"batch", 4}};
  }
  std::string saved(int64_t step, int64_t keep = 0) {
    state.step = step;
    return CheckpointDirectory(scratch.path("run"), keep).save(model, state);
  }
  void expectDamage(const std::string &path, const std::string &part) {
    std::string message = messageOf<RuntimeError>([&] { readCheckpoint(path); });
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_NE(message.find(path), std::string::npos) << message;
  }

  ScratchDirectory scratch;
  BigramModel<float> model{20};
  RunState state;
};

bool same(tidegate::runtime::HostSpan a, tidegate::runtime::HostSpan b) {
  return std::ranges::equal(a.bytes(), b.bytes());
}

} // namespace

TEST_F(CheckpointTest, RoundTrip) {
  std::string path = saved(10);
  EXPECT_EQ(path, scratch.path("run/step-10"));
  EXPECT_EQ(listing(path), (std::set<std::string>{"model.safetensors", "optimizer.safetensors", "run.json",
                                                  "complete.json"}));
  RunState read = readCheckpoint(path);
  EXPECT_EQ(toJson(read), toJson(state));
  EXPECT_EQ(read.program.files[0].second, state.program.files[0].second);
  BigramModel<float> other(20);
  loadCheckpoint(path, other);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(same(model.parameter(i), other.parameter(i)));
    EXPECT_TRUE(same(model.moment(0, i), other.moment(0, i)));
    EXPECT_TRUE(same(model.moment(1, i), other.moment(1, i)));
  }
  tidegate::runtime::SafetensorsFile weights(path + "/model.safetensors");
  EXPECT_TRUE(weights.contains("table.weight"));
}

TEST_F(CheckpointTest, KeepsTheTokenizer) {
  state.tokenizer = {"t/llama", "0123456789abcdef", true, {{"tokenizer.json", "{\"a\": 1}"}, {"tokenizer_config.json", "{}"}}};
  const std::string path = saved(10);
  const RunState read = readCheckpoint(path);
  EXPECT_EQ(toJson(read), toJson(state));
  ASSERT_TRUE(read.tokenizer);
  EXPECT_EQ(read.tokenizer->files, state.tokenizer->files);
  EXPECT_EQ(readText(path + "/tokenizer.json"), "{\"a\": 1}");
  writeText(path + "/tokenizer.json", "{\"a\": 2}");
  expectDamage(path, "tokenizer.json does not match its checksum");
  std::filesystem::remove(path + "/tokenizer.json");
  expectDamage(path, "tokenizer.json");
}

TEST_F(CheckpointTest, SeesEveryKindOfDamage) {
  std::string path = saved(10), file = path + "/model.safetensors", text = readText(file);
  writeText(file, text.substr(0, text.size() / 2));
  expectDamage(path, "model.safetensors should have");
  std::string flipped = text;
  flipped[text.size() - 9] ^= 1;
  writeText(file, flipped);
  expectDamage(path, "model.safetensors does not match its checksum");
  fs::remove(file);
  expectDamage(path, "No such file");
  writeText(file, text);
  EXPECT_NO_THROW(readCheckpoint(path));
  writeText(path + "/complete.json", "{");
  expectDamage(path, "complete.json cannot be read");
  fs::remove(path + "/complete.json");
  expectDamage(path, "never finished");
  EXPECT_NE(messageOf<RuntimeError>([&] { readCheckpoint(scratch.path("no")); }).find("does not exist"),
            std::string::npos);
}

TEST_F(CheckpointTest, FindTakesTheNewestValidOneAndSaysWhatItPassedOver) {
  saved(9);
  saved(100);
  writeText(saved(20) + "/run.json", "{}");
  fs::remove(scratch.path("run/step-100/complete.json"));
  FoundCheckpoint found = findCheckpoint(scratch.path("run"));
  EXPECT_EQ(found.path, scratch.path("run/step-9"));
  EXPECT_EQ(found.state.step, 9);
  ASSERT_EQ(found.skipped.size(), 2u);
  EXPECT_NE(found.skipped[0].find("step-100"), std::string::npos);
  EXPECT_NE(found.skipped[1].find("step-20"), std::string::npos);
  EXPECT_EQ(findCheckpoint(scratch.path("run/step-9")).path, scratch.path("run/step-9"));
  EXPECT_THROW(findCheckpoint(scratch.path("run/step-100")), RuntimeError) << "asked for by name, damage is an error";
  fs::create_directory(scratch.path("empty"));
  EXPECT_FALSE(findCheckpoint(scratch.path("empty")).path);
}

TEST_F(CheckpointTest, KeepsTheLatest) {
  for (int64_t step : {1, 2, 10, 9})
    saved(step, 2);
  EXPECT_EQ(listing(scratch.path("run")), (std::set<std::string>{"step-10", "step-9"}));
}

TEST_F(CheckpointTest, NeverReplacesAWholeOneAndMovesABrokenOneAside) {
  std::string path = saved(10), before = readText(path + "/model.safetensors");
  model.parameter(0).set(0, 99);
  saved(10);
  EXPECT_EQ(readText(path + "/model.safetensors"), before);
  fs::remove(path + "/complete.json");
  saved(10);
  EXPECT_NE(readText(path + "/model.safetensors"), before);
  EXPECT_EQ(readText(scratch.path("run/damaged-step-10/model.safetensors")), before);
}

TEST_F(CheckpointTest, AFullDiskLeavesTheOldOnes) {
  std::string path = saved(10), before = readText(path + "/model.safetensors"), message;
  auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit, old;
  getrlimit(RLIMIT_FSIZE, &old);
  limit = {200, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  message = messageOf<RuntimeError>([&] { saved(11, 1); });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find("cannot write"), std::string::npos) << message;
  EXPECT_EQ(listing(scratch.path("run")), (std::set<std::string>{"step-10"}));
  EXPECT_EQ(readText(path + "/model.safetensors"), before);
  EXPECT_NO_THROW(readCheckpoint(path));
}

TEST_F(CheckpointTest, LeftoversOfAKilledRunGoAwayAndTwoRunsDoNotMix) {
  fs::create_directories(scratch.path("run/.step-7"));
  writeText(scratch.path("run/.step-7/model.safetensors"), "half");
  CheckpointDirectory directory(scratch.path("run"), 0);
  EXPECT_EQ(listing(scratch.path("run")), std::set<std::string>{});
  EXPECT_NE(messageOf<RuntimeError>([&] { CheckpointDirectory(scratch.path("run"), 0); }).find("another run"),
            std::string::npos);
  { CheckpointDirectory unused(scratch.path("unused"), 0); }
  EXPECT_FALSE(fs::exists(scratch.path("unused")));
}

TEST_F(CheckpointTest, WeightsMustFitTheModel) {
  std::string weights = saved(10) + "/model.safetensors";
  BigramModel<float> wider(21);
  std::string message = messageOf<RuntimeError>([&] { loadWeights(weights, wider); });
  EXPECT_NE(message.find("expected tensor 'table.weight' of shape [21, 21], but it is [20, 20]"), std::string::npos)
      << message;
  tidegate::runtime::HostTensor table(tidegate::runtime::Dtype::F32, {20, 20}), bias(table.dtype(), {20});
  tidegate::runtime::NamedTensor more[] = {named("table.weight", table), named("bias", bias), named("extra", bias)};
  writeSafetensorsFile(scratch.path("w"), more);
  EXPECT_NE(messageOf<RuntimeError>([&] { loadWeights(scratch.path("w"), model); }).find("holds tensor 'extra'"),
            std::string::npos);
  writeSafetensorsFile(scratch.path("w"), std::span(more, 1));
  EXPECT_NE(messageOf<RuntimeError>([&] { loadWeights(scratch.path("w"), model); }).find("no tensor 'bias'"),
            std::string::npos);
}
