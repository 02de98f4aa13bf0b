//===- Loss.cpp - Cross entropy of a model and its gradient -----*- C++ -*-===//
// A model is cut into @model.hidden and its head. The head and the loss work row by
// row, so they run for blocks of rows: @nll, or @nll.grad, which computes the
// gradients beside the losses. Neither the logits of all rows nor their gradients
// ever are in memory at once.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"
#include "passes/Autodiff/Differentiator.h"
#include "passes/Autodiff/Head.h"
#include "passes/Autodiff/Simplify.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::autodiff;

static bool isFloat(Type type) { return isa<FloatType>(getElementTypeOrSelf(type)); }

namespace {
struct LossBuilder {
  func::FuncOp model;
  OpBuilder builder;
  Location loc;
  RankedTensorType ids, column, scalar;
  Head head;
  func::FuncOp hidden = {};        ///< Arguments of the model -> what the head reads and is no argument.
  llvm::BitVector onlyInHead = {}; ///< The model's arguments that @model.hidden does not take.

  static FailureOr<LossBuilder> of(func::FuncOp model);
  func::FuncOp function(StringRef name, TypeRange inputs, TypeRange results);
  /// `name(ids, labels, weights...) -> results`, with the attributes of the model's arguments.
  func::FuncOp entry(StringRef name, ArrayRef<Type> results);
  void buildHidden();
  func::FuncOp nll();
  func::FuncOp nllGrad();
  func::FuncOp loss(func::FuncOp nll);
  FailureOr<func::FuncOp> lossAndGrads(func::FuncOp nllGrad, Differentiator &differentiator);

  /// log sum exp(z) - z[label] of each row, 0 for labels below 0, appended to @nll or @nll.grad.
  Value nllOfRows(func::FuncOp function);
  /// Argument i of the model; in an entry labels follow the ids.
  static Value argumentIn(func::FuncOp entry, unsigned i) { return entry.getArgument(i == 0 ? 0 : i + 1); }
  func::CallOp callHidden(func::FuncOp entry) {
    SmallVector<Value> operands;
    for (unsigned i = 0; i < model.getNumArguments(); ++i)
      if (!onlyInHead[i])
        operands.push_back(argumentIn(entry, i));
    return func::CallOp::create(builder, loc, hidden, operands);
  }
  /// The head's operands in an entry that has called @model.hidden.
  SmallVector<Value> headOperands(func::FuncOp entry, ValueRange hiddenResults);
  /// Calls a function of rows for blocks of them.
  ValueRange inBlocks(func::FuncOp function, ValueRange operands);
  Value countOf(Value labels) { return total(nn::IsIndexOp::create(builder, loc, column, labels)); }
  Value total(Value perPosition) {
    Value sum = nn::ReduceSumOp::create(builder, loc, perPosition, ArrayRef<int64_t>{0, 1, 2});
    return nn::ReshapeOp::create(builder, loc, scalar, sum);
  }
};
} // namespace

FailureOr<LossBuilder> LossBuilder::of(func::FuncOp model) {
  auto isRows = [](Type type, int64_t rank, bool wantsFloat) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && tensor.getRank() == rank && nn::rowRank(tensor) == 2 &&
           (wantsFloat ? isa<FloatType>(tensor.getElementType()) : tensor.getElementType().isInteger(32));
  };
  if (model.getNumResults() != 1 || !isRows(model.getResultTypes()[0], 3, /*wantsFloat=*/true) ||
      model.getNumArguments() < 1 || !isRows(model.getArgumentTypes()[0], 2, /*wantsFloat=*/false))
    return model.emitOpError("expects a model that maps ids of type tensor<?x?xi32> and weights to logits of type "
                             "tensor<?x?xVxELEMENT>, but got ")
           << model.getFunctionType();
  auto others = model.getArgumentTypes().drop_front();
  if (!others.empty() && others.back() == model.getArgumentTypes()[0]) // positions
    others = others.drop_back();
  for (Type type : others)
    if (!isFloat(type))
      return model.emitOpError("expects only weights behind the ids, but got ") << type;
  OpBuilder builder(model->getContext());
  Type element = getElementTypeOrSelf(model.getResultTypes()[0]);
  return LossBuilder{model,
                     builder,
                     model.getLoc(),
                     cast<RankedTensorType>(model.getArgumentTypes()[0]),
                     RankedTensorType::get({ShapedType::kDynamic, ShapedType::kDynamic, 1}, element),
                     RankedTensorType::get({}, element),
                     headOf(model)};
}

