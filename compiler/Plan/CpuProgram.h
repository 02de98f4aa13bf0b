//===- CpuProgram.h - Entry points of a module, ready to run ----*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CPU/Jit.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "runtime/core/Executor.h"
#include "llvm/ADT/StringMap.h"

namespace tidegate {

/// Some functions of a fused module as executors over one set of kernels.
class CpuProgram {
public:
  /// Plans `entries`, compiles their kernels on up to `threads` threads, and
  /// links both. The module is not changed. Errors are diagnostics.
  static llvm::FailureOr<std::unique_ptr<CpuProgram>>
  compile(mlir::ModuleOp module, llvm::ArrayRef<llvm::StringRef> entries, unsigned threads);

  runtime::Executor &entry(llvm::StringRef name) { return *executors.find(name)->second; }

private:
  std::unique_ptr<cpu::Jit> jit;
  llvm::StringMap<std::unique_ptr<runtime::Executor>> executors;
};

} // namespace tidegate
