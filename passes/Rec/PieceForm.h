//===- PieceForm.h - A scan over chunks, one piece at a time ----*- C++ -*-===//
// Until a chunk is complete its tokens only read the states. So a sequence can be
// fed in pieces, none of which has tokens of two chunks: they read what is carried,
// and leave their rows for the update. Who feeds them knows when a chunk is full.
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/Rec/RecOps.h"

namespace tidegate::rec {

/// Whether a scan over chunks (isChunkUpdate) can be fed in pieces: each token reads the states on its own row.
bool runsInPieces(ScanOp scan);

/// The operands whose rows an update of the states reads.
llvm::SmallVector<unsigned> rowsOfUpdate(ScanOp scan);

/// The states that the rows of a full chunk, `B x C x H' x rest` for each of rowsOfUpdate, make of those at its begin.
llvm::SmallVector<mlir::Value> updateStates(mlir::OpBuilder &b, ScanOp scan, mlir::ValueRange states,
                                            mlir::ValueRange rows);

/// The outputs of a scan that runs in pieces, for tokens of one chunk, which begins with `states`.
llvm::SmallVector<mlir::Value> readStates(mlir::OpBuilder &b, ScanOp scan, mlir::ValueRange states);

} // namespace tidegate::rec