func::FuncOp LossBuilder::function(StringRef name, TypeRange inputs, TypeRange results) {
  builder.setInsertionPointToEnd(model->getParentOfType<ModuleOp>().getBody());
  auto function = func::FuncOp::create(builder, loc, name, builder.getFunctionType(inputs, results));
  builder.setInsertionPointToStart(function.addEntryBlock());
  return function;
}

func::FuncOp LossBuilder::entry(StringRef name, ArrayRef<Type> results) {
  SmallVector<Type> inputs(model.getArgumentTypes());
  inputs.insert(inputs.begin() + 1, ids);
  func::FuncOp entry = function(name, inputs, results);
  entry.setArgAttr(1, "nn.name", builder.getStringAttr("labels"));
  for (unsigned i = 0; i < model.getNumArguments(); ++i)
    if (DictionaryAttr attributes = model.getArgAttrDict(i))
      entry.setArgAttrs(i == 0 ? 0 : i + 1, attributes);
  return entry;
}

void LossBuilder::buildHidden() {
  IRMapping mapping;
  builder.setInsertionPointAfter(model);
  hidden = cast<func::FuncOp>(builder.clone(*model, mapping));
  hidden.setName((model.getName() + ".hidden").str());
  hidden.setPrivate();
  SmallVector<Value> results;
  for (Value v : head.operands)
    if (v.getDefiningOp())
      results.push_back(mapping.lookup(v));
  hidden.getBody().front().getTerminator()->setOperands(results);
  hidden.setType(builder.getFunctionType(hidden.getArgumentTypes(), ValueRange(results).getTypes()));
  hidden.removeResAttrsAttr();
  simplify(hidden);
  onlyInHead.resize(hidden.getNumArguments());
  for (BlockArgument argument : hidden.getArguments())
    onlyInHead[argument.getArgNumber()] = argument.use_empty();
  (void)hidden.eraseArguments(onlyInHead);
}

SmallVector<Value> LossBuilder::headOperands(func::FuncOp entry, ValueRange hiddenResults) {
  SmallVector<Value> operands;
  unsigned next = 0;
  for (Value v : head.operands)
    if (auto argument = dyn_cast<BlockArgument>(v))
      operands.push_back(argumentIn(entry, argument.getArgNumber()));
    else
      operands.push_back(hiddenResults[next++]);
  return operands;
}

ValueRange LossBuilder::inBlocks(func::FuncOp function, ValueRange operands) {
  const int64_t blocks = head.blocks();
  if (blocks == 1)
    return func::CallOp::create(builder, loc, function, operands).getResults();
  return nn::BlocksOp::create(builder, loc, function.getResultTypes(), function.getName(), blocks, operands)
      .getResults();
}

//===----------------------------------------------------------------------===//
// Functions of a block of rows
//===----------------------------------------------------------------------===//

/// The maximum is a shift that cancels: its gradient is zero.
Value LossBuilder::nllOfRows(func::FuncOp function) {
  auto arguments = function.getArguments();
  Value z = head.copy(builder, arguments.take_front(head.operands.size()));
  Value labels = arguments[head.operands.size()];
  const int64_t last[] = {2};
  Value max = nn::StopGradientOp::create(builder, loc, nn::ReduceMaxOp::create(builder, loc, z, last));
  Value shifted = nn::SubOp::create(builder, loc, z, max);
  Value sum = nn::ReduceSumOp::create(builder, loc, nn::ExpOp::create(builder, loc, shifted), last);
  Value logSum = nn::AddOp::create(builder, loc, nn::LogOp::create(builder, loc, sum), max);
  Value picked = nn::PickOp::create(builder, loc, column, z, labels);
  Value counts = nn::IsIndexOp::create(builder, loc, column, labels);
  return nn::MulOp::create(builder, loc, nn::SubOp::create(builder, loc, logSum, picked), counts);
}

/// (head's operands, labels) -> nll of each row.
func::FuncOp LossBuilder::nll() {
  SmallVector<Type> inputs(ValueRange(head.operands).getTypes());
  inputs.push_back(ids);
  func::FuncOp nll = function("nll", inputs, {column});
  nll.setPrivate();
  func::ReturnOp::create(builder, loc, nllOfRows(nll));
  return nll;
}

