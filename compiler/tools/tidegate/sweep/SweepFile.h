//===- SweepFile.h - A table of runs as text --------------------*- C++ -*-===//
// Lines `option = value` of `tidegate train` for every cell, then sections:
//
//   steps = 60
//   set = D=64
//
//   [gla]
//   program = ../gla/gla.tg
//   vary = rank: 2 4 16 full
//
// A section is one cell for each value of `vary` (several: for each
// combination), named gla_r2 or, for another param than `rank`, gla_D=64. Its
// own options come after, and instead of, those for all. Paths (program, data,
// out, config) are relative to the file.
//===----------------------------------------------------------------------===//
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tidegate::tool {

struct SweepCell {
  std::string name, section;
  std::string program;
  std::vector<std::pair<std::string, std::string>> options; ///< Of `train`; `set` may be repeated.
};

struct SweepFile {
  std::string out;  ///< Empty: not said.
  std::string data; ///< Of a file that says it once for all; empty: not said.
  std::vector<SweepCell> cells;
};

/// Errors: RuntimeError with file and line.
SweepFile readSweep(const std::string &path);

} // namespace tidegate::tool
