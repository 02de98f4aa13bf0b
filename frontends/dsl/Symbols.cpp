//===- Symbols.cpp - What names at the top level mean -----------*- C++ -*-===//
#include "frontends/dsl/Symbols.h"
#include "frontends/dsl/Builtins.h"
#include "frontends/dsl/ConstEval.h"

using namespace tidegate::dsl;

void Symbols::add(const SourceFile &file, bool isLibrary, Diagnostics &diagnostics) {
  for (const ParamDecl &param : file.params) {
    if (param.name.text == "T" || isWord(param.name.text)) {
      diagnostics.error(param.name.range, "expected another name for this param: '" + param.name.text + "' " +
                                              (param.name.text == "T" ? "is the sequence length" : "is a word"));
      continue;
    }
    auto [known, isNew] = params.try_emplace(param.name.text, &param);
    if (!isNew) {
      diagnostics.error(param.name.range, "expected one param '" + param.name.text + "', but got a second one")
          .note(known->second->name.range, "the first one is here");
      continue;
    }
    paramOrder.push_back(&param);
  }
  for (const Function *function : file.functions)
    addFunction(*function, isLibrary, diagnostics);
}

void Symbols::addFunction(const Function &function, bool isLibrary, Diagnostics &diagnostics) {
  llvm::StringRef name = function.name.text;
  if (findBuiltin(name)) {
    diagnostics.error(function.name.range, "expected another name: '" + name + "' is built in");
    return;
  }
  auto [known, isNew] = (isLibrary ? library : functions).try_emplace(name, &function);
  if (!isNew) {
    diagnostics.error(function.name.range, "expected one definition of '" + name + "', but got a second one")
        .note(known->second->name.range, "the first one is here");
    return;
  }
  (isLibrary ? libraryOrder : functionOrder).push_back(&function);
  if (function.kind != FunctionKind::Model)
    return;
  if (theModel) {
    diagnostics.error(function.name.range, "expected one model, but got a second one, '" + name + "'")
        .note(theModel->name.range, "the first one is here");
    return;
  }
  theModel = &function;
}

const Function *Symbols::findFunction(llvm::StringRef name, bool fromLibrary) const {
  if (!fromLibrary)
    if (const Function *function = functions.lookup(name))
      return function;
  return library.lookup(name);
}
