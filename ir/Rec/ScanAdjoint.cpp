//===- ScanAdjoint.cpp - The adjoint of a scan ------------------*- C++ -*-===//
// A scan the other way along time. Its body gets the forward's operands and the
// state at the entry of the step, recomputes the forward body, and walks it
// backwards; it carries the cotangents of the states. Operands that every step
// reads (per head, per row, shared) gather their cotangent in further states; the
// cotangent of an operand with fewer heads is summed over the heads that read it.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"
#include "ir/Nn/ReverseMode.h"
#include "ir/Rec/RecOps.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

bool ScanOp::isWorthSaving() { return true; }

/// A scan like `op` in its place, but for saving entry states; `op` loses its uses.
static ScanOp replaced(ScanOp op, bool saveStates) {
  OpBuilder builder(op);
  IRMapping mapping;
  Region body;
  op.getBody().cloneInto(&body, mapping);
  auto scan = ScanOp::create(builder, op.getLoc(), op.getInputs(), op.getKinds(), op.getInits(), op.getChunk(),
                             op.getOutKinds(), op.getNumStates(), op.getReverse(), saveStates, &body,
                             op.getOutHeadsOrNone());
  scan->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  for (auto [from, to] : llvm::zip(op.getResults(), scan.getResults()))
    from.replaceAllUsesWith(to);
  return scan;
}

ScanOp rec::withEntryStates(ScanOp op) {
  return op.getSaveStates() || op.getNumStates() == 0 ? op : replaced(op, /*saveStates=*/true);
}

ScanOp rec::withoutEntryStates(ScanOp op) { return op.getSaveStates() ? replaced(op, /*saveStates=*/false) : op; }

static bool isFloat(Value value) { return isa<FloatType>(getElementTypeOrSelf(value.getType())); }

static bool isCarried(OperandKind kind) {
  return kind == OperandKind::Head || kind == OperandKind::Shared || kind == OperandKind::Row;
}

namespace {
/// The operands of the reverse scan.
struct Operands {
  SmallVector<Value> inputs;
  SmallVector<int64_t> kinds;

  unsigned append(Value value, OperandKind kind) {
    inputs.push_back(value);
    kinds.push_back(int64_t(kind));
    return inputs.size() - 1;
  }
};
} // namespace

