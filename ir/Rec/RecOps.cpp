//===- RecOps.cpp - Types and verifiers of the recurrence dialect -*- C++ -*-===//
#include "ir/Rec/RecOps.h"

#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

#include <numeric>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

static RankedTensorType tensorOf(Value value) { return cast<RankedTensorType>(value.getType()); }

//===----------------------------------------------------------------------===//
// Scan
//===----------------------------------------------------------------------===//

/// Leading dimensions that the body does not see.
static int64_t outerRank(OperandKind kind) {
  switch (kind) {
  case OperandKind::Token:
  case OperandKind::Step:
    return 3;
  case OperandKind::Row:
    return 2;
  case OperandKind::Head:
    return 1;
  case OperandKind::Shared:
    return 0;
  }
  llvm_unreachable("all kinds are named");
}

RankedTensorType ScanOp::innerType(RankedTensorType outer, OperandKind kind, int64_t chunk) {
  SmallVector<int64_t> shape(outer.getShape().drop_front(std::min(outerRank(kind), outer.getRank())));
  if (kind == OperandKind::Token && chunk > 1)
    shape.insert(shape.begin(), chunk);
  return RankedTensorType::get(shape, outer.getElementType());
}

/// The largest number of heads of an operand.
static int64_t headsOf(ValueRange inputs, ArrayRef<int64_t> kinds) {
  int64_t heads = 1;
  for (auto [input, kind] : llvm::zip(inputs, kinds)) {
    unsigned rank = outerRank(static_cast<OperandKind>(kind));
    if (rank > 0 && tensorOf(input).getRank() >= rank)
      heads = std::max(heads, tensorOf(input).getDimSize(rank - 1));
  }
  return heads;
}

int64_t ScanOp::getHeads() { return headsOf(getInputs(), getKinds()); }

int64_t ScanOp::getHeadsInTurn() {
  int64_t heads = getHeads(), together = 1;
  for (int64_t own : getOutHeadsOrNone())
    together = std::lcm(together, heads / own);
  return together;
}

namespace {
/// The sizes outside: `B`, `T`, `N`, `H`, from the first operand.
struct Outer {
  int64_t batch, tokens, steps, heads;

  static Outer of(ValueRange inputs, ArrayRef<int64_t> kinds, int64_t chunk) {
    auto type = tensorOf(inputs.front());
    int64_t tokens = type.getDimSize(1);
    int64_t steps = ShapedType::isDynamic(tokens) ? tokens : (tokens + chunk - 1) / chunk;
    return {type.getDimSize(0), tokens, steps, headsOf(inputs, kinds)};
  }

  SmallVector<int64_t> leading(OperandKind kind) const {
    switch (kind) {
    case OperandKind::Token:
      return {batch, tokens, heads};
    case OperandKind::Step:
      return {batch, steps, heads};
    case OperandKind::Head:
      return {heads};
    case OperandKind::Row:
      return {batch, heads};
    case OperandKind::Shared:
      return {};
    }
    llvm_unreachable("all kinds are named");
  }

  RankedTensorType type(ArrayRef<int64_t> leading, RankedTensorType inner, bool dropRows = false) const {
    SmallVector<int64_t> shape(leading);
    llvm::append_range(shape, inner.getShape().drop_front(dropRows));
    return RankedTensorType::get(shape, inner.getElementType());
  }
};
} // namespace

/// Types of the results that a body with these yields gives.
static SmallVector<Type> resultTypes(const Outer &outer, ValueRange yields, int64_t chunk, ArrayRef<int64_t> outKinds,
                                     ArrayRef<int64_t> outHeads, int64_t numStates, bool saveStates) {
  SmallVector<Type> types;
  for (auto [i, kind] : llvm::enumerate(outKinds)) {
    auto outKind = static_cast<OperandKind>(kind);
    bool rows = outKind == OperandKind::Token && chunk > 1;
    auto leading = outer.leading(outKind);
    if (!outHeads.empty())
      leading.back() = outHeads[i];
    types.push_back(outer.type(leading, tensorOf(yields[i]), rows));
  }
  for (Value state : yields.take_back(numStates))
    types.push_back(outer.type({outer.batch, outer.heads}, tensorOf(state)));
  if (saveStates)
    for (Value state : yields.take_back(numStates))
      types.push_back(outer.type(outer.leading(OperandKind::Step), tensorOf(state)));
  return types;
}

