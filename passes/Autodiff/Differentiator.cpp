//===- Differentiator.cpp - Functions to forward and backward ---*- C++ -*-===//
// The backward starts as a copy of the forward with its adjoint appended. Then
// it is cut: going back from what it returns, the first result of an expensive
// op on each path becomes a residual that the forward returns; what lies between
// the residuals and the adjoint is cheap and stays, computed again.
//===----------------------------------------------------------------------===//
#include "passes/Autodiff/Differentiator.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "passes/Autodiff/Simplify.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::autodiff;

/// On a backward: which arguments and results of the function it takes.
static constexpr StringLiteral kGradient = "nn.gradient";
/// Pairs an expensive op of the forward with its copy while a backward is made.
static constexpr StringLiteral kMark = "nn.mark";

static bool isFloat(Type type) { return isa<FloatType>(getElementTypeOrSelf(type)); }

std::optional<int64_t> autodiff::parsePolicy(StringRef name) {
  if (name == "none")
    return 0;
  if (name == "block")
    return AutodiffOptions::kAllCalls;
  int64_t calls;
  if (name.getAsInteger(10, calls) || calls < 0)
    return std::nullopt;
  return calls;
}

SmallVector<Value> GradFunctions::backwardOperands(ValueRange arguments, ValueRange forwardResults,
                                                   ValueRange cotangents) const {
  SmallVector<Value> operands;
  for (int64_t i : this->arguments)
    operands.push_back(arguments[i]);
  for (int64_t i : results)
    operands.push_back(forwardResults[i]);
  llvm::append_range(operands, forwardResults.drop_front(numResults));
  llvm::append_range(operands, cotangents);
  return operands;
}

//===----------------------------------------------------------------------===//
// Cutting the backward
//===----------------------------------------------------------------------===//

namespace {
/// A forward and its backward on the way to their final signatures.
struct Pair {
  func::FuncOp f, forward, backward;
  SmallVector<Operation *> marked; ///< Expensive ops of the forward, by mark.

  Block &forwardBody() { return forward.getBody().front(); }
  Block &backwardBody() { return backward.getBody().front(); }

  void markExpensive();
  /// Results of marked ops that the backward starts from, in the forward's order.
  SmallVector<OpResult> cut();
  /// Gives both functions their final arguments and results.
  GradFunctions finish(ArrayRef<OpResult> residuals);
  /// Takes back from the forward what the backward turned out not to need.
  void saveLess(const ForwardCalls &calls);
};
} // namespace

void Pair::markExpensive() {
  Builder builder(forward.getContext());
  for (Operation &op : forwardBody()) {
    auto differentiable = dyn_cast<DifferentiableOpInterface>(op);
    if (!isa<func::CallOp>(op) && !(differentiable && differentiable.isWorthSaving()))
      continue;
    op.setAttr(kMark, builder.getI64IntegerAttr(marked.size()));
    marked.push_back(&op);
  }
}

SmallVector<OpResult> Pair::cut() {
  llvm::SetVector<Value> reached;
  auto reach = [&](ValueRange values) { reached.insert(values.begin(), values.end()); };
  SmallVector<OpResult> residuals;
  reach(backwardBody().getTerminator()->getOperands());
  for (size_t i = 0; i < reached.size(); ++i) {
    Operation *op = reached[i].getDefiningOp();
    if (!op)
      continue;
    if (op->hasAttr(kMark))
      residuals.push_back(cast<OpResult>(reached[i]));
    else
      reach(op->getOperands());
  }
  llvm::sort(residuals, [](OpResult a, OpResult b) {
    auto key = [](OpResult r) {
      return std::pair(r.getOwner()->getAttrOfType<IntegerAttr>(kMark).getInt(), r.getResultNumber());
    };
    return key(a) < key(b);
  });
  return residuals;
}

