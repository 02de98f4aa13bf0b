//===- Split.cpp - Chunk scans for many processors --------------*- C++ -*-===//
// Implements -rec-split. A scan runs its chunks one after another because of its
// states; most of its work does not need to. What remains in the scan is the slice
// of the body that the new states need, without the products that no state enters:
//
//   before:  what no state enters, one chunk apart from the other: products, and rows
//            of tokens and factors of the state with their decays
//   states:  the chain, whose entry states are kept
//   after:   the outputs, from operands, entry states and the rows of a chunk that
//            the chain has computed on its way
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

bool isProduct(Operation *op) {
  return isa<nn::DotOp, DecayScoresOp, DecayMixOp, SolveUnitLowerOp, DecaySolveOp>(op);
}

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
    findProducts();
    findSides();
    chooseEarly();
    chooseLate();
    ScanOp before = early.empty() ? ScanOp() : buildBefore();
    ScanOp states = buildStates(before);
    SmallVector<unsigned> rest; // the outputs that the chain does not give
    for (auto [i, output] : llvm::enumerate(scan.getOutputs())) {
      auto *it = llvm::find(late, yields()[i]);
      if (it != late.end() && scan.outKindOf(i) == OperandKind::Token && scan.headsOfOutput(i) == scan.getHeads())
        output.replaceAllUsesWith(states.getResult(it - late.begin()));
      else
        rest.push_back(i);
    }
    if (!rest.empty())
      for (auto [i, to] : llvm::zip(rest, buildAfter(before, states, rest).getOutputs()))
        scan.getResult(i).replaceAllUsesWith(to);
    for (auto [from, to] : llvm::zip(scan.getFinalStates(), states.getFinalStates()))
      from.replaceAllUsesWith(to);
    for (auto [from, to] : llvm::zip(scan.getEntryStates(), states.getEntryStates()))
      from.replaceAllUsesWith(to);
    scan.erase();
  }

