//===- NarrowValues.cpp - Wide states as heads side by side -----*- C++ -*-===//
// Implements -rec-narrow-values. The rows of a V x K state never meet: a scan whose
// heads have such states is one with n times as many heads of V/n x K, in which n
// neighbours share queries, keys and gates. In memory values and states lie the
// same way.
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
  Narrower(ScanOp scan, int64_t elements, bool isThorough)
      : scan(scan), body(scan.getBody().front()), elements(elements), isThorough(isThorough) {}

  /// The number of slabs; 1: the scan stays as it is.
  int64_t slabs() {
    auto states = scan.getBodyStates();
    if (scan.getChunk() == 1 || states.empty() || (states.size() > 1 && !isThorough) || scan.getOutHeads() ||
        tensorOf(states[0]).getRank() != 2 ||
        llvm::any_of(states, [&](Value v) { return v.getType() != states[0].getType(); }))
      return 1;
    auto state = tensorOf(states[0]);
    width = state.getDimSize(0);
    for (int64_t n = 1; n <= width / 16; ++n)
      if (width % n == 0 && width / n % 16 == 0 && state.getDimSize(1) * (width / n) <= elements)
        return n == 1 || !findValues() ? 1 : n;
    return 1;
  }

  void run(int64_t n) {
    OpBuilder b(scan);
    Location loc = scan.getLoc();
    Region region;
    Block *fresh = new Block();
    region.push_back(fresh);
    IRMapping mapping;
    for (BlockArgument arg : body.getArguments())
      mapping.map(arg, fresh->addArgument(narrow(arg, n), arg.getLoc()));
    OpBuilder inside(scan.getContext());
    inside.setInsertionPointToEnd(fresh);
    for (Operation &op : body) {
      Operation *clone = inside.clone(op, mapping);
      for (auto [from, to] : llvm::zip(op.getResults(), clone->getResults()))
        to.setType(narrow(from, n));
    }
    SmallVector<Value> inputs, inits;
    for (auto [i, outer] : llvm::enumerate(scan.getInputs()))
      inputs.push_back(regrouped(b, outer, outerDim(body.getArgument(i), scan.kindOf(i)), scan.kindOf(i), n));
    for (auto [i, outer] : llvm::enumerate(scan.getInits()))
      inits.push_back(regrouped(b, outer, outerDim(scan.getBodyStates()[i], scan.initKind(i)), scan.initKind(i), n));
    auto narrowed = ScanOp::create(b, loc, inputs, scan.getKinds(), inits, scan.getChunk(), scan.getOutKinds(),
                                   scan.getNumStates(), scan.getReverse(), scan.getSaveStates(), &region);
    SmallVector<Value> results;
    for (auto [i, from] : llvm::enumerate(scan.getResults())) {
      const bool isOutput = i < scan.getNumOutputs();
      const OperandKind kind = isOutput ? scan.outKindOf(i) : OperandKind::Step;
      Value inner = body.getTerminator()->getOperand(isOutput ? i : 0);
      results.push_back(isOutput ? whole(b, narrowed.getResult(i), tensorOf(from), outerDim(inner, kind), kind, n)
                                 : nn::ReshapeOp::create(b, loc, tensorOf(from), narrowed.getResult(i)));
    }
    for (auto [from, to] : llvm::zip(scan.getResults(), results))
      from.replaceAllUsesWith(to);
    scan.erase();
  }

