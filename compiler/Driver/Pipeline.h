//===- Pipeline.h - The stages from source to fused module ------*- C++ -*-===//
#pragma once

#include "compiler/Driver/Driver.h"
#include "frontends/dsl/Frontend.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <set>

namespace tidegate {

/// The errors of the front end as an exception.
CompileError compileError(const dsl::Diagnostics &diagnostics);

/// A checked program with the source texts that its parts point into.
class LoadedProgram {
public:
  /// Throws CompileError.
  explicit LoadedProgram(const ProgramSource &source);

  std::vector<train::ParameterSpec> parameters();
  /// True if an entry (empty: the model) declares a tensor argument of this name.
  bool takes(const std::string &entry, const std::string &tensor) const;
  const std::vector<dsl::SourceText> &files() const { return program->sourceFiles(); }
  const std::vector<dsl::ParamInfo> &params() const { return program->params(); }
  std::vector<dsl::EntryInfo> entries() const { return program->entries(); }
  /// An entry as the front end generates it (the model if `options.entry` is empty).
  mlir::OwningOpRef<mlir::ModuleOp> generate(mlir::MLIRContext &context, const dsl::GenerateOptions &options);

private:
  /// Throws CompileError if there are errors.
  void check(bool isThere);

  dsl::Diagnostics diagnostics;
  std::unique_ptr<dsl::Program> program;
};

/// What a program is compiled with. Warnings and remarks of its passes go to stderr, errors into exceptions.
struct Compilation {
  explicit Compilation(const CompileOptions &options);

  /// Throws CompileError with the errors that were reported since the last one.
  [[noreturn]] void fail();
  void check(llvm::LogicalResult status) {
    if (failed(status))
      fail();
  }

  /// The entry as the front end generates it (the model if `options.entry` is empty),
  /// with positions as its last argument where documents are packed.
  mlir::OwningOpRef<mlir::ModuleOp> generate(LoadedProgram &program, dsl::GenerateOptions options = {});

  /// In place; each throws CompileError. In order:
  void simplify(mlir::ModuleOp module);
  /// Scans by the chosen form, in chunks of at most `most` tokens if it is not 0.
  void lowerRecurrences(mlir::ModuleOp module, int64_t most = 0);
  /// @loss and @loss_and_grads beside @model, and the optimiser's functions.
  void buildTraining(mlir::ModuleOp module);
  /// @scores beside @model.
  void buildScores(mlir::ModuleOp module);
  /// `@NAME.vjp(arguments, cotangents) -> cotangents of the float arguments`.
  mlir::func::FuncOp buildVjp(mlir::func::FuncOp entry);
  /// lowerRecurrences of a module with one public function. That, or with `isVjp` what buildVjp makes of it, is the only
  /// public one then, and returned.
  mlir::func::FuncOp lowerEntry(mlir::ModuleOp module, bool isVjp);
  /// States in and out of @model, and logits of the last token alone. On the CPU in token form. On the GPU scans over
  /// chunks take pieces of tokens; those of `full` tokens have a full chunk behind them.
  void exposeStates(mlir::ModuleOp module, llvm::ArrayRef<int64_t> full = {});
  /// Everything into maps.
  void fuse(mlir::ModuleOp module);

  /// Chunk scans in tile form, placed in shared memory.
  void toTiles(mlir::ModuleOp module);

  unsigned threads() const;

  CompileOptions options;
  /// On the GPU: scans that a block's shared memory does not hold are cut, and states narrower than else.
  bool cutsScans = false;
  mlir::MLIRContext context;

private:
  std::vector<CompileMessage> errors;
  std::string errorText;
  std::set<std::string> said; ///< Warnings and remarks, each once.
};

} // namespace tidegate