GradFunctions Pair::finish(ArrayRef<OpResult> residuals) {
  Block &body = backwardBody();
  unsigned numArguments = f.getNumArguments();
  auto *forwardReturn = forwardBody().getTerminator();
  ValueRange results = forwardReturn->getOperands().take_front(f.getNumResults());

  // What the forward returns already comes before what it returns in addition.
  GradFunctions grad{forward, backward, {}, {}, int64_t(f.getNumResults())};
  SmallVector<Value> added;
  SmallVector<std::pair<int64_t, OpResult>> asResult;
  SmallVector<OpResult> asResidual;
  for (OpResult residual : residuals) {
    int64_t mark = residual.getOwner()->getAttrOfType<IntegerAttr>(kMark).getInt();
    Value value = marked[mark]->getResult(residual.getResultNumber());
    auto found = llvm::find(results, value);
    if (found != results.end()) {
      asResult.push_back({found - results.begin(), residual});
    } else {
      asResidual.push_back(residual);
      added.push_back(value);
    }
  }
  llvm::sort(asResult, [](auto &a, auto &b) { return a.first < b.first; });
  unsigned at = numArguments;
  for (auto [i, value] : asResult) {
    grad.results.push_back(i);
    value.replaceAllUsesWith(body.insertArgument(at++, value.getType(), value.getLoc()));
  }
  for (OpResult value : asResidual)
    value.replaceAllUsesWith(body.insertArgument(at++, value.getType(), value.getLoc()));

  for (OpResult &residual : asResidual)
    (void)forward.insertResult(forward.getNumResults(), residual.getType(), {});
  forwardReturn->insertOperands(forwardReturn->getNumOperands(), added);

  simplify(backward);
  llvm::BitVector unused(body.getNumArguments());
  for (unsigned i = 0; i < numArguments; ++i)
    if (body.getArgument(i).use_empty())
      unused.set(i);
    else
      grad.arguments.push_back(i);
  body.eraseArguments(unused);
  Builder builder(f.getContext());
  backward.setType(builder.getFunctionType(body.getArgumentTypes(), body.getTerminator()->getOperandTypes()));
  backward->setAttr(kGradient, builder.getDictionaryAttr(
                                   {builder.getNamedAttr("arguments", builder.getDenseI64ArrayAttr(grad.arguments)),
                                    builder.getNamedAttr("results", builder.getDenseI64ArrayAttr(grad.results))}));
  return grad;
}

