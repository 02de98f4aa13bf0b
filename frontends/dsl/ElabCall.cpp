//===- ElabCall.cpp - Calls of fns and layers -------------------*- C++ -*-===//
// A call is elaborated in place: arguments are bound, open dimensions take
// their sizes from the tensors passed, and the body runs in a frame of its own.
//===----------------------------------------------------------------------===//
#include "frontends/dsl/Elaborator.h"

using namespace tidegate::dsl;

std::vector<Value> Elaborator::evalCall(const CallExpr &call) {
  const Function *callee = symbols.findFunction(call.callee.text, frame->function->inLibrary);
  // Name resolution has matched the arguments; this repeats it to get the order.
  llvm::SmallVector<const CallArg *> given(callee->args.size(), nullptr);
  llvm::SmallVector<Value> values(callee->args.size());
  bool poison = false;
  for (auto [position, arg] : llvm::enumerate(call.args)) {
    size_t index = position;
    if (!arg.name.text.empty())
      index = llvm::find_if(callee->args, [&, &arg = arg](const Argument &a) { return a.name.text == arg.name.text; }) -
              callee->args.begin();
    given[index] = &arg;
    values[index] = eval(*arg.value);
    poison |= values[index].isPoison();
  }
  std::optional<std::string> path = call.path.empty() ? callee->name.text.str() : evalPath(call.path);
  if (poison || !path)
    return {};
  if (calls >= kMaxCalls) {
    stopped = true;
    error(call.range, "expected calls nested at most " + llvm::Twine(kMaxCalls) + " deep, but '" + callee->name.text +
                          "' goes on calling");
    return {};
  }
  CallFrame inner;
  inner.function = callee;
  inner.call = &call;
  inner.caller = frame;
  inner.callerLoc = loc(call.range);
  if (callee->kind == FunctionKind::Layer)
    inner.prefix = frame->prefix.empty() ? *path : frame->prefix + "." + *path;
  Saved<CallFrame *> callScope(frame, &inner);
  Saved<unsigned> callDepth(calls, calls + 1);
  size_t errors = diagnostics.errorCount();
  if (!bindArguments(inner, given, values))
    return {};
  execBlock(callee->body);
  if (stopped || diagnostics.errorCount() != errors || !checkResults(inner))
    return {};
  for (Value &result : inner.results)
    if (result.isTensor())
      result.origin = call.range;
  return std::move(inner.results);
}

bool Elaborator::bindArguments(CallFrame &callee, llvm::ArrayRef<const CallArg *> given, llvm::ArrayRef<Value> values) {
  const Function &function = *callee.function;
  llvm::StringRef name = function.name.text;
  // Errors about what was passed belong to the caller.
  auto callerError = [&](Range range, const llvm::Twine &message) {
    Saved<CallFrame *> scope(frame, callee.caller);
    return error(range, message);
  };
  for (auto [argument, arg, value] : llvm::zip(function.args, given, values)) {
    if (!arg) {
      callee.env[argument.name.text] = eval(*argument.defaultValue);
      continue;
    }
    Range use = arg->value->range;
    if (argument.isTensor != value.isTensor() || value.diagonal) {
      callerError(use, "expected " + llvm::Twine(argument.isTensor ? "a tensor" : "a value known when compiling") +
                           " for argument '" + argument.name.text + "' of '" + name + "', but got " + describe(value))
          .note(argument.range, "it is declared here");
      return false;
    }
    if (value.isTensor() && value.isInt != argument.type.isInt) {
      callerError(use, "expected " + llvm::Twine(argument.type.isInt ? "an int" : "a real") + " tensor for argument '" +
                           argument.name.text + "' of '" + name + "', but got " + describe(value))
          .note(argument.range, "it is declared here");
      return false;
    }
    callee.env[argument.name.text] = value;
  }
  for (auto [argument, arg, value] : llvm::zip(function.args, given, values))
    if (argument.isTensor && !bindShape(callee, argument, value, arg->value->range))
      return false;
  for (auto [argument, arg, value] : llvm::zip(function.args, given, values))
    if (argument.isTensor && !checkShape(callee, argument, value, arg->value->range))
      return false;
  return true;
}

