//===- Loss.cpp - Cross entropy of a model and its gradient -----*- C++ -*-===//
// A model is cut into @model.hidden and its head. The head and the loss work row by
// row, so they run for blocks of rows: @nll, or @nll.grad, which computes the
// gradients beside the losses, or @scores.rows, which says more of each label.
// Neither the logits of all rows nor their gradients ever are in memory at once.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"
#include "ir/Nn/Storage.h"
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
/// A block of rows in a function of (head's operands, labels, ...).
struct LabelledRows {
  Value logits, labels;
  Value picked; ///< The logits of the labels; 0 for labels below 0.
  Value counts; ///< 1 for labels of at least 0, else 0.
};

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
  func::FuncOp scoresOfRows();
  func::FuncOp loss(func::FuncOp nll);
  FailureOr<func::FuncOp> lossAndGrads(func::FuncOp nllGrad, Differentiator &differentiator);
  func::FuncOp scores(func::FuncOp scoresOfRows);

  /// `name(head's operands, labels, more...) -> results`, private.
  func::FuncOp rowFunction(StringRef name, ArrayRef<Type> results, ArrayRef<Type> more = {});
  LabelledRows rowsOf(func::FuncOp function);
  /// log softmax(logits)[label] of each row; of no meaning for labels below 0.
  Value logProbabilities(const LabelledRows &rows);
  /// -log softmax(logits)[label] of each row; 0 for labels below 0.
  Value nllOf(const LabelledRows &rows);
  /// 1 for rows whose label has the largest logit, and no id before it as large a one; 0 for labels below 0.
  Value isLikeliest(const LabelledRows &rows);
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

func::FuncOp LossBuilder::rowFunction(StringRef name, ArrayRef<Type> results, ArrayRef<Type> more) {
  SmallVector<Type> inputs(ValueRange(head.operands).getTypes());
  inputs.push_back(ids);
  llvm::append_range(inputs, more);
  func::FuncOp rows = function(name, inputs, results);
  rows.setPrivate();
  return rows;
}

LabelledRows LossBuilder::rowsOf(func::FuncOp function) {
  auto arguments = function.getArguments();
  Value logits = head.copy(builder, arguments.take_front(head.operands.size()));
  Value labels = arguments[head.operands.size()];
  return {logits, labels, nn::PickOp::create(builder, loc, column, logits, labels),
          nn::IsIndexOp::create(builder, loc, column, labels)};
}

/// (z[label] - max) - log sum exp(z - max): logits, which may be large, are only subtracted from each other, so that
/// rounding is that of small numbers. The maximum is a shift that cancels: its gradient is zero.
Value LossBuilder::logProbabilities(const LabelledRows &rows) {
  const int64_t last[] = {2};
  Value max = nn::StopGradientOp::create(builder, loc, nn::ReduceMaxOp::create(builder, loc, rows.logits, last));
  Value shifted = nn::SubOp::create(builder, loc, rows.logits, max);
  Value sum = nn::ReduceSumOp::create(builder, loc, nn::ExpOp::create(builder, loc, shifted), last);
  Value picked = nn::SubOp::create(builder, loc, rows.picked, max);
  return nn::SubOp::create(builder, loc, picked, nn::LogOp::create(builder, loc, sum));
}

Value LossBuilder::nllOf(const LabelledRows &rows) {
  Value nll = nn::NegOp::create(builder, loc, logProbabilities(rows));
  return nn::MulOp::create(builder, loc, nll, rows.counts);
}

