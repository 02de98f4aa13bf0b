//===- Split.cpp - Chunk scans for many processors --------------*- C++ -*-===//
// Implements -rec-split. A scan runs its chunks one after another because of its
// states; most of its work does not need to. What remains in the scan is the slice
// of the body that the new states need, without the products that no state enters:
//
//   before:  products that no state enters, one chunk apart from the other
//   states:  the chain, whose entry states are kept
//   after:   the outputs, from operands and entry states
//
// `before` and `after` are scans without states: their steps may run side by side.
//===----------------------------------------------------------------------===//
#include "passes/Rec/Passes.h"

#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"
#include "llvm/ADT/SetVector.h"

namespace tidegate::rec {
#define GEN_PASS_DEF_RECSPLIT
#include "passes/Rec/Passes.h.inc"
} // namespace tidegate::rec

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

namespace {
RankedTensorType tensorOf(Value v) { return cast<RankedTensorType>(v.getType()); }

bool isProduct(Operation *op) { return isa<nn::DotOp, DecayScoresOp, DecayMixOp, SolveUnitLowerOp>(op); }

/// Solves become products with the inverse, which no state enters.
void solveByInverse(Block &body) {
  for (auto solve : llvm::make_early_inc_range(body.getOps<SolveUnitLowerOp>())) {
    OpBuilder b(solve);
    Location loc = solve.getLoc();
    auto type = solve.getMatrix().getType();
    int64_t n = type.getDimSize(0);
    Value numbers = nn::IotaOp::create(b, loc, RankedTensorType::get({n}, type.getElementType()));
    Value column = nn::ReshapeOp::create(b, loc, RankedTensorType::get({n, 1}, type.getElementType()), numbers);
    Value identity = nn::EqualOp::create(b, loc, column, numbers);
    Value inverse = SolveUnitLowerOp::create(b, loc, type, solve.getMatrix(), identity, false);
    solve.replaceAllUsesWith(
        nn::DotOp::create(b, loc, inverse, solve.getRhs(), {solve.getTransposed() ? 0 : 1}, {0}).getResult());
    solve.erase();
  }
}

class Splitter {
public:
  explicit Splitter(ScanOp scan) : scan(scan), body(scan.getBody().front()), b(scan) {}

  bool canSplit() {
    return scan.getChunk() > 1 && scan.getNumStates() > 0 && scan.getNumOutputs() > 0 &&
           llvm::none_of(body, [](Operation &op) { return isa<UnlessLastOp, WhenOp>(op); });
  }

  void run() {
    solveByInverse(body);
    IRRewriter rewriter(scan.getContext());
    DominanceInfo dominance(scan);
    eliminateCommonSubExpressions(rewriter, dominance, scan);
    findStateful();
    chooseEarly();
    ScanOp before = early.empty() ? ScanOp() : buildBefore();
    ScanOp states = buildStates(before);
    ScanOp after = buildAfter(before, states);
    for (auto [from, to] : llvm::zip(scan.getOutputs(), after.getOutputs()))
      from.replaceAllUsesWith(to);
    for (auto [from, to] : llvm::zip(scan.getFinalStates(), states.getFinalStates()))
      from.replaceAllUsesWith(to);
    for (auto [from, to] : llvm::zip(scan.getEntryStates(), states.getEntryStates()))
      from.replaceAllUsesWith(to);
    scan.erase();
  }

private:
  auto yields() { return body.getTerminator()->getOperands(); }
  auto newStates() { return yields().take_back(scan.getNumStates()); }

  void findStateful() {
    for (Value state : scan.getBodyStates())
      stateful.insert(state);
    for (Operation &op : body.without_terminator())
      if (llvm::any_of(op.getOperands(), [&](Value v) { return stateful.contains(v); }))
        for (Value v : op.getResults())
          stateful.insert(v);
  }

  /// Whether a product stands in the tree of a value.
  bool holdsProduct(Value v) {
    Operation *op = v.getDefiningOp();
    return op && (isProduct(op) || llvm::any_of(op->getOperands(), [&](Value o) { return holdsProduct(o); }));
  }
  /// Rows of a chunk: what may be kept per step, as it is no larger than the operands.
  bool isPerToken(Value v) {
    return tensorOf(v).getRank() == 2 && tensorOf(v).getDimSize(0) % int64_t(scan.getChunk()) == 0;
  }

  /// The largest values that the chain needs, that no state enters and that hold a product.
  void chooseEarly() {
    llvm::SmallPtrSet<Operation *, 32> seen;
    std::function<void(Value)> visit = [&](Value v) {
      Operation *op = v.getDefiningOp();
      if (!op)
        return;
      if (!stateful.contains(v) && (!holdsProduct(v) || isPerToken(v))) {
        if (holdsProduct(v))
          early.insert(v);
        return;
      }
      if (seen.insert(op).second)
        for (Value operand : op->getOperands())
          visit(operand);
    };
    for (Value v : newStates())
      visit(v);
  }

  /// Clones what `values` need into `to`; `mapping` holds what is there already.
  static void cloneSlice(OpBuilder &inside, ValueRange values, IRMapping &mapping) {
    std::function<void(Value)> visit = [&](Value v) {
      Operation *op = v.getDefiningOp();
      if (mapping.contains(v) || !op)
        return;
      for (Value operand : op->getOperands())
        visit(operand);
      inside.clone(*op, mapping);
    };
    for (Value v : values)
      visit(v);
  }

  /// A builder in a block that belongs to no operation yet.
  OpBuilder inside(Block *block) {
    OpBuilder builder(scan.getContext());
    builder.setInsertionPointToEnd(block);
    return builder;
  }

