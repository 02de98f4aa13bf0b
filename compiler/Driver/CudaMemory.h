//===- CudaMemory.h - What programs need of the GPU's memory ----*- C++ -*-===//
// Counted class by class as the runtime allocates it, before it does: by the plan of
// a training step, and by whatever is about to run.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Driver/CpuModel.h"

namespace tidegate {

int64_t totalOf(const MemoryTable &table);
/// A line a class, and the sum of all as "peak".
std::string memoryText(const MemoryTable &table);

/// Numbers of a training step beside the arrays, floats: rates, norms, losses.
constexpr int64_t kStepNumbers = 12;

/// What a model holds.
struct CudaModelUse {
  int64_t tokens = 0;       ///< places for ids, labels and positions
  int64_t arena = 0;        ///< bytes of activations
  bool accumulates = false; ///< gradients of a micro-batch beside their sum
};
/// Bytes of the array of ids, labels or positions; the next begins where kernels may read vectors.
int64_t tokenBytes(int64_t tokens);
MemoryTable cudaMemory(const FlatWeights &flat, const CudaModelUse &use);

/// Bytes of the arena of a training step of B x T: those of the largest of its entries. `arenaOf` says those of entry i
/// of ModelPart::Train at its sizes.
int64_t trainingArena(const FlatWeights &flat, int64_t B, int64_t T,
                      llvm::function_ref<int64_t(size_t i, int64_t B, int64_t T)> arenaOf);

/// Nothing where the GPU's free memory holds what `need` has beyond the `held` bytes of it that are there already.
/// Errors: RuntimeError Device with `what` ("a training step of 4 x 8000 tokens"), both figures, the GPU, the table,
/// and `advice`.
void expectFree(const std::string &what, const MemoryTable &need, int64_t held, const std::string &advice);

} // namespace tidegate
