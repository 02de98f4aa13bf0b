//===- RunStatus.cpp - How a run in a directory stands ----------*- C++ -*-===//
#include "runtime/train/RunStatus.h"

#include "runtime/core/Error.h"
#include "runtime/train/Checkpoint.h"
#include "runtime/train/RunLog.h"

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <unistd.h>

using namespace tidegate::train;
using nlohmann::json;
using tidegate::runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

/// Whether a run holds the directory's lock.
bool isLocked(const std::string &directory) {
  const int descriptor = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    return false;
  const bool locked = flock(descriptor, LOCK_SH | LOCK_NB) != 0;
  close(descriptor);
  return locked;
}

void update(double &value, const json &record, const char *key) {
  if (auto found = record.find(key); found != record.end())
    value = found->is_number() ? found->get<double>() : NAN;
}

} // namespace

std::optional<RunStatus> tidegate::train::statusOf(const std::string &directory) {
  const std::string path = directory + "/" + kMetricsFile;
  if (!fs::is_regular_file(path))
    return std::nullopt;
  RunStatus status;
  status.path = directory;
  status.state = "killed"; // Unless the last process said how it ended.
  for (const json &record : readMetrics(path)) {
    const std::string event = record.value("event", "");
    if (event == "begin") {
      status.state = "killed";
      status.message.clear();
      status.steps = record.value("steps", int64_t(0));
    } else if (event == "end") {
      status.state = record.value("status", "killed");
      status.message = record.value("message", "");
    }
    status.step = record["step"];
    update(status.loss, record, "loss");
    update(status.heldOut, record, "held_out_loss");
    update(status.tokensPerSecond, record, "tokens_per_second");
    update(status.secondsLeft, record, "seconds_left");
    update(status.time, record, "time");
  }
  if (isLocked(directory))
    status.state = "running";
  if (std::vector<std::string> names = checkpointNames(directory); !names.empty())
    status.checkpoint = names.back();
  return status;
}

std::vector<RunStatus> tidegate::train::findRuns(const std::string &root) {
  if (!fs::is_directory(root))
    throw RuntimeError(RuntimeError::Kind::NotFound, "expected a directory of runs, but '" + root +
                                                         (fs::exists(root) ? "' is a file" : "' does not exist"));
  std::vector<std::string> directories{root};
  const auto options = fs::directory_options::skip_permission_denied;
  for (auto entry = fs::recursive_directory_iterator(root, options); entry != fs::recursive_directory_iterator();
       ++entry) {
    constexpr int kDepth = 4; // out/SWEEP/RUN, and a little more.
    if (!entry->is_directory())
      continue;
    directories.push_back(entry->path().string());
    if (entry.depth() >= kDepth)
      entry.disable_recursion_pending();
  }
  std::sort(directories.begin(), directories.end());
  std::vector<RunStatus> runs;
  for (const std::string &directory : directories)
    if (auto status = statusOf(directory))
      runs.push_back(std::move(*status));
  return runs;
}
