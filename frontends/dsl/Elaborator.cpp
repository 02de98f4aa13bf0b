//===- Elaborator.cpp - Entry points, errors, locations ---------*- C++ -*-===//
#include "frontends/dsl/Elaborator.h"
#include "mlir/IR/Verifier.h"

using namespace tidegate::dsl;

Elaborator::Elaborator(mlir::MLIRContext &context, const Symbols &symbols, const llvm::StringMap<Value> &params,
                       Diagnostics &diagnostics, bool f64)
    : context(context), symbols(symbols), params(params), diagnostics(diagnostics),
      elementType(f64 ? mlir::Type(mlir::Float64Type::get(&context)) : mlir::Type(mlir::Float32Type::get(&context))),
      report([this](Range range, const llvm::Twine &message) { error(range, message); }),
      errorsBefore(diagnostics.errorCount()) {}

//===----------------------------------------------------------------------===//
// Errors and locations
//===----------------------------------------------------------------------===//

/// An error in a library function is shown at the user's call of it: what is
/// wrong is what the user passed.
DiagnosticBuilder Elaborator::error(Range range, const llvm::Twine &message) {
  constexpr int kMaxCallNotes = 3;
  CallFrame *shown = frame;
  if (shown && shown->function->inLibrary) {
    while (shown->caller && shown->caller->function->inLibrary)
      shown = shown->caller;
    if (shown->call) {
      auto builder = diagnostics.error(shown->call->range, "in '" + shown->function->name.text + "': " + message);
      builder.note(range, "this line of the library needs it");
      return builder;
    }
  }
  auto builder = diagnostics.error(range, message);
  for (int i = 0; shown && shown->call && i < kMaxCallNotes; ++i, shown = shown->caller)
    builder.note(shown->call->range, "in this call of '" + shown->function->name.text + "'");
  return builder;
}

mlir::Location Elaborator::loc(Range range) {
  Position begin = diagnostics.position(range.Start), end = diagnostics.position(range.End);
  mlir::Location place = mlir::UnknownLoc::get(&context);
  if (begin.line)
    place = mlir::FileLineColRange::get(mlir::StringAttr::get(&context, begin.file), begin.line, begin.column, end.line,
                                        end.column);
  return frame && frame->callerLoc ? mlir::CallSiteLoc::get(place, mlir::Location(frame->callerLoc)) : place;
}

/// The op that made `value` is called by the user's name for it.
void Elaborator::nameResult(const Value &value, llvm::StringRef name) {
  mlir::Operation *op = value.isTensor() ? value.tensor.getDefiningOp() : nullptr;
  if (op && op->getBlock() == region->block && !mlir::isa<mlir::NameLoc>(op->getLoc()))
    op->setLoc(mlir::NameLoc::get(mlir::StringAttr::get(&context, name), op->getLoc()));
}

/// Counts work; false once the program has unrolled too far.
bool Elaborator::spend(Range range) {
  if (stopped)
    return false;
  if (++statements <= kMaxStatements)
    return true;
  stopped = true;
  error(range, "expected a program of at most " + llvm::Twine(kMaxStatements) + " statements after unrolling");
  return false;
}

//===----------------------------------------------------------------------===//
// Entry points
//===----------------------------------------------------------------------===//

mlir::OwningOpRef<mlir::ModuleOp> Elaborator::run(const Function &entry, const GenerateOptions &options) {
  CallFrame call;
  call.function = &entry;
  frame = &call;
  mlir::OwningOpRef<mlir::ModuleOp> owner = mlir::ModuleOp::create(loc(entry.range));
  module = *owner;
  std::string name = entry.kind == FunctionKind::Model ? "model" : entry.name.text.str();
  auto builder = mlir::OpBuilder::atBlockEnd(module.getBody());
  auto func = mlir::func::FuncOp::create(builder, loc(entry.range), name, builder.getFunctionType({}, {}));
  RegionFrame body(&context);
  body.block = func.addEntryBlock();
  body.builder.setInsertionPointToEnd(body.block);
  region = &body;

  if (declareEntryArguments(entry, options)) {
    execBlock(entry.body);
    if (good() && checkResults(call))
      finishEntry(entry, func);
  }
  frame = nullptr;
  region = nullptr;
  if (!good())
    return nullptr;
  // What verification says is about our IR, not about the user's program.
  std::string problem;
  mlir::ScopedDiagnosticHandler handler(
      &context, [&](mlir::Diagnostic &diagnostic) { problem += (problem.empty() ? "" : "; ") + diagnostic.str(); });
  if (failed(mlir::verify(module))) {
    diagnostics.error(entry.name.range, "internal error: the IR of '" + entry.name.text + "' is invalid: " + problem);
    return nullptr;
  }
  return owner;
}