void ScanOp::buildFromBody(OpBuilder &builder, OperationState &state, ValueRange inputs, ArrayRef<int64_t> kinds,
                           ValueRange inits, int64_t chunk, ArrayRef<int64_t> outKinds, int64_t numStates,
                           bool reverse, bool saveStates, Region *body, ArrayRef<int64_t> outHeads) {
  auto yields = body->front().getTerminator()->getOperands();
  if (llvm::all_of(outHeads, [all = headsOf(inputs, kinds)](int64_t own) { return own == all; }))
    outHeads = {};
  auto types = resultTypes(Outer::of(inputs, kinds, chunk), yields, chunk, outKinds, outHeads, numStates, saveStates);
  build(builder, state, types, inputs, inits, builder.getI64IntegerAttr(chunk), builder.getDenseI64ArrayAttr(kinds),
        builder.getDenseI64ArrayAttr(outKinds), builder.getI64IntegerAttr(numStates),
        reverse ? builder.getUnitAttr() : UnitAttr(), saveStates ? builder.getUnitAttr() : UnitAttr(),
        outHeads.empty() ? DenseI64ArrayAttr() : builder.getDenseI64ArrayAttr(outHeads));
  state.regions.front()->takeBody(*body);
}

static RankedTensorType dropBatch(RankedTensorType type) {
  return RankedTensorType::get(type.getShape().drop_front(), type.getElementType());
}

