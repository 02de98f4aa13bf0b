//===- Reduction.h - Sums and maxima shared by threads ----------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CUDA/Elements.h"

namespace tidegate::cuda {

/// Emits an `nn.reduce_sum` or `nn.reduce_max` that a team of threads computes
/// together. Trailing dimensions are folded by neighbouring threads through
/// shuffles; others by each thread on its own.
struct Reduction {
  Text &text;
  int64_t team;       ///< threads: a power of two up to 32, or the whole block
  std::string member; ///< expression: number of the thread in its team
  std::string work;   ///< expression: float *, kWarps floats for teams of a block
  /// Calls a function with an emitter for so many lanes, inside a scope of its own.
  std::function<void(int lanes, llvm::function_ref<void(ElementEmitter &)>)> scope;
  /// Emits the store of element `at` of the result; called by one thread per element.
  std::function<void(const Index &at, const std::string &value)> store;
  ElementEmitter::IsLeaf isLeaf;

  /// The variable that holds the result in every thread, if it is one number and
  /// the last dimensions were folded; then nothing is stored.
  std::optional<std::string> emit(mlir::Operation *op);

private:
  std::optional<std::string> trailing(mlir::Operation *op, llvm::StringRef fold, int64_t inner, int64_t outer);
  void others(mlir::Operation *op, llvm::StringRef fold);
};

bool isReduction(mlir::Operation *op);

} // namespace tidegate::cuda
