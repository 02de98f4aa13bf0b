//===- Documents.cpp - Several documents in one row -------------*- C++ -*-===//
// Implements -nn-documents: whatever looks along time stops where the token's
// document begins. One value says where that is, the position of each token in
// its document, and functions hand it on from the entry.
//===----------------------------------------------------------------------===//
#include "passes/Rec/Passes.h"

#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/DenseMap.h"

namespace tidegate::rec {
#define GEN_PASS_DEF_NNDOCUMENTS
#include "passes/Rec/Passes.h.inc"
} // namespace tidegate::rec

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

static constexpr StringLiteral kNameAttr = "nn.name", kPositions = "positions";

static RankedTensorType positionsType(MLIRContext *context) {
  return RankedTensorType::get({ShapedType::kDynamic, ShapedType::kDynamic}, IntegerType::get(context, 32));
}

/// True for zeros, however they were brought to their shape.
static bool isZero(Value value) {
  if (auto broadcast = value.getDefiningOp<nn::BroadcastLikeOp>())
    return isZero(broadcast.getInput());
  if (auto reshape = value.getDefiningOp<nn::ReshapeOp>())
    return isZero(reshape.getInput());
  auto constant = value.getDefiningOp<nn::ConstantOp>();
  return constant && constant.getValue().isZero();
}

namespace {
/// The positions inside one function, and what is made of them.
class FunctionPositions {
public:
  FunctionPositions(func::FuncOp func, Value positions)
      : positions(positions), builder(OpBuilder::atBlockBegin(&func.getBody().front())) {}

  /// B x T x H, 1 at the first token of a document.
  Value begins(int64_t heads, Type element, Location loc) {
    if (Value flags = known.lookup({heads, element}))
      return flags;
    Value flags;
    if (heads > 1) {
      Value one = begins(1, element, loc), zeros = nn::constant(builder, loc, 0, element, heads);
      flags = nn::AddOp::create(builder, loc, one, zeros);
    } else { // 0 is the only index into a dimension of 1
      auto type = RankedTensorType::get({ShapedType::kDynamic, ShapedType::kDynamic, 1}, element);
      Value ones = nn::IsIndexOp::create(builder, loc, type, positions);
      flags = nn::PlaceOp::create(builder, loc, type, ones, positions);
    }
    known[{heads, element}] = flags;
    return flags;
  }

  const Value positions;

private:
  OpBuilder builder;
  llvm::DenseMap<std::pair<int64_t, Type>, Value> known;
};

class Packer {
public:
  explicit Packer(ModuleOp module) : symbols(module) {}

  LogicalResult pack(func::FuncOp func, bool isEntry);

private:
  FailureOr<Value> argumentOf(func::FuncOp func, bool isEntry);
  LogicalResult packScan(ScanOp scan, FunctionPositions &in);
  LogicalResult packCall(func::CallOp call, FunctionPositions &in);
  /// True if something that the function reaches looks along time.
  bool looksAlongTime(func::FuncOp func);

  SymbolTable symbols;
  llvm::DenseMap<Operation *, bool> looks;
  llvm::DenseSet<Operation *> packed;
};

struct NnDocumentsPass : rec::impl::NnDocumentsBase<NnDocumentsPass> {
  void runOnOperation() override {
    Packer packer(getOperation());
    for (auto func : llvm::to_vector(getOperation().getOps<func::FuncOp>()))
      if (!func.isPrivate() && !func.isExternal() && failed(packer.pack(func, /*isEntry=*/true)))
        return signalPassFailure();
  }
};
} // namespace

/// Scans over chunks know no documents; a scan that runs backwards is no part of a model.
static bool resets(ScanOp scan) { return scan.getChunk() == 1 && !scan.getReverse() && scan.getNumStates() > 0; }

bool Packer::looksAlongTime(func::FuncOp func) {
  auto [known, isNew] = looks.try_emplace(func, false);
  if (!isNew)
    return known->second;
  WalkResult found = func.walk([&](Operation *op) {
    auto call = dyn_cast<func::CallOp>(op);
    auto callee = call ? symbols.lookup<func::FuncOp>(call.getCallee()) : func::FuncOp();
    auto scan = dyn_cast<ScanOp>(op);
    bool does = isa<nn::ShortConvOp, nn::PositionsOp, nn::AttentionOp>(op) || (scan && resets(scan)) || (callee && looksAlongTime(callee));
    return does ? WalkResult::interrupt() : WalkResult::advance();
  });
  return looks[func] = found.wasInterrupted();
}