private:
  RankedTensorType narrow(Value v, int64_t n) {
    auto type = tensorOf(v);
    auto it = dims.find(v);
    if (it == dims.end())
      return type;
    SmallVector<int64_t> shape(type.getShape());
    shape[it->second] /= n;
    return RankedTensorType::get(shape, type.getElementType());
  }

  /// A value from outside with n times the heads, by which dimension `dim` is divided; as it is without one.
  static Value regrouped(OpBuilder &b, Value outer, int64_t dim, OperandKind kind, int64_t n) {
    if (dim < 0)
      return outer;
    auto type = tensorOf(outer);
    const int64_t head = headDim(kind);
    if (!followsHeads(type, head, dim)) {
      SmallVector<int64_t> apart(type.getShape());
      apart[dim] /= n;
      apart.insert(apart.begin() + dim, n);
      outer = nn::ReshapeOp::create(b, outer.getLoc(), RankedTensorType::get(apart, type.getElementType()), outer);
      outer = nn::TransposeOp::create(b, outer.getLoc(), outer, moved(apart.size(), dim, head + 1));
    }
    SmallVector<int64_t> shape(type.getShape());
    shape[head] *= n;
    shape[dim] /= n;
    return nn::ReshapeOp::create(b, outer.getLoc(), RankedTensorType::get(shape, type.getElementType()), outer);
  }

  /// The way back, to an output of this type.
  static Value whole(OpBuilder &b, Value output, RankedTensorType type, int64_t dim, OperandKind kind, int64_t n) {
    const int64_t head = headDim(kind);
    if (!followsHeads(type, head, dim)) {
      SmallVector<int64_t> apart(type.getShape());
      apart[dim] /= n;
      apart.insert(apart.begin() + head + 1, n);
      output = nn::ReshapeOp::create(b, output.getLoc(), RankedTensorType::get(apart, type.getElementType()), output);
      output = nn::TransposeOp::create(b, output.getLoc(), output, moved(apart.size(), head + 1, dim));
    }
    return nn::ReshapeOp::create(b, output.getLoc(), type, output);
  }

  /// Whether a dimension follows that of the heads in memory.
  static bool followsHeads(RankedTensorType outer, int64_t head, int64_t dim) {
    return llvm::all_of(outer.getShape().slice(head + 1, dim - head - 1), [](int64_t size) { return size == 1; });
  }
  /// The permutation that moves one dimension elsewhere.
  static SmallVector<int64_t> moved(int64_t rank, int64_t from, int64_t to) {
    auto all = llvm::to_vector(llvm::seq<int64_t>(0, rank));
    all.erase(all.begin() + from);
    all.insert(all.begin() + to, from);
    return all;
  }
  static int64_t headDim(OperandKind kind) {
    return kind == OperandKind::Head ? 0 : kind == OperandKind::Row ? 1 : 2;
  }
  /// The dimension outside that has the rows of the state; -1 without one.
  int64_t outerDim(Value inner, OperandKind kind) {
    const int64_t dim = dimOf(inner);
    return dim < 0 ? -1 : headDim(kind) + dim + (kind == OperandKind::Token ? 0 : 1); // the body sees tokens in front
  }

  /// Finds in which dimension each value has the rows of the state. False where they meet.
  bool findValues() {
    isSound = true;
    for (Value state : scan.getBodyStates())
      mark(state, 0);
    for (Value state : body.getTerminator()->getOperands().take_back(scan.getNumStates()))
      mark(state, 0);
    for (size_t before = 0; before != dims.size() && isSound;) {
      before = dims.size();
      for (Operation &op : body.without_terminator())
        visit(op);
    }
    for (auto [i, outer] : llvm::enumerate(scan.getInputs()))
      isSound &= isRegroupable(body.getArgument(i), tensorOf(outer), scan.kindOf(i));
    for (auto [i, outer] : llvm::enumerate(scan.getOutputs())) {
      Value inner = body.getTerminator()->getOperand(i);
      isSound &= dims.contains(inner) && isRegroupable(inner, tensorOf(outer), scan.outKindOf(i));
    }
    return isSound;
  }

  /// Whether the values' dimension may be divided among heads: as a view, or thoroughly.
  bool isRegroupable(Value inner, RankedTensorType outer, OperandKind kind) {
    if (!dims.contains(inner))
      return true;
    if (kind == OperandKind::Shared)
      return false;
    const int64_t head = headDim(kind), at = outerDim(inner, kind);
    return at > head && outer.getDimSize(head) == scan.getHeads() && (isThorough || followsHeads(outer, head, at));
  }

  void mark(Value v, int64_t dim) {
    auto type = tensorOf(v);
    if (dim < 0 || dim >= type.getRank() || type.getDimSize(dim) != width) {
      isSound = false;
      return;
    }
    auto [it, isNew] = dims.try_emplace(v, dim);
    isSound &= it->second == dim;
  }

  void visit(Operation &op) {
    Value result = op.getResult(0);
    if (!dims.contains(result) && llvm::none_of(op.getOperands(), [&](Value v) { return dims.contains(v); }))
      return;
    if (auto dot = dyn_cast<nn::DotOp>(op))
      return visitDot(dot);
    if (auto solve = dyn_cast<SolveUnitLowerOp>(op)) {
      isSound &= !dims.contains(solve.getMatrix());
      mark(solve.getRhs(), 1);
      return mark(result, 1);
    }
    if (isa<DecaySolveOp, DecayMixOp>(op)) { // each value by itself, all by one matrix
      isSound &= !dims.contains(op.getOperand(0));
      for (Value v : op.getOperands().drop_front())
        if (tensorOf(v).getDimSize(1) != 1) // not a gate of one number
          mark(v, 1);
      return mark(result, 1);
    }
    if (isa<nn::PadOp, nn::SliceOp, CumsumOp>(op)) { // along another dimension
      auto pad = dyn_cast<nn::PadOp>(op);
      auto slice = dyn_cast<nn::SliceOp>(op);
      Value input = op.getOperand(0);
      const int64_t along = pad ? pad.getDim() : slice ? slice.getDim() : 0;
      const int64_t at = dims.contains(input) ? dimOf(input) : dimOf(result);
      isSound &= int64_t(along) != at;
      mark(input, at);
      return mark(result, at);
    }
    if (isa<nn::ConstantOp>(op))
      return;
    if (auto transpose = dyn_cast<nn::TransposeOp>(op)) {
      for (auto [to, from] : llvm::enumerate(transpose.getPermutation())) {
        if (dimOf(transpose.getInput()) == from)
          mark(result, to);
        if (dimOf(result) == int64_t(to))
          mark(transpose.getInput(), from);
      }
      return;
    }
    if (auto reshape = dyn_cast<nn::ReshapeOp>(op)) { // what stays the last dimension, or the only one
      Value input = reshape.getInput();
      const bool isVector = tensorOf(input).getNumElements() == width;
      for (Value v : {input, result})
        mark(v, isVector ? llvm::find(tensorOf(v).getShape(), width) - tensorOf(v).getShape().begin()
                         : tensorOf(v).getRank() - 1);
      return;
    }
    if (!isa<ElementwiseOpInterface, nn::BroadcastLikeOp>(op) || op.getNumOperands() == 0) {
      isSound = false;
      return;
    }
    // Dimensions are aligned at the end.
    int64_t fromEnd = -1;
    for (Value v : op.getOperands())
      if (dims.contains(v))
        fromEnd = tensorOf(v).getRank() - dims.lookup(v);
    if (dims.contains(result))
      fromEnd = tensorOf(result).getRank() - dims.lookup(result);
    mark(result, tensorOf(result).getRank() - fromEnd);
    for (Value v : op.getOperands()) {
      auto type = tensorOf(v);
      if (type.getRank() >= fromEnd && type.getDimSize(type.getRank() - fromEnd) != 1)
        mark(v, type.getRank() - fromEnd);
    }
  }

  /// The rows of the state are one free dimension of one side.
  void visitDot(nn::DotOp dot) {
    if (!dot.getLhsBatch().empty()) {
      isSound = false;
      return;
    }
    auto lhs = dot.getLhsFree(), rhs = dot.getRhsFree();
    Value result = dot.getResult();
    const int64_t at = dimOf(result);
    auto visitSide = [&](Value side, ArrayRef<int64_t> free, int64_t first) {
      if (at >= first && at < first + int64_t(free.size()))
        mark(side, free[at - first]);
      if (!dims.contains(side))
        return;
      auto *it = llvm::find(free, dims.lookup(side));
      if (it == free.end())
        isSound = false; // summed over
      else
        mark(result, first + (it - free.begin()));
    };
    visitSide(dot.getLhs(), lhs, 0);
    visitSide(dot.getRhs(), rhs, lhs.size());
    isSound &= !(dims.contains(dot.getLhs()) && dims.contains(dot.getRhs()));
  }

  /// -1 if the value has none.
  int64_t dimOf(Value v) {
    auto it = dims.find(v);
    return it == dims.end() ? -1 : it->second;
  }

  ScanOp scan;
  Block &body;
  int64_t elements, width = 0;
  bool isThorough;
  DenseMap<Value, int64_t> dims;
  bool isSound = true;
};

struct RecNarrowValuesPass : rec::impl::RecNarrowValuesBase<RecNarrowValuesPass> {
  using RecNarrowValuesBase::RecNarrowValuesBase;

  void runOnOperation() override {
    SmallVector<ScanOp> scans;
    getOperation().walk([&](ScanOp scan) { scans.push_back(scan); });
    for (ScanOp scan : scans) {
      Narrower narrower(scan, elements, thorough);
      if (int64_t n = narrower.slabs(); n > 1)
        narrower.run(n);
    }
  }
};
} // namespace
