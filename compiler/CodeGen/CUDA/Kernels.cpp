//===- Kernels.cpp - CUDA kernels of a plan ---------------------*- C++ -*-===//
#include "compiler/CodeGen/CUDA/Kernels.h"

#include "compiler/CodeGen/CPU/Kernels.h"
#include "compiler/CodeGen/CUDA/RowKernel.h"
#include "compiler/CodeGen/CUDA/TileKernel.h"
#include "passes/Tile/Passes.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cuda;

/// The tile form of a copy, since the plan still reads the op itself: in the order in
/// which the loads run side by side, or one that needs less shared memory.
FailureOr<KernelSource> KernelSet::scanKernel(rec::ScanOp scan, const std::string &name) {
  // Two blocks share a multiprocessor's 228 KB where steps run side by side; one may have 227.
  constexpr int64_t kHalf = 113 << 10, kMost = tile::kBlockBytes, kAll = 228 << 10, kReserved = 1 << 10;
  const int64_t fits = scan.getNumStates() == 0 ? kHalf : kMost;
  FailureOr<KernelSource> best = failure();
  tile::TileOrder chosen = tile::TileOrder::AsWritten;
  auto emit = [&](tile::TileOrder order, int64_t warps, int64_t stages) {
    auto copy = cast<rec::ScanOp>(scan->clone());
    FailureOr<KernelSource> source = failure();
    if (succeeded(tile::toTileForm(copy, bf16, order, warps, stages))) {
      tile::placeInSharedMemory(copy);
      source = tileKernel(copy, name, bf16);
    }
    copy->erase();
    return source;
  };
  for (auto order : {tile::TileOrder::AsWritten, tile::TileOrder::FewestBytes, tile::TileOrder::LateLoads,
                     tile::TileOrder::Streams, tile::TileOrder::Sparing}) {
    if (order >= tile::TileOrder::Streams && best->sharedBytes <= kMost)
      break; // what is loaded once is faster
    if (order == tile::TileOrder::Sparing && !isSparing)
      break;
    FailureOr<KernelSource> source = emit(order, 4, 1);
    if (failed(source))
      return failure();
    if (failed(best) || (best->sharedBytes > fits && source->sharedBytes < best->sharedBytes &&
                         (best->sharedBytes > kMost || source->sharedBytes <= kHalf)))
      best = std::move(source), chosen = order;
    if (best->sharedBytes <= fits)
      break;
  }
  if (best->sharedBytes > kMost && mayShrink) {
    isTooLarge = true;
    return failure();
  }
  if (best->sharedBytes > kMost)
    return scan.emitOpError("needs ") << best->sharedBytes << " bytes of shared memory for chunks of "
                                      << scan.getChunk() << " tokens, but a block has " << kMost
                                      << ": use smaller chunks (--chunk), heads or states",
           failure();
  // A chain waits for nothing but itself: its loads run a step ahead.
  int64_t stages = 1;
  if (scan.getNumStates() > 0 && chosen < tile::TileOrder::LateLoads) {
    auto pipelined = emit(chosen, 4, 2);
    if (succeeded(pipelined) && pipelined->sharedBytes <= kMost)
      best = std::move(pipelined), stages = 2;
  }
  // Warps hide what each waits for: sixteen on a multiprocessor, twice those that the registers want in a chain, of
  // which there is one.
  const int64_t own = best->threads / 32, blocks = std::max<int64_t>(1, kAll / (best->sharedBytes + kReserved));
  const int64_t warps = scan.getNumStates() > 0 ? 2 * own : std::max<int64_t>(own, llvm::PowerOf2Ceil(16 / blocks));
  if (warps > own) {
    auto wide = emit(chosen, warps, stages);
    if (succeeded(wide) && wide->sharedBytes <= kMost)
      best = std::move(wide);
  }
  return best;
}

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
      return emitError(op->getLoc()) << "expects a recurrence that runs in chunks, because a GPU runs no others, but this "
                                        "one stays in token form: see the warning",
             failure();
    source = scanKernel(scan, "scan_" + number);
  }
  if (failed(source)) {
    byKey.erase(it); // an equal op fails too, and does not find a kernel that is not there
    return failure();
  }
  sources.push_back(std::move(*source));
  return runtime::Kernel{sources.back().name, nullptr, 0};
}
