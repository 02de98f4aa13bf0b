//===- ElabBuiltin.cpp - Built-in functions ---------------------*- C++ -*-===//
#include "frontends/dsl/Elaborator.h"
#include "ir/Nn/NnOps.h"

using namespace tidegate::dsl;

Value Elaborator::evalBuiltin(const BuiltinInfo &info, const CallExpr &call) {
  if (info.id == Builtin::Grad)
    return evalGrad(call);
  llvm::SmallVector<Value, 3> args;
  bool anyTensor = false;
  for (const CallArg &arg : call.args) {
    args.push_back(eval(*arg.value));
    if (args.back().isPoison())
      return {};
    anyTensor |= args.back().isTensor();
  }
  if (info.id == Builtin::Positions)
    return positions(call);
  if (info.id == Builtin::Iota)
    return iota(call, args[0]);
  if (info.id == Builtin::Identity)
    return identity(call, args[0], args[1]);
  if (!anyTensor)
    return constBuiltin(info, call, args, reporter());
  switch (info.id) {
  case Builtin::Sum:
  case Builtin::Mean:
  case Builtin::Max: return reduce(info.id, call, args);
  case Builtin::Heads: return heads(call, args[0], args[1]);
  case Builtin::Flatten: return flatten(call, args[0]);
  case Builtin::Transpose: return transpose(call, args[0]);
  case Builtin::Slice: return slice(call, args[0], args[1], args[2]);
  case Builtin::Outer: return outer(call, args[0], args[1]);
  case Builtin::Matmul: return matmul(call, args[0], args[1]);
  case Builtin::CausalConv: return causalConv(call, args[0], args[1]);
  case Builtin::Concat: return concat(call, args[0], args[1]);
  case Builtin::Angles: return angles(call, args);
  case Builtin::Attention: return attention(call, args);
  case Builtin::Lookup: return lookupRows(call, args[0], args[1]);
  case Builtin::Diag: {
    Range range = call.args[0].value->range;
    if (!isReal(args[0], range, "in diag(x)"))
      return {};
    if (args[0].shape.size() != 1 || args[0].shape[0] == kTime) {
      error(range, "expected a vector in diag(x), but got shape " + str(args[0].shape));
      return {};
    }
    Value diagonal = args[0];
    diagonal.diagonal = true;
    diagonal.shape.push_back(diagonal.shape[0]);
    diagonal.origin = call.range;
    return diagonal;
  }
  case Builtin::Floor:
  case Builtin::Ceil:
  case Builtin::Normal:
  case Builtin::Uniform:
  case Builtin::SoftplusInverse:
    error(call.range, "expected numbers in " + info.signature + ", but got a tensor");
    return {};
  default: return elementwiseBuiltin(info, call, args);
  }
}

Value Elaborator::elementwiseBuiltin(const BuiltinInfo &info, const CallExpr &call, llvm::ArrayRef<Value> args) {
  if (info.id == Builtin::Where && args[0].kind == ValueKind::Bool)
    return args[0].boolean ? args[1] : args[2];
  llvm::SmallVector<Operand, 3> operands;
  for (auto [arg, value] : llvm::zip(call.args, args))
    operands.push_back({&value, arg.value->range});
  llvm::SmallVector<mlir::Value, 3> x;
  std::optional<Value> result = align(info.signature, call.callee.range, operands, x);
  if (!result)
    return {};
  mlir::OpBuilder &b = region->builder;
  mlir::Location place = loc(call.range);
  switch (info.id) {
  case Builtin::Exp: result->tensor = nn::ExpOp::create(b, place, x[0]); break;
  case Builtin::Log: result->tensor = nn::LogOp::create(b, place, x[0]); break;
  case Builtin::Sqrt: result->tensor = nn::SqrtOp::create(b, place, x[0]); break;
  case Builtin::Rsqrt: result->tensor = nn::RsqrtOp::create(b, place, x[0]); break;
  case Builtin::Abs: result->tensor = nn::AbsOp::create(b, place, x[0]); break;
  case Builtin::Sigmoid: result->tensor = nn::SigmoidOp::create(b, place, x[0]); break;
  case Builtin::Softplus: result->tensor = nn::SoftplusOp::create(b, place, x[0]); break;
  case Builtin::Tanh: result->tensor = nn::TanhOp::create(b, place, x[0]); break;
  case Builtin::Sin: result->tensor = nn::SinOp::create(b, place, x[0]); break;
  case Builtin::Cos: result->tensor = nn::CosOp::create(b, place, x[0]); break;
  case Builtin::StopGradient: result->tensor = nn::StopGradientOp::create(b, place, x[0]); break;
  case Builtin::Maximum: result->tensor = nn::MaximumOp::create(b, place, x[0], x[1]); break;
  case Builtin::Minimum: result->tensor = nn::MinimumOp::create(b, place, x[0], x[1]); break;
  case Builtin::Where: result->tensor = nn::SelectOp::create(b, place, x[0], x[1], x[2]); break;
  default: llvm_unreachable("not an element-wise function");
  }
  result->origin = call.range;
  return *result;
}

