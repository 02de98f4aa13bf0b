//===- ElabAttention.cpp - Positions and attention --------------*- C++ -*-===//
#include "frontends/dsl/Elaborator.h"
#include "ir/Nn/NnOps.h"

#include <cmath>

using namespace tidegate;
using namespace tidegate::dsl;

/// [n]: 0, 1, ... n - 1, n an argument of the call. Inside a scan it is a tensor from outside.
Value Elaborator::iota(const CallExpr &call, const Value &size, size_t argument) {
  const std::string what = ("the size in " + findBuiltin(call.callee.text)->signature).str();
  std::optional<int64_t> count = asInteger(size, call.args[argument].value->range, what, 1,
                                           [&](Range r, const llvm::Twine &m) { return error(r, m); });
  if (!count)
    return {};
  RegionFrame *target = region;
  while (target->scan)
    target = target->parent;
  mlir::Value vector =
      nn::IotaOp::create(target->builder, loc(call.range), mlir::RankedTensorType::get({*count}, elementType));
  return materialize(tensorValue(vector, {*count}, /*batched=*/false, call.range), call.range);
}

/// [T]: the position of each token. An argument with T gives the sizes.
Value Elaborator::positions(const CallExpr &call) {
  if (region->scan) {
    error(call.range, "expected positions() before the scan: give its value a name and index that");
    return {};
  }
  for (CallFrame *scope = frame; scope; scope = scope->caller)
    for (const Argument &argument : scope->function->args) {
      auto found = scope->env.find(argument.name.text);
      if (found == scope->env.end() || !found->second.isTensor())
        continue;
      const Value &like = found->second;
      if (!like.batched || like.shape.empty() || like.shape.front() != kTime)
        continue;
      mlir::Value tensor = materialize(like, call.range).tensor;
      mlir::Location place = loc(call.range);
      auto op = nn::PositionsOp::create(region->builder, place, tensor, mlir::Value());
      mlir::Value numbers = nn::ToFloatOp::create(region->builder, place, tensorType({kTime}, true), op.getResult());
      return tensorValue(numbers, {kTime}, /*batched=*/true, call.range);
    }
  error(call.range, "expected a function that takes a tensor with T around positions(), but got none: nothing says "
                    "how many tokens there are");
  return {};
}

/// [...], n, base -> [..., n]: the multiples x * base^i for i below n, less whole turns.
Value Elaborator::angles(const CallExpr &call, llvm::ArrayRef<Value> args) {
  const Range range = call.args[0].value->range, baseRange = call.args[2].value->range;
  if (!isReal(args[0], range, "as x of rotary_angles(x, n, base)"))
    return {};
  const double base = args[2].isNumber() ? args[2].number.toDouble() : 0;
  if (!(base > 0) || std::isinf(base)) {
    error(baseRange, "expected a number above 0 as the base in rotary_angles(x, n, base), but got " + describe(args[2]));
    return {};
  }
  Value channels = iota(call, args[1], 1);
  if (channels.isPoison())
    return {};
  Shape column = args[0].shape;
  column.push_back(1);
  Value position = reshaped(args[0], column, range);
  Operand operands[] = {{&position, range}, {&channels, call.args[1].value->range}};
  llvm::SmallVector<mlir::Value, 2> x;
  std::optional<Value> result = align("rotary_angles(x, n, base)", call.callee.range, operands, x);
  if (!result)
    return {};
  result->tensor = nn::AngleOp::create(region->builder, loc(call.range), x[0], x[1], llvm::APFloat(base));
  result->origin = call.range;
  return *result;
}

/// q [T, H, K], k [T, G, K], v [T, G, V] -> [T, H, V]
Value Elaborator::attention(const CallExpr &call, llvm::ArrayRef<Value> args) {
  const char *const names[] = {"q", "k", "v"};
  auto rangeOf = [&](size_t i) { return call.args[i].value->range; };
  if (region->scan) {
    error(call.range, "expected attention(q, k, v, window) outside the scan: it looks along time");
    return {};
  }
  for (size_t i = 0; i < 3; ++i) {
    if (!isReal(args[i], rangeOf(i), ("as " + llvm::Twine(names[i]) + " of attention(q, k, v, window)").str()))
      return {};
    if (args[i].shape.size() == 3 && args[i].shape.front() == kTime && args[i].batched)
      continue;
    auto builder = error(rangeOf(i), "expected a tensor [T, heads, width] as " + llvm::Twine(names[i]) +
                                         " of attention(q, k, v, window), but got shape " + str(args[i].shape));
    describeOrigin(builder, names[i], {&args[i], rangeOf(i)});
    return {};
  }
  const Shape &q = args[0].shape, &k = args[1].shape, &v = args[2].shape;
  auto disagree = [&](const llvm::Twine &message, std::initializer_list<size_t> which) -> Value {
    auto builder = error(call.range, message);
    for (size_t i : which) {
      builder.note(rangeOf(i), llvm::Twine(names[i]) + " has shape " + str(args[i].shape));
      describeOrigin(builder, "it", {&args[i], rangeOf(i)});
    }
    return {};
  };
  if (q[2] != k[2])
    return disagree("expected queries and keys of one width, but got " + llvm::Twine(q[2]) + " and " +
                        llvm::Twine(k[2]),
                    {0, 1});
  if (k[1] != v[1])
    return disagree("expected as many heads of keys as of values, but got " + llvm::Twine(k[1]) + " and " +
                        llvm::Twine(v[1]),
                    {1, 2});
  if (q[1] % k[1])
    return disagree("expected a number of key heads that divides the " + llvm::Twine(q[1]) +
                        " query heads, but got " + llvm::Twine(k[1]),
                    {0, 1});
  std::optional<int64_t> window = asInteger(args[3], rangeOf(3), "the window of attention", 1,
                                            [&](Range r, const llvm::Twine &m) { return error(r, m); });
  if (!window)
    return {};
  auto op = nn::AttentionOp::create(region->builder, loc(call.range), args[0].tensor, args[1].tensor, args[2].tensor,
                                    mlir::Value(), mlir::Value(), mlir::Value(), *window);
  return tensorValue(op.getResult(), {kTime, q[1], v[2]}, /*batched=*/true, call.range);
}
