//===- main.cpp - The tidegate command-line tool ----------------*- C++ -*-===//
// Everything is in runTool; here are only the process-wide settings.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"

#include <csignal>

int main(int argc, char **argv) {
  std::signal(SIGXFSZ, SIG_IGN); // A file size limit is reported like a full disk, not by dying.
  std::vector<std::string> args(argv + 1, argv + argc);
  return tidegate::tool::runTool(args);
}
