//===- CudaMemory.cpp - What programs need of the GPU's memory --*- C++ -*-===//
#include "compiler/Driver/CudaMemory.h"

#include "runtime/core/Error.h"
#include "runtime/cuda/Executor.h"

#include <cstdio>

using namespace tidegate;
using namespace runtime::cuda;
using runtime::RuntimeError;

/// What the driver takes for code (cuBLASLt's and ours), spilled registers and graphs, and loses to the granularity of
/// allocations. An estimate; `tidegate bench` prints what it is in truth.
constexpr int64_t kDriverBytes = 64 << 20;

int64_t tidegate::totalOf(const MemoryTable &table) {
  int64_t sum = 0;
  for (const auto &[name, bytes] : table)
    sum += bytes;
  return sum;
}

std::string tidegate::memoryText(const MemoryTable &table) {
  std::string text;
  auto line = [&](const char *name, int64_t bytes) {
    char row[64];
    std::snprintf(row, sizeof row, "  %-16s %12.2f MiB\n", name, double(bytes) / (1 << 20));
    text += row;
  };
  for (const auto &[name, bytes] : table)
    line(name.c_str(), bytes);
  line("peak", totalOf(table));
  return text;
}

int64_t tidegate::tokenBytes(int64_t tokens) {
  constexpr int64_t kAligned = 16;
  return (tokens * int64_t(sizeof(int32_t)) + kAligned - 1) / kAligned * kAligned;
}

MemoryTable tidegate::cudaMemory(const FlatWeights &flat, const CudaModelUse &use) {
  const int64_t weights = flat.rows * FlatWeights::kRow * int64_t(sizeof(float));
  return {{"weights", weights},
          {"gradients", use.accumulates ? 2 * weights : weights}, // the sum, and what is added to it
          {"moments", 2 * weights},
          {"optimiser", (flat.rows + kStepNumbers) * int64_t(sizeof(float))}, // which rows decay, and those
          {"activations", use.arena},
          {"tokens", 3 * tokenBytes(use.tokens)},
          {"products", Blas::kWorkspaceBytes},
          {"driver", kDriverBytes}};
}

int64_t tidegate::trainingArena(const FlatWeights &flat, int64_t B, int64_t T,
                                llvm::function_ref<int64_t(size_t, int64_t, int64_t)> arenaOf) {
  int64_t most = arenaOf(0, B, T); // @loss_and_grads; the others walk the rows of the weights
  for (size_t i = 1; i < entriesOf(ModelPart::Train).size(); ++i)
    most = std::max(most, arenaOf(i, flat.rows, 1));
  return most;
}

void tidegate::expectFree(const std::string &what, const MemoryTable &need, int64_t held, const std::string &advice) {
  const int64_t missing = totalOf(need) - held;
  const Device &device = Device::get();
  const Device::Memory memory = device.memory();
  if (missing <= memory.free)
    return;
  throw RuntimeError(RuntimeError::Kind::Device,
                     what + " needs " + bytesText(totalOf(need)) + " of memory" +
                         (held > 0 ? ", " + bytesText(missing) + " more than this process holds," : "") + " on " +
                         device.name + ", but " + bytesText(memory.free) + " of its " + bytesText(memory.total) +
                         " are free:\n" + memoryText(need) + advice);
}