void Pair::saveLess(const ForwardCalls &calls) {
  for (Operation *op : marked) {
    op->removeAttr(kMark);
    OpBuilder builder(op);
    if (auto scan = dyn_cast<rec::ScanOp>(op)) {
      if (scan.getSaveStates() && llvm::all_of(scan.getEntryStates(), [](Value v) { return v.use_empty(); }))
        rec::withoutEntryStates(scan);
    } else if (auto found = calls.find(op); found != calls.end()) {
      auto call = cast<func::CallOp>(op);
      ValueRange results = call.getResults().take_front(found->second.numResults);
      ValueRange residuals = call.getResults().drop_front(found->second.numResults);
      if (residuals.empty() || llvm::any_of(residuals, [](Value v) { return !v.use_empty(); }))
        continue;
      StringRef callee = call.getCallee();
      callee.consume_back(".fwd");
      auto plain = func::CallOp::create(builder, call.getLoc(), callee, results.getTypes(), call.getOperands());
      for (auto [from, to] : llvm::zip(results, plain.getResults()))
        from.replaceAllUsesWith(to);
    }
  }
  simplify(forward);
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

FailureOr<func::FuncOp> Differentiator::calleeOf(func::CallOp call) {
  auto callee = module.lookupSymbol<func::FuncOp>(call.getCallee());
  if (!callee)
    return call.emitOpError("calls '") << call.getCallee() << "', which is no function of this module";
  return callee;
}

std::optional<GradFunctions> Differentiator::find(func::FuncOp f) {
  auto forward = module.lookupSymbol<func::FuncOp>((f.getName() + ".fwd").str());
  auto backward = module.lookupSymbol<func::FuncOp>((f.getName() + ".bwd").str());
  auto gradient = backward ? backward->getAttrOfType<DictionaryAttr>(kGradient) : DictionaryAttr();
  if (!forward || !gradient)
    return std::nullopt;
  auto list = [&](StringRef name) { return llvm::to_vector(cast<DenseI64ArrayAttr>(gradient.get(name)).asArrayRef()); };
  return GradFunctions{forward, backward, list("arguments"), list("results"), int64_t(f.getNumResults())};
}

FailureOr<GradFunctions> Differentiator::gradientOf(func::FuncOp f, int64_t recomputedCalls) {
  if (auto found = find(f))
    return *found;
  for (StringRef suffix : {".fwd", ".bwd"})
    if (Operation *other = module.lookupSymbol((f.getName() + suffix).str())) {
      auto diag = f.emitOpError("needs the name '") << f.getName() << suffix << "' for its gradient, but it is taken";
      diag.attachNote(other->getLoc()) << "by this definition";
      return diag;
    }
  if (llvm::is_contained(active, f)) {
    auto diag = f.emitOpError("calls itself, and recursion has no gradient");
    if (active.back() != f)
      diag.attachNote(active.back().getLoc()) << "the call is in '" << active.back().getName() << "'";
    return diag;
  }
  if (!f.getBody().hasOneBlock())
    return f.emitOpError("expects a body of one block to differentiate, but got ") << f.getBody().getBlocks().size();
  active.push_back(f);
  auto pop = llvm::scope_exit([&] { active.pop_back(); });
  return build(f, recomputedCalls);
}

/// Every op that a scan recomputes backwards needs an adjoint of its own.
static LogicalResult checkScanBodies(func::FuncOp f) {
  WalkResult result = f.walk([](rec::ScanOp scan) -> WalkResult {
    for (Operation &op : scan.getBody().front().without_terminator())
      if (!isa<DifferentiableOpInterface>(op)) {
        op.emitOpError("has no adjoint").attachNote(scan.getLoc()) << "in the body of this scan";
        return WalkResult::interrupt();
      }
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

FailureOr<GradFunctions> Differentiator::build(func::FuncOp f, int64_t recomputedCalls) {
  if (failed(checkScanBodies(f)))
    return failure();
  for (auto call : f.getBody().getOps<func::CallOp>()) {
    auto callee = calleeOf(call);
    if (failed(callee) || failed(gradientOf(*callee, /*recomputedCalls=*/0)))
      return failure();
  }
  OpBuilder builder(f.getContext());
  builder.setInsertionPointAfter(f);
  Pair pair{f, f.clone(), nullptr, {}};
  pair.forward.setName((f.getName() + ".fwd").str());
  pair.forward.setPrivate();
  builder.insert(pair.forward);
  ForwardCalls calls;
  if (failed(prepareForward(pair.forwardBody(), recomputedCalls, calls))) {
    pair.forward.erase();
    return failure();
  }
  pair.markExpensive();

  // The backward: a copy of the forward, seeds, adjoints.
  SmallVector<Type> inputs(f.getArgumentTypes()), outputs;
  llvm::copy_if(f.getResultTypes(), std::back_inserter(inputs), isFloat);
  llvm::copy_if(f.getArgumentTypes(), std::back_inserter(outputs), isFloat);
  pair.backward =
      func::FuncOp::create(builder, f.getLoc(), (f.getName() + ".bwd").str(), builder.getFunctionType(inputs, outputs));
  pair.backward.setPrivate();
  Block *body = pair.backward.addEntryBlock();
  builder.setInsertionPointToStart(body);
  IRMapping mapping;
  for (auto [from, to] : llvm::zip(pair.forwardBody().getArguments(), body->getArguments()))
    mapping.map(from, to);
  SmallVector<Operation *> ops;
  ForwardCalls copiedCalls;
  for (Operation &op : pair.forwardBody().without_terminator()) {
    ops.push_back(builder.clone(op, mapping));
    if (auto found = calls.find(&op); found != calls.end())
      copiedCalls[ops.back()] = found->second;
  }
  nn::Cotangents cotangents;
  unsigned seed = f.getNumArguments();
  for (Value result : pair.forwardBody().getTerminator()->getOperands())
    if (isFloat(result.getType()))
      cotangents.add(builder, mapping.lookup(result), body->getArgument(seed++));
  if (failed(reverse(builder, ops, cotangents, copiedCalls))) {
    pair.backward.erase();
    pair.forward.erase();
    return failure();
  }
  SmallVector<Value> gradients;
  for (Value argument : body->getArguments().take_front(f.getNumArguments()))
    if (isFloat(argument.getType())) {
      Value cotangent = cotangents.lookup(argument);
      gradients.push_back(cotangent ? cotangent : nn::zerosLike(builder, f.getLoc(), argument));
    }
  func::ReturnOp::create(builder, f.getLoc(), gradients);

  simplify(pair.backward);
  GradFunctions grad = pair.finish(pair.cut());
  pair.saveLess(calls);
  return grad;
}

//===----------------------------------------------------------------------===//
// Blocks
//===----------------------------------------------------------------------===//

LogicalResult Differentiator::prepareForward(Block &block, int64_t recomputedCalls, ForwardCalls &calls) {
  for (Operation &op : llvm::make_early_inc_range(block)) {
    if (auto scan = dyn_cast<rec::ScanOp>(op)) {
      if (rec::withEntryStates(scan) != scan)
        scan.erase();
      continue;
    }
    auto call = dyn_cast<func::CallOp>(op);
    if (!call || recomputedCalls-- > 0)
      continue;
    auto callee = calleeOf(call);
    if (failed(callee))
      return failure();
    auto grad = gradientOf(*callee, /*recomputedCalls=*/0);
    if (failed(grad))
      return failure();
    OpBuilder builder(call);
    auto saving = func::CallOp::create(builder, call.getLoc(), grad->forward, call.getOperands());
    call->replaceAllUsesWith(saving.getResults().take_front(call.getNumResults()));
    call.erase();
    calls[saving] = *grad;
  }
  return success();
}

LogicalResult Differentiator::reverse(OpBuilder &builder, ArrayRef<Operation *> ops, nn::Cotangents &cotangents,
                                      const ForwardCalls &calls) {
  for (Operation *op : llvm::reverse(ops)) {
    auto call = dyn_cast<func::CallOp>(op);
    if (!call) {
      if (failed(nn::reverse(builder, op, cotangents)))
        return failure();
      continue;
    }
    if (auto found = calls.find(op); found != calls.end()) {
      reverseCall(builder, call, found->second, /*isForward=*/true, cotangents);
      continue;
    }
    auto callee = calleeOf(call);
    if (failed(callee))
      return failure();
    auto grad = gradientOf(*callee, /*recomputedCalls=*/0);
    if (failed(grad))
      return failure();
    reverseCall(builder, call, *grad, /*isForward=*/false, cotangents);
  }
  return success();
}

void Differentiator::reverseCall(OpBuilder &builder, func::CallOp call, const GradFunctions &grad, bool isForward,
                                 nn::Cotangents &cotangents) {
  SmallVector<Value> floats, given;
  for (Value result : call.getResults().take_front(grad.numResults))
    if (isFloat(result.getType())) {
      floats.push_back(result);
      given.push_back(cotangents.lookup(result));
    }
  if (llvm::none_of(given, [](Value v) { return bool(v); }))
    return;
  for (auto [result, cotangent] : llvm::zip(floats, given))
    if (!cotangent)
      cotangent = nn::zerosLike(builder, call.getLoc(), result);
  ValueRange saved = call.getResults();
  if (!isForward) {
    func::FuncOp forward = grad.forward;
    saved = func::CallOp::create(builder, call.getLoc(), forward, call.getOperands()).getResults();
  }
  func::FuncOp backward = grad.backward;
  auto adjoint =
      func::CallOp::create(builder, call.getLoc(), backward, grad.backwardOperands(call.getOperands(), saved, given));
  unsigned next = 0;
  for (Value operand : call.getOperands())
    if (isFloat(operand.getType()))
      cotangents.add(builder, operand, adjoint.getResult(next++));
}

FailureOr<GradFunctions> autodiff::buildGradient(func::FuncOp f, const AutodiffOptions &options) {
  return Differentiator(f->getParentOfType<ModuleOp>()).gradientOf(f, options.recomputedCalls);
}
