//===- Kernels.cpp - Functions of maps and scans ----------------*- C++ -*-===//
#include "compiler/CodeGen/CPU/Kernels.h"
#include "compiler/CodeGen/CPU/Body.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cpu;

namespace {
/// Arguments of the inner function, after the buffers.
struct WorkItems {
  Value begin, end, part, batch, tokens, scratch;
};

int64_t elements(ArrayRef<int64_t> shape) {
  int64_t n = 1;
  for (int64_t size : shape)
    n *= size;
  return n;
}

Type elementType(Value v) { return tensorOf(v).getElementType(); }

//===----------------------------------------------------------------------===//
// Maps: one row after another
//===----------------------------------------------------------------------===//

FailureOr<int64_t> emitMap(Code &code, nn::MapOp op, ArrayRef<Value> buffers, const WorkItems &work) {
  int64_t rank = op.getRowRank();
  SmallVector<Target> targets;
  for (bool isRow : op.getResultRows())
    targets.push_back(isRow ? Target::Store : Target::Accumulate);
  Body body(op.getBody().front(), targets);

  auto outer = buffers.drop_front(op.getInputs().size());
  SmallVector<Value> sums(op.getNumResults());
  for (auto [i, result] : llvm::enumerate(op.getResults()))
    if (!op.getResultRows()[i]) {
      int64_t size = tensorOf(result).getNumElements();
      sums[i] = code.at(outer[i], code.mul(work.part, size), elementType(result));
      code.zero(sums[i], code.i64(size), elementType(result));
    }
  auto rowPointer = [&](Value tensor, Value base, bool isRow, Value row) {
    if (!isRow)
      return base;
    return code.at(base, code.mul(row, elements(tensorOf(tensor).getShape().drop_front(rank))), elementType(tensor));
  };
  LogicalResult status = success();
  code.loop(work.begin, work.end, 1, [&](Value row) {
    SmallVector<Value> arguments, results;
    for (auto [i, v] : llvm::enumerate(op.getInputs()))
      arguments.push_back(rowPointer(v, buffers[i], op.getOperandRows()[i], row));
    for (auto [i, v] : llvm::enumerate(op.getResults()))
      results.push_back(op.getResultRows()[i] ? rowPointer(v, outer[i], true, row) : sums[i]);
    status = body.emit(code, arguments, results, work.scratch);
  });
  if (failed(status))
    return failure();
  return body.scratchBytes();
}

//===----------------------------------------------------------------------===//
// Scans: one (batch row, head) after another, each along time
//===----------------------------------------------------------------------===//

/// Emission of one rec.scan.
class ScanEmitter {
public:
  ScanEmitter(Code &code, rec::ScanOp op, ArrayRef<Value> buffers, const WorkItems &work)
      : code(code), op(op), inputs(buffers.take_front(op.getInputs().size())),
        inits(buffers.slice(op.getInputs().size(), op.getInits().size())),
        results(buffers.drop_front(op.getInputs().size() + op.getInits().size())), work(work) {
    // A step of a kind that the body asks for does only its own work.
    knowsLast = !op.getBody().getOps<rec::UnlessLastOp>().empty();
    auto marks = op.getBody().getOps<rec::WhenOp>();
    if (!marks.empty())
      flags = cast<BlockArgument>((*marks.begin()).getFlags()).getArgNumber();
    for (bool isLast : {false, true})
      for (bool isMarked : {false, true})
        if ((!isLast || knowsLast) && (!isMarked || flags))
          addBody({isLast, isMarked});
    for (auto [i, arg] : llvm::enumerate(op.getBodyInputs()))
      inputTile.push_back(isTile(op.kindOf(i)) ? reserve(arg) : -1);
    auto yields = op.getBody().front().getTerminator()->getOperands();
    for (unsigned i = 0; i < op.getNumOutputs(); ++i)
      outputTile.push_back(isTile(op.outKindOf(i)) || isSummed(i) ? reserve(yields[i]) : -1);
    for (Value state : op.getBodyStates()) {
      stateAt.push_back(reserve(state));
      nextAt.push_back(reserve(state));
    }
  }

