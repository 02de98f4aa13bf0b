//===- ChunkForm.h - The chunk scan of an event program ---------*- C++ -*-===//
#pragma once

#include "passes/Rec/Events.h"
#include "passes/Rec/Lift.h"

namespace tidegate::rec {

/// What the chunk scan gives.
struct ChunkResults {
  llvm::SmallVector<mlir::Value> reads; ///< B x T x H x V, one per read event.
  mlir::Value finalState;               ///< As the token scan's.
};

/// Builds at `builder`'s position the scan over chunks of `chunk` tokens that
/// computes `program`, the events of `token`. Operands come from `lifter`.
/// The program has at least one event. `remarks`: says how its decays are
/// evaluated, at each.
ChunkResults buildChunkScan(mlir::OpBuilder &builder, ScanOp token, const EventProgram &program, Lifter &lifter,
                            int64_t chunk, bool remarks);

} // namespace tidegate::rec
