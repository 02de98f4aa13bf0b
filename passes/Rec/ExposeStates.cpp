//===- ExposeStates.cpp - States become arguments and results ---*- C++ -*-===//
// Implements -rec-expose-states. Functions are rewritten from the callees up:
// each gets one argument and one result per state of its own scans,
// convolutions and attentions and of its calls, in program order. Positions are
// made once, by the entry from the number of tokens before, and handed on.
//===----------------------------------------------------------------------===//
#include "passes/Rec/Passes.h"
#include "passes/Rec/PieceForm.h"
#include "passes/Rec/TokenForm.h"

#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"

namespace tidegate::rec {
#define GEN_PASS_DEF_RECEXPOSESTATES
#include "passes/Rec/Passes.h.inc"
} // namespace tidegate::rec

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

/// The attribute that names a state of a function.
static constexpr StringLiteral kStateAttr = "nn.state";

namespace {
struct State {
  std::string path; ///< Unique in its function.
  Type type;
  Location loc;
};

class Exposer {
public:
  /// `inPieces`: scans over chunks are fed piece by piece. `full`: those of so many tokens have a full chunk behind
  /// them.
  Exposer(ModuleOp module, bool inPieces, ArrayRef<int64_t> full) : symbols(module), inPieces(inPieces), full(full) {}

  LogicalResult run(func::FuncOp theEntry) {
    entry = theEntry;
    if (failed(expose(entry)))
      return failure();
    for (auto &[func, states] : exposed)
      if (func != entry && failed(checkCallers(func)))
        return failure();
    return success();
  }

private:
  /// Exposes the states of a function and of all that it calls.
  LogicalResult expose(func::FuncOp func) {
    if (exposed.count(func))
      return success();
    if (!active.insert(func).second)
      return func.emitOpError("calls itself, so its states cannot be carried");
    if (func.isExternal())
      return func.emitOpError("has no body whose states could be carried");
    SmallVector<Operation *> ops;
    func.walk([&](Operation *op) {
      if (isa<ScanOp, nn::ShortConvOp, nn::PositionsOp, nn::AttentionOp, func::CallOp>(op))
        ops.push_back(op);
    });
    SmallVector<State> states;
    llvm::StringMap<unsigned> calls;
    SmallVector<Operation *> placed; // what wants the positions of the tokens
    for (Operation *op : ops) {
      if (auto scan = dyn_cast<ScanOp>(op)) {
        if (isChunkUpdate(scan) && inPieces) {
          if (failed(exposePieces(func, scan, states)))
            return failure();
          continue;
        }
        if (isChunkUpdate(scan)) {
          auto token = toTokenForm(scan);
          if (failed(token))
            return failure();
          scan = *token;
        }
        exposeScan(func, scan, states);
        continue;
      }
      if (auto conv = dyn_cast<nn::ShortConvOp>(op)) {
        exposeConv(func, conv, states);
        continue;
      }
      if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
        exposeAttention(func, attention, states);
        if (!attention.getPositions())
          placed.push_back(op);
        continue;
      }
      if (auto positions = dyn_cast<nn::PositionsOp>(op)) {
        if (!positions.getFirst() && positions.getNext().use_empty())
          placed.push_back(op);
        continue;
      }
      auto call = cast<func::CallOp>(op);
      auto callee = symbols.lookup<func::FuncOp>(call.getCallee());
      if (!callee)
        return call.emitOpError("calls an unknown function '") << call.getCallee() << "'";
      if (failed(expose(callee)))
        return failure();
      unsigned index = calls[call.getCallee()]++;
      call = exposeCall(func, call, exposed[callee], (call.getCallee() + "." + Twine(index) + ".").str(), states);
      if (takesPositions.contains(callee))
        placed.push_back(call);
    }
    if (!placed.empty() && failed(place(func, placed, states)))
      return failure();
    active.erase(func);
    exposed[func] = std::move(states);
    return success();
  }

  static DictionaryAttr nameOf(const State &state) {
    Builder builder(state.type.getContext());
    return builder.getDictionaryAttr(builder.getNamedAttr(kStateAttr, builder.getStringAttr(state.path)));
  }

  Value addArgument(func::FuncOp func, const State &state) {
    unsigned index = func.getNumArguments();
    (void)func.insertArgument(index, state.type, nameOf(state), state.loc); // a function type takes any
    return func.getArgument(index);
  }

  void addResult(func::FuncOp func, const State &state, Value final) {
    (void)func.insertResult(func.getNumResults(), state.type, nameOf(state));
    Operation *terminator = func.getBody().front().getTerminator();
    terminator->insertOperands(terminator->getNumOperands(), final);
  }

  void exposeScan(func::FuncOp func, ScanOp scan, SmallVectorImpl<State> &states) {
    SmallVector<Value> inits = takeStates(func, scan, states);
    for (auto [state, final] : llvm::zip(ArrayRef(states).take_back(inits.size()), scan.getFinalStates()))
      addResult(func, state, final);
    scan.getInitsMutable().assign(inits);
  }