/// [..., n, ...] -> [..., 1, ...], over the last dimension or the given one
Value Elaborator::reduce(Builtin id, const CallExpr &call, llvm::ArrayRef<Value> args) {
  const Value &x = args[0];
  Range range = call.args[0].value->range;
  if (!hasRank(x, 1, range, ("in " + call.callee.text + "(x)").str()))
    return {};
  size_t which = x.shape.size() - 1;
  if (args.size() == 2) {
    Range where = call.args[1].value->range;
    std::optional<int64_t> given = asInteger(args[1], where, "the dimension to reduce", 0,
                                            [&](Range r, const llvm::Twine &m) { return error(r, m); });
    if (!given)
      return {};
    if (*given >= int64_t(x.shape.size())) {
      auto builder = error(where, "expected one of the dimensions 0 to " + llvm::Twine(x.shape.size() - 1) + " in " +
                                      call.callee.text + "(x, dimension), but got " + llvm::Twine(*given));
      describeOrigin(builder, "x", {&x, range});
      return {};
    }
    which = *given;
  }
  int64_t size = x.shape[which];
  if (size == kTime) {
    error(range, "expected a compile-time dimension to reduce in " + call.callee.text + "(x), but got T");
    return {};
  }
  mlir::Location place = loc(call.range);
  int64_t dim = int64_t(which) + x.batched;
  mlir::Value result;
  if (id == Builtin::Max) {
    result = nn::ReduceMaxOp::create(region->builder, place, x.tensor, llvm::ArrayRef(dim));
  } else {
    result = nn::ReduceSumOp::create(region->builder, place, x.tensor, llvm::ArrayRef(dim));
    if (id == Builtin::Mean)
      result = nn::DivOp::create(region->builder, place, result, constant(double(size), {}, place));
  }
  Shape shape = x.shape;
  shape[which] = 1;
  return tensorValue(result, shape, x.batched, call.range);
}

/// [..., H*K] -> [..., H, K]
Value Elaborator::heads(const CallExpr &call, const Value &x, const Value &count) {
  Range range = call.args[0].value->range, countRange = call.args[1].value->range;
  if (!hasRank(x, 1, range, "in heads(x, count)"))
    return {};
  std::optional<int64_t> number = asInteger(count, countRange, "the number of heads", 1,
                                            [&](Range r, const llvm::Twine &m) { return error(r, m); });
  if (!number)
    return {};
  int64_t width = x.shape.back();
  if (width == kTime || width % *number) {
    auto builder = error(call.range, "expected a last dimension that the number of heads divides, but got " +
                                         dimStr(width) + " and " + llvm::Twine(*number) + " heads");
    describeOrigin(builder, "the tensor", {&x, range});
    return {};
  }
  Shape shape = x.shape;
  shape.back() = *number;
  shape.push_back(width / *number);
  return reshaped(x, shape, call.range);
}

