//===- Storage.cpp - What is kept in bfloat16 -------------------*- C++ -*-===//
// Implements -nn-storage. A value that stands for another in a call, a return or a
// reshape is the same memory, so decisions travel along these links.
//===----------------------------------------------------------------------===//
#include "ir/Nn/Storage.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "passes/Nn/Passes.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/EquivalenceClasses.h"

namespace tidegate::nn {
#define GEN_PASS_DEF_STORAGE
#include "passes/Nn/Passes.h.inc"
} // namespace tidegate::nn

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

namespace {
RankedTensorType tensorOf(Value v) { return cast<RankedTensorType>(v.getType()); }
bool isFloat(Value v) { return isa<FloatType>(tensorOf(v).getElementType()); }

/// Whether a value of a scan's body is summed along time: a gate, or the gradient of one.
bool reachesCumsum(Value v) {
  return llvm::any_of(v.getUsers(), [](Operation *user) {
    return isa<rec::CumsumOp>(user) ||
           (isa<ElementwiseOpInterface, ReshapeOp>(user) && reachesCumsum(user->getResult(0)));
  });
}
bool comesFromCumsum(Value v) {
  Operation *op = v.getDefiningOp();
  if (!op)
    return false;
  return isa<rec::CumsumOp>(op) || (isa<AddOp, SubOp, NegOp, MulOp, SelectOp, PadOp, ReshapeOp, ReduceSumOp>(op) &&
                                    llvm::any_of(op->getOperands(), comesFromCumsum));
}

/// Whether a value of a map's body is a position of a token or computed from nothing but positions and constants by
/// ops that keep its places: an angle. Eight bits do not tell token 257 from 258, nor an angle to a hundredth.
bool isOfPositions(Value v, DenseMap<Value, bool> &known) {
  Operation *op = v.getDefiningOp();
  if (!op || isa<ConstantOp, IotaOp>(op))
    return false;
  if (isa<AngleOp, ToFloatOp>(op))
    return true;
  if (!isa<AddOp, SubOp, NegOp, MulOp, DivOp, ReshapeOp, TransposeOp, SliceOp, PadOp, BroadcastLikeOp>(op))
    return false;
  if (auto found = known.find(v); found != known.end())
    return found->second;
  auto isFit = [&](Value x) {
    return isOfPositions(x, known) || isa_and_nonnull<ConstantOp, IotaOp>(x.getDefiningOp());
  };
  const bool result = llvm::all_of(op->getOperands(), isFit) &&
                      llvm::any_of(op->getOperands(), [&](Value x) { return isOfPositions(x, known); });
  return known[v] = result;
}

/// Whether a product reads the value.
bool isMultiplied(Value v) { return llvm::any_of(v.getUsers(), [](Operation *user) { return isa<DotOp>(user); }); }

/// One row per step: the decay of a state, which multiplies it again and again.
bool isFactorOfState(rec::ScanOp scan, unsigned output) {
  auto inner = tensorOf(scan.getBody().front().getTerminator()->getOperand(output));
  return scan.outKindOf(output) == rec::OperandKind::Step && inner.getRank() > 0 &&
         inner.getNumElements() == inner.getShape().back();
}

class StorageAssigner {
public:
  explicit StorageAssigner(ModuleOp module) : module(module) {}

  void run() {
    for (auto function : module.getOps<func::FuncOp>())
      link(function);
    for (auto function : module.getOps<func::FuncOp>())
      collect(function);
    module.walk([&](rec::LoopOp loop) {
      for (StringRef name : {loop.getStep(), loop.getLast()})
        roundOperands(module.lookupSymbol<func::FuncOp>(name));
    });
    module.walk([&](BlocksOp blocks) { castShared(blocks); });
    for (auto function : module.getOps<func::FuncOp>())
      castOperands(function);
    for (auto function : module.getOps<func::FuncOp>())
      annotate(function);
  }

private:
  void link(func::FuncOp function) {
    for (Operation &op : function.getBody().front()) {
      if (auto call = dyn_cast<func::CallOp>(op)) {
        linkCall(call, call.getCallee());
      } else if (auto blocks = dyn_cast<BlocksOp>(op)) {
        linkCall(blocks, blocks.getCallee());
      } else if (isa<ReshapeOp, CastRowsOp>(op)) {
        same.unionSets(op.getOperand(0), op.getResult(0));
      } else if (auto loop = dyn_cast<rec::LoopOp>(op)) {
        link(loop, loop.getStep());
        link(loop, loop.getLast());
      }
    }
  }