private:
  OperandRange yields() { return body.getTerminator()->getOperands(); }
  OperandRange newStates() { return yields().take_back(scan.getNumStates()); }

  void findStateful() {
    for (Value state : scan.getBodyStates())
      stateful.insert(state);
    for (Operation &op : body.without_terminator())
      if (llvm::any_of(op.getOperands(), [&](Value v) { return stateful.contains(v); }))
        for (Value v : op.getResults())
          stateful.insert(v);
  }

  /// Whether a product stands in the tree of a value.
  bool holdsProduct(Value v) { return withProducts.contains(v); }
  void findProducts() {
    for (Operation &op : body.without_terminator())
      if (isProduct(&op) || llvm::any_of(op.getOperands(), [&](Value v) { return holdsProduct(v); }))
        withProducts.insert_range(op.getResults());
    for (Operation &op : body.without_terminator())
      if (isProduct(&op) || isa<CumsumOp, nn::ExpOp, nn::ReduceSumOp>(op) ||
          llvm::any_of(op.getOperands(), [&](Value v) { return takesTime(v); }))
        withSums.insert_range(op.getResults());
  }
  /// Rows of a chunk: what may be kept, as it is no larger than the operands.
  bool isPerToken(Value v) {
    return tensorOf(v).getRank() == 2 && sides.lookup(v).rows;
  }
  /// Which outer dimensions of a value count the events of a chunk.
  struct Sides {
    bool rows = false, columns = false; ///< The first, the last.
  };
  void findSides() {
    for (auto [i, arg] : llvm::enumerate(scan.getBodyInputs()))
      sides[arg].rows = scan.kindOf(i) == OperandKind::Token;
    for (Operation &op : body.without_terminator()) {
      Sides &result = sides[op.getResult(0)];
      auto of = [&](unsigned operand) { return sides.lookup(op.getOperand(operand)); };
      if (auto dot = dyn_cast<nn::DotOp>(op)) {
        if (tensorOf(dot).getRank() == 2 && dot.getLhsContract().size() == 1)
          result = {dot.getLhsContract()[0] == 1 ? of(0).rows : of(0).columns,
                    dot.getRhsContract()[0] == 0 ? of(1).columns : of(1).rows};
      } else if (isa<DecayScoresOp>(op)) {
        result = {true, true};
      } else if (isa<DecayMixOp, SolveUnitLowerOp, DecaySolveOp>(op)) {
        result = {true, of(1).columns};
      } else if (auto transpose = dyn_cast<nn::TransposeOp>(op)) {
        if (tensorOf(transpose).getRank() == 2)
          result = {of(0).columns, of(0).rows};
      } else {
        auto type = tensorOf(op.getResult(0));
        for (Value v : op.getOperands()) { // what no operand repeats or sums
          auto from = tensorOf(v);
          if (from.getRank() == 0 || type.getRank() == 0)
            continue;
          const bool isAligned = from.getRank() == type.getRank() && from.getDimSize(0) == type.getDimSize(0);
          result.rows |= sides.lookup(v).rows && (isAligned || isa<nn::ReshapeOp>(op));
          result.columns |= sides.lookup(v).columns && from.getShape().back() == type.getShape().back();
        }
      }
    }
  }

  /// Sums along the chunk, which stay what they are behind the last token.
  static bool isRunningSum(Value v) {
    Operation *op = v.getDefiningOp();
    return op && (isa<CumsumOp>(op) || (isa<nn::AddOp, nn::SubOp, nn::NegOp, nn::PadOp, nn::ReshapeOp>(op) &&
                                        llvm::any_of(op->getOperands(), isRunningSum)));
  }

  /// How a value that one scan hands to another is kept. Rows of tokens beyond the last are those of operands that are
  /// zero there, so nobody misses them; but for gates, which would rise to zero.
  OperandKind keptAs(Value v) {
    auto type = tensorOf(v);
    const int64_t chunk = scan.getChunk();
    const bool isToken = type.getRank() == 2 && type.getDimSize(0) == chunk && type.getDimSize(1) != chunk &&
                         !isRunningSum(v);
    return isToken ? OperandKind::Token : OperandKind::Step;
  }
  SmallVector<int64_t> keptAs(ValueRange values) {
    return llvm::map_to_vector(values, [&](Value v) { return int64_t(keptAs(v)); });
  }

  /// Whether an exponential, a running or another sum stands in the tree of a value: a chain would wait for it.
  bool takesTime(Value v) { return withSums.contains(v); }
  /// One row for a whole step, such as the decay of a state.
  static bool isPerStep(Value v) {
    auto type = tensorOf(v);
    return type.getRank() > 0 && type.getNumElements() == type.getShape().back();
  }

  /// The largest values that the chain needs, that no state enters and that take time.
  void chooseEarly() {
    llvm::SmallPtrSet<Operation *, 32> seen;
    std::function<void(Value)> visit = [&](Value v) {
      Operation *op = v.getDefiningOp();
      if (!op)
        return;
      if (!stateful.contains(v) && (isPerToken(v) || isPerStep(v) || !takesTime(v))) {
        if (takesTime(v))
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

  /// The largest rows of tokens that the chain computes with its states, and that the outputs need too.
  void chooseLate() {
    llvm::SmallPtrSet<Value, 32> inChain, seen;
    std::function<void(Value)> mark = [&](Value v) {
      if (Operation *op = v.getDefiningOp(); op && !early.contains(v) && inChain.insert(v).second)
        llvm::for_each(op->getOperands(), mark);
    };
    llvm::for_each(newStates(), mark);
    std::function<void(Value)> visit = [&](Value v) {
      Operation *op = v.getDefiningOp();
      if (!op || !seen.insert(v).second)
        return;
      if (inChain.contains(v) && stateful.contains(v) && keptAs(v) == OperandKind::Token && holdsProduct(v))
        late.insert(v);
      else
        llvm::for_each(op->getOperands(), visit);
    };
    llvm::for_each(yields().take_front(scan.getNumOutputs()), visit);
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

  /// Adds the scan's operands that `values` need, but for those behind values that other scans give. A token operand
  /// comes first.
  void addOperands(Part &part, ValueRange values, llvm::function_ref<bool(Value)> isGiven) {
    llvm::SmallPtrSet<Value, 32> seen;
    llvm::SmallSetVector<unsigned, 8> used;
    std::function<void(Value)> visit = [&](Value v) {
      if (!seen.insert(v).second || isGiven(v))
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
    addOperands(part, values, [](Value) { return false; });
    OpBuilder at = inside(part.block);
    cloneSlice(at, values, part.mapping);
    SmallVector<Value> yielded;
    for (Value v : values)
      yielded.push_back(part.mapping.lookup(v));
    return finish(part, {}, keptAs(values), 0, false, yielded, {});
  }

  /// Adds those of `given`, the first results of another scan, that `values` use.
  void addGiven(Part &part, ArrayRef<Value> given, ScanOp from, ValueRange values) {
    llvm::SmallPtrSet<Value, 32> seen;
    std::function<void(Value)> visit = [&](Value v) {
      if (!seen.insert(v).second || part.mapping.contains(v))
        return;
      if (auto *it = llvm::find(given, v); it != given.end()) {
        part.mapping.map(v, part.add(from.getResult(it - given.begin()), keptAs(v), v.getType()));
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
    SmallVector<Value> values(late.begin(), late.end());
    llvm::append_range(values, newStates());
    addOperands(part, values, [&](Value v) { return early.contains(v); });
    if (before)
      addGiven(part, early.getArrayRef(), before, values);
    for (Value state : scan.getBodyStates())
      part.mapping.map(state, part.block->addArgument(state.getType(), state.getLoc()));
    OpBuilder at = inside(part.block);
    cloneSlice(at, values, part.mapping);
    SmallVector<Value> yielded;
    for (Value v : values)
      yielded.push_back(part.mapping.lookup(v));
    return finish(part, scan.getInits(), keptAs(late.getArrayRef()), scan.getNumStates(), /*saveStates=*/true, yielded, {});
  }

  ScanOp buildAfter(ScanOp before, ScanOp states, ArrayRef<unsigned> outputs) {
    Part part;
    auto values = llvm::map_to_vector(outputs, [&](unsigned i) { return yields()[i]; });
    addOperands(part, values, [&](Value v) { return early.contains(v) || late.contains(v); });
    addGiven(part, late.getArrayRef(), states, values);
    if (before)
      addGiven(part, early.getArrayRef(), before, values);
    for (auto [state, entry] : llvm::zip(scan.getBodyStates(), states.getEntryStates()))
      part.mapping.map(state, part.add(entry, OperandKind::Step, state.getType()));
    OpBuilder at = inside(part.block);
    cloneSlice(at, values, part.mapping);
    SmallVector<Value> yielded;
    for (Value v : values)
      yielded.push_back(part.mapping.lookup(v));
    auto kinds = llvm::map_to_vector(outputs, [&](unsigned i) { return scan.getOutKinds()[i]; });
    SmallVector<int64_t> heads;
    if (scan.getOutHeads())
      heads = llvm::map_to_vector(outputs, [&](unsigned i) { return scan.headsOfOutput(i); });
    return finish(part, {}, kinds, 0, false, yielded, heads);
  }

  ScanOp scan;
  Block &body;
  OpBuilder b;
  DenseSet<Value> stateful, withProducts, withSums;
  DenseMap<Value, Sides> sides;
  llvm::SmallSetVector<Value, 8> early, late;
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
