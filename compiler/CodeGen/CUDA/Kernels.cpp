//===- Kernels.cpp - CUDA kernels of a plan ---------------------*- C++ -*-===//
#include "compiler/CodeGen/CUDA/Kernels.h"

#include "compiler/CodeGen/CPU/Kernels.h"
#include "compiler/CodeGen/CUDA/RowKernel.h"
#include "compiler/CodeGen/CUDA/TileKernel.h"
#include "passes/Tile/Passes.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cuda;

FailureOr<runtime::Kernel> KernelSet::add(Operation *op) {
  auto [it, isNew] = byKey.try_emplace(cpu::kernelKey(op), sources.size());
  if (!isNew)
    return runtime::Kernel{sources[it->second].name, nullptr, 0};
  FailureOr<KernelSource> source = failure();
  std::string number = std::to_string(sources.size());
  if (auto map = dyn_cast<nn::MapOp>(op)) {
    source = rowKernel(map, "map_" + number, kParts, bf16);
  } else if (auto scan = dyn_cast<rec::ScanOp>(op)) {
    if (scan.getChunk() == 1)
      return op->emitOpError("in token form has no CUDA kernel"), failure();
    // The tile form of a copy: the plan still reads the op itself.
    auto copy = cast<rec::ScanOp>(scan->clone());
    if (succeeded(tile::toTileForm(copy, bf16))) {
      tile::placeInSharedMemory(copy);
      source = tileKernel(copy, "scan_" + number, bf16);
    }
    copy->erase();
  }
  if (failed(source))
    return failure();
  sources.push_back(std::move(*source));
  return runtime::Kernel{sources.back().name, nullptr, 0};
}
