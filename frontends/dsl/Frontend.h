//===- Frontend.h - Programs in the language --------------------*- C++ -*-===//
// From source text to a checked program, and from there to IR. Everything
// reports through a Diagnostics; a null or failed result means that at least
// one error is in it. Diagnostics may differ from call to call, and need not
// live as long as the program.
//
//   Diagnostics diagnostics;
//   auto program = Program::load({.path = "gla.tg", .params = {{"D", "256"}}}, diagnostics);
//   auto module = program ? program->generate(context, {}, diagnostics) : nullptr;
//   if (diagnostics.hasErrors())
//     diagnostics.print(llvm::errs());
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_FRONTEND_H
#define TIDEGATE_FRONTENDS_DSL_FRONTEND_H

#include "frontends/dsl/Diagnostics.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tidegate::dsl {

struct SourceText {
  std::string path, text;
};

struct LoadOptions {
  std::string path;                ///< Of the main file; its folder is where imports are looked up.
  std::optional<std::string> text; ///< Instead of reading `path`.
  /// When not empty, the main file and its imports are looked up here by path
  /// and never on disk: a program as a checkpoint keeps it.
  std::vector<SourceText> files;
  /// NAME=VALUE of --set; the value is an expression. Later entries win.
  std::vector<std::pair<std::string, std::string>> params;
};

struct ParamInfo {
  std::string name;
  std::string value;  ///< As --set takes it: `1024`, `1/2`, `full`.
  bool isSet = false; ///< Overridden.
};

struct WeightInfo {
  std::string name; ///< State-dict key.
  std::vector<int64_t> shape;
  std::string init; ///< `normal(0.02)`, `zeros`, `ones`, `constant(0.5)`, `log(uniform(0, 16))`.
  bool decay = true;
};

struct EntryInfo {
  std::string name;
  std::string kind; ///< `fn`, `layer`, `model`.
  std::vector<std::string> tensors; ///< Names of its tensor arguments.
  bool isLibrary = false;
  /// Sizes that the signature leaves open, and compile-time arguments without a default.
  std::vector<std::string> open;
};

struct GenerateOptions {
  std::string entry; ///< A fn or layer of the program or the library; empty: the model.
  bool f64 = false;  ///< Element type: f32 or f64.
  /// Sizes of the dimensions that the entry's signature leaves open, and its
  /// compile-time arguments, by name.
  std::map<std::string, int64_t> dims;
  /// Shapes of the entry's tensors by argument name, batch included; they bind
  /// the open dimensions too.
  std::map<std::string, std::vector<int64_t>> inputShapes;
};

class Program {
public:
  ~Program();

  /// Reads, parses, and checks a program with its imports.
  static std::unique_ptr<Program> load(const LoadOptions &options, Diagnostics &diagnostics);

  const std::vector<ParamInfo> &params() const;
  /// The main file, then its imports; not the standard library.
  const std::vector<SourceText> &sourceFiles() const;
  std::vector<EntryInfo> entries() const;
  bool hasModel() const;

  /// The weights of the model in order of first use.
  std::optional<std::vector<WeightInfo>> weights(Diagnostics &diagnostics) const;

  /// One entry, specialised, as a verified module of `func`, `nn`, and `rec`:
  ///
  /// - `@model(%ids, weights...)` or `@NAME(arguments..., weights...)`; tensors
  ///   have the batch in front: `x: [T, D]` is `tensor<?x?xD>`.
  /// - Arguments carry `nn.name`; weights carry `nn.weight` (the path), `nn.init`
  ///   and `nn.decay`; results carry `nn.name`.
  /// - The body of a `repeat` is a private function, called once an iteration;
  ///   its weights carry `nn.weight` without the common prefix.
  mlir::OwningOpRef<mlir::ModuleOp> generate(mlir::MLIRContext &context, const GenerateOptions &options,
                                             Diagnostics &diagnostics) const;

private:
  Program();
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// The text of the standard library.
llvm::StringRef standardLibrary();

/// The example programs, by their paths in examples/: `gla/gla.tg`.
const std::vector<SourceText> &exampleFiles();

} // namespace tidegate::dsl
#endif
