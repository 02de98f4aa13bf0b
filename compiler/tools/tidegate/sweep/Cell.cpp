//===- Cell.cpp - One run of a sweep ----------------------------*- C++ -*-===//
#include "compiler/tools/tidegate/sweep/Cell.h"

#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace tidegate::tool;
using namespace tidegate::runtime;
using nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

constexpr const char *kResult = "result.json";

/// The last line of a file as a JSON object, or null.
ordered_json lastObject(const std::string &path) {
  MappedFile file(path);
  std::string_view text = file.text();
  while (!text.empty() && text.back() == '\n')
    text.remove_suffix(1);
  const size_t newline = text.rfind('\n');
  ordered_json json = ordered_json::parse(newline == text.npos ? text : text.substr(newline + 1), nullptr, false);
  return json.is_object() ? json : ordered_json();
}

/// In the child: only calls that are safe between fork and exec.
[[noreturn]] void become(char *const *argv, const char *out, const char *err, pid_t parent) {
  setpgid(0, 0); // A Ctrl-C reaches the sweep alone, which passes it on once.
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  const int outFile = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666), errFile = open(err, O_WRONLY | O_CREAT | O_APPEND, 0666);
  constexpr int kCannotStart = 127;
  if (getppid() != parent || outFile < 0 || errFile < 0 || dup2(outFile, STDOUT_FILENO) < 0 ||
      dup2(errFile, STDERR_FILENO) < 0)
    _exit(kCannotStart);
  execv("/proc/self/exe", argv);
  _exit(kCannotStart);
}

} // namespace

CellOutcome tidegate::tool::runCell(const std::vector<std::string> &arguments, const std::string &log,
                                    const std::function<bool()> &stop) {
  const std::string out = log + ".out", err = log + ".err";
  std::vector<char *> argv{const_cast<char *>("tidegate")};
  for (const std::string &argument : arguments)
    argv.push_back(const_cast<char *>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid(), child = fork();
  if (child < 0)
    throwErrno("start", "tidegate " + arguments.front());
  if (child == 0)
    become(argv.data(), out.c_str(), err.c_str(), parent);
  int status = 0;
  for (bool told = false; waitpid(child, &status, WNOHANG) == 0;) {
    if (!told && stop()) {
      kill(child, SIGTERM);
      told = true;
    }
    usleep(20000);
  }
  CellOutcome outcome;
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (fs::exists(out))
    outcome.result = lastObject(out);
  return outcome;
}

std::optional<ordered_json> tidegate::tool::storedResult(const std::string &directory,
                                                         const std::vector<std::string> &arguments) {
  const std::string path = directory + "/" + kResult;
  if (!fs::exists(path))
    return std::nullopt;
  ordered_json stored = ordered_json::parse(MappedFile(path).text(), nullptr, false);
  if (!stored.is_object() || !stored.contains("result") || stored.value("arguments", ordered_json()) != arguments)
    return std::nullopt;
  return stored["result"];
}

void tidegate::tool::storeResult(const std::string &directory, const std::vector<std::string> &arguments,
                                 const ordered_json &result) {
  writeFileAtomically(directory + "/" + kResult, [&](FileWriter &out) {
    out.write(ordered_json{{"arguments", arguments}, {"result", result}}.dump(2) + "\n");
  });
}