  /// Operands and body of a new scan.
  struct Part {
    Region region;
    Block *block = nullptr;
    SmallVector<Value> inputs;
    SmallVector<int64_t> kinds;
    IRMapping mapping;

    Part() { region.push_back(block = new Block()); }
    Value add(Value outer, OperandKind kind, Type inner) {
      inputs.push_back(outer);
      kinds.push_back(int64_t(kind));
      return block->addArgument(inner, outer.getLoc());
    }
  };

  /// Adds the scan's operands that `values` need; those behind early values only if `throughEarly`. A token operand
  /// comes first.
  void addOperands(Part &part, ValueRange values, bool throughEarly = false) {
    llvm::SmallPtrSet<Value, 32> seen;
    llvm::SmallSetVector<unsigned, 8> used;
    std::function<void(Value)> visit = [&](Value v) {
      if (!seen.insert(v).second || (!throughEarly && early.contains(v)))
        return;
      if (auto argument = dyn_cast<BlockArgument>(v)) {
        if (argument.getArgNumber() < scan.getInputs().size())
          used.insert(argument.getArgNumber());
        return;
      }
      for (Value operand : v.getDefiningOp()->getOperands())
        visit(operand);
    };
    for (Value v : values)
      visit(v);
    SmallVector<unsigned> order(used.begin(), used.end());
    auto isToken = [&](unsigned i) { return scan.kindOf(i) == OperandKind::Token; };
    if (llvm::none_of(order, isToken))
      order.push_back(0); // gives B and T
    llvm::stable_sort(order, [&](unsigned x, unsigned y) { return isToken(x) > isToken(y); });
    for (unsigned i : order)
      part.mapping.map(body.getArgument(i),
                       part.add(scan.getInputs()[i], scan.kindOf(i), body.getArgument(i).getType()));
  }

  ScanOp finish(Part &part, ValueRange inits, ArrayRef<int64_t> outKinds, int64_t numStates, bool saveStates,
                ValueRange yielded, ArrayRef<int64_t> outHeads) {
    OpBuilder at = inside(part.block);
    YieldOp::create(at, scan.getLoc(), yielded);
    return ScanOp::create(b, scan.getLoc(), part.inputs, part.kinds, inits, scan.getChunk(), outKinds, numStates,
                          scan.getReverse(), saveStates, &part.region, outHeads);
  }

  ScanOp buildBefore() {
    Part part;
    auto values = early.getArrayRef();
    addOperands(part, values, /*throughEarly=*/true);
    OpBuilder at = inside(part.block);
    cloneSlice(at, values, part.mapping);
    SmallVector<Value> yielded;
    for (Value v : values)
      yielded.push_back(part.mapping.lookup(v));
    return finish(part, {}, SmallVector<int64_t>(values.size(), int64_t(OperandKind::Step)), 0, false, yielded, {});
  }

  /// What `before` computed is an operand per step; those that `values` use.
  void addEarly(Part &part, ScanOp before, ValueRange values) {
    llvm::SmallPtrSet<Value, 32> seen;
    std::function<void(Value)> visit = [&](Value v) {
      if (!seen.insert(v).second || part.mapping.contains(v))
        return;
      if (auto *it = llvm::find(early, v); it != early.end()) {
        part.mapping.map(v, part.add(before.getResult(it - early.begin()), OperandKind::Step, v.getType()));
        return;
      }
      if (Operation *op = v.getDefiningOp())
        for (Value operand : op->getOperands())
          visit(operand);
    };
    for (Value v : values)
      visit(v);
  }

  ScanOp buildStates(ScanOp before) {
    Part part;
    SmallVector<Value> values(newStates());
    addOperands(part, values);
    if (before)
      addEarly(part, before, values);
    for (Value state : scan.getBodyStates())
      part.mapping.map(state, part.block->addArgument(state.getType(), state.getLoc()));
    OpBuilder at = inside(part.block);
    cloneSlice(at, values, part.mapping);
    SmallVector<Value> yielded;
    for (Value v : values)
      yielded.push_back(part.mapping.lookup(v));
    return finish(part, scan.getInits(), {}, scan.getNumStates(), /*saveStates=*/true, yielded, {});
  }

  ScanOp buildAfter(ScanOp before, ScanOp states) {
    Part part;
    SmallVector<Value> values(yields().take_front(scan.getNumOutputs()));
    addOperands(part, values);
    if (before)
      addEarly(part, before, values);
    for (auto [state, entry] : llvm::zip(scan.getBodyStates(), states.getEntryStates()))
      part.mapping.map(state, part.add(entry, OperandKind::Step, state.getType()));
    OpBuilder at = inside(part.block);
    cloneSlice(at, values, part.mapping);
    SmallVector<Value> yielded;
    for (Value v : values)
      yielded.push_back(part.mapping.lookup(v));
    return finish(part, {}, scan.getOutKinds(), 0, false, yielded, scan.getOutHeadsOrNone());
  }

  ScanOp scan;
  Block &body;
  OpBuilder b;
  DenseSet<Value> stateful;
  llvm::SmallSetVector<Value, 8> early;
};

struct RecSplitPass : rec::impl::RecSplitBase<RecSplitPass> {
  void runOnOperation() override {
    SmallVector<ScanOp> scans;
    getOperation().walk([&](ScanOp scan) { scans.push_back(scan); });
    for (ScanOp scan : scans)
      if (Splitter splitter(scan); splitter.canSplit())
        splitter.run();
  }
};
} // namespace