FailureOr<Value> Packer::argumentOf(func::FuncOp func, bool isEntry) {
  auto type = positionsType(func.getContext());
  if (isEntry)
    for (unsigned i = 0; i < func.getNumArguments(); ++i) {
      auto name = func.getArgAttrOfType<StringAttr>(i, kNameAttr);
      if (!name || name.getValue() != kPositions)
        continue;
      if (func.getArgument(i).getType() == type)
        return Value(func.getArgument(i));
      func.emitOpError("expects its argument 'positions' to be the places of tokens in their documents, ")
          << type << ", but it has type " << func.getArgument(i).getType();
      return failure();
    }
  Builder b(func.getContext());
  unsigned index = func.getNumArguments();
  auto named = b.getDictionaryAttr(b.getNamedAttr(kNameAttr, b.getStringAttr(kPositions)));
  (void)func.insertArgument(index, type, named, func.getLoc()); // a function type takes any
  return Value(func.getArgument(index));
}

LogicalResult Packer::pack(func::FuncOp func, bool isEntry) {
  if (!packed.insert(func).second)
    return success();
  auto positions = argumentOf(func, isEntry);
  if (failed(positions))
    return failure();
  FunctionPositions in(func, *positions);
  SmallVector<Operation *> ops;
  func.walk([&](Operation *op) { ops.push_back(op); });
  for (Operation *op : ops) {
    if (auto conv = dyn_cast<nn::ShortConvOp>(op); conv && !conv.getPositions())
      conv.getPositionsMutable().assign(in.positions);
    else if (auto attention = dyn_cast<nn::AttentionOp>(op); attention && !attention.getPositions())
      attention.getPositionsMutable().assign(in.positions);
    else if (auto own = dyn_cast<nn::PositionsOp>(op); own && own.getNext().use_empty())
      own.getResult().replaceAllUsesWith(in.positions);
    else if (auto scan = dyn_cast<ScanOp>(op); scan && resets(scan) && failed(packScan(scan, in)))
      return failure();
    else if (auto call = dyn_cast<func::CallOp>(op); call && failed(packCall(call, in)))
      return failure();
  }
  return success();
}

/// Every state starts anew, from what the scan starts it with, at the first token of a document.
LogicalResult Packer::packScan(ScanOp scan, FunctionPositions &in) {
  auto first = cast<RankedTensorType>(scan.getInputs().front().getType());
  if (!first.isDynamicDim(0) || !first.isDynamicDim(1))
    return scan.emitOpError("expects B and T that are known at run time where documents are packed, but its first "
                            "operand has type ")
           << first;
  Location loc = scan.getLoc();
  Block &body = scan.getBody().front();
  SmallVector<int64_t> kinds(scan.getKinds());
  auto append = [&](Value outer, OperandKind kind) -> Value {
    unsigned index = scan.getInputs().size();
    scan.getInputsMutable().append(outer);
    kinds.push_back(int64_t(kind));
    scan.setKinds(kinds);
    return body.insertArgument(index, ScanOp::innerType(cast<RankedTensorType>(outer.getType()), kind, 1), loc);
  };
  SmallVector<Value> inits(scan.getInits());
  OpBuilder builder = OpBuilder::atBlockBegin(&body);
  Value flag;
  for (unsigned i = 0; i < scan.getNumStates(); ++i) {
    Value state = scan.getBodyStates()[i];
    if (state.use_empty())
      continue;
    Type element = cast<RankedTensorType>(state.getType()).getElementType();
    if (!flag)
      flag = append(in.begins(scan.getHeads(), element, loc), OperandKind::Token);
    Value init = i < inits.size() && !isZero(inits[i]) ? append(inits[i], scan.initKind(i)) : Value();
    auto reset = ResetOp::create(builder, loc, state.getType(), state, flag, init);
    state.replaceAllUsesExcept(reset, reset);
  }
  return success();
}

LogicalResult Packer::packCall(func::CallOp call, FunctionPositions &in) {
  auto callee = symbols.lookup<func::FuncOp>(call.getCallee());
  if (!callee)
    return call.emitOpError("calls an unknown function '") << call.getCallee() << "'";
  if (callee.isExternal() || !looksAlongTime(callee))
    return success();
  call.getOperandsMutable().append(in.positions);
  return pack(callee, /*isEntry=*/false);
}
