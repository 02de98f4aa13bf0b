//===- RunLogTest.cpp -------------------------------------------*- C++ -*-===//
// Metrics without doubles after a resume, and event files by their format.
//===----------------------------------------------------------------------===//
#include "runtime/train/RunLog.h"
#include "runtime/train/RunStatus.h"
#include "tests/unit/runtime/events.pb.h"
#include "tests/unit/runtime/TestFiles.h"

#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

using namespace tidegate::train;
using namespace tidegate::test;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

const ordered_json kFacts = {{"steps", 10}};

void logSteps(RunLog &log, int64_t first, int64_t last) {
  for (int64_t step = first; step <= last; ++step) {
    StepRecord record;
    record.step = step;
    record.loss = step == 2 ? NAN : 5.0 / double(step);
    record.mfu = NAN;
    log.step(record, true);
  }
}

std::vector<int64_t> stepsWith(const std::string &path, const char *key) {
  std::vector<int64_t> steps;
  for (const json &record : readMetrics(path))
    if (record.contains(key))
      steps.push_back(record["step"]);
  return steps;
}

/// The messages of an event file, both checksums of each checked.
std::vector<tidegate::events::Event> eventsOf(const std::string &path) {
  std::string bytes = readText(path);
  std::vector<tidegate::events::Event> events;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length;
    uint32_t lengthCrc, messageCrc;
    auto masked = [](std::string_view text) {
      uint32_t crc = crc32c(text);
      return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
    };
    std::memcpy(&length, &bytes.at(at), 8);
    std::memcpy(&lengthCrc, &bytes.at(at + 8), 4);
    EXPECT_EQ(lengthCrc, masked({&bytes[at], 8}));
    EXPECT_LE(at + 16 + length, bytes.size());
    std::memcpy(&messageCrc, &bytes.at(at + 12 + length), 4);
    EXPECT_EQ(messageCrc, masked({&bytes[at + 12], length}));
    EXPECT_TRUE(events.emplace_back().ParseFromString(bytes.substr(at + 12, length)));
    at += 16 + length;
  }
  return events;
}

} // namespace

TEST(RunLogTest, AResumedRunHasEachStepOnce) {
  ScratchDirectory scratch;
  const std::string path = scratch.path("metrics.jsonl");
  {
    RunLog log(scratch.path(), 0);
    log.begin(kFacts);
    logSteps(log, 1, 4);
    log.evaluation(4, {1.5, 2, 100});
    logSteps(log, 5, 7);
  }
  writeText(path, readText(path) + "{\"step\":8,\"lo"); // Killed while it wrote.
  {
    RunLog log(scratch.path(), 4);
    log.begin(kFacts);
    log.evaluation(4, {1.5, 2, 100});
    logSteps(log, 5, 10);
    log.end(10, "done");
  }
  EXPECT_EQ(stepsWith(path, "lr"), (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(stepsWith(path, "held_out_loss"), std::vector<int64_t>{4});
  EXPECT_EQ(stepsWith(path, "event"), (std::vector<int64_t>{0, 4, 10}));
  std::vector<json> records = readMetrics(path);
  EXPECT_EQ(records[1]["loss"], 5.0);
  EXPECT_TRUE(records[2]["loss"].is_null()) << "not finite";
  EXPECT_TRUE(records[1]["mfu"].is_null()) << "not known";
}

TEST(RunLogTest, EventFilesVoidWhatIsComputedAgain) {
  ScratchDirectory scratch;
  for (int64_t done : {0, 4}) {
    RunLog log(scratch.path(), done);
    log.begin(kFacts);
    logSteps(log, done + 1, 6);
  }
  std::set<std::string> files = listing(scratch.path("tensorboard"));
  ASSERT_EQ(files.size(), 2u) << "each process its own";
  auto first = eventsOf(scratch.path("tensorboard/" + *files.begin())),
       second = eventsOf(scratch.path("tensorboard/" + *files.rbegin()));
  EXPECT_EQ(first.at(0).file_version(), "brain.Event:2");
  ASSERT_EQ(first.size(), 2u + 6);
  EXPECT_EQ(first.at(2).step(), 1);
  EXPECT_EQ(first.at(2).summary().value(0).tag(), "train/loss");
  EXPECT_EQ(first.at(2).summary().value(0).simple_value(), 5.0f);
  EXPECT_TRUE(first.at(2).summary().value(3).has_simple_value()) << "zero skipped steps are a value";
  EXPECT_EQ(second.at(1).session_log().status(), tidegate::events::SessionLog::START);
  EXPECT_EQ(second.at(1).step(), 5);
  EXPECT_EQ(second.size(), 2u + 2);
}

TEST(RunLogTest, Crc32cOfThePublishedVectors) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau); // RFC 3720, B.4.
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(RunStatusTest, StatesOfRuns) {
  ScratchDirectory scratch;
  auto state = [&](const std::string &run) { return statusOf(scratch.path(run))->state; };
  for (const char *run : {"sweep/a", "b"}) {
    std::filesystem::create_directories(scratch.path(run) + "/step-3");
    RunLog log(scratch.path(run), 0);
    log.begin(kFacts);
    logSteps(log, 1, 3);
    log.evaluation(3, {1.25, 2, 100});
  }
  EXPECT_EQ(state("b"), "killed");
  const int held = open(scratch.path("b").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(held, LOCK_EX), 0);
  EXPECT_EQ(state("b"), "running");
  close(held);
  RunLog log(scratch.path("b"), 3);
  log.begin(kFacts);
  log.end(3, "failed", "no space");
  RunStatus status = *statusOf(scratch.path("b"));
  EXPECT_EQ(status.state, "failed");
  EXPECT_EQ(status.message, "no space");
  EXPECT_EQ(status.step, 3);
  EXPECT_EQ(status.steps, 10);
  EXPECT_EQ(status.heldOut, 1.25);
  EXPECT_NEAR(status.loss, 5.0 / 3, 1e-12);
  EXPECT_EQ(status.checkpoint, "step-3");
  std::vector<std::string> found;
  for (const RunStatus &run : findRuns(scratch.path()))
    found.push_back(run.path);
  EXPECT_EQ(found, (std::vector<std::string>{scratch.path("b"), scratch.path("sweep/a")}));
  EXPECT_FALSE(statusOf(scratch.path("sweep")));
}

TEST(ProcessMemoryTest, GrowsWithWhatIsTouched) {
  const int64_t before = processMemory().now;
  std::vector<char> touched(64 << 20, 1);
  EXPECT_GT(processMemory().now, before + (32 << 20));
  EXPECT_GE(processMemory().peak, processMemory().now);
  EXPECT_EQ(touched[5], 1);
}
