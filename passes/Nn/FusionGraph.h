//===- FusionGraph.h - A block as fusion sees it ----------------*- C++ -*-===//
// Every op of a function's block has a role. Barriers (products, scans,
// convolutions, calls) keep their order and split the block into stages. Members
// are computed in exactly one map. Copies are cheap: each map that needs one
// computes it again.
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/Nn/NnOps.h"
#include "mlir/IR/Block.h"
#include "llvm/ADT/DenseMap.h"

#include <limits>
#include <vector>

namespace tidegate::nn {

enum class FusionRole { Barrier, Member, Copy };

/// One op of the block.
struct FusionNode {
  mlir::Operation *op = nullptr;
  FusionRole role = FusionRole::Barrier;
  unsigned rows = 0;      ///< Row dimensions of the space in which it is computed.
  bool isSummed = false;  ///< A sum over all rows.
  bool isLive = false;    ///< Reaches a barrier.
  bool isOutside = false; ///< Used by a barrier, maybe through a reshape.
  bool isStored = false;  ///< In memory whatever is decided: used outside, in another row space, or summed.
  int64_t stage = 0;      ///< When it runs; see FusionStages.cpp.
  /// Values that the op reads. A broadcast does not read the values of `like`;
  /// if its input has no rows, `anchor` takes its place.
  llvm::SmallVector<mlir::Value, 3> reads;
  mlir::Value anchor; ///< For values with rows: an argument or a barrier's result with the same rows.

  bool isReshape() const { return mlir::isa<ReshapeOp>(op); }
  mlir::Value result() const { return op->getResult(0); }
};

class FusionGraph {
public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  /// Errors: ops that mix row spaces or reduce some of the row dimensions.
  static llvm::FailureOr<FusionGraph> build(mlir::Block &block);

  std::vector<FusionNode> nodes; ///< In the order of the block.

  /// Index of the node that defines `value`, -1 for block arguments.
  int64_t indexOf(mlir::Value value) const;
  FusionNode *nodeOf(mlir::Value value);
  /// Nodes that use the results of node `i`, ascending and distinct; filled for non-barriers.
  llvm::ArrayRef<unsigned> usersOf(unsigned i) const { return users[i]; }

private:
  llvm::DenseMap<mlir::Operation *, unsigned> index;
  std::vector<llvm::SmallVector<unsigned, 2>> users;

  llvm::LogicalResult addNode(mlir::Operation *op);
  void connect(mlir::Block &block);
};

/// True for ops that maps can hold.
bool isFusible(mlir::Operation *op);
/// True for ops worth computing again in each map: constants, scalars, reshapes, broadcasts of something smaller.
bool isCheapCopy(mlir::Operation *op);
/// Relative cost of keeping a value in memory; rows count as many.
double storageCost(mlir::Type type);
/// `type` without its first `rows` dimensions.
mlir::RankedTensorType dropRows(mlir::Type type, unsigned rows);

/// Gives every live node its stage, and turns members that are better computed
/// again than stored into copies.
void assignStages(FusionGraph &graph);

/// The members of one map, by ascending node index, and the values it takes
/// from outside in the order of their first use.
struct FusionGroup {
  int64_t stage = 0;
  unsigned rows = 0;
  std::vector<unsigned> members;
  llvm::SmallVector<mlir::Value> inputs;
};
std::vector<FusionGroup> formGroups(FusionGraph &graph);

/// True if a map over `rows` row dimensions takes `value` from outside although
/// it is a copy: a reshape without rows of something in memory.
bool isOuterAlias(FusionGraph &graph, mlir::Value value, unsigned rows);

/// Replaces the block by maps and barriers.
void rewriteAsMaps(mlir::Block &block, FusionGraph &graph, llvm::ArrayRef<FusionGroup> groups);

} // namespace tidegate::nn
