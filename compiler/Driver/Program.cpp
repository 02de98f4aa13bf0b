//===- Program.cpp - What a program says, without compiling it --*- C++ -*-===//
#include "compiler/Driver/Driver.h"
#include "compiler/Driver/Pipeline.h"
#include "frontends/dsl/HfConfig.h"

using namespace tidegate;

std::vector<train::ParameterSpec> tidegate::modelParameters(const ProgramSource &source) {
  auto program = loadProgram(source);
  dsl::Diagnostics diagnostics;
  auto weights = program->weights(diagnostics);
  if (!weights || diagnostics.hasErrors()) {
    diagnostics.print(llvm::errs());
    throw CompileError();
  }
  std::vector<train::ParameterSpec> specs;
  for (const dsl::WeightInfo &w : *weights)
    specs.push_back({w.name, w.shape, w.init, w.decay});
  return specs;
}

std::vector<SourceFile> tidegate::sourceFiles(const ProgramSource &source) {
  std::vector<SourceFile> files;
  for (const dsl::SourceText &file : loadProgram(source)->sourceFiles())
    files.push_back({file.path, file.text});
  return files;
}

ParamList tidegate::paramsFromConfig(const std::string &configPath) {
  dsl::Diagnostics diagnostics;
  auto params = dsl::paramsFromConfig(configPath, diagnostics);
  if (!params || diagnostics.hasErrors()) {
    diagnostics.print(llvm::errs());
    throw CompileError();
  }
  return *params;
}