bool Elaborator::declareEntryArguments(const Function &entry, const GenerateOptions &options) {
  for (const Argument &argument : entry.args) {
    if (argument.isTensor)
      continue;
    auto given = options.dims.find(argument.name.text.str());
    if (given != options.dims.end()) {
      frame->env[argument.name.text] = Value::of(Number(given->second));
    } else if (argument.defaultValue) {
      frame->env[argument.name.text] = eval(*argument.defaultValue);
    } else {
      error(argument.range, "expected a value for '" + argument.name.text + "', which entry '" + entry.name.text +
                                "' takes when compiling");
      return false;
    }
  }
  for (const auto &[name, shape] : options.inputShapes) {
    bool known =
        llvm::any_of(entry.args, [&, &name = name](const Argument &a) { return a.isTensor && a.name.text == name; });
    // Weights come with the inputs too; their names are checked by the caller.
    if (!known && entry.kind == FunctionKind::Fn) {
      error(entry.range, "entry '" + entry.name.text + "' has no argument '" + name + "'");
      return false;
    }
  }
  if (!bindOpenDims(entry, options))
    return false;
  unsigned index = 0;
  for (const Argument &argument : entry.args) {
    if (!argument.isTensor)
      continue;
    std::optional<Shape> shape = entryShape(argument, options);
    if (!shape)
      return false;
    Shape full{mlir::ShapedType::kDynamic};
    full.append(shape->begin(), shape->end());
    mlir::Type element = argument.type.isInt ? mlir::IntegerType::get(&context, 32) : elementType;
    mlir::Location place = loc(argument.range);
    auto named = mlir::NameLoc::get(mlir::StringAttr::get(&context, argument.name.text), place);
    mlir::Value tensor = region->block->addArgument(mlir::RankedTensorType::get(full, element), named);
    Value value = tensorValue(tensor, *shape, /*batched=*/true, argument.range);
    value.isInt = argument.type.isInt;
    frame->env[argument.name.text] = value;
    ++index;
  }
  return good();
}

/// Dimensions that a call would bind come from the caller's options.
bool Elaborator::bindOpenDims(const Function &entry, const GenerateOptions &options) {
  auto bind = [&](llvm::StringRef name, int64_t size, Range range) {
    if (size < 1 || size > kMaxDim) {
      error(range, "expected a size of at least 1 for '" + name + "', but got " + llvm::Twine(size));
      return false;
    }
    auto [known, isNew] = frame->env.try_emplace(name, Value::of(Number(size)));
    if (!isNew && !(known->second.isNumber() && known->second.number == Number(size))) {
      error(range, "expected one size for '" + name + "', but got " + str(known->second) + " and " + llvm::Twine(size));
      return false;
    }
    known->second.origin = range;
    return true;
  };
  for (const Argument &argument : entry.args) {
    auto given = options.inputShapes.find(argument.name.text.str());
    if (!argument.isTensor || given == options.inputShapes.end())
      continue;
    llvm::ArrayRef<int64_t> shape = given->second;
    size_t rank = argument.type.dims.size() + 1; // with the batch
    if (argument.type.ellipsis ? shape.size() < rank : shape.size() != rank) {
      error(argument.range, "expected " + llvm::Twine(argument.type.ellipsis ? "at least " : "") + llvm::Twine(rank) +
                                " dimensions (the batch in front) in input '" + argument.name.text + "', but got " +
                                str(shape));
      return false;
    }
    size_t leading = shape.size() - argument.type.dims.size();
    if (argument.type.ellipsis && !frame->ellipsis) {
      frame->ellipsis = Shape(shape.slice(1, leading - 1));
      if (!frame->ellipsis->empty())
        frame->ellipsis->front() = kTime;
    }
    for (auto [dim, size] : llvm::zip(argument.type.dims, shape.drop_front(leading))) {
      auto *name = llvm::dyn_cast<NameExpr>(dim);
      bool isParam = name && !entry.inLibrary && params.contains(name->name);
      if (name && name->name != "T" && !isParam && !bind(name->name, size, dim->range))
        return false;
    }
  }
  for (const Argument &argument : entry.args) {
    if (!argument.isTensor)
      continue;
    if (argument.type.ellipsis && !frame->ellipsis)
      frame->ellipsis = Shape{kTime};
    for (const Expr *dim : argument.type.dims) {
      auto *name = llvm::dyn_cast<NameExpr>(dim);
      if (!name || name->name == "T" || frame->env.contains(name->name) ||
          (!entry.inLibrary && params.contains(name->name)))
        continue;
      auto given = options.dims.find(name->name.str());
      if (given == options.dims.end()) {
        error(name->range, "expected a size for '" + name->name + "': entry '" + entry.name.text + "' leaves it open");
        return false;
      }
      if (!bind(name->name, given->second, name->range))
        return false;
    }
  }
  return true;
}

