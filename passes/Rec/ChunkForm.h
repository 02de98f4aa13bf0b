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

/// How a chunk scan is written.
struct ChunkOptions {
  int64_t chunk;            ///< Tokens of a chunk.
  bool innerScales = false; ///< Operands that are a tensor times a number per token are scaled inside.
  bool valuesFirst = false; ///< States are V x K inside, else K x V.
  bool remarks = false;     ///< Says at each decay how it is evaluated.
  bool halfProducts = false; ///< Products may round what they multiply to bfloat16.
};

/// Builds at `builder`'s position the scan over chunks that computes `program`,
/// the events of `token`. Operands come from `lifter`. The program has at least
/// one event.
ChunkResults buildChunkScan(mlir::OpBuilder &builder, ScanOp token, const EventProgram &program, Lifter &lifter,
                            const ChunkOptions &options);

} // namespace tidegate::rec
