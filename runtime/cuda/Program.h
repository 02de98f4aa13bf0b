//===- Program.h - Generated kernels as text --------------------*- C++ -*-===//
// What the compiler hands to the CUDA runtime beside a plan.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/cuda/Nvrtc.h"

#include <cstdint>

namespace tidegate::runtime::cuda {

/// A generated kernel: its text, and how it is launched. Its arguments are one pointer per entry of Launch.buffers,
/// then items, B and T as long long.
struct KernelText {
  ProgramText program; ///< one extern "C" kernel called `name`
  std::string name;
  int threads = 128;
  int sharedBytes = 0;       ///< dynamic shared memory
  int64_t itemsPerBlock = 1; ///< grid = ceil(items / itemsPerBlock), at most maxBlocks
  int64_t maxBlocks = 0x7fffffff;

  /// Blocks of a launch over `items`; also the parts of its sums.
  int64_t blocks(int64_t items) const {
    const int64_t wanted = (items + itemsPerBlock - 1) / itemsPerBlock;
    return wanted < maxBlocks ? wanted : maxBlocks;
  }
};

} // namespace tidegate::runtime::cuda