/// (head's operands, labels, factor) -> nll of each row, gradients of factor * their sum by the operands.
func::FuncOp LossBuilder::nllGrad() {
  SmallVector<Type> inputs(ValueRange(head.operands).getTypes()), results{column};
  llvm::append_range(results, llvm::make_filter_range(inputs, isFloat));
  inputs.append({ids, scalar});
  func::FuncOp nllGrad = function("nll.grad", inputs, results);
  nllGrad.setPrivate();
  SmallVector<Value> returned{nllOfRows(nllGrad)}, wrt;
  llvm::copy_if(nllGrad.getArguments().take_front(head.operands.size()), std::back_inserter(wrt),
                [](Value v) { return isFloat(v.getType()); });
  Value factor = nllGrad.getArguments().back();
  Value seed = nn::BroadcastLikeOp::create(builder, loc, column, factor, returned[0]);
  auto gradients = nn::gradients(builder, returned[0], seed, wrt);
  if (failed(gradients)) {
    nllGrad.erase();
    return {};
  }
  llvm::append_range(returned, *gradients);
  func::ReturnOp::create(builder, loc, returned);
  simplify(nllGrad);
  return nllGrad;
}

//===----------------------------------------------------------------------===//
// Entries
//===----------------------------------------------------------------------===//

func::FuncOp LossBuilder::loss(func::FuncOp nll) {
  func::FuncOp loss = entry("loss", {scalar, scalar});
  Value labels = loss.getArgument(1);
  SmallVector<Value> operands = headOperands(loss, callHidden(loss).getResults());
  operands.push_back(labels);
  Value sum = total(inBlocks(nll, operands)[0]);
  func::ReturnOp::create(builder, loc, ValueRange{sum, countOf(labels)});
  return loss;
}

FailureOr<func::FuncOp> LossBuilder::lossAndGrads(func::FuncOp nllGrad, Differentiator &differentiator) {
  SmallVector<Type> results{scalar};
  llvm::append_range(results, llvm::make_filter_range(model.getArgumentTypes(), isFloat));
  func::FuncOp entry = this->entry("loss_and_grads", results);
  Block &body = entry.getBody().front();
  callHidden(entry);
  ForwardCalls calls;
  if (failed(differentiator.prepareForward(body, /*recomputedCalls=*/0, calls))) {
    entry.erase();
    return failure();
  }
  Operation *forward = &body.back();
  builder.setInsertionPointToEnd(&body);
  SmallVector<Value> operands = headOperands(entry, forward->getResults());
  const SmallVector<Value> differentiated(
      llvm::make_filter_range(operands, [](Value v) { return isFloat(v.getType()); }));
  Value one = nn::constant(builder, loc, 1.0, scalar.getElementType());
  Value count = nn::MaximumOp::create(builder, loc, countOf(entry.getArgument(1)), one);
  Value factor = nn::DivOp::create(builder, loc, one, count);
  operands.append({entry.getArgument(1), factor});
  ValueRange losses = inBlocks(nllGrad, operands);
  Value mean = nn::DivOp::create(builder, loc, total(losses[0]), count);

  nn::Cotangents cotangents;
  for (auto [v, gradient] : llvm::zip(differentiated, losses.drop_front()))
    cotangents.add(builder, v, gradient);
  if (failed(differentiator.reverse(builder, forward, cotangents, calls))) {
    entry.erase();
    return failure();
  }
  SmallVector<Value> returned{mean};
  for (Value weight : entry.getArguments()) {
    if (!isFloat(weight.getType()))
      continue;
    Value cotangent = cotangents.lookup(weight);
    returned.push_back(cotangent ? cotangent : nn::zerosLike(builder, loc, weight));
  }
  func::ReturnOp::create(builder, loc, returned);
  simplify(entry);
  return entry;
}

FailureOr<LossFunctions> autodiff::buildLossAndGradients(func::FuncOp model, const AutodiffOptions &options) {
  auto module = model->getParentOfType<ModuleOp>();
  const std::string hidden = (model.getName() + ".hidden").str();
  for (StringRef name :
       {StringRef(hidden), StringRef("nll"), StringRef("nll.grad"), StringRef("loss"), StringRef("loss_and_grads")})
    if (Operation *other = module.lookupSymbol(name)) {
      auto diag = model.emitOpError("needs the name '") << name << "' for its loss, but it is taken";
      diag.attachNote(other->getLoc()) << "by this definition";
      return diag;
    }
  Differentiator differentiator(module);
  auto builder = LossBuilder::of(model);
  if (failed(builder))
    return failure();
  builder->buildHidden();
  if (failed(differentiator.gradientOf(builder->hidden, options.recomputedCalls)))
    return failure();
  func::FuncOp nll = builder->nll(), nllGrad = builder->nllGrad();
  if (!nllGrad)
    return failure();
  auto lossAndGrads = builder->lossAndGrads(nllGrad, differentiator);
  if (failed(lossAndGrads))
    return failure();
  return LossFunctions{builder->loss(nll), *lossAndGrads};
}