void ScanOp::buildAdjoint(OpBuilder &builder, ArrayRef<Value> resultCotangents, MutableArrayRef<Value> out) {
  ScanOp forward = withEntryStates(*this);
  Location loc = getLoc();
  unsigned numInputs = getInputs().size(), numOutputs = getNumOutputs(), numStates = getNumStates();

  // Operands: those of the forward, entry states, cotangents of what it gave.
  Operands scan;
  for (auto [i, v] : llvm::enumerate(forward.getInputs()))
    scan.append(v, forward.kindOf(i));
  SmallVector<unsigned> entryAt;
  for (Value entry : forward.getEntryStates())
    entryAt.push_back(scan.append(entry, OperandKind::Step));
  auto appendCotangent = [&](unsigned result, OperandKind kind) -> std::optional<unsigned> {
    if (result >= resultCotangents.size() || !resultCotangents[result])
      return std::nullopt;
    return scan.append(resultCotangents[result], kind);
  };
  SmallVector<std::optional<unsigned>> outputAt, entryCotangentAt;
  for (unsigned i = 0; i < numOutputs; ++i)
    outputAt.push_back(appendCotangent(i, forward.outKindOf(i)));
  for (unsigned i = 0; i < numStates; ++i)
    entryCotangentAt.push_back(appendCotangent(numOutputs + numStates + i, OperandKind::Step));

  SmallVector<Value> inits;
  if (llvm::any_of(resultCotangents.slice(numOutputs, numStates), [](Value v) { return bool(v); }))
    for (unsigned i = 0; i < numStates; ++i) {
      Value given = resultCotangents[numOutputs + i];
      inits.push_back(given ? given : nn::zerosLike(builder, loc, forward.getFinalStates()[i]));
    }

  // Body: recompute, then walk backwards.
  OpBuilder::InsertPoint place = builder.saveInsertionPoint();
  Region region;
  Block *body = builder.createBlock(&region);
  for (auto [i, v] : llvm::enumerate(scan.inputs))
    body->addArgument(innerType(cast<RankedTensorType>(v.getType()), OperandKind(scan.kinds[i]), getChunk()),
                      v.getLoc());
  SmallVector<Value> stateCotangents, gathered;
  for (Value state : forward.getBodyStates())
    stateCotangents.push_back(body->addArgument(state.getType(), loc));
  for (unsigned i = 0; i < numInputs; ++i)
    if (isCarried(forward.kindOf(i)) && isFloat(forward.getInputs()[i]))
      gathered.push_back(body->addArgument(forward.getBodyInputs()[i].getType(), loc));

  IRMapping mapping;
  for (auto [i, arg] : llvm::enumerate(forward.getBodyInputs()))
    mapping.map(arg, body->getArgument(i));
  for (auto [i, arg] : llvm::enumerate(forward.getBodyStates()))
    mapping.map(arg, body->getArgument(entryAt[i]));
  builder.setInsertionPointToEnd(body);
  SmallVector<Operation *> ops;
  for (Operation &op : forward.getBody().front().without_terminator())
    ops.push_back(builder.clone(op, mapping));

  nn::Cotangents cotangents;
  auto yields = forward.getBody().front().getTerminator()->getOperands();
  for (auto [i, value] : llvm::enumerate(yields)) {
    bool isState = i >= numOutputs;
    Value seed;
    if (isState)
      seed = stateCotangents[i - numOutputs];
    else if (outputAt[i])
      seed = body->getArgument(*outputAt[i]);
    cotangents.add(builder, mapping.lookup(value), seed);
  }
  if (failed(nn::reverse(builder, ops, cotangents))) {
    builder.restoreInsertionPoint(place);
    return;
  }

  auto cotangentOf = [&](Value value) {
    Value cotangent = cotangents.lookup(value);
    return cotangent ? cotangent : nn::zerosLike(builder, loc, value);
  };
  SmallVector<Value> yielded, carried;
  SmallVector<int64_t> outKinds, outHeads;
  SmallVector<unsigned> perStep;
  for (unsigned i = 0, g = 0; i < numInputs; ++i) {
    if (!isFloat(forward.getInputs()[i]))
      continue;
    if (isCarried(forward.kindOf(i))) {
      carried.push_back(nn::AddOp::create(builder, loc, gathered[g++], cotangentOf(body->getArgument(i))));
      continue;
    }
    Value cotangent = cotangents.lookup(body->getArgument(i));
    if (!cotangent) // nothing reaches it
      continue;
    perStep.push_back(i);
    outKinds.push_back(forward.getKinds()[i]);
    outHeads.push_back(cast<RankedTensorType>(forward.getInputs()[i].getType()).getDimSize(2));
    yielded.push_back(cotangent);
  }
  for (unsigned i = 0; i < numStates; ++i) {
    Value cotangent = cotangentOf(body->getArgument(entryAt[i]));
    if (entryCotangentAt[i])
      cotangent = nn::AddOp::create(builder, loc, cotangent, body->getArgument(*entryCotangentAt[i]));
    yielded.push_back(cotangent);
  }
  llvm::append_range(yielded, carried);
  YieldOp::create(builder, loc, yielded);

  builder.restoreInsertionPoint(place);
  auto adjoint = ScanOp::create(builder, loc, scan.inputs, scan.kinds, inits, getChunk(), outKinds,
                                numStates + carried.size(), !getReverse(), /*saveStates=*/false, &region, outHeads);

  // Hand out: per-token cotangents, sums over batch and heads, initial states.
  for (auto [at, i] : llvm::enumerate(perStep))
    out[i] = adjoint.getOutputs()[at];
  unsigned next = numStates;
  for (unsigned i = 0; i < numInputs; ++i)
    if (isCarried(forward.kindOf(i)) && isFloat(forward.getInputs()[i])) {
      auto type = cast<RankedTensorType>(forward.getInputs()[i].getType());
      Value total = adjoint.getFinalStates()[next++];
      if (forward.kindOf(i) == OperandKind::Row) {
        out[i] = total;
        continue;
      }
      SmallVector<int64_t> dims{0};
      if (forward.kindOf(i) == OperandKind::Shared)
        dims.push_back(1);
      Value sum = nn::ReduceSumOp::create(builder, loc, total, dims);
      out[i] = nn::ReshapeOp::create(builder, loc, type, sum);
    }
  for (unsigned i = 0; i < getInits().size(); ++i) {
    Value total = adjoint.getFinalStates()[i];
    if (initKind(i) == OperandKind::Head) // one value for all rows of the batch
      total = nn::ReshapeOp::create(builder, loc, cast<RankedTensorType>(getInits()[i].getType()),
                                    nn::ReduceSumOp::create(builder, loc, total, ArrayRef<int64_t>{0}));
    out[numInputs + i] = total;
  }
}
