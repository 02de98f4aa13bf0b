//===- Commands.cpp - Choosing a command and reporting failure --*- C++ -*-===//
// The only place where exceptions become exit codes.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"

#include "compiler/Driver/Driver.h"
#include "runtime/core/Blas.h"
#include "runtime/core/Error.h"
#include "runtime/core/Suggest.h"

#include <csignal>
#include <cstring>
#include <execinfo.h>
#include <iostream>
#include <new>
#include <unistd.h>

using namespace tidegate;
using namespace tidegate::tool;

namespace {

void printOverview(std::ostream &out) {
  out << "usage: tidegate COMMAND INPUT [options]\n\n";
  for (const Command &command : kCommands)
    out << "  " << command.name << std::string(12 - command.name.size(), ' ') << command.summary << "\n";
  out << "  help        This overview, or the options of one command\n"
         "  version     Version of this program\n\n"
         "Exit codes: 0 done, 1 bad input, 2 bad command line, 3 a bug of ours.\n";
}

const Command &findCommand(const std::string &name) {
  std::vector<std::string> names;
  std::string valid;
  for (const Command &command : kCommands) {
    if (command.name == name)
      return command;
    names.emplace_back(command.name);
    valid += std::string(command.name) + ", ";
  }
  throw UsageError("unknown command '" + name + "'" + runtime::didYouMean(name, names) + "\nvalid commands: " + valid +
                   "help, version");
}

ExitCode dispatch(std::span<const std::string> args) {
  if (args.empty()) {
    printOverview(std::cerr);
    return kBadUsage;
  }
  const std::string &name = args[0];
  if (name == "version" || name == "--version") {
    std::cout << "tidegate " TIDEGATE_VERSION "\nmatrix products: " << runtime::blasDescription() << "\n";
    return kDone;
  }
  if (name == "help" || name == "--help" || name == "-h") {
    if (args.size() == 1) {
      printOverview(std::cout);
      return kDone;
    }
    const std::vector<std::string> help = {"--help"};
    return findCommand(args[1]).run(help);
  }
  return findCommand(name).run(args.subspan(1));
}

/// An abort or a crash is our bug and has our exit code; scripts can tell it
/// from bad input. Whence it came goes to stderr, for a report of it; a crash
/// on the way ends it like one. Only async-signal-safe calls here, as
/// `backtrace` is once its library is loaded.
void reportCrash(int signal) {
  auto say = [](std::string_view text) { [[maybe_unused]] ssize_t n = write(STDERR_FILENO, text.data(), text.size()); };
  say("tidegate: crashed (this is a bug in tidegate): SIG");
  say(sigabbrev_np(signal));
  say("\n");
  std::signal(signal, [](int) { _exit(kOurBug); });
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, signal);
  sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
  void *frames[64];
  backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
  _exit(kOurBug);
}

ExitCode failure(ExitCode code, const std::string &message) {
  std::cerr << "tidegate: error: " << message << "\n";
  return code;
}

} // namespace

ExitCode tool::runTool(std::span<const std::string> args) {
  try {
    ExitCode code = dispatch(args);
    std::cout.flush();
    return std::cout ? code : failure(kBadInput, "cannot write to standard output");
  } catch (const UsageError &error) {
    return failure(kBadUsage, error.what());
  } catch (const CompileError &error) {
    std::cerr << error.what();
    return kBadInput;
  } catch (const runtime::RuntimeError &error) {
    if (error.kind() != runtime::RuntimeError::Kind::Internal)
      return failure(kBadInput, error.what());
    return failure(kOurBug, std::string(error.what()) + " (this is a bug in tidegate)");
  } catch (const std::bad_alloc &) {
    return failure(kBadInput, "not enough memory");
  } catch (const std::exception &error) {
    return failure(kOurBug, std::string(error.what()) + " (this is a bug in tidegate)");
  }
}

ExitCode tool::runProcess(std::span<const std::string> args) {
  std::signal(SIGXFSZ, SIG_IGN); // A file size limit is reported like a full disk, not by dying.
  void *frame;
  backtrace(&frame, 1); // The first call loads a library, which a crash must not have to.
  for (int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE})
    std::signal(signal, reportCrash);
  return runTool(args);
}