  FailureOr<int64_t> emit() {
    int64_t chunk = op.getChunk();
    steps = work.tokens;
    if (chunk > 1)
      steps = arith::DivSIOp::create(code.b, code.loc, code.add(work.tokens, code.i64(chunk - 1)), code.i64(chunk));
    LogicalResult status = success();
    // Heads that add into one output belong to one work item and run in their order.
    int64_t inTurn = op.getHeadsInTurn();
    code.loop(code.mul(work.begin, inTurn), code.mul(work.end, inTurn), 1, [&](Value item) {
      Value heads = code.i64(op.getHeads());
      Value batch = arith::DivSIOp::create(code.b, code.loc, item, heads);
      Value head = arith::RemSIOp::create(code.b, code.loc, item, heads);
      initialStates(item, head);
      auto walk = [&](bool isLast, Value first, Value end) {
        code.loop(first, end, 1, [&](Value i) {
          Value step = op.getReverse() ? code.sub(code.sub(code.add(first, end), code.i64(1)), i) : i;
          if (failed(emitStep(isLast, item, batch, head, step)))
            status = failure();
        });
      };
      Value last = steps;
      if (knowsLast)
        last = code.max(code.sub(steps, code.i64(1)), code.i64(0));
      if (knowsLast && op.getReverse())
        walk(/*isLast=*/true, last, steps);
      walk(/*isLast=*/false, code.i64(0), last);
      if (knowsLast && !op.getReverse())
        walk(/*isLast=*/true, last, steps);
      auto finals = results.slice(op.getNumOutputs(), op.getNumStates());
      for (auto [i, state] : llvm::enumerate(op.getBodyStates()))
        copyState(code.at(finals[i], code.mul(item, size(state)), elementType(state)), at(stateAt[i]), state);
    });
    if (failed(status))
      return failure();
    return scratchBytes;
  }

private:
  /// A copy of the body, made for the steps that it serves.
  struct StepBody {
    std::unique_ptr<Region> region;
    std::unique_ptr<Body> code;
  };

  void addBody(rec::StepKind kind) {
    StepBody &step = bodies[kind.isLast][kind.isMarked];
    step.region = std::make_unique<Region>();
    IRMapping mapping;
    op.getBody().cloneInto(step.region.get(), mapping);
    Block &block = step.region->front();
    if (knowsLast || flags)
      rec::specialiseBody(block, kind);
    SmallVector<Target> targets(block.getTerminator()->getNumOperands(), Target::Store);
    step.code = std::make_unique<Body>(block, targets);
    scratchBytes = std::max(scratchBytes, step.code->scratchBytes());
  }

  /// The body of the step, or a branch to one of its two bodies.
  LogicalResult emitBody(bool isLast, ArrayRef<Value> arguments, ArrayRef<Value> yields, Body::Beside beside) {
    if (!flags)
      return bodies[isLast][0].code->emit(code, arguments, yields, work.scratch, beside);
    Value vector = op.getBody().getArgument(*flags);
    Type type = elementType(vector);
    Value last = code.load(type, code.at(arguments[*flags], code.i64(size(vector) - 1), type));
    Value isMarked = arith::CmpFOp::create(code.b, code.loc, arith::CmpFPredicate::UNE, last, code.number(0, type));
    auto branch = scf::IfOp::create(code.b, code.loc, isMarked, /*withElseRegion=*/true);
    LogicalResult status = success();
    for (bool marked : {true, false}) {
      OpBuilder::InsertionGuard guard(code.b);
      code.b.setInsertionPointToStart(marked ? branch.thenBlock() : branch.elseBlock());
      if (failed(bodies[isLast][marked].code->emit(code, arguments, yields, work.scratch, beside)))
        status = failure();
    }
    return status;
  }

  bool isSummed(unsigned output) { return op.headsOfOutput(output) != op.getHeads(); }
  bool isTile(rec::OperandKind kind) { return kind == rec::OperandKind::Token && op.getChunk() > 1; }
  static int64_t size(Value v) { return tensorOf(v).getNumElements(); }
  int64_t reserve(Value v) {
    int64_t offset = scratchBytes;
    scratchBytes += llvm::alignTo(size(v) * tensorOf(v).getElementTypeBitWidth() / 8, 64);
    return offset;
  }
  Value at(int64_t offset) { return code.at(work.scratch, code.i64(offset), code.b.getI8Type()); }
  void copyState(Value to, Value from, Value state) { code.copy(to, from, code.i64(size(state)), elementType(state)); }

