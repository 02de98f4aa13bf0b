//===- KernelSource.h - One generated CUDA kernel ---------------*- C++ -*-===//
#pragma once

#include "mlir/IR/Operation.h"
#include "llvm/ADT/SmallVector.h"

#include <string>

namespace tidegate::cuda {

/// A kernel's text and how it is launched; see runtime/cuda/Program.h.
struct KernelSource {
  std::string name, text;
  int threads = 128;
  int64_t sharedBytes = 0;
  int64_t itemsPerBlock = 1;  ///< grid = ceil(items / itemsPerBlock), at most maxBlocks
  int64_t maxBlocks = 0x7fffffff;
};

/// The C++ element type in memory: "float", "bf16", "int".
std::string storageType(mlir::Type element);

/// The whole translation unit of a kernel: `includes`, then `body`, a device
/// function `NAME_body(Grid grid, <parameters>, long long items, long long B, long
/// long T)`, then its entry points for a device and for the software warp.
std::string wrapKernel(const KernelSource &kernel, llvm::ArrayRef<std::string> includes,
                       llvm::ArrayRef<std::string> parameterTypes, llvm::StringRef body, llvm::StringRef origin,
                       bool isFast);

} // namespace tidegate::cuda