/// The label's logit is not compared with itself: the two may be computed by different instructions.
Value LossBuilder::isLikeliest(const LabelledRows &rows) {
  Type element = column.getElementType();
  auto logits = cast<RankedTensorType>(rows.logits.getType());
  Value one = nn::constant(builder, loc, 1.0, element);
  Value id = nn::IotaOp::create(builder, loc, RankedTensorType::get(logits.getShape().back(), element));
  Value number = nn::ToFloatOp::create(builder, loc, ids.clone(element), rows.labels);
  Value label = nn::ReshapeOp::create(builder, loc, column, number);
  Value isLess = nn::GreaterOp::create(builder, loc, rows.picked, rows.logits);
  Value isMore = nn::GreaterOp::create(builder, loc, rows.logits, rows.picked);
  // An id before the label wins with an equal logit, one behind it only with a larger one.
  Value isBefore = nn::GreaterOp::create(builder, loc, label, id);
  Value isBehind = nn::GreaterOp::create(builder, loc, id, label);
  Value winsBefore = nn::SubOp::create(builder, loc, one, isLess);
  Value winsBehind = nn::MulOp::create(builder, loc, isBehind, isMore);
  Value wins = nn::SelectOp::create(builder, loc, isBefore, winsBefore, winsBehind);
  Value any = nn::ReduceMaxOp::create(builder, loc, wins, ArrayRef<int64_t>{2});
  return nn::MulOp::create(builder, loc, nn::SubOp::create(builder, loc, one, any), rows.counts);
}

/// (head's operands, labels) -> nll of each row.
func::FuncOp LossBuilder::nll() {
  func::FuncOp nll = rowFunction("nll", {column});
  func::ReturnOp::create(builder, loc, nllOf(rowsOf(nll)));
  return nll;
}

/// (head's operands, labels, factor) -> nll of each row, gradients of factor * their sum by the operands.
func::FuncOp LossBuilder::nllGrad() {
  SmallVector<Type> results{column};
  llvm::append_range(results, llvm::make_filter_range(ValueRange(head.operands).getTypes(), isFloat));
  func::FuncOp nllGrad = rowFunction("nll.grad", results, scalar);
  SmallVector<Value> returned{nllOf(rowsOf(nllGrad))}, wrt;
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

/// (head's operands, labels) -> log-probability of each row's label, whether it is the likeliest; 0 and 0 for labels
/// below 0, whatever the logits. These stay in float: in eight bits the largest would be several.
func::FuncOp LossBuilder::scoresOfRows() {
  func::FuncOp function = rowFunction("scores.rows", {column, column});
  function->setAttr(nn::kExact, builder.getUnitAttr());
  const LabelledRows rows = rowsOf(function);
  Value zero = nn::constant(builder, loc, 0.0, column.getElementType());
  Value log = nn::SelectOp::create(builder, loc, rows.counts, logProbabilities(rows), zero);
  func::ReturnOp::create(builder, loc, ValueRange{log, isLikeliest(rows)});
  return function;
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

func::FuncOp LossBuilder::scores(func::FuncOp scoresOfRows) {
  func::FuncOp scores = entry("scores", {column, column});
  SmallVector<Value> operands = headOperands(scores, callHidden(scores).getResults());
  operands.push_back(scores.getArgument(1));
  func::ReturnOp::create(builder, loc, inBlocks(scoresOfRows, operands));
  return scores;
}

/// An error unless @model.hidden and these names are free.
static LogicalResult expectNamesFree(func::FuncOp model, StringRef purpose, ArrayRef<StringRef> names) {
  const std::string hidden = (model.getName() + ".hidden").str();
  SmallVector<StringRef> all{hidden};
  llvm::append_range(all, names);
  for (StringRef name : all)
    if (Operation *other = model->getParentOfType<ModuleOp>().lookupSymbol(name)) {
      auto diag = model.emitOpError("needs the name '") << name << "' for its " << purpose << ", but it is taken";
      diag.attachNote(other->getLoc()) << "by this definition";
      return diag;
    }
  return success();
}

FailureOr<LossFunctions> autodiff::buildLossAndGradients(func::FuncOp model, const AutodiffOptions &options) {
  if (failed(expectNamesFree(model, "loss", {"nll", "nll.grad", "loss", "loss_and_grads"})))
    return failure();
  Differentiator differentiator(model->getParentOfType<ModuleOp>());
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

FailureOr<func::FuncOp> autodiff::buildScores(func::FuncOp model) {
  if (failed(expectNamesFree(model, "scores", {"scores.rows", "scores"})))
    return failure();
  auto builder = LossBuilder::of(model);
  if (failed(builder))
    return failure();
  builder->buildHidden();
  return builder->scores(builder->scoresOfRows());
}