  void linkCall(Operation *call, StringRef name) {
    auto callee = module.lookupSymbol<func::FuncOp>(name);
    for (auto [operand, argument] : llvm::zip(call->getOperands(), callee.getArguments()))
      same.unionSets(operand, argument);
    for (auto [result, returned] :
         llvm::zip(call->getResults(), callee.getBody().front().getTerminator()->getOperands()))
      same.unionSets(result, returned);
  }

  /// A loop and a function of its steps.
  void link(rec::LoopOp loop, StringRef name) {
    auto function = module.lookupSymbol<func::FuncOp>(name);
    auto states = function.getArguments().take_back(loop.getNumStates());
    auto returned = function.getBody().front().getTerminator()->getOperands();
    for (auto [operand, argument] : llvm::zip(loop.getInputs(), function.getArguments()))
      same.unionSets(operand, argument);
    for (auto [result, value] : llvm::zip(loop.getResults(), returned)) // outputs, final states
      same.unionSets(result, value);
    for (ValueRange others : {ValueRange(loop.getInits()), ValueRange(loop.getEntryStates()),
                              ValueRange(loop.getFinalStates())})
      for (auto [state, other] : llvm::zip(states, others))
        same.unionSets(state, other);
  }

  void keep(Value v) { exact.insert(same.getOrInsertLeaderValue(v)); }
  /// As a caller keeps it, who may have rounded it.
  void keepAs(Value v, Attribute stored) {
    if (stored && mlir::cast<TypeAttr>(stored).getValue().isBF16())
      rounded.insert(same.getOrInsertLeaderValue(v));
    else
      keep(v);
  }
  bool isExact(Value v) {
    Value leader = same.getOrInsertLeaderValue(v);
    return !rounded.contains(leader) && (isKeptExact(tensorOf(v)) || exact.contains(leader));
  }

  /// In a step of a loop what a product reads, and no state keeps, is rounded where it is stored: it would be before
  /// the product.
  void roundOperands(func::FuncOp function) {
    DenseSet<Value> kept;
    Block &body = function.getBody().front();
    for (Value v : body.getArguments())
      kept.insert(same.getOrInsertLeaderValue(v));
    for (Value v : body.getTerminator()->getOperands())
      kept.insert(same.getOrInsertLeaderValue(v));
    for (auto dot : body.getOps<DotOp>())
      for (Value v : dot.getOperands())
        if (rowsOf(tensorOf(v)) > 0 && numbersPerRow(tensorOf(v)) > kNarrow &&
            !kept.contains(same.getOrInsertLeaderValue(v)))
          rounded.insert(same.getOrInsertLeaderValue(v));
  }

