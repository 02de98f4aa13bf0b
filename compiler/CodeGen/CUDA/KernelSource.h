//===- KernelSource.h - One generated CUDA kernel ---------------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CUDA/Text.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/SmallVector.h"

#include <string>
#include <vector>

namespace tidegate::cuda {

/// What a kernel was made of.
struct KernelOrigin {
  std::vector<mlir::LocationAttr> places; ///< In the program: of the op, then of the ops in it, each line once.
  std::vector<TextMark> marks;            ///< Of the whole text.

  /// What a line of the text (from 1) was made for: the first of the places where that is nothing, null without any.
  mlir::LocationAttr at(int line) const;
};

/// A kernel's text and how it is launched; see runtime/cuda/Program.h.
struct KernelSource {
  std::string name, text;
  KernelOrigin origin;
  int threads = 128;
  int64_t sharedBytes = 0;
  int64_t itemsPerBlock = 1;  ///< grid = ceil(items / itemsPerBlock), at most maxBlocks
  int64_t maxBlocks = 0x7fffffff;
};

/// The C++ element type in memory: "float", "bf16", "int".
std::string storageType(mlir::Type element);

/// Fills in text and origin of the kernel of `op`. The text is a whole translation unit: `includes`, then `body`, a
/// device function `NAME_body(Grid grid, <parameters>, long long items, long long B, long long T)`, then its entry
/// points for a device and for the software warp.
void wrapKernel(KernelSource &kernel, mlir::Operation *op, llvm::ArrayRef<std::string> includes,
                llvm::ArrayRef<std::string> parameterTypes, const Text &body, bool isFast);

} // namespace tidegate::cuda
