//===- TokenForm.h - A scan over chunks, one token at a time ----*- C++ -*-===//
#pragma once

#include "ir/Rec/RecOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/DenseSet.h"

#include <optional>

namespace tidegate::rec {

/// True for a scan over chunks whose last chunk only reads its states.
bool isChunkUpdate(ScanOp scan);

/// The values with a row per token in `read`, a body of the scan that yields outputs alone; none unless each row of
/// what it yields depends on the same row of the operands only.
std::optional<llvm::DenseSet<mlir::Value>> rowsAlike(ScanOp scan, mlir::Block &read);
/// Copies the ops of such a body for `count` rows: the first dimension of all that is in `rows` becomes that.
void cloneRows(mlir::OpBuilder &b, mlir::Block &read, const llvm::DenseSet<mlir::Value> &rows, int64_t count,
               mlir::IRMapping &mapping);

/// Replaces a scan over chunks by a token scan that computes the same for every
/// prefix and can go on from its final states: besides the states it carries the
/// rows of the chunk so far. A chunk updates the states when the token after it
/// comes, for until then it was the last one. Errors: an operand or output that
/// has one value per chunk.
llvm::FailureOr<ScanOp> toTokenForm(ScanOp scan);

} // namespace tidegate::rec