/// [..., H, K] -> [..., H*K]
Value Elaborator::flatten(const CallExpr &call, const Value &x) {
  Range range = call.args[0].value->range;
  if (!hasRank(x, 2, range, "in flatten(x)"))
    return {};
  Shape shape = x.shape;
  int64_t last = shape.pop_back_val();
  if (shape.back() == kTime) {
    error(range, "expected compile-time dimensions to join in flatten(x), but got shape " + str(x.shape));
    return {};
  }
  shape.back() *= last;
  if (shape.back() > kMaxDim) {
    error(range, "expected a dimension of at most " + llvm::Twine(kMaxDim) + " from flatten(x), but got shape " +
                     str(x.shape));
    return {};
  }
  return reshaped(x, shape, call.range);
}

/// [..., m, n] -> [..., n, m]
Value Elaborator::transpose(const CallExpr &call, const Value &x) {
  Range range = call.args[0].value->range;
  if (!hasRank(x, 2, range, "in transpose(x)"))
    return {};
  Shape shape = x.shape;
  std::swap(shape.back(), shape[shape.size() - 2]);
  if (shape.back() == kTime) {
    error(range, "expected compile-time dimensions to swap in transpose(x), but got shape " + str(x.shape));
    return {};
  }
  llvm::SmallVector<int64_t> permutation;
  for (size_t i = 0; i < shape.size() + x.batched; ++i)
    permutation.push_back(i);
  std::swap(permutation.back(), permutation[permutation.size() - 2]);
  return tensorValue(nn::TransposeOp::create(region->builder, loc(call.range), x.tensor, permutation), shape, x.batched,
                     call.range);
}

/// [..., n] -> [..., size], from element `begin`
Value Elaborator::slice(const CallExpr &call, const Value &x, const Value &begin, const Value &size) {
  Range range = call.args[0].value->range;
  auto reportAt = [&](Range r, const llvm::Twine &m) { return error(r, m); };
  if (!hasRank(x, 1, range, "in slice(x, begin, size)"))
    return {};
  std::optional<int64_t> first = asInteger(begin, call.args[1].value->range, "the beginning of a slice", 0, reportAt);
  std::optional<int64_t> count = asInteger(size, call.args[2].value->range, "the size of a slice", 1, reportAt);
  if (!first || !count)
    return {};
  if (x.shape.back() == kTime || *first + *count > x.shape.back()) {
    auto builder =
        error(call.range, "expected a slice inside the last dimension, " + dimStr(x.shape.back()) +
                              ", but got elements " + llvm::Twine(*first) + " to " + llvm::Twine(*first + *count - 1));
    describeOrigin(builder, "the tensor", {&x, range});
    return {};
  }
  Shape shape = x.shape;
  shape.back() = *count;
  int64_t dim = int64_t(shape.size()) - 1 + x.batched;
  mlir::Builder &b = region->builder;
  mlir::Value result =
      nn::SliceOp::create(region->builder, loc(call.range), tensorType(shape, x.batched), x.tensor,
                          b.getI64IntegerAttr(dim), b.getI64IntegerAttr(*first), b.getI64IntegerAttr(1));
  return tensorValue(result, shape, x.batched, call.range);
}

/// [..., m], [..., n] -> [..., m + n]
Value Elaborator::concat(const CallExpr &call, const Value &x, const Value &y) {
  Range xRange = call.args[0].value->range, yRange = call.args[1].value->range;
  if (!hasRank(x, 1, xRange, "in concat(x, y)") || !hasRank(y, 1, yRange, "in concat(x, y)"))
    return {};
  auto front = [](const Value &value) { return llvm::ArrayRef(value.shape).drop_back(); };
  if (front(x) != front(y) || x.batched != y.batched || x.shape.back() == kTime || y.shape.back() == kTime) {
    auto builder = error(call.range, "expected shapes that differ only in their last, compile-time dimension in "
                                     "concat(x, y), but got " +
                                         str(x.shape) + " and " + str(y.shape) +
                                         (x.batched != y.batched ? ", only one of them for each row of the batch" : ""));
    describeOrigin(builder, "x", {&x, xRange});
    describeOrigin(builder, "y", {&y, yRange});
    return {};
  }
  Shape shape = x.shape;
  shape.back() += y.shape.back();
  if (shape.back() > kMaxDim) {
    error(call.range, "expected a dimension of at most " + llvm::Twine(kMaxDim) + " from concat(x, y), but got " +
                          str(x.shape) + " and " + str(y.shape));
    return {};
  }
  // Each beside zeros, then their sum: the adjoint is a slice of each.
  int64_t dim = int64_t(shape.size()) - 1 + x.batched;
  mlir::Builder &b = region->builder;
  auto place = [&](const Value &value, int64_t begin) -> mlir::Value {
    return nn::PadOp::create(region->builder, loc(call.range), tensorType(shape, x.batched), value.tensor,
                             b.getI64IntegerAttr(dim), b.getI64IntegerAttr(begin), b.getI64IntegerAttr(1));
  };
  mlir::Value left = place(x, 0), right = place(y, x.shape.back());
  return tensorValue(nn::AddOp::create(region->builder, loc(call.range), left, right), shape, x.batched, call.range);
}

