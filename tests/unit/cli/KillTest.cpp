//===- KillTest.cpp ---------------------------------------------*- C++ -*-===//
// Sixty times kill -9 at random moments, half of them while a checkpoint is
// being written, and damaged checkpoints in between: every restart goes on from
// the newest valid one, and what comes out are the bits of a run that nobody
// disturbed.
//===----------------------------------------------------------------------===//
#include "runtime/train/Checkpoint.h"
#include "runtime/train/RunLog.h"
#include "tests/unit/cli/ToolRun.h"

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <random>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

using namespace tidegate;
using namespace tidegate::test;
namespace fs = std::filesystem;

namespace {

constexpr int kSteps = 300, kSaveEvery = 5, kKills = 60;
constexpr rlim_t kNoLimit = RLIM_INFINITY;

class KillTest : public ToolTest {
protected:
  /// A training process that goes on in `out`; its messages are in logs/err.
  pid_t start(const std::string &out, rlim_t fileSize = kNoLimit) {
    const std::string steps = std::to_string(kSteps), every = std::to_string(kSaveEvery), log = logs.path("err");
    const char *argv[] = {TIDEGATE_TOOL, "train",        "m.tg",        "--data", "text",  "--steps",  steps.c_str(),
                          "--batch",     "2",            "--seq",       "32",     "--lr",  "0.05",     "--save-every",
                          every.c_str(), "--eval-every", "50",          "--keep", "3",     "--resume", "auto",
                          "--out",       out.c_str(),    "--log-every", "50",     nullptr};
    // Emptied here: a child that is killed at once must not leave the messages of the one before.
    const int sink = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    const pid_t child = fork();
    if (child != 0) {
      close(sink);
      return child;
    }
    dup2(sink, STDERR_FILENO);
    dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
    const rlimit limit{fileSize, fileSize};
    setrlimit(RLIMIT_FSIZE, &limit);
    if (chdir(scratch.path().c_str()) == 0)
      execv(argv[0], const_cast<char *const *>(argv));
    _exit(127);
  }

  bool isSaving(const std::string &out) const {
    if (!fs::exists(path(out)))
      return false;
    for (const std::string &name : listing(path(out)))
      if (name.starts_with(".step-"))
        return true;
    return false;
  }