/// Gives the open dimensions and the `...` of an argument their sizes.
bool Elaborator::bindShape(CallFrame &callee, const Argument &argument, const Value &value, Range use) {
  size_t rank = argument.type.dims.size(), leading = value.shape.size() - rank;
  auto callerError = [&](const llvm::Twine &message) {
    Saved<CallFrame *> scope(frame, callee.caller);
    auto builder = error(use, message);
    builder.note(argument.range, "it is declared here");
    describeOrigin(builder, "the value", {&value, use});
    return false;
  };
  llvm::StringRef name = callee.function->name.text;
  if (argument.type.ellipsis ? value.shape.size() < rank : value.shape.size() != rank)
    return callerError("expected " + llvm::Twine(argument.type.ellipsis ? "at least " : "") + llvm::Twine(rank) +
                       (rank == 1 ? " dimension" : " dimensions") + " in argument '" + argument.name.text + "' of '" +
                       name + "', but got shape " + str(value.shape));
  if (argument.type.ellipsis) {
    Shape front(llvm::ArrayRef(value.shape).take_front(leading));
    if (!callee.ellipsis) {
      callee.ellipsis = front;
      callee.ellipsisOrigin = use;
    } else if (*callee.ellipsis != front) {
      Saved<CallFrame *> scope(frame, callee.caller);
      error(use, "expected the leading dimensions " + str(*callee.ellipsis) + " in argument '" + argument.name.text +
                     "' of '" + name + "', but got shape " + str(value.shape))
          .note(callee.ellipsisOrigin, "'...' stands for the leading dimensions of this");
      return false;
    }
  }
  for (auto [dim, size] : llvm::zip(argument.type.dims, llvm::ArrayRef(value.shape).drop_front(leading))) {
    auto *open = llvm::dyn_cast<NameExpr>(dim);
    if (!open || open->name == "T" || callee.env.contains(open->name) ||
        (!callee.function->inLibrary && params.contains(open->name)))
      continue;
    if (size == kTime)
      return callerError("expected a compile-time size for dimension '" + open->name + "' of argument '" +
                         argument.name.text + "', but got T; write T or '...' in the type");
    Value bound = Value::of(Number(size));
    bound.origin = use;
    callee.env[open->name] = bound;
  }
  return true;
}

/// Compares an argument with its declared shape, all dimensions being known.
bool Elaborator::checkShape(CallFrame &callee, const Argument &argument, const Value &value, Range use) {
  size_t leading = value.shape.size() - argument.type.dims.size();
  for (auto [dim, size] : llvm::zip(argument.type.dims, llvm::ArrayRef(value.shape).drop_front(leading))) {
    std::optional<int64_t> expected = evalDim(*dim);
    if (!expected)
      return false;
    if (*expected == size)
      continue;
    Saved<CallFrame *> scope(frame, callee.caller);
    std::string written(dim->range.Start.getPointer(), dim->range.End.getPointer());
    std::string shown = written == dimStr(*expected) ? written : written + " = " + dimStr(*expected);
    auto builder =
        error(use, "expected dimension " + shown + " in argument '" + argument.name.text + "' of '" +
                       callee.function->name.text + "', but got " + dimStr(size) + " in shape " + str(value.shape));
    auto *name = llvm::dyn_cast<NameExpr>(dim);
    auto bound = name ? callee.env.find(name->name) : callee.env.end();
    if (bound != callee.env.end() && bound->second.origin.isValid() && bound->second.origin.Start != use.Start)
      builder.note(bound->second.origin, "'" + name->name + "' is " + dimStr(*expected) + " because of this");
    else
      builder.note(argument.range, "it is declared here");
    describeOrigin(builder, "the value", {&value, use});
    return false;
  }
  return true;
}

/// Compares what was returned with the types after `->`.
bool Elaborator::checkResults(CallFrame &callee) {
  const Function &function = *callee.function;
  if (llvm::any_of(callee.results, [](const Value &value) { return value.isPoison(); }))
    return false;
  if (function.results.empty())
    return true;
  if (callee.results.size() != function.results.size()) {
    Range at = callee.resultExprs.empty() ? function.name.range : callee.resultExprs.front()->range;
    error(at, "expected " + llvm::Twine(function.results.size()) + " results of '" + function.name.text +
                  "', but got " + llvm::Twine(callee.results.size()))
        .note(function.results.front().range, "the results are declared here");
    return false;
  }
  for (auto [type, value, expr] : llvm::zip(function.results, callee.results, callee.resultExprs)) {
    std::optional<Shape> expected = evalShape(type);
    if (!expected)
      return false;
    if (value.isTensor() && !value.diagonal && value.shape == *expected && value.isInt == type.isInt)
      continue;
    auto builder = error(expr->range, "expected a result of shape " + str(*expected) + " from '" + function.name.text +
                                          "', but got " + describe(value));
    builder.note(type.range, "the result is declared here");
    describeOrigin(builder, "the value", {&value, expr->range});
    return false;
  }
  return true;
}

std::optional<std::string> Elaborator::evalPath(const Path &path) {
  std::string text;
  for (const PathSegment &segment : path.segments) {
    text += (text.empty() ? "" : ".") + segment.text.str();
    for (const Expr *expr : segment.indices) {
      std::optional<int64_t> index = evalInteger(*expr, "an index in a path", 0);
      if (!index)
        return std::nullopt;
      text += "." + std::to_string(*index);
    }
  }
  return text;
}