/// The shape of an entry's tensor, checked against the given input.
std::optional<Shape> Elaborator::entryShape(const Argument &argument, const GenerateOptions &options) {
  std::optional<Shape> shape = evalShape(argument.type);
  auto given = options.inputShapes.find(argument.name.text.str());
  if (!shape || given == options.inputShapes.end())
    return shape;
  bool fits = shape->size() + 1 == given->second.size();
  for (size_t i = 0; fits && i < shape->size(); ++i)
    fits = (*shape)[i] == kTime || (*shape)[i] == given->second[i + 1];
  if (!fits) {
    error(argument.range, "expected input '" + argument.name.text + "' of shape " + str(*shape) +
                              " behind the batch, but got " + str(given->second));
    return std::nullopt;
  }
  return shape;
}

/// Gives the function its type, names, and weight attributes.
bool Elaborator::finishEntry(const Function &entry, mlir::func::FuncOp func) {
  llvm::SmallVector<mlir::Value> values;
  llvm::SmallVector<std::string> names;
  for (auto [i, value] : llvm::enumerate(frame->results)) {
    Range range = frame->resultExprs[i]->range;
    if (!value.isTensor() || value.diagonal) {
      error(range, "expected a tensor as the result of entry '" + entry.name.text + "', but got " + describe(value));
      return false;
    }
    values.push_back(value.tensor);
    auto *name = llvm::dyn_cast<NameExpr>(frame->resultExprs[i]);
    std::string fallback = frame->results.size() == 1 ? "out" : "out" + std::to_string(i);
    if (entry.kind == FunctionKind::Model && frame->results.size() == 1)
      fallback = "logits";
    std::string chosen = name && fallback != "logits" ? name->name.str() : fallback;
    names.push_back(llvm::is_contained(names, chosen) ? fallback : chosen);
  }
  mlir::func::ReturnOp::create(region->builder, loc(entry.range), values);
  func.setFunctionType(mlir::FunctionType::get(&context, region->block->getArgumentTypes(), mlir::TypeRange(values)));
  mlir::Builder &builder = region->builder;
  for (auto [i, name] : llvm::enumerate(names))
    func.setResultAttr(i, "nn.name", builder.getStringAttr(name));
  unsigned index = 0;
  for (const Argument &argument : entry.args)
    if (argument.isTensor)
      func.setArgAttr(index++, "nn.name", builder.getStringAttr(argument.name.text));
  for (const WeightArgument &weight : region->weights) {
    func.setArgAttr(index, "nn.weight", builder.getStringAttr(weight.info.name));
    func.setArgAttr(index, "nn.init", builder.getStringAttr(weight.info.init));
    func.setArgAttr(index++, "nn.decay", builder.getBoolAttr(weight.info.decay));
  }
  return true;
}

/// The argument of a region's function that brings a weight; made on first use.
mlir::Value Elaborator::weightArgument(RegionFrame &target, const WeightInfo &info) {
  for (const WeightArgument &weight : target.weights)
    if (weight.info.name == info.name)
      return weight.value;
  mlir::Location place = mlir::NameLoc::get(mlir::StringAttr::get(&context, info.name));
  mlir::Value value = target.block->addArgument(mlir::RankedTensorType::get(info.shape, elementType), place);
  target.weights.push_back({info, value});
  return value;
}
