//===- Body.h - CPU code of straight-line tensor code -----------*- C++ -*-===//
// The bodies of nn.map and rec.scan: ops on small static tensors. A plan decides
// which values live in memory and where; the rest is computed where it is used.
// Then one statement after another is emitted as loops over pointers.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/CodeGen/CPU/Code.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"

#include "llvm/ADT/DenseMap.h"

namespace tidegate::cpu {

/// Where a yielded value goes.
enum class Target {
  Store,      ///< written to its pointer
  Accumulate, ///< added to what its pointer holds
};

class Body {
public:
  /// Plans `block`; `targets` has one entry per operand of its terminator.
  Body(mlir::Block &block, llvm::ArrayRef<Target> targets);

  /// Scratch that an emission needs.
  int64_t scratchBytes() const { return scratchSize; }

  /// Emits the body once. Every tensor is contiguous and row-major; `arguments`
  /// and `results` hold pointers, `scratch` points to scratchBytes(). Results
  /// must not overlap arguments. Errors: an op without a CPU rule.
  llvm::LogicalResult emit(Code &code, llvm::ArrayRef<mlir::Value> arguments, llvm::ArrayRef<mlir::Value> results,
                           mlir::Value scratch);

private:
  using Value = mlir::Value;
  using Index = llvm::SmallVector<Value>;

  /// One store: a value, into scratch or into a result.
  struct Statement {
    Value value;
    std::optional<unsigned> result;
    llvm::SmallVector<Value> reads; // values in memory
    int64_t workspace = 0;          // elements, beside the value's own memory
  };
  struct Slot {
    static constexpr int64_t kInResult = -1;
    int64_t offset = 0; // bytes in scratch, or kInResult
    unsigned result = 0;
  };

  // Plan
  void chooseStored();
  void listStatements();
  void placeInScratch();
  bool mustBeStored(mlir::Operation *op) const;
  bool canInline(mlir::Operation *op) const;
  int64_t inlineCost(Value value) const;
  void collectReads(Value value, llvm::SmallVectorImpl<Value> &reads) const;
  void addStatement(Value value, std::optional<unsigned> result);

  // Emission
  Value pointer(Code &code, Value value);
  Value element(Code &code, Value value, const Index &index);
  llvm::SmallVector<nn::PadOp, 2> concatenated(Value value) const;
  void storeElements(Code &code, Value value, Value to, Target target);
  void reduce(Code &code, Value value, Value to);
  llvm::LogicalResult statement(Code &code, const Statement &s, llvm::ArrayRef<Value> results);
  void dot(Code &code, nn::DotOp op, Value to, Value workspace);
  void cumsum(Code &code, rec::CumsumOp op, Value to);
  void solve(Code &code, rec::SolveUnitLowerOp op, Value to);

  mlir::Block &block;
  llvm::SmallVector<Target> targets;
  llvm::DenseMap<Value, Slot> stored;
  llvm::SmallVector<Statement> statements;
  llvm::DenseMap<Value, int64_t> costs;
  int64_t scratchSize = 0, workspaceOffset = 0;
  bool callsProducts = false; ///< Products are calls: there are many.

  // During emission
  llvm::DenseMap<Value, Value> pointers;
  Value scratch;
};

/// Emission of the decay ops (Decay.cpp). Pointers are null without gates.
struct DecayPointers {
  mlir::Value rows, cols, scores, rowGate, colGate;
};
/// Elements of workspace that `op` needs.
int64_t decayWorkspace(mlir::Operation *op);
void emitDecayScores(Code &code, rec::DecayScoresOp op, DecayPointers p, mlir::Value to, mlir::Value workspace);
void emitDecayMix(Code &code, rec::DecayMixOp op, DecayPointers p, mlir::Value to, mlir::Value workspace);

/// Elements of workspace that a product needs to lay its right side out.
int64_t dotWorkspace(nn::DotOp op);

inline mlir::RankedTensorType tensorOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType());
}

} // namespace tidegate::cpu