  /// The states at the begin of the chunk that the tokens belong to, and the rows of that chunk so far, for the last
  /// rows of an update.
  LogicalResult exposePieces(func::FuncOp func, ScanOp scan, SmallVectorImpl<State> &states) {
    if (!runsInPieces(scan))
      return scan.emitOpError("reads other rows of its chunk, so it cannot be fed in pieces");
    OpBuilder builder(scan);
    SmallVector<Value> present = takeStates(func, scan, states), rows;
    SmallVector<State> kept;
    for (unsigned i : rowsOfUpdate(scan)) {
      auto type = cast<RankedTensorType>(scan.getInputs()[i].getType());
      SmallVector<int64_t> shape(type.getShape());
      shape[1] = scan.getChunk();
      kept.push_back({nextName(func), RankedTensorType::get(shape, type.getElementType()), scan.getLoc()});
      rows.push_back(addArgument(func, kept.back()));
    }
    if (llvm::is_contained(full, int64_t(scan.getChunk())))
      present = updateStates(builder, scan, present, rows);
    for (auto [state, value] : llvm::zip(ArrayRef(states).take_back(present.size()), present))
      addResult(func, state, value);
    for (auto [state, i, before] : llvm::zip(kept, rowsOfUpdate(scan), rows))
      addResult(func, state,
                nn::LastRowsOp::create(builder, scan.getLoc(), state.type, scan.getInputs()[i], before));
    llvm::append_range(states, kept);
    for (auto [output, value] : llvm::zip(scan.getOutputs(), readStates(builder, scan, present)))
      output.replaceAllUsesWith(value);
    for (auto [final, value] : llvm::zip(scan.getFinalStates(), present))
      final.replaceAllUsesWith(value);
    scan.erase();
    return success();
  }

  /// Arguments for a scan's states; returns what it starts from. A carried state starts as zero. Where the scan
  /// starts from values of its own, one more state says whether there was a call before this one.
  SmallVector<Value> takeStates(func::FuncOp func, ScanOp scan, SmallVectorImpl<State> &states) {
    OpBuilder builder(scan);
    Location loc = scan.getLoc();
    SmallVector<Value> own(scan.getInits());
    Value started;
    if (!own.empty()) {
      auto like = cast<RankedTensorType>(scan.getFinalStates().front().getType());
      State state{nextName(func), RankedTensorType::get(like.getShape().take_front(2), like.getElementType()), loc};
      started = addArgument(func, state);
      Value one = nn::constant(builder, loc, 1, like.getElementType());
      addResult(func, state, nn::BroadcastLikeOp::create(builder, loc, started.getType(), one, started));
      states.push_back(state);
      if (llvm::any_of(own, dependsOnTokens))
        emitWarning(loc) << "a state of this scan starts from a value of the tokens, of those that come first";
    }
    SmallVector<Value> inits;
    for (auto [i, final] : llvm::enumerate(scan.getFinalStates())) {
      State state{nextName(func), final.getType(), loc};
      Value carried = addArgument(func, state);
      states.push_back(state);
      if (i < own.size()) {
        auto type = cast<RankedTensorType>(final.getType());
        SmallVector<int64_t> wide(type.getRank(), 1);
        wide[0] = type.getDimSize(0), wide[1] = type.getDimSize(1);
        Value column =
            nn::ReshapeOp::create(builder, loc, RankedTensorType::get(wide, type.getElementType()), started);
        carried = nn::SelectOp::create(builder, loc, column, carried, own[i]);
      }
      inits.push_back(carried);
    }
    return inits;
  }

  std::string nextName(func::FuncOp func) { return "state." + std::to_string(numOwn[func]++); }