/// [..., m], [..., n] -> [..., m, n]
Value Elaborator::outer(const CallExpr &call, const Value &x, const Value &y) {
  Range xRange = call.args[0].value->range, yRange = call.args[1].value->range;
  if (!hasRank(x, 1, xRange, "in outer(x, y)") || !hasRank(y, 1, yRange, "in outer(x, y)"))
    return {};
  if ((x.shape.back() == kTime && x.shape.size() > 1) || y.shape.back() == kTime) {
    error(call.range,
          "expected compile-time last dimensions in outer(x, y), but got " + str(x.shape) + " and " + str(y.shape));
    return {};
  }
  if (x.shape.size() == 1 && y.shape.size() == 1 && !x.batched && !y.batched) {
    mlir::Value result = nn::DotOp::create(region->builder, loc(call.range), x.tensor, y.tensor,
                                           llvm::ArrayRef<int64_t>{}, llvm::ArrayRef<int64_t>{});
    return tensorValue(result, {x.shape[0], y.shape[0]}, false, call.range);
  }
  Shape columns = x.shape, rows = y.shape;
  columns.push_back(1);
  rows.insert(rows.end() - 1, 1);
  Value left = reshaped(x, columns, xRange), right = reshaped(y, rows, yRange);
  Operand operands[] = {{&left, xRange}, {&right, yRange}};
  llvm::SmallVector<mlir::Value, 2> tensors;
  std::optional<Value> result = align("outer(x, y)", call.callee.range, operands, tensors);
  if (!result)
    return {};
  result->tensor = nn::MulOp::create(region->builder, loc(call.range), tensors[0], tensors[1]);
  result->origin = call.range;
  return *result;
}

/// m, n -> [m, n]: 1 on the diagonal. Written row after row, the ones of the
/// matrix are n + 1 apart, so they are the first column of rows of that length.
Value Elaborator::identity(const CallExpr &call, const Value &rows, const Value &columns) {
  auto size = [&](unsigned i, const Value &value) {
    return asInteger(value, call.args[i].value->range, "a dimension of an identity", 1,
                     [&](Range r, const llvm::Twine &m) { return error(r, m); });
  };
  std::optional<int64_t> m = size(0, rows), n = size(1, columns);
  if (!m || !n)
    return {};
  mlir::OpBuilder &b = region->builder;
  mlir::Location place = loc(call.range);
  int64_t ones = std::min(*m, *n), length = ones * (*n + 1), wanted = *m * *n;
  auto type = [&](std::initializer_list<int64_t> shape) { return mlir::RankedTensorType::get(shape, elementType); };
  mlir::Value flat = nn::PadOp::create(b, place, type({ones, *n + 1}), constant(1, {ones, 1}, place), 1, 0, 1);
  flat = reshape(flat, {length}, place);
  if (length > wanted)
    flat = nn::SliceOp::create(b, place, type({wanted}), flat, 0, 0, 1);
  else if (length < wanted)
    flat = nn::PadOp::create(b, place, type({wanted}), flat, 0, 0, 1);
  return tensorValue(reshape(flat, {*m, *n}, place), {*m, *n}, /*batched=*/false, call.range);
}