LogicalResult ScanOp::verify() {
  Block &body = getBody().front();
  auto yield = dyn_cast<YieldOp>(body.getTerminator());
  if (getChunk() < 1)
    return emitOpError("expects a chunk of at least one token, but got ") << getChunk();
  if (getKinds().size() != getInputs().size()) // scan_c1
    return emitOpError("expects one kind per operand, but got ") << getKinds().size() << " for "
                                                                 << getInputs().size();
  for (int64_t kind : getKinds())
    if (kind < 0 || kind > int64_t(OperandKind::Row))
      return emitOpError("has no operand kind ") << kind;
  for (int64_t kind : getOutKinds())
    if (kind != int64_t(OperandKind::Token) && kind != int64_t(OperandKind::Step))
      return emitOpError("outputs are per token or per step, but got kind ") << kind;
  if (getInputs().empty() || kindOf(0) != OperandKind::Token) // scan_c2
    return emitOpError("expects the first operand to be per token");
  if (!yield || yield.getValues().size() != getNumOutputs() + getNumStates())
    return emitOpError("expects a body that yields ") << getNumOutputs() << " outputs and " << getNumStates()
                                                      << " states";
  if (body.getNumArguments() != getInputs().size() + getNumStates()) // scan_c1
    return emitOpError("expects a body of ") << getInputs().size() + getNumStates() << " arguments, but got "
                                             << body.getNumArguments();
  for (auto [i, v] : llvm::enumerate(getInputs()))
    if (tensorOf(v).getRank() < outerRank(kindOf(i)))
      return emitOpError("operand ") << i << " of type " << v.getType() << " has too few dimensions";
  Outer outer = Outer::of(getInputs(), getKinds(), getChunk());
  for (auto [i, v] : llvm::enumerate(getInputs())) {
    auto leading = outer.leading(kindOf(i));
    bool mayShare = kindOf(i) == OperandKind::Token || kindOf(i) == OperandKind::Step;
    if (int64_t own = mayShare ? tensorOf(v).getDimSize(2) : 0; own > 0 && outer.heads % own == 0)
      leading.back() = own;
    if (tensorOf(v).getShape().take_front(leading.size()) != ArrayRef<int64_t>(leading)) { // scan_c4
      unsigned at = i;
      for (unsigned j = getInputs().size(); at == 0 && j-- > 1;) // the first is the measure: the largest H is wrong
        if (unsigned rank = outerRank(kindOf(j)); rank && tensorOf(getInputs()[j]).getDimSize(rank - 1) == outer.heads)
          at = j;
      auto diag = emitOpError("operand ") << at << " of type " << getInputs()[at].getType()
                                          << " disagrees in B, T, N or H";
      diag.attachNote(getInputs().front().getLoc())
          << "they come from this operand of type " << getInputs().front().getType();
      return diag;
    }
    Type inner = innerType(tensorOf(v), kindOf(i), getChunk());
    if (body.getArgument(i).getType() != inner) // scan_c1
      return emitOpError("body sees operand ") << i << " as " << body.getArgument(i).getType() << ", but "
                                               << v.getType() << " gives " << inner;
  }
  for (auto [arg, next] : llvm::zip(getBodyStates(), yield.getValues().take_back(getNumStates())))
    if (arg.getType() != next.getType()) // scan_c1
      return emitOpError("state enters the body as ") << arg.getType() << " and leaves it as " << next.getType();
  if (getInits().size() > getNumStates()) // scan_c3
    return emitOpError("expects at most ") << getNumStates() << " initial states, but got " << getInits().size();
  for (auto [init, arg] : llvm::zip(getInits(), getBodyStates())) {
    auto want = outer.type({outer.batch, outer.heads}, cast<RankedTensorType>(arg.getType()));
    if (init.getType() != want && init.getType() != dropBatch(want)) // scan_c3
      return emitOpError("initial state has type ") << init.getType() << ", but the state needs " << want;
  }
  for (auto [i, v] : llvm::enumerate(yield.getValues().drop_back(getNumStates()))) {
    auto type = tensorOf(v);
    if (outKindOf(i) == OperandKind::Token && getChunk() > 1 &&
        (type.getRank() < 1 || type.getDimSize(0) != int64_t(getChunk())))
      return emitOpError("output ") << i << " of type " << type << " needs one row per token of the chunk";
  }
  if (getOutHeads() && getOutHeads()->size() != getNumOutputs()) // scan_c5
    return emitOpError("expects one number of heads per output, but got ") << getOutHeads()->size() << " for "
                                                                           << getNumOutputs();
  for (unsigned i = 0; i < getNumOutputs(); ++i)
    if (int64_t own = headsOfOutput(i);
        own < 1 || outer.heads % own || (own != outer.heads && outKindOf(i) != OperandKind::Token)) // scan_c5
      return emitOpError("output ") << i << " cannot have " << own << " of " << outer.heads << " heads";
  auto want = resultTypes(outer, yield.getValues(), getChunk(), getOutKinds(), getOutHeadsOrNone(), getNumStates(),
                          getSaveStates());
  if (want != SmallVector<Type>(getResultTypes())) // scan_c1
    return emitOpError("expects results of types ") << want << ", but got " << getResultTypes();
  return success();
}

//===----------------------------------------------------------------------===//
// Loop
//===----------------------------------------------------------------------===//

int64_t LoopOp::getHeads() { return headsOf(getInputs(), getKinds()); }

RankedTensorType LoopOp::wholeType(RankedTensorType outer, OperandKind kind) {
  SmallVector<int64_t> shape(outer.getShape().drop_front(outerRank(kind)));
  if (kind == OperandKind::Token)
    shape.insert(shape.begin(), ShapedType::kDynamic); // C
  if (kind != OperandKind::Shared)
    shape.insert(shape.begin(), ShapedType::kDynamic); // B * H
  return RankedTensorType::get(shape, outer.getElementType());
}

