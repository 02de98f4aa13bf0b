//===- TileKernel.h - CUDA of a scan in tile form ---------------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CUDA/KernelSource.h"
#include "ir/Rec/RecOps.h"
#include "llvm/Support/LogicalResult.h"

namespace tidegate::cuda {

/// The kernel of a chunk scan whose body is in tile form and placed (passes/Tile):
/// one rule per form of a statement, arithmetic in runtime/device. A block runs one
/// work item: a batch row and head along time or, for a scan without states, one
/// step of them; heads that add into one output run in turn in one block.
/// Parameters: operands, initial states, results. Errors: an op that has no rule.
llvm::FailureOr<KernelSource> tileKernel(rec::ScanOp scan, std::string name, bool isFast);

} // namespace tidegate::cuda
