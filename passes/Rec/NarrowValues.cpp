//===- NarrowValues.cpp - Wide states as heads side by side -----*- C++ -*-===//
// Implements -rec-narrow-values. The columns of a state never meet: a scan whose
// heads have K x V states is one with n times as many heads of K x V/n, in which n
// neighbours share queries, keys and gates. In memory the values lie the same way.
//===----------------------------------------------------------------------===//
#include "passes/Rec/Passes.h"

#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "mlir/IR/IRMapping.h"

namespace tidegate::rec {
#define GEN_PASS_DEF_RECNARROWVALUES
#include "passes/Rec/Passes.h.inc"
} // namespace tidegate::rec

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

namespace {
RankedTensorType tensorOf(Value v) { return cast<RankedTensorType>(v.getType()); }

class Narrower {
public:
  Narrower(ScanOp scan, int64_t elements) : scan(scan), body(scan.getBody().front()), elements(elements) {}

  /// The number of slabs; 1: the scan stays as it is.
  int64_t slabs() {
    if (scan.getChunk() == 1 || scan.getNumStates() != 1 || !scan.getInits().empty() || scan.getSaveStates() ||
        scan.getOutHeads() || !scan.getFinalStates()[0].use_empty() || tensorOf(scan.getBodyStates()[0]).getRank() != 2)
      return 1;
    auto state = tensorOf(scan.getBodyStates()[0]);
    width = state.getDimSize(1);
    for (int64_t n = 1; n <= width / 16; ++n)
      if (width % n == 0 && width / n % 16 == 0 && state.getDimSize(0) * (width / n) <= elements)
        return n == 1 || !findColumns() ? 1 : n;
    return 1;
  }

  void run(int64_t n) {
    OpBuilder b(scan);
    Location loc = scan.getLoc();
    auto regrouped = [&](RankedTensorType type) {
      return RankedTensorType::get({type.getDimSize(0), type.getDimSize(1), type.getDimSize(2) * n, width / n},
                                   type.getElementType());
    };
    SmallVector<Value> inputs;
    Region region;
    Block *fresh = new Block();
    region.push_back(fresh);
    IRMapping mapping;
    auto narrow = [&](Value v) -> Type {
      auto type = tensorOf(v);
      SmallVector<int64_t> shape(type.getShape());
      if (columns.contains(v))
        shape.back() = width / n;
      return RankedTensorType::get(shape, type.getElementType());
    };
    for (BlockArgument arg : body.getArguments()) {
      mapping.map(arg, fresh->addArgument(narrow(arg), arg.getLoc()));
      if (arg.getArgNumber() >= scan.getInputs().size())
        continue;
      Value outer = scan.getInputs()[arg.getArgNumber()];
      if (columns.contains(arg))
        outer = nn::ReshapeOp::create(b, loc, regrouped(tensorOf(outer)), outer);
      inputs.push_back(outer);
    }
    OpBuilder inside(scan.getContext());
    inside.setInsertionPointToEnd(fresh);
    for (Operation &op : body) {
      Operation *clone = inside.clone(op, mapping);
      for (auto [from, to] : llvm::zip(op.getResults(), clone->getResults()))
        to.setType(narrow(from));
    }
    auto narrowed = ScanOp::create(b, loc, inputs, scan.getKinds(), ValueRange{}, scan.getChunk(), scan.getOutKinds(),
                                   /*numStates=*/1, scan.getReverse(), /*saveStates=*/false, &region);
    for (auto [from, to] : llvm::zip(scan.getOutputs(), narrowed.getOutputs()))
      from.replaceAllUsesWith(nn::ReshapeOp::create(b, loc, tensorOf(from), to));
    scan.erase();
  }

private:
  /// Marks the values whose last dimension is the state's columns. False where columns meet.
  bool findColumns() {
    isSound = true;
    mark(scan.getBodyStates()[0]);
    for (Value v : body.getTerminator()->getOperands())
      mark(v);
    for (size_t before = 0; before != columns.size() && isSound;) {
      before = columns.size();
      for (Operation &op : body.without_terminator())
        visit(op);
    }
    for (BlockArgument arg : scan.getBodyInputs()) {
      auto outer = tensorOf(scan.getInputs()[arg.getArgNumber()]);
      bool isToken = scan.kindOf(arg.getArgNumber()) == OperandKind::Token;
      if (columns.contains(arg))
        isSound &= isToken && outer.getRank() == 4 && outer.getDimSize(2) == scan.getHeads();
      else
        isSound &= isToken || scan.kindOf(arg.getArgNumber()) == OperandKind::Shared;
    }
    return isSound;
  }

  void mark(Value v) {
    if (tensorOf(v).getRank() < 1 || tensorOf(v).getShape().back() != width)
      isSound = false;
    columns.insert(v);
  }
  bool isMarked(Value v) { return columns.contains(v); }

  void visit(Operation &op) {
    Value result = op.getResult(0);
    bool any = isMarked(result) || llvm::any_of(op.getOperands(), [&](Value v) { return isMarked(v); });
    if (!any)
      return;
    if (auto dot = dyn_cast<nn::DotOp>(op)) {
      // Columns are the free dimension of the right side, and stay the last of the result.
      if (isMarked(dot.getLhs()) || dot.getRhs().getType().getRank() != 2 || dot.getRhsContract()[0] != 0 ||
          !dot.getRhsBatch().empty()) {
        isSound = false;
        return;
      }
      mark(dot.getRhs());
      return mark(result);
    }
    if (auto solve = dyn_cast<SolveUnitLowerOp>(op)) {
      if (isMarked(solve.getMatrix()))
        isSound = false;
      mark(solve.getRhs());
      return mark(result);
    }
    auto keepsLast = [&](int64_t dim) { return dim != tensorOf(result).getRank() - 1; };
    bool isFine = isa<ElementwiseOpInterface, nn::ReshapeOp>(op);
    if (auto pad = dyn_cast<nn::PadOp>(op))
      isFine = keepsLast(pad.getDim());
    if (auto slice = dyn_cast<nn::SliceOp>(op))
      isFine = keepsLast(slice.getDim());
    if (!isFine) {
      isSound = false;
      return;
    }
    mark(result);
    for (Value v : op.getOperands())
      if (tensorOf(v).getRank() > 0 && tensorOf(v).getShape().back() != 1)
        mark(v);
  }

  ScanOp scan;
  Block &body;
  int64_t elements, width = 0;
  DenseSet<Value> columns;
  bool isSound = true;
};

struct RecNarrowValuesPass : rec::impl::RecNarrowValuesBase<RecNarrowValuesPass> {
  using RecNarrowValuesBase::RecNarrowValuesBase;

  void runOnOperation() override {
    SmallVector<ScanOp> scans;
    getOperation().walk([&](ScanOp scan) { scans.push_back(scan); });
    for (ScanOp scan : scans) {
      Narrower narrower(scan, elements);
      if (int64_t n = narrower.slabs(); n > 1)
        narrower.run(n);
    }
  }
};
} // namespace
