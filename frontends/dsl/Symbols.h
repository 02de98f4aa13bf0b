//===- Symbols.h - What names at the top level mean -------------*- C++ -*-===//
// Two scopes: the program (its main file and everything imported) and the
// standard library. The program sees the library, and may define a function of
// the same name for itself; the library sees only the library.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_SYMBOLS_H
#define TIDEGATE_FRONTENDS_DSL_SYMBOLS_H

#include "frontends/dsl/Ast.h"
#include "llvm/ADT/StringMap.h"

namespace tidegate::dsl {

class Symbols {
public:
  /// Declares the items of a file; reports duplicates.
  void add(const SourceFile &file, bool isLibrary, Diagnostics &diagnostics);

  const ParamDecl *findParam(llvm::StringRef name) const { return params.lookup(name); }
  const Function *findFunction(llvm::StringRef name, bool fromLibrary) const;
  const Function *model() const { return theModel; }
  /// In order of declaration.
  llvm::ArrayRef<const ParamDecl *> allParams() const { return paramOrder; }
  llvm::ArrayRef<const Function *> programFunctions() const { return functionOrder; }
  llvm::ArrayRef<const Function *> libraryFunctions() const { return libraryOrder; }

private:
  void addFunction(const Function &function, bool isLibrary, Diagnostics &diagnostics);

  llvm::StringMap<const ParamDecl *> params;
  llvm::StringMap<const Function *> functions, library;
  std::vector<const ParamDecl *> paramOrder;
  std::vector<const Function *> functionOrder, libraryOrder;
  const Function *theModel = nullptr;
};

} // namespace tidegate::dsl
#endif
