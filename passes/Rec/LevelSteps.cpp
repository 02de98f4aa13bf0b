//===- LevelSteps.cpp - Equal ops of a step side by side --------*- C++ -*-===//
// Implements -rec-level-steps. Depth is the length of the longest chain of ops that a
// value needs. Chains that do the same to several matrices (orthogonalising each of a
// network's) have their ops at the same depths.
//===----------------------------------------------------------------------===//
#include "passes/Rec/Passes.h"

#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "mlir/IR/OperationSupport.h"

namespace tidegate::rec {
#define GEN_PASS_DEF_RECLEVELSTEPS
#include "passes/Rec/Passes.h.inc"
} // namespace tidegate::rec

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

/// Alike but for operands; a hint, since values inside of regions are not compared.
static bool areAlike(Operation *a, Operation *b) {
  return OperationEquivalence::isEquivalentTo(a, b, OperationEquivalence::ignoreValueEquivalence, nullptr,
                                              OperationEquivalence::IgnoreLocations);
}

/// Ops by depth, those of one depth by the first that is like them; names of other values come before.
static void level(Block &block) {
  DenseMap<Operation *, unsigned> depth;
  std::vector<SmallVector<Operation *>> levels;
  for (Operation &op : block.without_terminator()) {
    const bool isName = isa<nn::ReshapeOp, nn::CastRowsOp>(op);
    unsigned own = 0;
    for (Value v : op.getOperands())
      if (Operation *from = v.getDefiningOp())
        own = std::max(own, depth.lookup(from));
    depth[&op] = own = own + !isName;
    if (levels.size() <= own)
      levels.resize(own + 1);
    levels[own].push_back(&op);
  }
  for (auto &ops : levels) {
    DenseMap<Operation *, unsigned> group;
    for (auto [i, op] : llvm::enumerate(ops)) {
      auto *first = llvm::find_if(ops, [&](Operation *other) { return areAlike(other, op); });
      group[op] = first - ops.begin();
    }
    // What names a value of this depth stays behind it.
    llvm::stable_sort(ops, [&](Operation *a, Operation *b) {
      const bool isNameA = isa<nn::ReshapeOp, nn::CastRowsOp>(a), isNameB = isa<nn::ReshapeOp, nn::CastRowsOp>(b);
      return isNameA != isNameB ? isNameB : !isNameA && group[a] < group[b];
    });
    for (Operation *op : ops)
      op->moveBefore(block.getTerminator());
  }
}

namespace {
struct RecLevelStepsPass : rec::impl::RecLevelStepsBase<RecLevelStepsPass> {
  void runOnOperation() override {
    llvm::SmallPtrSet<Operation *, 8> functions;
    getOperation().walk([&](LoopOp loop) {
      for (StringRef name : {loop.getStep(), loop.getLast()})
        functions.insert(getOperation().lookupSymbol(name));
    });
    for (Operation *function : functions)
      level(cast<func::FuncOp>(function).getBody().front());
  }
};
} // namespace
