//===- ToChunk.cpp - Token scans become chunk scans -------------*- C++ -*-===//
// Implements -rec-to-chunk: which scans, what is said about those that stay,
// and the replacement. Events.cpp reads a body, ChunkForm.cpp writes the scan,
// Lift.cpp moves the rest of the body out.
//===----------------------------------------------------------------------===//
#include "passes/Rec/Arithmetic.h"
#include "passes/Rec/ChunkForm.h"
#include "passes/Rec/Passes.h"
#include "passes/Rec/SeparateStates.h"

namespace tidegate::rec {
#define GEN_PASS_DEF_RECTOCHUNK
#include "passes/Rec/Passes.h.inc"
} // namespace tidegate::rec

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

/// The user's name for the value at a place, quoted, or nothing.
static std::string nameOf(Location where) {
  auto name = where->findInstanceOf<NameLoc>();
  return name ? "in '" + name.getName().str() + "', " : std::string();
}

/// Reports a body without event form; failure if that is the program's fault.
static LogicalResult report(ScanOp scan, const Refusal &why) {
  const Location where = why.where;
  std::string text = nameOf(where) + why.what;
  if (why.isAffine) {
    auto diag = emitWarning(where) << "scan stays in token form: " << text;
    if (where != scan.getLoc())
      diag.attachNote(scan.getLoc()) << "this scan";
    return success();
  }
  auto diag = emitError(where) << "expects a recurrence that is affine in its state, but " << text;
  diag.attachNote(scan.getLoc()) << "in the body of this scan";
  return diag;
}

/// Replaces a scan without states by what its body computes for all tokens.
static void replaceStateless(ScanOp scan) {
  OpBuilder builder(scan);
  Lifter lifter(scan, builder);
  auto yields = scan.getBody().front().getTerminator()->getOperands();
  for (auto [output, inner] : llvm::zip(scan.getOutputs(), yields))
    output.replaceAllUsesWith(lifter.toTokens(inner));
  scan.erase();
}

static bool isRow(Value inner, ScanOp scan) {
  auto argument = dyn_cast<BlockArgument>(inner);
  return argument && scan.kindOf(argument.getArgNumber()) == OperandKind::Row;
}

/// Replaces a scan without states that repeats values of batch rows for every token by one that does so chunk by chunk,
/// and what its body computes for all tokens.
static void repeatRows(ScanOp scan, int64_t chunk) {
  OpBuilder builder(scan);
  Lifter lifter(scan, builder);
  auto yields = scan.getBody().front().getTerminator()->getOperands();
  SmallVector<Value> inputs{scan.getInputs().front()}, repeated; // the first gives B and T
  SmallVector<int64_t> kinds{scan.getKinds().front()};
  SmallVector<unsigned> outputs;
  Region region;
  Block *block = new Block();
  region.push_back(block);
  block->addArgument(ScanOp::innerType(cast<RankedTensorType>(inputs[0].getType()), scan.kindOf(0), chunk),
                     scan.getLoc());
  OpBuilder inside(scan.getContext());
  inside.setInsertionPointToEnd(block);
  for (auto [i, inner] : llvm::enumerate(yields)) {
    if (!isRow(inner, scan)) {
      scan.getResult(i).replaceAllUsesWith(lifter.toTokens(inner));
      continue;
    }
    auto type = cast<RankedTensorType>(inner.getType());
    SmallVector<int64_t> shape(type.getShape());
    shape.insert(shape.begin(), chunk);
    inputs.push_back(scan.getInputs()[cast<BlockArgument>(inner).getArgNumber()]);
    kinds.push_back(int64_t(OperandKind::Row));
    Value zeros = nn::ConstantOp::create(inside, scan.getLoc(), RankedTensorType::get(shape, type.getElementType()),
                                         inside.getF64FloatAttr(0));
    repeated.push_back(nn::AddOp::create(inside, scan.getLoc(), block->addArgument(type, inner.getLoc()), zeros));
    outputs.push_back(i);
  }
  YieldOp::create(inside, scan.getLoc(), repeated);
  auto rows = ScanOp::create(builder, scan.getLoc(), inputs, kinds, ValueRange(), chunk,
                             SmallVector<int64_t>(outputs.size(), int64_t(OperandKind::Token)), /*numStates=*/0,
                             scan.getReverse(), /*saveStates=*/false, &region);
  for (auto [i, output] : llvm::enumerate(outputs))
    scan.getResult(output).replaceAllUsesWith(rows.getResult(i));
  scan.erase();
}

