//===- ToolRun.h - Running the tool as a user does --------------*- C++ -*-===//
// A shell command, its exit code and what it printed.
//===----------------------------------------------------------------------===//
#pragma once

#include "tests/unit/runtime/TestFiles.h"

#include <gtest/gtest.h>
#include <sstream>
#include <sys/wait.h>
#include <vector>

namespace tidegate::test {

struct ToolRun {
  int code;
  std::string out, err;

  std::string lastLine() const {
    std::string last, line;
    for (std::istringstream lines(out); std::getline(lines, line);)
      last = line;
    return last;
  }
};

/// A scratch directory with a program, a text, and the tool beside them.
class ToolTest : public testing::Test {
protected:
  ToolTest() {
    writeText(path("m.tg"), "vocab 272\n");
    std::string text;
    for (int i = 0; i < 2000; ++i)
      text += i % 5 ? "the cat sat. " : "a dog!\n";
    writeText(path("text"), text);
  }

  std::string path(const std::string &name) const { return scratch.path(name); }

  /// Runs `tidegate ARGS` in the scratch directory; `before` is shell code in front.
  ToolRun tool(const std::string &args, const std::string &before = "") {
    std::string command = "cd '" + scratch.path() + "' && { " + before + " '" TIDEGATE_TOOL "' " + args + "; } > '" +
                          logs.path("out") + "' 2> '" + logs.path("err") + "'";
    int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, readText(logs.path("out")), readText(logs.path("err"))};
  }

  /// Fails with `code`, says `part`, and prints no result.
  void expectFailure(int code, const std::string &args, const std::string &part, const std::string &before = "") {
    ToolRun run = tool(args, before);
    EXPECT_EQ(run.code, code) << args << "\n" << run.err;
    EXPECT_NE(run.err.find(part), std::string::npos) << args << "\nexpected: " << part << "\n" << run.err;
    EXPECT_EQ(run.out, "") << args;
  }

  ScratchDirectory scratch, logs;
};

inline bool contains(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

} // namespace tidegate::test
