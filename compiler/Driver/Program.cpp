//===- Program.cpp - What a program says, without compiling it --*- C++ -*-===//
#include "compiler/Driver/Driver.h"
#include "compiler/Driver/Pipeline.h"
#include "frontends/dsl/HfConfig.h"
#include "ir/Rec/RecOps.h"

using namespace tidegate;

static CompileMessage messageOf(const dsl::Diagnostics &diagnostics, const dsl::Diagnostic &from) {
  dsl::Position at = diagnostics.position(from.range.Start);
  CompileMessage message{at.file.str(), at.line, at.column, from.message, {}};
  for (const dsl::Diagnostic &note : from.notes)
    message.notes.push_back(messageOf(diagnostics, note));
  return message;
}

CompileError tidegate::compileError(const dsl::Diagnostics &diagnostics) {
  std::vector<CompileMessage> messages;
  for (const dsl::Diagnostic &diagnostic : diagnostics.all())
    messages.push_back(messageOf(diagnostics, diagnostic));
  return CompileError(std::move(messages), diagnostics.str());
}

LoadedProgram::LoadedProgram(const ProgramSource &source) {
  dsl::LoadOptions options;
  options.path = source.path;
  options.params = source.params;
  for (const SourceFile &file : source.files)
    options.files.push_back({file.path, file.text});
  program = dsl::Program::load(options, diagnostics);
  check(bool(program));
}

void LoadedProgram::check(bool isThere) {
  if (isThere && !diagnostics.hasErrors())
    return;
  throw compileError(diagnostics);
}

std::vector<train::ParameterSpec> LoadedProgram::parameters() {
  auto weights = program->weights(diagnostics);
  check(weights.has_value());
  std::vector<train::ParameterSpec> specs;
  for (const dsl::WeightInfo &w : *weights)
    specs.push_back({w.name, w.shape, w.init, w.decay});
  return specs;
}

bool LoadedProgram::takes(const std::string &entry, const std::string &tensor) const {
  for (const dsl::EntryInfo &info : program->entries())
    if (info.name == entry || (info.kind == "model" && (entry.empty() || entry == "model")))
      if (llvm::is_contained(info.tensors, tensor))
        return true;
  return false;
}

mlir::OwningOpRef<mlir::ModuleOp> LoadedProgram::generate(mlir::MLIRContext &context,
                                                          const dsl::GenerateOptions &options) {
  auto module = program->generate(context, options, diagnostics);
  check(bool(module));
  return module;
}

std::vector<train::ParameterSpec> tidegate::modelParameters(const ProgramSource &source) {
  return LoadedProgram(source).parameters();
}

ParamList tidegate::programParams(const ProgramSource &source) {
  ParamList params;
  LoadedProgram program(source);
  for (const dsl::ParamInfo &param : program.params())
    params.emplace_back(param.name, param.value);
  return params;
}

bool tidegate::entryTakes(const ProgramSource &source, const std::string &entry, const std::string &tensor) {
  return LoadedProgram(source).takes(entry, tensor);
}

bool tidegate::separatesDocuments(const ProgramSource &source) {
  Compilation compilation({});
  LoadedProgram program(source);
  bool separates = true;
  compilation.generate(program)->walk([&](rec::ScanOp scan) { separates &= scan.getChunk() == 1; });
  return separates;
}

std::vector<SourceFile> tidegate::sourceFiles(const ProgramSource &source) {
  std::vector<SourceFile> files;
  LoadedProgram program(source);
  for (const dsl::SourceText &file : program.files())
    files.push_back({file.path, file.text});
  return files;
}

std::vector<EntryPoint> tidegate::entryPoints(const ProgramSource &source) {
  std::vector<EntryPoint> points;
  for (const dsl::EntryInfo &entry : LoadedProgram(source).entries())
    if (!entry.isLibrary)
      points.push_back({entry.name, entry.kind, entry.open, entry.tensors});
  return points;
}

ParamList tidegate::paramsFromConfig(const std::string &configPath) {
  dsl::Diagnostics diagnostics;
  auto params = dsl::paramsFromConfig(configPath, diagnostics);
  if (!params || diagnostics.hasErrors())
    throw compileError(diagnostics);
  return *params;
}