  void initialStates(Value item, Value head) {
    for (auto [i, state] : llvm::enumerate(op.getBodyStates())) {
      if (i < inits.size()) {
        Value of = op.initKind(i) == rec::OperandKind::Head ? head : item;
        copyState(at(stateAt[i]), code.at(inits[i], code.mul(of, size(state)), elementType(state)), state);
        continue;
      }
      code.zero(at(stateAt[i]), code.i64(size(state)), elementType(state));
    }
  }

  /// Address of the slice of a `B x outer x H' x rest` tensor at position `t` that belongs to `head`.
  Value slice(Value tensor, Value base, Value batch, Value outer, Value t, Value head) {
    int64_t own = tensorOf(tensor).getDimSize(2), rest = elements(tensorOf(tensor).getShape().drop_front(3));
    if (own != op.getHeads())
      head = arith::DivSIOp::create(code.b, code.loc, head, code.i64(op.getHeads() / own));
    Value row = code.add(code.mul(code.add(code.mul(batch, outer), t), own), head);
    return code.at(base, code.mul(row, rest), elementType(tensor));
  }

  /// Adds rows of a tile to a summed output; the first head of a group stores.
  void addRows(Value tensor, Value base, Value tile, Value batch, Value head, Value first, Value rows) {
    int64_t rest = elements(tensorOf(tensor).getShape().drop_front(3));
    Type type = elementType(tensor);
    Value inGroup = arith::RemSIOp::create(code.b, code.loc, head,
                                           code.i64(op.getHeads() / tensorOf(tensor).getDimSize(2)));
    Value isFirst = arith::CmpIOp::create(code.b, code.loc, arith::CmpIPredicate::eq, inGroup, code.i64(0));
    Value zero = code.number(0, type);
    code.loop(code.i64(0), rows, 1, [&](Value r) {
      Value outer = slice(tensor, base, batch, work.tokens, code.add(first, r), head);
      Value inner = code.at(tile, code.mul(r, rest), type);
      code.loop(rest, [&](Value d) {
        Value place = code.at(outer, d, type);
        Value before = arith::SelectOp::create(code.b, code.loc, isFirst, zero, code.load(type, place));
        code.store(arith::AddFOp::create(code.b, code.loc, before, code.load(type, code.at(inner, d, type))), place);
      });
    });
  }

  /// Rows of a tile, one token each, between memory and scratch.
  void copyRows(Value tensor, Value base, Value tile, Value batch, Value head, Value first, Value rows, bool toTile) {
    int64_t rest = elements(tensorOf(tensor).getShape().drop_front(3));
    Type type = elementType(tensor);
    code.loop(code.i64(0), rows, 1, [&](Value r) {
      Value outer = slice(tensor, base, batch, work.tokens, code.add(first, r), head);
      Value inner = code.at(tile, code.mul(r, rest), type);
      code.copy(toTile ? inner : outer, toTile ? outer : inner, code.i64(rest), type);
    });
    if (toTile) {
      Value missing = code.mul(code.sub(code.i64(op.getChunk()), rows), rest);
      code.zero(code.at(tile, code.mul(rows, rest), type), missing, type);
    }
  }

  /// Asks for part `i` of `count` of the rows of a tensor's tile ahead of their use: they
  /// are far apart, and the processor does not foresee them. They go to the second
  /// cache, as rows at a stride of a power of two drive each other out of the first.
  void prefetchRows(Value tensor, Value base, Value batch, Value head, Value first, int64_t i, int64_t count) {
    constexpr int64_t kLine = 64, kSecondCache = 2;
    int64_t rest = elements(tensorOf(tensor).getShape().drop_front(3)), chunk = op.getChunk();
    Type type = elementType(tensor);
    Value last = code.sub(work.tokens, code.i64(1));
    code.loop(code.i64(chunk * i / count), code.i64(chunk * (i + 1) / count), 1, [&](Value r) {
      Value token = code.max(code.min(code.add(first, r), last), code.i64(0));
      Value row = slice(tensor, base, batch, work.tokens, token, head);
      for (int64_t at = 0; at < rest * type.getIntOrFloatBitWidth() / 8; at += kLine)
        LLVM::Prefetch::create(code.b, code.loc, code.at(row, code.i64(at), code.b.getI8Type()), /*rw=*/0,
                               /*hint=*/kSecondCache, /*cache=*/1);
    });
  }

