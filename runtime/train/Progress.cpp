//===- Progress.cpp - Progress lines ----------------------------*- C++ -*-===//
// A terminal is written to at most ten times a second.
//===----------------------------------------------------------------------===//
#include "runtime/train/Progress.h"

#include <cmath>

using namespace tidegate::train;

namespace {
std::string format(const char *pattern, auto... values) {
  char text[128];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}
} // namespace

std::string tidegate::train::durationText(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0)
    return "?";
  const long long total = std::llround(seconds), hours = total / 3600, minutes = total / 60 % 60, rest = total % 60;
  return hours ? format("%lld:%02lld:%02lld", hours, minutes, rest) : format("%lld:%02lld", minutes, rest);
}

std::string tidegate::train::progressText(const ProgressReport &r) {
  std::string text = format("step %lld/%lld  loss %.4f  lr %.2e  norm %.3g  ", (long long)r.step, (long long)r.steps,
                            r.loss, r.lr, r.gradNorm);
  text += r.tokensPerSecond >= 1e4 ? format("%.1fk", r.tokensPerSecond / 1e3) : format("%.0f", r.tokensPerSecond);
  text += " tokens/s  ";
  if (std::isfinite(r.mfu))
    text += format("MFU %.1f %%  ", 100 * r.mfu);
  text += "ETA " + durationText(r.secondsLeft);
  if (r.skipped)
    text += format("  (%lld skipped)", (long long)r.skipped);
  return text;
}

void Progress::report(const ProgressReport &report, bool plain) {
  using namespace std::chrono_literals;
  if (!terminal) {
    if (plain)
      note(progressText(report));
    return;
  }
  auto now = std::chrono::steady_clock::now();
  if (report.step < report.steps && now - shown < 100ms)
    return;
  shown = now;
  std::fprintf(stream, "\r\033[K%s", progressText(report).c_str());
  std::fflush(stream);
  lineOpen = true;
}

void Progress::note(const std::string &text) {
  finishLine();
  std::fprintf(stream, "%s\n", text.c_str());
  std::fflush(stream);
}

void Progress::finishLine() {
  if (lineOpen)
    std::fputc('\n', stream);
  lineOpen = false;
}
