//===- ShardRows.h - The order of a data set's tokens -----------*- C++ -*-===//
// Block after block, epoch after epoch; what is inside a block is shuffled by a
// permutation of (seed, epoch, block), so the position is four numbers.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/Corpus.h"
#include "runtime/data/RowSource.h"

namespace tidegate::data {

/// Rows of a data set. Shuffle::Window cuts each block into windows of T tokens
/// (a rest shorter than T + 1 is left out) and shuffles those. Otherwise the
/// documents, shuffled or not, form one endless sequence that is cut every T
/// tokens. In both cases the last label of a row is the token that follows it.
/// Positions restart with each document and each row.
/// Errors: InvalidArgument when no block holds a window.
std::unique_ptr<RowSource> makeShardRows(std::shared_ptr<BlockSource> blocks, Shuffle shuffle, uint64_t seed);

} // namespace tidegate::data
