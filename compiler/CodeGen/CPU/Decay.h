//===- Decay.h - Causal products under decay on the CPU ---------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CPU/Code.h"
#include "ir/Rec/RecOps.h"

namespace tidegate::cpu {

/// Sizes of a decay op, and when its events happen.
struct DecayEvents {
  int64_t rows, cols, width, rowsPerToken, colsPerToken, tokens;
  int64_t gateWidth; ///< 0: no gates.
  bool sameGate;     ///< Rows and columns have one gate.
  llvm::SmallVector<int64_t> rowPositions, colPositions;

  static DecayEvents of(rec::DecayScoresOp op);
  static DecayEvents of(rec::DecayMixOp op);
  static DecayEvents of(rec::DecaySolveOp op);

  bool isPerChannel() const { return gateWidth > 1; }
  /// Columns of the own token before row event `i` of a token, if columns are in the order of their places.
  int64_t ownBefore(int64_t i) const {
    return llvm::count_if(colPositions, [&](int64_t p) { return p < rowPositions[i]; });
  }
};

/// Row-major operands; null where the op has none.
struct DecayPointers {
  mlir::Value rows, cols, scores, rowGate, colGate;
};

/// Elements of workspace that `op` needs; 0 for other ops.
int64_t decayWorkspace(mlir::Operation *op);
/// Emit an op of this kind; `to` is its result.
void emitDecayScores(Code &code, rec::DecayScoresOp op, DecayPointers p, mlir::Value to, mlir::Value workspace);
void emitDecayMix(Code &code, rec::DecayMixOp op, DecayPointers p, mlir::Value to, mlir::Value workspace);

/// In ChannelDecay.cpp: `rhs` and `factor` (null: 1) are the op's operands.
void emitDecaySolve(Code &code, rec::DecaySolveOp op, DecayPointers p, mlir::Value rhs, mlir::Value factor,
                    mlir::Value to, mlir::Value workspace);
int64_t solveWorkspace(const DecayEvents &e);

/// Scores and mixes with one gate per channel (ChannelDecay.cpp).
int64_t channelScoresWorkspace(const DecayEvents &e);
int64_t channelMixWorkspace(const DecayEvents &e);
void emitChannelScores(Code &code, mlir::Type type, const DecayEvents &e, const DecayPointers &p, mlir::Value to,
                       mlir::Value workspace);
void emitChannelMix(Code &code, mlir::Type type, const DecayEvents &e, const DecayPointers &p, bool transposed,
                    mlir::Value to, mlir::Value workspace);

} // namespace tidegate::cpu
