//===- RowKernel.h - CUDA of nn.map -----------------------------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CUDA/KernelSource.h"
#include "ir/Nn/NnOps.h"
#include "llvm/Support/LogicalResult.h"

namespace tidegate::cuda {

/// The kernel of a map. Every row is worked on by a team of threads, as wide as the
/// row asks for; a thread takes up to eight neighbours at a time, each loaded and
/// stored in one access. Sums inside a row go through shuffles; sums over rows stay
/// in registers until a block has done its rows, then each block writes one part.
/// Parameters: the operands, then the results (parts for summed ones). `maxParts`
/// limits the grid of a map with sums. Errors: an op that has no rule.
llvm::FailureOr<KernelSource> rowKernel(nn::MapOp map, std::string name, int64_t maxParts, bool isFast);

} // namespace tidegate::cuda
