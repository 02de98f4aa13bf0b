//===- PieceForm.cpp - A scan over chunks, one piece at a time --*- C++ -*-===//
#include "passes/Rec/PieceForm.h"

#include "passes/Rec/TokenForm.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

namespace {
/// A copy of a scan's body for one of its two uses, which yields what that use wants alone.
class Body {
public:
  Body(ScanOp scan, bool isUpdate) {
    IRMapping mapping;
    scan.getBody().cloneInto(&region, mapping);
    const unsigned outputs = scan.getNumOutputs();
    block().getTerminator()->eraseOperands(isUpdate ? 0 : outputs, isUpdate ? outputs : scan.getNumStates());
    specialiseBody(block(), {.isLast = !isUpdate});
  }
  Block &block() { return region.front(); }

private:
  Region region;
};
} // namespace

bool rec::runsInPieces(ScanOp scan) {
  auto isStep = [](int64_t kind) { return kind == int64_t(OperandKind::Step); };
  if (scan.getReverse() || scan.getSaveStates() || llvm::any_of(scan.getKinds(), isStep) ||
      llvm::any_of(scan.getOutKinds(), isStep))
    return false;
  Body read(scan, /*isUpdate=*/false);
  return rowsAlike(scan, read.block()).has_value() && !rowsOfUpdate(scan).empty();
}

SmallVector<unsigned> rec::rowsOfUpdate(ScanOp scan) {
  Body update(scan, /*isUpdate=*/true);
  SmallVector<unsigned> read;
  for (unsigned i = 0; i < scan.getInputs().size(); ++i)
    if (scan.kindOf(i) == OperandKind::Token && !update.block().getArgument(i).use_empty())
      read.push_back(i);
  return read;
}

SmallVector<Value> rec::updateStates(OpBuilder &b, ScanOp scan, ValueRange states, ValueRange rows) {
  Body update(scan, /*isUpdate=*/true);
  Region region;
  Block *block = new Block();
  region.push_back(block);
  IRMapping mapping;
  SmallVector<Value> inputs;
  SmallVector<int64_t> kinds;
  auto take = [&](unsigned i, Value value) {
    inputs.push_back(value);
    kinds.push_back(scan.getKinds()[i]);
    Value argument = update.block().getArgument(i);
    mapping.map(argument, block->addArgument(argument.getType(), argument.getLoc()));
  };
  for (auto [i, value] : llvm::zip(rowsOfUpdate(scan), rows)) // the first operand of a scan is per token
    take(i, value);
  for (auto [i, value] : llvm::enumerate(scan.getInputs()))
    if (scan.kindOf(i) != OperandKind::Token)
      take(i, value);
  // A state gives the number of heads, of which rows may have fewer.
  inputs.push_back(states.front());
  kinds.push_back(int64_t(OperandKind::Row));
  block->addArgument(scan.getBodyStates().front().getType(), scan.getLoc());
  for (Value state : update.block().getArguments().take_back(scan.getNumStates()))
    mapping.map(state, block->addArgument(state.getType(), state.getLoc()));
  OpBuilder inside(scan.getContext());
  inside.setInsertionPointToEnd(block);
  for (Operation &op : update.block())
    inside.clone(op, mapping);
  auto step = ScanOp::create(b, scan.getLoc(), inputs, kinds, states, scan.getChunk(), ArrayRef<int64_t>(),
                             scan.getNumStates(), /*reverse=*/false, /*saveStates=*/false, &region);
  return SmallVector<Value>(step.getFinalStates());
}

SmallVector<Value> rec::readStates(OpBuilder &b, ScanOp scan, ValueRange states) {
  constexpr int64_t kMostRows = 64; // at a time: a single token does not pay for a whole chunk
  const int64_t count = std::min<int64_t>(scan.getChunk(), kMostRows);
  Body read(scan, /*isUpdate=*/false);
  Region region;
  Block *block = new Block();
  region.push_back(block);
  IRMapping mapping;
  SmallVector<Value> inputs(scan.getInputs());
  SmallVector<int64_t> kinds(scan.getKinds());
  for (Value state : states) {
    inputs.push_back(state);
    kinds.push_back(int64_t(OperandKind::Row));
  }
  for (auto [i, value] : llvm::enumerate(inputs)) {
    Type inner = ScanOp::innerType(typeOf(value), OperandKind(kinds[i]), count);
    mapping.map(read.block().getArgument(i), block->addArgument(inner, value.getLoc()));
  }
  OpBuilder inside(scan.getContext());
  inside.setInsertionPointToEnd(block);
  cloneRows(inside, read.block(), *rowsAlike(scan, read.block()), count, mapping);
  inside.clone(*read.block().getTerminator(), mapping);
  auto reading = ScanOp::create(b, scan.getLoc(), inputs, kinds, ValueRange(), count, scan.getOutKinds(),
                                /*numStates=*/0, /*reverse=*/false, /*saveStates=*/false, &region,
                                scan.getOutHeadsOrNone());
  return SmallVector<Value>(reading.getOutputs());
}
