//===- SeparateStates.h - One matrix state a scan ---------------*- C++ -*-===//
#pragma once

#include "passes/Rec/Events.h"

namespace tidegate::rec {

/// Whether a token scan has several states, or one that is a vector: what events cannot say.
bool hasStatesToSeparate(ScanOp scan);
/// Whether all its states are vectors.
bool hasVectorsOnly(ScanOp scan);

/// Replaces such a scan by token scans of one matrix state each, in an order in which none needs what a later one
/// knows: what an earlier one reads is an operand of the later ones. A vector of n numbers becomes a matrix, n x 1 if
/// products with other vectors are all that reads it, else 1 x n. Reads of sums of states become sums of reads.
/// Nothing changes, and `refusal` says why, if states need each other, if matrices of several meet, or if a scan of one
/// state would have no events.
llvm::FailureOr<llvm::SmallVector<ScanOp>> separateStates(ScanOp scan, Refusal &refusal);

} // namespace tidegate::rec