  LogicalResult emitStep(bool isLast, Value item, Value batch, Value head, Value step) {
    Value first = code.mul(step, op.getChunk());
    Value rows = code.min(code.i64(op.getChunk()), code.sub(work.tokens, first));
    auto place = [&](Value tensor, Value base, rec::OperandKind kind) {
      auto shape = tensorOf(tensor).getShape();
      Type type = elementType(tensor);
      switch (kind) {
      case rec::OperandKind::Token: // chunk 1: the token's own slice
        return slice(tensor, base, batch, work.tokens, first, head);
      case rec::OperandKind::Step:
        return slice(tensor, base, batch, steps, step, head);
      case rec::OperandKind::Head:
        return code.at(base, code.mul(head, elements(shape.drop_front(1))), type);
      case rec::OperandKind::Row:
        return code.at(base, code.mul(item, elements(shape.drop_front(2))), type);
      case rec::OperandKind::Shared:
        return base;
      }
      llvm_unreachable("all kinds are named");
    };
    SmallVector<Value> arguments, yields;
    for (auto [i, v] : llvm::enumerate(op.getInputs())) {
      if (inputTile[i] < 0) {
        arguments.push_back(place(v, inputs[i], op.kindOf(i)));
        continue;
      }
      copyRows(v, inputs[i], at(inputTile[i]), batch, head, first, rows, /*toTile=*/true);
      arguments.push_back(at(inputTile[i]));
    }
    for (int64_t offset : stateAt)
      arguments.push_back(at(offset));
    auto outputs = op.getOutputs();
    for (auto [i, v] : llvm::enumerate(outputs))
      yields.push_back(outputTile[i] < 0 ? place(v, results[i], op.outKindOf(i)) : at(outputTile[i]));
    for (int64_t offset : nextAt)
      yields.push_back(at(offset));

    // Memory works while the body computes: the next step's inputs, this one's outputs.
    Value nextFirst = code.add(first, code.i64(op.getReverse() ? -op.getChunk() : op.getChunk()));
    auto prefetch = [&](int64_t part, int64_t count) {
      for (auto [i, v] : llvm::enumerate(op.getInputs()))
        if (inputTile[i] >= 0)
          prefetchRows(v, inputs[i], batch, head, nextFirst, part, count);
      for (auto [i, v] : llvm::enumerate(outputs))
        if (outputTile[i] >= 0)
          prefetchRows(v, results[i], batch, head, first, part, count);
    };
    auto entries = results.drop_front(op.getNumOutputs() + op.getNumStates());
    for (auto [i, entry] : llvm::enumerate(op.getEntryStates()))
      copyState(place(entry, entries[i], rec::OperandKind::Step), at(stateAt[i]), op.getBodyStates()[i]);
    if (failed(emitBody(isLast, arguments, yields, prefetch)))
      return failure();
    for (auto [i, v] : llvm::enumerate(outputs))
      if (isSummed(i))
        addRows(v, results[i], at(outputTile[i]), batch, head, first, rows);
      else if (outputTile[i] >= 0)
        copyRows(v, results[i], at(outputTile[i]), batch, head, first, rows, /*toTile=*/false);
    for (auto [i, state] : llvm::enumerate(op.getBodyStates()))
      copyState(at(stateAt[i]), at(nextAt[i]), state);
    return success();
  }

  Code &code;
  rec::ScanOp op;
  ArrayRef<Value> inputs, inits, results;
  const WorkItems &work;
  bool knowsLast = false;        ///< The step of the last token has a body of its own.
  std::optional<unsigned> flags; ///< The argument whose last element marks a step.
  StepBody bodies[2][2];         ///< By [is the last][is marked].
  int64_t scratchBytes = 0;
  SmallVector<int64_t> inputTile, outputTile, stateAt, nextAt;
  Value steps;
};
} // namespace

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

KernelModule::KernelModule(MLIRContext *context) : kernelModule(ModuleOp::create(UnknownLoc::get(context))) {
  context->loadDialect<arith::ArithDialect, math::MathDialect, scf::SCFDialect, vector::VectorDialect,
                       LLVM::LLVMDialect>();
}

