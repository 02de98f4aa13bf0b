//===- Events.h - The event normal form of a token body ---------*- C++ -*-===//
#pragma once

#include "ir/Rec/RecOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace tidegate::rec {

/// A token as an ordered list of events on a K x V state. Places count the
/// `scale` and `add` events before them within the token; what is read at place
/// `p` is the state after the first `p` of them. Values are of the analysed
/// body, do not depend on the state, and are per token.
struct EventProgram {
  /// S <- diag(decay) S; `decay` has the shape [K] or [1]. Or, on the side of the
  /// values, S <- S diag(decay), of shape [V].
  struct Scale {
    int64_t place;
    mlir::Value decay;
    bool onValues = false;
  };
  /// S <- S + key (value + factor (.) S_r^T reader)^T, where S_r is the state at
  /// `readPlace`. One of `value` [V] and `reader` [K] may be null; so may `factor`
  /// [V], for one.
  struct Add {
    int64_t place;
    mlir::Value key;
    mlir::Value value, reader;
    int64_t readPlace;
    mlir::Value factor;
  };
  /// scale S^T query at a place.
  struct Read {
    int64_t place;
    mlir::Value query;
    double scale = 1;
  };
  /// What an op of the body that reads the state gives: `constant` (null for
  /// zero) plus the sum of these reads, each times its factor [V] (null for one).
  struct ReadResult {
    mlir::Value result;
    mlir::Value constant;
    llvm::SmallVector<std::pair<unsigned, mlir::Value>> reads;
  };

  int64_t keyDim; ///< The dimension of the state that is K; the other is V.
  int64_t keys, values;
  llvm::SmallVector<Scale> scales;
  llvm::SmallVector<Add> adds;
  llvm::SmallVector<Read> reads;
  /// Before everything else in the token, where `flag` is not 0: S <- init.
  struct Reset {
    mlir::Value flag;         ///< One number; null if the program never resets.
    mlir::BlockArgument init; ///< An operand of kind row; null for zero.
  };
  Reset reset;
  /// Of every op that an output needs.
  llvm::SmallVector<ReadResult> readResults;
};

/// Why a body has no event normal form.
struct Refusal {
  mlir::LocationAttr where; ///< Of the term.
  std::string what;         ///< Continues "... because this".
  bool isAffine = true;     ///< False: the recurrence is not affine in its state.
};

/// Reads the body of a token scan with one matrix state. State-free arithmetic
/// that the normal form needs (products of scalars with keys, sums of readers)
/// is added to the body, before its terminator. `scan` should be a `copyToRead`:
/// values are equal if they are one value. With `scaleReads` a constant that
/// multiplies a read is part of it.
llvm::FailureOr<EventProgram> readEvents(ScanOp scan, Refusal &refusal, bool scaleReads = false);

/// A copy without common subexpressions.
mlir::OwningOpRef<ScanOp> copyToRead(ScanOp scan);

} // namespace tidegate::rec