  /// True unless `value` is computed from weights and constants; what only lends
  /// its shape does not count.
  static bool dependsOnTokens(Value value) {
    if (auto argument = dyn_cast<BlockArgument>(value)) {
      auto func = dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp());
      return !func || !func.getArgAttr(argument.getArgNumber(), "nn.weight");
    }
    Operation *op = value.getDefiningOp();
    if (isa<func::CallOp, ScanOp>(op))
      return true;
    if (auto broadcast = dyn_cast<nn::BroadcastLikeOp>(op))
      return dependsOnTokens(broadcast.getInput());
    if (auto select = dyn_cast<nn::SelectOp>(op); select && select.getCondition().getDefiningOp<nn::ConstantOp>())
      return dependsOnTokens(select.getLhs());
    return llvm::any_of(op->getOperands(), dependsOnTokens);
  }

  /// The state of a convolution is its past.
  void exposeConv(func::FuncOp func, nn::ShortConvOp conv, SmallVectorImpl<State> &states) {
    if (conv.getPast()) {
      emitWarning(conv.getLoc()) << "the past of this convolution is a value of its own and is not carried";
      return;
    }
    State state{nextName(func), conv.getNext().getType(), conv.getLoc()};
    conv.getPastMutable().assign(addArgument(func, state));
    addResult(func, state, conv.getNext());
    states.push_back(state);
  }

  /// The states of attention are the last keys and values.
  void exposeAttention(func::FuncOp func, nn::AttentionOp attention, SmallVectorImpl<State> &states) {
    if (attention.getPastKey()) {
      emitWarning(attention.getLoc()) << "the past of this attention is a value of its own and is not carried";
      return;
    }
    if (attention.getWindow() == 1)
      return;
    auto carry = [&](MutableOperandRange past, Value next) {
      State state{"state." + std::to_string(numOwn[func]++), next.getType(), attention.getLoc()};
      past.assign(addArgument(func, state));
      addResult(func, state, next);
      states.push_back(state);
    };
    carry(attention.getPastKeyMutable(), attention.getNextKey());
    carry(attention.getPastValueMutable(), attention.getNextValue());
  }

  /// Gives positions to what wants them: to the entry from the tokens before,
  /// which are a state of it, to others from their caller.
  LogicalResult place(func::FuncOp func, ArrayRef<Operation *> placed, SmallVectorImpl<State> &states) {
    Builder attributes(func.getContext());
    Type index = attributes.getI32Type();
    auto type = RankedTensorType::get({ShapedType::kDynamic, ShapedType::kDynamic}, index);
    Value positions;
    if (func == entry) {
      Value like;
      for (Value argument : func.getArguments())
        if (auto tensor = dyn_cast<RankedTensorType>(argument.getType()); !like && tensor && nn::rowRank(tensor) >= 2)
          like = argument;
      if (!like)
        return func.emitOpError("expects an argument B x T x ... beside which its tokens have positions");
      State before{"tokens", RankedTensorType::get({ShapedType::kDynamic, 1}, index), func.getLoc()};
      OpBuilder builder = OpBuilder::atBlockBegin(&func.getBody().front());
      Value first = addArgument(func, before);
      auto op = nn::PositionsOp::create(builder, func.getLoc(), like, first);
      addResult(func, before, op.getNext());
      states.push_back(before);
      positions = op.getResult();
    } else {
      auto named = attributes.getDictionaryAttr(
          attributes.getNamedAttr("nn.name", attributes.getStringAttr("positions")));
      (void)func.insertArgument(func.getNumArguments(), type, named, func.getLoc()); // a function type takes any
      positions = func.getArguments().back();
      takesPositions.insert(func);
    }
    for (Operation *op : placed) {
      if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
        attention.getPositionsMutable().assign(positions);
      } else if (auto call = dyn_cast<func::CallOp>(op)) {
        call.getOperandsMutable().append(positions);
      } else {
        op->getResult(0).replaceAllUsesWith(positions);
        op->erase();
      }
    }
    return success();
  }

  func::CallOp exposeCall(func::FuncOp func, func::CallOp call, ArrayRef<State> inner, const std::string &prefix,
                          SmallVectorImpl<State> &states) {
    if (inner.empty())
      return call;
    SmallVector<Value> operands(call.getOperands());
    SmallVector<Type> types(call.getResultTypes());
    SmallVector<State> own;
    for (const State &state : inner) {
      own.push_back({prefix + state.path, state.type, call.getLoc()});
      operands.push_back(addArgument(func, own.back()));
      types.push_back(state.type);
    }
    OpBuilder builder(call);
    auto carried = func::CallOp::create(builder, call.getLoc(), call.getCallee(), types, operands);
    carried->setDiscardableAttrs(call->getDiscardableAttrDictionary());
    unsigned numResults = call.getNumResults();
    call->replaceAllUsesWith(carried.getResults().take_front(numResults));
    call.erase();
    for (auto [state, final] : llvm::zip(own, carried.getResults().drop_front(numResults)))
      addResult(func, state, final);
    llvm::append_range(states, own);
    return carried;
  }

  /// Calls from functions that were not reached would have the old type.
  LogicalResult checkCallers(func::FuncOp func) {
    if (exposed[func].empty() && !takesPositions.contains(func))
      return success();
    auto uses = func.getSymbolUses(func->getParentOfType<ModuleOp>());
    for (const auto &use : *uses) {
      auto caller = use.getUser()->getParentOfType<func::FuncOp>();
      if (exposed.count(caller))
        continue;
      auto diag = func.emitOpError("has states to carry, but is also called from outside");
      diag.attachNote(use.getUser()->getLoc()) << "this call";
      return diag;
    }
    return success();
  }

  SymbolTable symbols;
  bool inPieces;
  ArrayRef<int64_t> full;
  func::FuncOp entry;
  llvm::DenseSet<Operation *> takesPositions; ///< Functions whose last argument is the positions.
  llvm::MapVector<func::FuncOp, SmallVector<State>> exposed;
  llvm::DenseMap<Operation *, unsigned> numOwn;
  llvm::DenseSet<Operation *> active;
};

struct RecExposeStatesPass : rec::impl::RecExposeStatesBase<RecExposeStatesPass> {
  using RecExposeStatesBase::RecExposeStatesBase;

  void runOnOperation() override {
    auto func = getOperation().lookupSymbol<func::FuncOp>(entry);
    if (!func) {
      getOperation().emitError("expects a function '") << entry << "', but the module has none";
      return signalPassFailure();
    }
    if (failed(Exposer(getOperation(), pieces, SmallVector<int64_t>(full.begin(), full.end())).run(func)))
      signalPassFailure();
  }
};
} // namespace
