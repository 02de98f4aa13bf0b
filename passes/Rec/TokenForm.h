//===- TokenForm.h - A scan over chunks, one token at a time ----*- C++ -*-===//
#pragma once

#include "ir/Rec/RecOps.h"

namespace tidegate::rec {

/// True for a scan over chunks whose last chunk only reads its states.
bool isChunkUpdate(ScanOp scan);

/// Replaces a scan over chunks by a token scan that computes the same for every
/// prefix and can go on from its final states: besides the states it carries the
/// rows of the chunk so far. A chunk updates the states when the token after it
/// comes, for until then it was the last one. Errors: an operand or output that
/// has one value per chunk.
llvm::FailureOr<ScanOp> toTokenForm(ScanOp scan);

} // namespace tidegate::rec
