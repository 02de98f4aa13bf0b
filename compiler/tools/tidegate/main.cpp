//===- main.cpp - The tidegate command-line tool ----------------*- C++ -*-===//
// Everything is in runTool; here are only the process-wide settings.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"

#include <csignal>
#include <unistd.h>

namespace {

/// An abort or a crash is our bug and has our exit code; scripts can tell it
/// from bad input. Only async-signal-safe calls here.
void reportCrash(int) {
  constexpr std::string_view message = "tidegate: crashed (this is a bug in tidegate)\n";
  [[maybe_unused]] ssize_t written = write(STDERR_FILENO, message.data(), message.size());
  _exit(tidegate::tool::kOurBug);
}

} // namespace

int main(int argc, char **argv) {
  std::signal(SIGXFSZ, SIG_IGN); // A file size limit is reported like a full disk, not by dying.
  for (int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE})
    std::signal(signal, reportCrash);
  std::vector<std::string> args(argv + 1, argv + argc);
  return tidegate::tool::runTool(args);
}
