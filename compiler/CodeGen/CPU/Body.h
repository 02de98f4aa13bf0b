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

  /// Work that may run anywhere among the statements: part `i` of `count`.
  using Beside = llvm::function_ref<void(int64_t i, int64_t count)>;

  /// Emits the body once. Every tensor is contiguous and row-major; `arguments`
  /// and `results` hold pointers, `scratch` points to scratchBytes(). Results
  /// must not overlap arguments. `beside` emits what is to be spread over the
  /// statements. Errors: an op without a CPU rule.
  llvm::LogicalResult emit(Code &code, llvm::ArrayRef<mlir::Value> arguments, llvm::ArrayRef<mlir::Value> results,
                           mlir::Value scratch, Beside beside = {});

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

  /// A sum into which products are added where it lies, without memory of their own.
  struct Sum {
    llvm::SmallVector<Value> terms; ///< All else, of the sum's shape.
    llvm::SmallVector<nn::DotOp> products;
  };

  // Plan
  void chooseStored();
  void collectSum(nn::AddOp add);
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
  void addUp(Code &code, Value value, const Sum &sum, Value to, Value workspace);
  void dot(Code &code, nn::DotOp op, Value to, Value workspace, bool accumulate);
  void cumsum(Code &code, rec::CumsumOp op, Value to);

  mlir::Block &block;
  llvm::SmallVector<Target> targets;
  llvm::DenseMap<Value, Slot> stored;
  llvm::SmallVector<Statement> statements;
  llvm::DenseMap<Value, int64_t> costs;
  llvm::DenseMap<Value, Sum> sums;
  int64_t scratchSize = 0, workspaceOffset = 0;

  // During emission
  llvm::DenseMap<Value, Value> pointers;
  Value scratch;
};

/// Elements of workspace that a product needs to lay its right side out.
int64_t dotWorkspace(nn::DotOp op);
/// True if the product can be added to what its memory holds.
bool canAccumulate(nn::DotOp op);

/// Offset of an element of a contiguous tensor; dimensions of size 1 do not count.
mlir::Value linearOffset(Code &code, llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<mlir::Value> index);
/// Nested loops over `shape`; `index` gets one entry per dimension.
void loopNest(Code &code, llvm::ArrayRef<int64_t> shape, llvm::SmallVectorImpl<mlir::Value> &index,
              llvm::function_ref<void()> body);

} // namespace tidegate::cpu
