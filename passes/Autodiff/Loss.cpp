//===- Loss.cpp - Cross entropy of a model and its gradient -----*- C++ -*-===//
// The loss is a function of its own (@nll), so that its backward computes the
// probabilities again from the logits and none are kept.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnOps.h"
#include "passes/Autodiff/Differentiator.h"
#include "passes/Autodiff/Simplify.h"

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
  RankedTensorType ids, logits, scalar;

  static FailureOr<LossBuilder> of(func::FuncOp model);
  func::FuncOp function(StringRef name, FunctionType type);
  /// `name(ids, labels, weights...) -> results`, with the attributes of the model's arguments.
  func::FuncOp entry(StringRef name, ArrayRef<Type> results);
  func::FuncOp nll();
  func::FuncOp loss(func::FuncOp nll);
  FailureOr<func::FuncOp> lossAndGrads(func::FuncOp nll, Differentiator &differentiator);

  Value logitsIn(func::FuncOp entry) {
    SmallVector<Value> operands(entry.getArguments());
    operands.erase(operands.begin() + 1);
    return func::CallOp::create(builder, loc, model, operands).getResult(0);
  }
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
  auto logits = cast<RankedTensorType>(model.getResultTypes()[0]);
  OpBuilder builder(model->getContext());
  return LossBuilder{model,          builder,
                     model.getLoc(), cast<RankedTensorType>(model.getArgumentTypes()[0]),
                     logits,         RankedTensorType::get({}, logits.getElementType())};
}

func::FuncOp LossBuilder::function(StringRef name, FunctionType type) {
  builder.setInsertionPointToEnd(model->getParentOfType<ModuleOp>().getBody());
  auto function = func::FuncOp::create(builder, loc, name, type);
  builder.setInsertionPointToStart(function.addEntryBlock());
  return function;
}

func::FuncOp LossBuilder::entry(StringRef name, ArrayRef<Type> results) {
  SmallVector<Type> inputs(model.getArgumentTypes());
  inputs.insert(inputs.begin() + 1, ids);
  func::FuncOp entry = function(name, builder.getFunctionType(inputs, results));
  entry.setArgAttr(1, "nn.name", builder.getStringAttr("labels"));
  for (unsigned i = 0; i < model.getNumArguments(); ++i)
    if (DictionaryAttr attributes = model.getArgAttrDict(i))
      entry.setArgAttrs(i == 0 ? 0 : i + 1, attributes);
  return entry;
}

/// (logits, labels) -> sum over labels >= 0 of log sum exp(z) - z[label], and
/// the number of such labels. The maximum is a shift that cancels: its gradient
/// is zero.
func::FuncOp LossBuilder::nll() {
  func::FuncOp nll = function("nll", builder.getFunctionType({logits, ids}, {scalar, scalar}));
  nll.setPrivate();
  Value z = nll.getArgument(0), labels = nll.getArgument(1);
  auto column = RankedTensorType::get({ShapedType::kDynamic, ShapedType::kDynamic, 1}, logits.getElementType());
  const int64_t last[] = {2};
  Value max = nn::StopGradientOp::create(builder, loc, nn::ReduceMaxOp::create(builder, loc, z, last));
  Value shifted = nn::SubOp::create(builder, loc, z, max);
  Value sum = nn::ReduceSumOp::create(builder, loc, nn::ExpOp::create(builder, loc, shifted), last);
  Value logSum = nn::AddOp::create(builder, loc, nn::LogOp::create(builder, loc, sum), max);
  Value picked = nn::PickOp::create(builder, loc, column, z, labels);
  Value counts = nn::IsIndexOp::create(builder, loc, column, labels);
  Value each = nn::MulOp::create(builder, loc, nn::SubOp::create(builder, loc, logSum, picked), counts);
  func::ReturnOp::create(builder, loc, ValueRange{total(each), total(counts)});
  return nll;
}

func::FuncOp LossBuilder::loss(func::FuncOp nll) {
  func::FuncOp loss = entry("loss", {scalar, scalar});
  auto call = func::CallOp::create(builder, loc, nll, ValueRange{logitsIn(loss), loss.getArgument(1)});
  func::ReturnOp::create(builder, loc, call.getResults());
  return loss;
}

FailureOr<func::FuncOp> LossBuilder::lossAndGrads(func::FuncOp nll, Differentiator &differentiator) {
  SmallVector<Type> results{scalar};
  llvm::append_range(results, llvm::make_filter_range(model.getArgumentTypes(), isFloat));
  func::FuncOp entry = this->entry("loss_and_grads", results);
  Block &body = entry.getBody().front();
  auto call = func::CallOp::create(builder, loc, nll, ValueRange{logitsIn(entry), entry.getArgument(1)});
  Value one = nn::constant(builder, loc, 1.0, scalar.getElementType());
  Value count = nn::StopGradientOp::create(builder, loc, call.getResult(1));
  count = nn::MaximumOp::create(builder, loc, count, one);
  Value mean = nn::DivOp::create(builder, loc, call.getResult(0), count);

  ForwardCalls calls;
  if (failed(differentiator.prepareForward(body, /*recomputedCalls=*/0, calls))) {
    entry.erase();
    return failure();
  }
  builder.setInsertionPointToEnd(&body);
  SmallVector<Operation *> ops;
  for (Operation &op : body)
    ops.push_back(&op);
  nn::Cotangents cotangents;
  cotangents.add(builder, mean, one);
  if (failed(differentiator.reverse(builder, ops, cotangents, calls))) {
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
  for (StringRef name : {"nll", "loss", "loss_and_grads"})
    if (Operation *other = module.lookupSymbol(name)) {
      auto diag = model.emitOpError("needs the name '") << name << "' for its loss, but it is taken";
      diag.attachNote(other->getLoc()) << "by this definition";
      return diag;
    }
  Differentiator differentiator(module);
  auto builder = LossBuilder::of(model);
  if (failed(builder) || failed(differentiator.gradientOf(model, options.recomputedCalls)))
    return failure();
  func::FuncOp nll = builder->nll();
  auto lossAndGrads = builder->lossAndGrads(nll, differentiator);
  if (failed(lossAndGrads))
    return failure();
  return LossFunctions{builder->loss(nll), *lossAndGrads};
}