LogicalResult LoopOp::verifySymbolUses(SymbolTableCollection &symbols) {
  SmallVector<Type> arguments, results;
  for (auto [i, v] : llvm::enumerate(getInputs()))
    arguments.push_back(wholeType(tensorOf(v), kindOf(i)));
  for (auto [i, v] : llvm::enumerate(getOutputs()))
    results.push_back(wholeType(tensorOf(v), outKindOf(i)));
  for (Value state : getFinalStates()) {
    arguments.push_back(wholeType(tensorOf(state), OperandKind::Row));
    results.push_back(arguments.back());
  }
  auto want = FunctionType::get(getContext(), arguments, results);
  for (FlatSymbolRefAttr name : {getStepAttr(), getLastAttr()}) {
    auto function = symbols.lookupNearestSymbolFrom<FunctionOpInterface>(*this, name);
    if (!function) // loop_c1
      return emitOpError("calls '") << name.getValue() << "', which is no function";
    if (function.getFunctionType() != want) // loop_c2
      return emitOpError("needs a function of type ") << want << ", but '" << name.getValue() << "' has type "
                                                      << function.getFunctionType();
  }
  return success();
}

LogicalResult WhenOp::verify() {
  auto scan = (*this)->getParentOfType<ScanOp>();
  auto flags = dyn_cast<BlockArgument>(getFlags());
  bool isEntry = flags && llvm::is_contained(scan.getBodyInputs(), flags);
  bool isState = flags && llvm::is_contained(scan.getBodyStates(), flags);
  if ((!isEntry && !isState) || getFlags().getType().getRank() != 1 || scan.getChunk() != 1) // when_c1
    return emitOpError("expects a vector that enters the body of a token scan as flags, but got ") << getFlags().getType();
  for (WhenOp other : scan.getBody().getOps<WhenOp>())
    if (other.getFlags() != getFlags()) // when_c1
      return emitOpError("expects the same flags as the other ops of its kind in the body");
  return success();
}

