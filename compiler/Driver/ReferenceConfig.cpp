//===- ReferenceConfig.cpp - Programs and reference configs -----*- C++ -*-===//
// A config.json becomes an example program, and back. Going back, a program
// counts as an example's if both have the same graph, so comments and names may
// differ and mathematics may not.
//===----------------------------------------------------------------------===//
#include "compiler/Driver/Driver.h"
#include "compiler/Driver/Pipeline.h"
#include "frontends/dsl/HfConfig.h"
#include "runtime/core/Error.h"

using namespace tidegate;
using runtime::RuntimeError;

/// `gla/gla.tg` with the files beside it, each under its own name.
static ProgramSource exampleProgram(const dsl::ReferenceModel &model) {
  auto [folder, main] = llvm::StringRef(model.example).split('/');
  ProgramSource source{main.str(), model.params, {}};
  for (const dsl::SourceText &file : dsl::exampleFiles()) {
    auto [otherFolder, name] = llvm::StringRef(file.path).split('/');
    if (otherFolder == folder)
      source.files.insert(name == main ? source.files.begin() : source.files.end(), {name.str(), file.text});
  }
  return source;
}

ProgramSource tidegate::programFromConfig(const std::string &configPath) {
  dsl::Diagnostics diagnostics;
  auto model = dsl::readConfig(configPath, diagnostics);
  if (model)
    return exampleProgram(*model);
  throw compileError(diagnostics);
}

/// What a program computes, as text: its graph without the weights' initial values.
static std::string graphOf(LoadedProgram &program) {
  Compilation compilation({});
  auto module = compilation.generate(program);
  module->walk([](mlir::func::FuncOp f) {
    for (unsigned i = 0; i < f.getNumArguments(); ++i)
      for (const char *name : {"nn.init", "nn.decay"})
        f.removeArgAttr(i, name);
  });
  compilation.simplify(*module);
  std::string text;
  llvm::raw_string_ostream os(text);
  module->print(os);
  return text;
}

std::string tidegate::configOfProgram(const ProgramSource &source, const std::string &dtype) {
  LoadedProgram program(source);
  const std::string graph = graphOf(program);
  std::string reasons;
  for (dsl::ReferenceModel model : dsl::referenceModels()) {
    for (const dsl::ParamInfo &param : program.params())
      model.params.emplace_back(param.name, param.value);
    std::string why;
    auto config = dsl::writeConfig(model, dtype, why);
    if (config) {
      // Read back, so that only what the config says can make the graphs equal.
      dsl::Diagnostics diagnostics;
      auto same = dsl::readConfigText(*config, "config.json", diagnostics);
      if (same) {
        LoadedProgram example(exampleProgram(*same));
        if (graphOf(example) == graph)
          return *config;
      }
      why = same ? "its graph differs from that of examples/" + model.example + " with the same params"
                 : diagnostics.str();
    }
    reasons += "\n  not " + model.modelType + ": " + why;
  }
  throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                     "expected a program that the reference library has too, but '" + source.path + "' is none" +
                         reasons);
}
