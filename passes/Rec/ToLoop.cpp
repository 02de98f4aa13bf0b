//===- ToLoop.cpp - Scans over chunks as loops over whole tensors ---------===//
// Implements -rec-to-loop. A scan over chunks of the language has few steps with
// much work in each. Instead of one program per batch row and head, which walks
// them alone, each step becomes a function on the tensors of all rows and heads:
// batched products and fused maps.
//===----------------------------------------------------------------------===//
#include "passes/Rec/Passes.h"
#include "passes/Rec/StepFunction.h"

#include "ir/Nn/NnOps.h"

namespace tidegate::rec {
#define GEN_PASS_DEF_RECTOLOOP
#include "passes/Rec/Passes.h.inc"
} // namespace tidegate::rec

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

/// rec.scan => rec.loop over two functions.
static LogicalResult toLoop(ScanOp scan, SymbolTable &symbols) {
  const std::string owner = scan->getParentOfType<func::FuncOp>().getName().str();
  StringRef names[2];
  for (bool isLast : {false, true}) {
    auto function = buildStepFunction(scan, isLast, owner + (isLast ? ".last" : ".step"));
    if (failed(function))
      return failure();
    names[isLast] = symbols.insert(*function).getValue();
  }
  SmallVector<int64_t> heads;
  for (unsigned i = 0; i < scan.getNumOutputs(); ++i)
    heads.push_back(scan.headsOfOutput(i));
  OpBuilder b(scan);
  auto loop = LoopOp::create(b, scan.getLoc(), SmallVector<Type>(scan.getResultTypes()), names[0], names[1], scan.getInputs(),
                             scan.getInits(), scan.getChunk(), scan.getKinds(), scan.getOutKinds(), heads,
                             scan.getNumStates(), scan.getReverse(), scan.getSaveStates());
  scan.replaceAllUsesWith(loop.getResults());
  scan.erase();
  return success();
}

namespace {
struct RecToLoopPass : rec::impl::RecToLoopBase<RecToLoopPass> {
  void runOnOperation() override {
    SmallVector<ScanOp> scans;
    getOperation().walk([&](ScanOp scan) {
      if (hasStepFunction(scan))
        scans.push_back(scan);
    });
    SymbolTable symbols(getOperation());
    for (ScanOp scan : scans)
      if (failed(toLoop(scan, symbols)))
        return signalPassFailure();
  }
};
} // namespace
