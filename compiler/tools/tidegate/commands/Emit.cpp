//===- Emit.cpp - tidegate emit ---------------------------------*- C++ -*-===//
// Prints one level of the compilation, or keeps all of them as files.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "runtime/core/FileIo.h"

#include <filesystem>
#include <iostream>

using namespace tidegate;
using namespace tidegate::tool;

ExitCode tool::runEmit(std::span<const std::string> args) {
  const auto known = stages();
  std::string summary = "Prints a program at one stage of its compilation:\n", names;
  std::vector<std::string> valid;
  for (const auto &[name, help] : known) {
    summary += "\n  " + name + std::string(name.size() < 8 ? 8 - name.size() : 1, ' ') + help;
    names += (names.empty() ? "" : "|") + name;
    valid.push_back(name);
  }
  CommandLine line("emit", "FILE", summary);
  addProgramOptions(line);
  line.option<std::string>("stage", "STAGE", names);
  line.option<std::string>("save-temps", "DIR", "write every stage to DIR/PROGRAM.STAGE");
  line.flag("remarks", "say on stderr how each decay of a chunked recurrence is evaluated, and why");
  addCompileOptions(line);
  if (!line.parse(args))
    return kDone;
  if (!line.has("stage") && !line.has("save-temps"))
    throw UsageError("expected option '--stage' or '--save-temps' (see tidegate emit --help)");
  const std::string stage = line.get<std::string>("stage", valid.front());
  if (std::find(valid.begin(), valid.end(), stage) == valid.end())
    CommandLine::refuse("option '--stage'", stage, valid);
  const ProgramSource source = programOf(line);
  CompileOptions options = compileOptionsOf(line);
  options.remarks = line.has("remarks");

  if (line.has("stage"))
    std::cout << emitStage(source, stage, options);
  if (!line.has("save-temps"))
    return kDone;
  const std::string directory = line.get<std::string>("save-temps", "");
  runtime::makeWritableDirectory(directory);
  for (const std::string &name : valid) {
    std::string text = emitStage(source, name, options);
    std::string path = directory + "/" + std::filesystem::path(source.path).stem().string() + "." + name;
    runtime::writeFileAtomically(path, [&](runtime::FileWriter &out) { out.write(text); });
    std::cerr << "wrote " << path << "\n";
  }
  return kDone;
}