LogicalResult ResetOp::verify() {
  if (getFlag().getType().getRank() != 0 || getFlag().getType().getElementType() != getType().getElementType()) // reset_c1
    return emitOpError("expects one number of the state's element type as flag, but got ") << getFlag().getType();
  if (getInit() && getInit().getType() != getType()) // reset_c2
    return emitOpError("starts a state of type ") << getType() << " anew from a value of type " << getInit().getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

LogicalResult CumsumOp::verify() {
  auto type = getInput().getType();
  if (type.getRank() < 1 || type.isDynamicDim(0)) // cumsum_c1
    return emitOpError("expects a static first dimension, but got ") << type;
  return success();
}

/// Rows, widths, positions and gates of both decay ops. `rows` and `cols` are
/// the numbers of row and column events, `width` the channels.
template <typename OpT>
static LogicalResult verifyDecay(OpT op, int64_t rows, int64_t cols, int64_t width) {
  int64_t nr = op.getRowPositions().size(), nc = op.getColPositions().size();
  if (nr == 0 || nc == 0 || rows % nr || cols % nc || rows / nr != cols / nc) // c2
    return op.emitOpError("expects rows that are ") << nr << " and columns that are " << nc
                                                    << " events of equally many tokens, but got " << rows << " and "
                                                    << cols;
  if (bool(op.getRowGate()) != bool(op.getColGate())) // c3
    return op.emitOpError("expects both gates or none");
  auto check = [&](Value gate, int64_t events, StringRef what) -> LogicalResult {
    auto type = tensorOf(gate);
    if (type.getRank() != 2 || type.getDimSize(0) != events ||
        (type.getDimSize(1) != 1 && type.getDimSize(1) != width)) // c3
      return op.emitOpError("expects a ") << what << " gate of " << events << " x " << width << " or " << events
                                          << " x 1, but got " << type;
    return success();
  };
  if (op.getRowGate() &&
      (failed(check(op.getRowGate(), rows, "row")) || failed(check(op.getColGate(), cols, "column"))))
    return failure();
  return success();
}

LogicalResult DecayScoresOp::verify() {
  auto rows = getRows().getType(), cols = getCols().getType();
  if (rows.getRank() != 2 || cols.getRank() != 2 || rows.getDimSize(1) != cols.getDimSize(1)) // decay_scores_c1
    return emitOpError("expects matrices of one width, but got ") << rows << " and " << cols;
  int64_t want[] = {rows.getDimSize(0), cols.getDimSize(0)};
  if (getType().getShape() != ArrayRef<int64_t>(want))
    return emitOpError("expects a result of ") << want[0] << " x " << want[1] << ", but got " << getType();
  return verifyDecay(*this, rows.getDimSize(0), cols.getDimSize(0), rows.getDimSize(1));
}

LogicalResult DecayMixOp::verify() {
  auto scores = getScores().getType(), input = getInput().getType();
  int64_t from = getTransposed() ? 0 : 1;
  if (scores.getRank() != 2 || input.getRank() != 2 || scores.getDimSize(from) != input.getDimSize(0)) // decay_mix_c1
    return emitOpError("expects a matrix and one row of input per ")
           << (from ? "column" : "row") << " of it, but got " << scores << " and " << input;
  int64_t want[] = {scores.getDimSize(1 - from), input.getDimSize(1)};
  if (getType().getShape() != ArrayRef<int64_t>(want))
    return emitOpError("expects a result of ") << want[0] << " x " << want[1] << ", but got " << getType();
  return verifyDecay(*this, scores.getDimSize(0), scores.getDimSize(1), input.getDimSize(1));
}

LogicalResult DecaySolveOp::verify() {
  auto m = getMatrix().getType(), y = getRhs().getType();
  if (m.getRank() != 2 || y.getRank() != 2 || m.getDimSize(0) != m.getDimSize(1) ||
      m.getDimSize(0) != y.getDimSize(0) || getType() != y) // decay_solve_c1
    return emitOpError("expects a square matrix with as many rows as the right side, but got ") << m << " and " << y;
  if (getFactor() && getFactor().getType() != y) // decay_solve_c2
    return emitOpError("expects a factor of the type of the right side, ") << y << ", but got " << getFactor().getType();
  auto rows = getRowPositions(), cols = getColPositions();
  bool inOrder = rows.size() == cols.size() && llvm::all_of(llvm::zip(rows, cols), [](auto pair) {
                   return std::get<0>(pair) <= std::get<1>(pair);
                 });
  if (!inOrder) // decay_solve_c3
    return emitOpError("expects a place in rows and a place in columns, not earlier, for each event");
  for (Value gate : {getRowGate(), getColGate()})
    if (gate && gate.getType() != y) // decay_solve_c4
      return emitOpError("expects gates of the type of the right side, ") << y << ", but got " << gate.getType();
  return verifyDecay(*this, m.getDimSize(0), m.getDimSize(1), y.getDimSize(1));
}

LogicalResult SolveUnitLowerOp::verify() {
  auto m = getMatrix().getType(), y = getRhs().getType();
  if (m.getRank() != 2 || y.getRank() != 2 || m.getDimSize(0) != m.getDimSize(1) ||
      m.getDimSize(0) != y.getDimSize(0) || getType() != y) // solve_unit_lower_c1
    return emitOpError("expects a square matrix with as many rows as the right side, but got ") << m << " and " << y;
  return success();
}

LogicalResult StrictlyLowerOp::verify() {
  if (getType().getRank() != 2) // strictly_lower_c1
    return emitOpError("expects a matrix, but got ") << getType();
  return success();
}

#include "ir/Rec/RecEnums.cpp.inc"

#define GET_OP_CLASSES
#include "ir/Rec/RecOps.cpp.inc"
