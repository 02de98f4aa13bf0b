//===- RunLog.cpp - What a run writes about itself --------------*- C++ -*-===//
#include "runtime/train/RunLog.h"

#include "runtime/core/FileIo.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>

using namespace tidegate::train;
using namespace tidegate::runtime;
using nlohmann::json;
using nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

/// Calls `each` with every whole line that is a record, and the record.
void forEachRecord(std::string_view text, const std::function<void(std::string_view, json &)> &each) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == text.npos)
      return; // Cut off while it was written.
    json record = json::parse(text.substr(0, end), nullptr, /*allow_exceptions=*/false);
    if (record.is_object() && record.contains("step") && record["step"].is_number_integer())
      each(text.substr(0, end + 1), record);
    text.remove_prefix(end + 1);
  }
}

/// Rewrites the file without what was recorded after `step`, if anything was.
/// Returns the last step whose evaluation stays, or -1.
int64_t dropAfter(const std::string &path, int64_t step) {
  int64_t evaluated = -1;
  if (!fs::exists(path))
    return evaluated;
  std::string kept;
  size_t before = 0;
  {
    MappedFile file(path);
    before = file.text().size();
    forEachRecord(file.text(), [&](std::string_view line, json &record) {
      if (record["step"] > step)
        return;
      kept += line;
      if (record.contains("held_out_loss"))
        evaluated = record["step"];
    });
  }
  if (kept.size() != before)
    writeFileAtomically(path, [&](FileWriter &out) { out.write(kept); });
  return evaluated;
}

double unixTime() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

} // namespace

void RunLog::begin(const ordered_json &facts) {
  const std::string path = directory + "/" + kMetricsFile;
  evaluatedStep = dropAfter(path, firstStep);
  metrics.emplace(path);
  makeWritableDirectory(directory + "/tensorboard");
  events.emplace(directory + "/tensorboard", firstStep + 1);
  ordered_json record = {{"event", "begin"}, {"step", firstStep}};
  record.update(facts);
  line(std::move(record));
}

void RunLog::line(ordered_json json) {
  json["time"] = unixTime();
  metrics->append(json.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n"); // NaN becomes null.
  if (observer)
    observer(json);
}

void RunLog::step(const StepRecord &r, bool curves) {
  line({{"step", r.step},
        {"loss", r.loss},
        {"lr", r.lr},
        {"grad_norm", r.gradNorm},
        {"tokens", r.tokens},
        {"tokens_per_second", r.tokensPerSecond},
        {"step_seconds", r.stepSeconds},
        {"data_seconds", r.dataSeconds},
        {"mfu", r.mfu},
        {"reference_mfu", r.referenceMfu},
        {"memory_bytes", r.memoryBytes},
        {"peak_memory_bytes", r.peakMemoryBytes},
        {"skipped_steps", r.skippedSteps},
        {"seconds_left", r.secondsLeft}});
  if (!curves)
    return;
  constexpr double kMebi = 1 << 20;
  const std::pair<const char *, double> scalars[] = {{"train/loss", r.loss},
                                                     {"train/lr", r.lr},
                                                     {"train/grad_norm", r.gradNorm},
                                                     {"train/skipped_steps", double(r.skippedSteps)},
                                                     {"speed/tokens_per_second", r.tokensPerSecond},
                                                     {"speed/mfu", r.mfu},
                                                     {"speed/reference_mfu", r.referenceMfu},
                                                     {"speed/step_seconds", r.stepSeconds},
                                                     {"speed/data_seconds", r.dataSeconds},
                                                     {"memory/resident_mib", double(r.memoryBytes) / kMebi},
                                                     {"memory/peak_mib", double(r.peakMemoryBytes) / kMebi}};
  events->add(r.step, scalars);
}

void RunLog::evaluation(int64_t step, const TextLoss &loss) {
  if (step == evaluatedStep)
    return;
  line({{"step", step},
        {"held_out_loss", loss.nats},
        {"held_out_bits_per_byte", loss.bitsPerByte},
        {"held_out_tokens", loss.tokens},
        {"held_out_bytes", loss.bytes}});
  const std::pair<const char *, double> scalars[] = {{"held_out/loss", loss.nats},
                                                     {"held_out/bits_per_byte", loss.bitsPerByte}};
  events->add(step, scalars);
}

void RunLog::end(int64_t step, const std::string &status, const std::string &message) {
  ordered_json record = {{"event", "end"}, {"step", step}, {"status", status}};
  if (!message.empty())
    record["message"] = message;
  line(std::move(record));
}

void RunLog::sync() { metrics->sync(); }

std::vector<json> tidegate::train::readMetrics(const std::string &path) {
  MappedFile file(path);
  std::vector<json> records;
  forEachRecord(file.text(), [&](std::string_view, json &record) { records.push_back(std::move(record)); });
  return records;
}

ProcessMemory tidegate::train::processMemory() {
  ProcessMemory memory;
  std::ifstream status("/proc/self/status");
  std::string key;
  while (status >> key) {
    if (key == "VmRSS:" || key == "VmHWM:") {
      int64_t kibibytes = 0;
      status >> kibibytes;
      (key == "VmRSS:" ? memory.now : memory.peak) = kibibytes * 1024;
    }
    status.ignore(1 << 12, '\n');
  }
  return memory;
}
