//===- FuseRows.cpp - Group row-wise ops into nn.map ------------*- C++ -*-===//
// Implements -nn-fuse: tidy the block, decide (FusionGraph, FusionStages,
// FusionGroups), rewrite (FusionRewrite).
//===----------------------------------------------------------------------===//
#include "passes/Nn/FusionGraph.h"
#include "passes/Nn/Passes.h"

namespace tidegate::nn {
#define GEN_PASS_DEF_FUSEROWS
#include "passes/Nn/Passes.h.inc"
} // namespace tidegate::nn

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

/// op(broadcast_like(x, y), z) => op(x, z) where z alone gives the shape.
static void dropBroadcasts(Block &block) {
  for (Operation &op : block) {
    if (!isa<ElementwiseOpInterface>(op) || op.getNumOperands() < 2)
      continue;
    for (OpOperand &operand : op.getOpOperands()) {
      auto broadcast = operand.get().getDefiningOp<BroadcastLikeOp>();
      if (!broadcast)
        continue;
      operand.set(broadcast.getInput());
      auto type = broadcastType(std::nullopt, op.getOperands());
      if (failed(type) || *type != op.getResult(0).getType())
        operand.set(broadcast.getResult());
    }
  }
}

/// A cheap value that barriers and maps use becomes two: one in memory for the
/// barriers, and one to copy.
static void splitOutsideUses(Block &block) {
  llvm::DenseSet<Operation *> outsideReshapes;
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block))) {
    if (!isFusible(&op) || !isCheapCopy(&op))
      continue;
    auto isOutside = [&](OpOperand &use) {
      Operation *user = block.findAncestorOpInBlock(*use.getOwner());
      return !isFusible(user) || outsideReshapes.contains(user);
    };
    unsigned uses = llvm::range_size(op.getUses());
    unsigned outside = llvm::count_if(op.getUses(), isOutside);
    if (isa<ReshapeOp>(op)) {
      if (outside > 0)
        outsideReshapes.insert(&op);
      continue;
    }
    if (outside == 0 || outside == uses)
      continue;
    OpBuilder builder(&op);
    builder.setInsertionPointAfter(&op);
    Operation *stored = builder.clone(op);
    op.getResult(0).replaceUsesWithIf(stored->getResult(0), isOutside);
  }
}

namespace {
struct FuseRowsPass : nn::impl::FuseRowsBase<FuseRowsPass> {
  void runOnOperation() override {
    for (Block &block : getOperation().getBody()) {
      dropBroadcasts(block);
      splitOutsideUses(block);
      auto graph = FusionGraph::build(block);
      if (failed(graph))
        return signalPassFailure();
      assignStages(*graph);
      rewriteAsMaps(block, *graph, formGroups(*graph));
    }
  }
};
} // namespace