/// Replaces a token scan by the chunk scan of its events and the rest around it.
static void replace(ScanOp scan, ScanOp analysed, const EventProgram &program, const ChunkOptions &options) {
  OpBuilder builder(scan);
  Lifter lifter(scan, builder);
  ChunkResults results = buildChunkScan(builder, scan, program, lifter, options);
  for (const auto &read : program.readResults) {
    Arithmetic a(builder, read.result.getLoc());
    Value sum = read.constant ? lifter.toTokens(read.constant) : Value();
    for (auto [i, factor] : read.reads)
      sum = a.plus(sum, a.times(factor ? lifter.toTokens(factor) : Value(), results.reads[i]));
    lifter.define(read.result, sum);
  }
  auto yields = analysed.getBody().front().getTerminator()->getOperands();
  for (auto [output, inner] : llvm::zip(scan.getOutputs(), yields))
    output.replaceAllUsesWith(lifter.toTokens(inner));
  scan.getFinalStates().front().replaceAllUsesWith(results.finalState);
  scan.erase();
}

/// Keys up to which work between the tokens of a long chunk outweighs that on the state.
static constexpr int64_t kNarrowKeys = 64;

namespace {
struct RecToChunkPass : rec::impl::RecToChunkBase<RecToChunkPass> {
  using RecToChunkBase::RecToChunkBase;

  void runOnOperation() override {
    if (chunk < 2) {
      getOperation().emitError("expects chunks of at least 2 tokens, but got ") << chunk;
      return signalPassFailure();
    }
    SmallVector<ScanOp> scans;
    getOperation().walk([&](ScanOp scan) { scans.push_back(scan); });
    for (ScanOp scan : scans)
      if (failed(convert(scan)))
        signalPassFailure();
  }

private:
  LogicalResult convert(ScanOp scan);

  ChunkOptions optionsFor(const EventProgram &program) const {
    int64_t own = program.keys <= kNarrowKeys ? narrowChunk : chunk;
    return {own > 0 ? own : int64_t(chunk), innerScales, valuesFirst, remarks, halfProducts};
  }
};
} // namespace

LogicalResult RecToChunkPass::convert(ScanOp scan) {
  if (scan.getNumStates() == 0 && scan.getChunk() == 1) {
    Operation *yield = scan.getBody().front().getTerminator();
    if (!llvm::all_of(scan.getBody().front().without_terminator(), [&](Operation &op) { return canLift(op, scan); }))
      return success();
    if (!usesRow(*yield, scan))
      replaceStateless(scan);
    else if (scan.kindOf(0) == OperandKind::Token)
      repeatRows(scan, chunk);
    return success();
  }
  if (scan.getChunk() != 1 || scan.getReverse() || scan.getSaveStates())
    return success();
  if (hasVectorsOnly(scan) && !vectors)
    return success();
  if (hasStatesToSeparate(scan)) {
    Refusal why;
    auto parts = separateStates(scan, why);
    if (failed(parts)) {
      why.isAffine = true; // token by token any vector runs
      return report(scan, why);
    }
    for (ScanOp part : *parts)
      if (failed(convert(part)))
        return failure();
    return success();
  }
  if (int64_t rank = cast<RankedTensorType>(scan.getBodyStates().front().getType()).getRank(); rank != 2)
    return report(scan, {scan.getLoc(), "its state has rank " + std::to_string(rank)});
  OwningOpRef<ScanOp> copy = copyToRead(scan);
  Refusal why;
  auto program = readEvents(*copy, why, innerScales);
  if (failed(program))
    return report(scan, why);
  if (!program->scales.empty() || !program->adds.empty() || !program->reads.empty())
    replace(scan, *copy, *program, optionsFor(*program));
  return success();
}
