//===- StepTrace.cpp - Trace events of training steps -----------*- C++ -*-===//
// The parts of a step are laid end to end from its beginning: on the GPU their
// times are the device's own, measured between events.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/StepTrace.h"

#include "runtime/core/Error.h"

#include <fstream>

using namespace tidegate;
using namespace tidegate::tool;

namespace {
enum Track { kSteps = 1, kParts = 2 };

nlohmann::ordered_json event(const std::string &name, Track track, double start, double seconds) {
  return {{"name", name}, {"ph", "X"}, {"pid", 1}, {"tid", int(track)}, {"ts", start * 1e6}, {"dur", seconds * 1e6}};
}

nlohmann::ordered_json nameOf(Track track, const std::string &name) {
  return {{"name", "thread_name"}, {"ph", "M"}, {"pid", 1}, {"tid", int(track)}, {"args", {{"name", name}}}};
}
} // namespace

StepTrace::StepTrace(train::Model &model, std::string path, int64_t first, int64_t last)
    : model(model), path(std::move(path)), first(first), last(last) {
  write(); // Refused before the work, not after it.
  events.push_back(nameOf(kSteps, "steps"));
  events.push_back(nameOf(kParts, "parts"));
  if (first == 1)
    begin();
}

StepTrace::~StepTrace() {
  watchTraining(model, nullptr);
  if (steps >= last)
    return;
  try {
    write(); // of a run that ended before
  } catch (const runtime::RuntimeError &) { // It could be written at the beginning.
  }
}

void StepTrace::begin() {
  stepStart = at = std::chrono::duration<double>(Clock::now() - origin).count();
  watchTraining(model, [this](const StepPart &part) {
    auto &added = events.emplace_back(event(part.what, kParts, at, part.seconds));
    added["cat"] = part.entry;
    if (!part.where.empty())
      added["args"]["source"] = part.where;
    at += part.seconds;
  });
}

void StepTrace::onRecord(const nlohmann::ordered_json &record) {
  if (!record.contains("loss") || !record.contains("step"))
    return; // of another event
  ++steps;
  const double now = std::chrono::duration<double>(Clock::now() - origin).count();
  if (steps >= first && steps <= last) {
    auto &added = events.emplace_back(event("step " + record["step"].dump(), kSteps, stepStart, now - stepStart));
    added["args"] = record;
  }
  if (steps == last) {
    watchTraining(model, nullptr);
    write();
  } else if (steps + 1 >= first && steps < last) {
    begin();
  }
}

void StepTrace::write() {
  std::ofstream file(path);
  file << nlohmann::ordered_json{{"displayTimeUnit", "ms"}, {"traceEvents", events}}.dump() << "\n";
  if (!file.flush())
    throw runtime::RuntimeError(runtime::RuntimeError::Kind::Io, "cannot write '" + path + "'");
}
