//===- Jit.h - Machine code of kernels --------------------------*- C++ -*-===//
#pragma once

#include "mlir/IR/BuiltinOps.h"

#include <memory>

namespace tidegate::cpu {

/// Signature of every kernel; see Kernels.h.
using KernelFunction = void (*)(void *const *buffers, int64_t begin, int64_t end, int64_t part, int64_t batch,
                                int64_t tokens, void *scratch);

/// Kernels in executable memory, for the host's instruction set. Loops are
/// vectorised; exp and log come from the C library's vector routines.
class Jit {
public:
  /// Compiles a kernel module, which is consumed, on up to `threads` threads.
  /// Errors are reported as diagnostics.
  static llvm::FailureOr<std::unique_ptr<Jit>> compile(mlir::ModuleOp module, unsigned threads);
  ~Jit();

  /// Address of a kernel by name.
  KernelFunction lookup(llvm::StringRef name) const;

  /// LLVM IR of a kernel module after optimisation, for `emit --stage=llvm`.
  static llvm::FailureOr<std::string> print(mlir::ModuleOp module);

private:
  struct Impl;
  explicit Jit(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

} // namespace tidegate::cpu
