//===- ProgramOptions.h - Options every compiling command has ---*- C++ -*-===//
// Which program, with which parameters, compiled how.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Driver/Driver.h"
#include "compiler/tools/tidegate/CommandLine.h"

namespace tidegate::tool {

/// --set.
void addProgramOptions(CommandLine &line);
/// --precision, --form, --chunk, --threads, --device, --documents.
void addCompileOptions(CommandLine &line);
/// --format text|json.
void addFormatOption(CommandLine &line);

/// The operand as a program with the parameters of --set.
ProgramSource programOf(const CommandLine &line);
/// NAME=VALUE pairs of --set.
ParamList paramsOf(const CommandLine &line);
/// Also sets the number of OpenMP threads of this process.
CompileOptions compileOptionsOf(const CommandLine &line);
bool wantsJson(const CommandLine &line);

const char *precisionName(Precision precision);

} // namespace tidegate::tool
