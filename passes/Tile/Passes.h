//===- Passes.h - From chunk scans to tile programs -------------*- C++ -*-===//
#pragma once

#include "ir/Rec/RecOps.h"
#include "ir/Tile/TileOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace tidegate::tile {
/// The order of a step's statements and loads.
enum class TileOrder {
  AsWritten,   ///< Loads side by side at the beginning.
  FewestBytes, ///< So that little lives at a time; loads at the beginning.
  LateLoads,   ///< The same, and each load just before its first use.
  Streams,     ///< The same, and smaller operands than else are streamed.
  Sparing,     ///< The same, and streamed is also what products round; steps' rows are read where they lie.
};

/// Shared memory of a block on a Hopper.
inline constexpr int64_t kBlockBytes = 227 << 10;

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "passes/Tile/Passes.h.inc"

/// What the passes do, for one scan.
/// `warps` of a block at least; `stages` of loads, for scans with states.
llvm::LogicalResult toTileForm(rec::ScanOp scan, bool bf16, TileOrder order = TileOrder::AsWritten, int64_t warps = 4,
                               int64_t stages = 1);
void placeInSharedMemory(rec::ScanOp scan);
/// Bytes in shared memory in the first order that needs no more than `limit`; the fewest of all orders if none does.
int64_t fewestSharedBytes(rec::ScanOp scan, bool bf16, int64_t limit);

/// What an operand is to the op that uses it: of the tensor cores, a float matrix of a device function, elements.
enum class Role { Product, Tile, Element };
Role roleOf(mlir::OpOperand &use);
} // namespace tidegate::tile
