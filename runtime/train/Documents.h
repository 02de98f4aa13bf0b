//===- Documents.h - Several documents in one row ---------------*- C++ -*-===//
// A token's position in its document says where documents begin: 0 starts one,
// and any other is the position before it plus 1. A row may go on with a document
// that began before it.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tidegate::train {

/// Positions of T tokens in each of B rows, one document a row. `first[b]` tokens
/// of it came before (empty: none).
std::vector<int32_t> positionsOfRows(int64_t B, int64_t T, std::span<const int32_t> first = {});

/// Positions of the T tokens of one row cut at `boundaries`: 0, the first token
/// of every further document, T ("cu_seqlens").
/// Errors: InvalidArgument if they do not start at 0, increase, and end at T.
std::vector<int32_t> positionsOfBoundaries(std::span<const int64_t> boundaries, int64_t T);

/// Throws InvalidArgument unless `positions` are B x T and each continues or
/// starts a document. With `first` (B) the first of a row is 0 or `first[b]`.
void checkPositions(std::span<const int32_t> positions, int64_t B, int64_t T, std::span<const int32_t> first = {});

} // namespace tidegate::train