/// x [..., d], w [n, d] -> [..., n]; x [H, ..., d], w [H, n, d] -> [H, ..., n]
Value Elaborator::matmul(const CallExpr &call, const Value &x, const Value &w) {
  Range xRange = call.args[0].value->range, wRange = call.args[1].value->range;
  if (!hasRank(x, 1, xRange, "in matmul(x, w)") || !hasRank(w, 2, wRange, "in matmul(x, w)"))
    return {};
  size_t leading = w.shape.size() - 2;
  bool isWeight = !w.batched && w.shape.front() != kTime && (leading == 0 || !x.batched);
  bool sameLeading = x.shape.size() > leading && llvm::ArrayRef(x.shape).take_front(leading) ==
                                                     llvm::ArrayRef(w.shape).take_front(leading);
  if (!isWeight || !sameLeading || x.shape.back() != w.shape.back()) {
    auto builder =
        error(call.range, isWeight ? "expected the last dimensions in matmul(x, w) to be equal, but got " +
                                         dimStr(x.shape.back()) + " in " + str(x.shape) + " and " +
                                         dimStr(w.shape.back()) + " in " + str(w.shape)
                                   : "expected a weight [n, d] as w in matmul(x, w), but got " + describe(w));
    describeOrigin(builder, "x", {&x, xRange});
    describeOrigin(builder, "w", {&w, wRange});
    return {};
  }
  int64_t dim = int64_t(x.shape.size()) - 1 + x.batched, last = int64_t(leading) + 1;
  auto batch = llvm::to_vector_of<int64_t>(llvm::seq<int64_t>(0, leading));
  mlir::Value result = nn::DotOp::create(region->builder, loc(call.range), x.tensor, w.tensor, batch, batch,
                                         llvm::ArrayRef(dim), llvm::ArrayRef(last));
  Shape shape = x.shape;
  shape.back() = w.shape[leading];
  return tensorValue(result, shape, x.batched, call.range);
}

/// table [n, d], ids [...] int -> [..., d]
Value Elaborator::lookupRows(const CallExpr &call, const Value &table, const Value &ids) {
  Range tableRange = call.args[0].value->range, idsRange = call.args[1].value->range;
  if (!isReal(table, tableRange, "as the table of lookup(table, ids)"))
    return {};
  if (table.shape.size() != 2 || table.batched || table.shape[0] == kTime) {
    auto builder =
        error(tableRange, "expected a weight [n, d] as the table of lookup(table, ids), but got " + describe(table));
    describeOrigin(builder, "the table", {&table, tableRange});
    return {};
  }
  if (!ids.isTensor() || !ids.isInt) {
    error(idsRange, "expected an int tensor as the ids of lookup(table, ids), but got " + describe(ids));
    return {};
  }
  Shape shape = ids.shape;
  shape.push_back(table.shape[1]);
  mlir::Value result =
      nn::LookupOp::create(region->builder, loc(call.range), tensorType(shape, ids.batched), table.tensor, ids.tensor);
  return tensorValue(result, shape, ids.batched, call.range);
}

/// x [T, n], w [n, W] -> [T, n]
Value Elaborator::causalConv(const CallExpr &call, const Value &x, const Value &w) {
  Range xRange = call.args[0].value->range, wRange = call.args[1].value->range;
  if (!hasRank(x, 1, xRange, "in causal_conv(x, w)") || !hasRank(w, 1, wRange, "in causal_conv(x, w)"))
    return {};
  if (x.shape.size() != 2 || x.shape[0] != kTime) {
    auto builder = error(xRange, "expected x of shape [T, n] in causal_conv(x, w), but got " + describe(x));
    describeOrigin(builder, "x", {&x, xRange});
    return {};
  }
  if (w.shape.size() != 2 || w.batched || w.shape[0] != x.shape[1] || w.shape[1] < 2) {
    auto builder = error(wRange, "expected a weight [" + dimStr(x.shape[1]) +
                                     ", W] with at least 2 taps as w in causal_conv(x, w), but got " + describe(w) +
                                     (w.batched ? " for each row of the batch" : ""));
    describeOrigin(builder, "x", {&x, xRange});
    describeOrigin(builder, "w", {&w, wRange});
    return {};
  }
  auto op = nn::ShortConvOp::create(region->builder, loc(call.range), x.tensor, w.tensor, mlir::Value(),
                                     mlir::Value());
  return tensorValue(op.getResult(), x.shape, x.batched, call.range);
}