std::string cpu::kernelKey(Operation *op) {
  std::string text;
  llvm::raw_string_ostream os(text);
  for (Type type : op->getOperandTypes())
    os << type << ",";
  os << "->";
  for (Type type : op->getResultTypes())
    os << type << ",";
  os << op->getName() << op->getAttrDictionary();
  OpPrintingFlags flags;
  flags.useLocalScope().printGenericOpForm();
  AsmState state(op, flags);
  for (Region &region : op->getRegions())
    for (Block &block : region) {
      for (BlockArgument arg : block.getArguments()) {
        arg.printAsOperand(os, state);
        os << ":" << arg.getType() << ",";
      }
      for (Operation &inner : block) {
        for (Value v : inner.getResults()) {
          v.printAsOperand(os, state);
          os << ",";
        }
        os << inner.getName() << inner.getAttrDictionary() << "(";
        for (Value v : inner.getOperands()) {
          v.printAsOperand(os, state);
          os << ",";
        }
        os << ")" << (inner.getNumResults() ? inner.getResult(0).getType() : Type()) << ";";
      }
    }
  return text;
}

FailureOr<Kernel> KernelModule::add(Operation *op) {
  std::string key = kernelKey(op);
  if (auto it = kernels.find(key); it != kernels.end())
    return it->second;
  MLIRContext *context = op->getContext();
  OpBuilder b(context);
  b.setInsertionPointToEnd(kernelModule->getBody());
  Location loc = op->getLoc();
  auto ptr = LLVM::LLVMPointerType::get(context);
  auto i64 = b.getI64Type();
  auto nothing = LLVM::LLVMVoidType::get(context);
  Kernel kernel{(isa<nn::MapOp>(op) ? "map_" : "scan_") + std::to_string(kernels.size()), 0};
  unsigned numBuffers = op->getNumOperands() + op->getNumResults();

  // The work itself: every buffer an argument of its own that aliases no other.
  SmallVector<Type> types(numBuffers, ptr);
  types.append({i64, i64, i64, i64, i64, ptr});
  auto inner = LLVM::LLVMFuncOp::create(b, loc, kernel.name + "_body", LLVM::LLVMFunctionType::get(nothing, types),
                                        LLVM::Linkage::Internal);
  for (unsigned i = 0; i < types.size(); ++i)
    if (types[i] == ptr)
      inner.setArgAttr(i, LLVM::LLVMDialect::getNoAliasAttrName(), b.getUnitAttr());
  Block *entry = inner.addEntryBlock(b);
  b.setInsertionPointToEnd(entry);
  Code code{b, loc};
  auto args = llvm::to_vector_of<Value>(entry->getArguments());
  auto tail = ArrayRef<Value>(args).drop_front(numBuffers);
  WorkItems work{tail[0], tail[1], tail[2], tail[3], tail[4], tail[5]};
  auto buffers = ArrayRef<Value>(args).take_front(numBuffers);
  FailureOr<int64_t> scratch = failure();
  if (auto map = dyn_cast<nn::MapOp>(op))
    scratch = emitMap(code, map, buffers, work);
  else if (auto scan = dyn_cast<rec::ScanOp>(op))
    scratch = ScanEmitter(code, scan, buffers, work).emit();
  if (failed(scratch))
    return op->emitOpError("cannot be compiled for the CPU"), failure();
  LLVM::ReturnOp::create(b, loc, ValueRange{});
  kernel.scratchBytes = *scratch;

  // The entry: pointers from an array.
  b.setInsertionPointToEnd(kernelModule->getBody());
  auto outer = LLVM::LLVMFuncOp::create(b, loc, kernel.name,
                                        LLVM::LLVMFunctionType::get(nothing, {ptr, i64, i64, i64, i64, i64, ptr}));
  Block *outerEntry = outer.addEntryBlock(b);
  b.setInsertionPointToEnd(outerEntry);
  Code enter{b, loc};
  SmallVector<Value> forwarded;
  for (unsigned i = 0; i < numBuffers; ++i)
    forwarded.push_back(LLVM::LoadOp::create(b, loc, ptr, enter.at(outerEntry->getArgument(0), enter.i64(i), ptr)));
  for (unsigned i = 1; i < 7; ++i)
    forwarded.push_back(outerEntry->getArgument(i));
  LLVM::CallOp::create(b, loc, inner, forwarded);
  LLVM::ReturnOp::create(b, loc, ValueRange{});
  return kernels[key] = kernel;
}