  void collect(func::FuncOp function) {
    Block &body = function.getBody().front();
    if (!function.isPrivate()) { // what the caller gives and gets
      for (auto [i, v] : llvm::enumerate(body.getArguments()))
        keepAs(v, function.getArgAttr(i, kStored));
      for (auto [i, v] : llvm::enumerate(body.getTerminator()->getOperands()))
        keepAs(v, function.getResultAttr(i, kStored));
    }
    const bool isExactFunction = function->hasAttr(kExact);
    auto consider = [&](Value v) {
      if (isFloat(v) && (isKeptExact(tensorOf(v)) || (isExactFunction && !isMultiplied(v))))
        keep(v);
    };
    for (Value v : body.getArguments())
      consider(v);
    for (Operation &op : body) {
      for (Value v : op.getResults())
        consider(v);
      if (auto map = dyn_cast<MapOp>(op)) {
        DenseMap<Value, bool> known;
        for (auto [v, inner] : llvm::zip(map.getResults(), map.getBody().front().getTerminator()->getOperands()))
          if (isOfPositions(inner, known))
            keep(v);
      }
      auto scan = dyn_cast<rec::ScanOp>(op);
      if (!scan)
        continue;
      for (auto [i, v] : llvm::enumerate(scan.getInputs()))
        if (isFloat(v) && reachesCumsum(scan.getBodyInputs()[i]))
          keep(v);
      auto yields = scan.getBody().front().getTerminator()->getOperands();
      for (auto [i, v] : llvm::enumerate(scan.getOutputs()))
        if (comesFromCumsum(yields[i]) || isFactorOfState(scan, i))
          keep(v);
    }
  }

  Type storageOf(Value v) {
    Type element = tensorOf(v).getElementType();
    if (!isa<FloatType>(element) || casts.contains(v))
      return casts.contains(v) ? Type(BFloat16Type::get(v.getContext())) : element;
    return isExact(v) ? element : Type(BFloat16Type::get(v.getContext()));
  }

  /// Products take bfloat16 on both sides: what is kept in float is cast, once per function.
  void castOperands(func::FuncOp function) {
    DenseMap<Value, Value> done;
    for (auto dot : llvm::make_early_inc_range(function.getBody().front().getOps<DotOp>()))
      for (OpOperand &operand : dot->getOpOperands())
        if (isFloat(operand.get()) && isExact(operand.get()) && !casts.contains(operand.get())) {
          Value &with = done[operand.get()];
          if (!with)
            with = cast(dot, operand.get());
          operand.set(with);
        }
  }

  /// What all blocks of rows read in products alone is cast before the first. The function is called nowhere else.
  void castShared(BlocksOp blocks) {
    auto function = module.lookupSymbol<func::FuncOp>(blocks.getCallee());
    for (auto [operand, argument] : llvm::zip(blocks->getOpOperands(), function.getArguments())) {
      auto isProduct = [](Operation *user) { return isa<DotOp>(user); };
      if (rowsOf(tensorOf(argument)) > 0 || !isFloat(argument) || argument.use_empty() || !isExact(argument) ||
          !llvm::all_of(argument.getUsers(), isProduct))
        continue;
      operand.set(cast(blocks, operand.get()));
      casts.insert(argument);
    }
  }

  /// A map that copies rows of the last dimension.
  Value cast(Operation *before, Value from) {
    OpBuilder b(before);
    auto type = tensorOf(from);
    int64_t rows = type.getRank() - 1;
    auto map = MapOp::create(b, before->getLoc(), type, from, b.getI64IntegerAttr(rows),
                             b.getDenseBoolArrayAttr({true}), b.getDenseBoolArrayAttr({true}));
    Block *body = b.createBlock(&map.getBody());
    Value row = body->addArgument(RankedTensorType::get(type.getShape().drop_front(rows), type.getElementType()),
                                  before->getLoc());
    YieldOp::create(b, before->getLoc(), row);
    casts.insert(map.getResult(0));
    return map.getResult(0);
  }

  void annotate(func::FuncOp function) {
    Builder b(function.getContext());
    for (Operation &op : function.getBody().front().without_terminator()) {
      SmallVector<Attribute> types;
      for (Value v : op.getOperands())
        types.push_back(TypeAttr::get(storageOf(v)));
      for (Value v : op.getResults())
        types.push_back(TypeAttr::get(storageOf(v)));
      op.setAttr(kStorage, b.getArrayAttr(types));
    }
  }

  ModuleOp module;
  llvm::EquivalenceClasses<Value> same;
  DenseSet<Value> exact, rounded; ///< Leaders of classes.
  DenseSet<Value> casts;
};

struct StoragePass : nn::impl::StorageBase<StoragePass> {
  void runOnOperation() override { StorageAssigner(getOperation()).run(); }
};
} // namespace