  /// The exit code, or -1 when the kill came first.
  static int killed(pid_t child) {
    int status;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static bool hasEnded(pid_t child) {
    siginfo_t info{};
    return waitid(P_PID, id_t(child), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
  }
  static int waited(pid_t child) {
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  int64_t below(int64_t bound) { return int64_t(random() % uint64_t(bound)); }
  void sleepMilliseconds(double milliseconds) {
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(milliseconds));
  }

  /// Hurts the newest checkpoint, if there is an older one to fall back to.
  void damage(const std::string &out) {
    auto names = train::checkpointNames(path(out));
    if (names.size() < 2 || !train::findCheckpoint(path(out)).path)
      return;
    const std::string newest = path(out + "/" + names.back());
    train::readCheckpoint(path(out + "/" + names[names.size() - 2])); // Throws if the older one is not whole.
    const char *const files[] = {"model.safetensors", "optimizer.safetensors", "run.json", "complete.json"};
    const std::string file = newest + "/" + files[below(4)];
    if (!fs::exists(file))
      return;
    std::string bytes = readText(file);
    switch (damages++ % 3) {
    case 0: // Torn: the marker never came.
      fs::remove(newest + "/complete.json");
      break;
    case 1:
      fs::resize_file(file, uintmax_t(below(int64_t(bytes.size()))));
      break;
    case 2:
      bytes[size_t(below(int64_t(bytes.size())))] ^= char(1 << below(8));
      writeText(file, bytes);
      break;
    }
  }

  /// A run that cannot save ends with an error and keeps what it has.
  void refuse(const std::string &out) {
    const auto before = train::findCheckpoint(path(out));
    if (!before.path || before.state.step >= kSteps)
      return;
    const std::string name = ".step-" + std::to_string(before.state.step + kSaveEvery);
    constexpr rlim_t kLessThanTheWeights = 250 << 10;
    const bool full = refusals++ % 2;
    if (!full) {
      fs::remove_all(path(out + "/" + name)); // A save that was killed.
      writeText(path(out + "/" + name), "in the way");
    }
    const int code = waited(start(out, full ? kLessThanTheWeights : kNoLimit));
    EXPECT_EQ(code, 1) << readText(logs.path("err"));
    EXPECT_TRUE(contains(readText(logs.path("err")), full ? "cannot write" : "cannot save checkpoint"))
        << readText(logs.path("err"));
    EXPECT_EQ(train::findCheckpoint(path(out)).path, before.path);
    if (!full)
      fs::remove(path(out + "/" + name));
  }

  /// Kills one process. False when it had finished before.
  bool killOnce(const std::string &out) {
    const auto expected = fs::exists(path(out)) ? train::findCheckpoint(path(out)) : train::FoundCheckpoint();
    const pid_t child = start(out);
    if (kills % 2) {
      for (int polls = 0; polls < 50000 && !isSaving(out) && !hasEnded(child); ++polls)
        sleepMilliseconds(0.2);
      sleepMilliseconds(double(below(1000)) / 500);
    } else {
      sleepMilliseconds(double(below(patience)));
    }
    const int code = killed(child);
    const std::string messages = readText(logs.path("err"));
    const size_t resumed = messages.find("resuming from ");
    if (resumed != std::string::npos && messages.find('\n', resumed) != std::string::npos) {
      EXPECT_TRUE(expected.path) << messages;
      EXPECT_TRUE(contains(messages, "resuming from " + out + "/" +
                                         fs::path(expected.path.value_or("")).filename().string() + "\n"))
          << messages << "instead of " << expected.path.value_or("a start");
      ++resumes;
    }
    if (code >= 0) {
      EXPECT_EQ(code, 0) << messages;
      return false;
    }
    ++kills;
    saving += isSaving(out);
    // On a busy machine a process needs longer to get anywhere.
    const bool moved = fs::exists(path(out)) && train::findCheckpoint(path(out)).path != expected.path;
    patience = moved ? std::max<int64_t>(40, patience * 2 / 3) : std::min<int64_t>(3000, patience * 3 / 2);
    return true;
  }

  std::mt19937_64 random{20240607};
  int kills = 0, saving = 0, resumes = 0, damages = 0, refusals = 0;
  int64_t patience = 120;
};

} // namespace

TEST_F(KillTest, EveryRestartGoesOnAndTheBitsAreTheSame) {
  ASSERT_EQ(waited(start("whole")), 0) << readText(logs.path("err"));
  int runs = 0;
  while (kills < kKills) {
    const std::string out = "run-" + std::to_string(runs++);
    while (kills < kKills && killOnce(out)) {
      if (!fs::exists(path(out)))
        continue;
      if (kills % 5 == 0)
        damage(out);
      else if (kills % 7 == 0)
        refuse(out);
    }
    ASSERT_EQ(waited(start(out)), 0) << readText(logs.path("err")); // To its end, and over it again.
    for (const char *file : {"model.safetensors", "optimizer.safetensors", "run.json"})
      ASSERT_EQ(readText(path("whole/step-300/") + file), readText(path(out + "/step-300/" + file))) << file;
    std::vector<std::pair<int64_t, double>> losses[2];
    for (int i = 0; i < 2; ++i)
      for (const auto &record : train::readMetrics(path(i ? out : "whole") + "/metrics.jsonl"))
        if (record.contains("loss"))
          losses[i].emplace_back(record["step"], record["loss"]);
    EXPECT_EQ(losses[0].size(), size_t(kSteps));
    EXPECT_EQ(losses[0], losses[1]);
  }
  EXPECT_GE(saving, 5) << "kills while a checkpoint was being written, of " << kills;
  EXPECT_GE(resumes, 20);
  EXPECT_GE(damages, 3);
  EXPECT_GE(refusals, 2);
  std::printf("%d kills, %d of them while saving; %d resumes, %d damaged checkpoints, %d refused saves, %d runs\n",
              kills, saving, resumes, damages, refusals, runs);
}
