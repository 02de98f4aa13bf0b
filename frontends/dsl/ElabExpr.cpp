//===- ElabExpr.cpp - Names, operators, contraction -------------*- C++ -*-===//
#include "frontends/dsl/Elaborator.h"
#include "ir/Nn/NnOps.h"

using namespace tidegate::dsl;

Value Elaborator::eval(const Expr &expr) {
  if (!spend(expr.range))
    return {};
  Saved<unsigned> level(depth, depth + 1);
  if (depth > kMaxDepth) {
    stopped = true;
    error(expr.range, "expected at most " + llvm::Twine(kMaxDepth) + " nested operations, calls included");
    return {};
  }
  Value value = evalUninterrupted(expr);
  if (!value.origin.isValid())
    value.origin = expr.range;
  return value;
}

Value Elaborator::evalUninterrupted(const Expr &expr) {
  switch (expr.kind) {
  case ExprKind::Number: return Value::of(llvm::cast<NumberExpr>(expr).value);
  case ExprKind::Bool: return Value::of(llvm::cast<BoolExpr>(expr).value);
  case ExprKind::String: return Value::word(llvm::cast<StringExpr>(expr).value);
  case ExprKind::Name: return evalName(llvm::cast<NameExpr>(expr));
  case ExprKind::Unary: return evalUnary(llvm::cast<UnaryExpr>(expr));
  case ExprKind::Binary: return evalBinary(llvm::cast<BinaryExpr>(expr));
  case ExprKind::Index: return evalIndex(llvm::cast<IndexExpr>(expr));
  case ExprKind::Error: return {};
  case ExprKind::Call: break;
  }
  auto &call = llvm::cast<CallExpr>(expr);
  if (!symbols.findFunction(call.callee.text, frame->function->inLibrary))
    if (const BuiltinInfo *info = findBuiltin(call.callee.text))
      return evalBuiltin(*info, call);
  std::vector<Value> results = evalCall(call);
  if (results.empty())
    return {};
  if (results.size() == 1)
    return std::move(results.front());
  Value tuple;
  tuple.kind = ValueKind::Tuple;
  tuple.elements = std::move(results);
  return tuple;
}

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

/// The value of a name as it was made, perhaps in an outer region.
Value Elaborator::lookup(llvm::StringRef name) {
  auto local = frame->env.find(name);
  if (local != frame->env.end())
    return local->second;
  if (!frame->function->inLibrary) {
    auto param = params.find(name);
    if (param != params.end())
      return param->second;
  }
  return {};
}

Value Elaborator::evalName(const NameExpr &name) {
  bool known = frame->env.contains(name.name) || (!frame->function->inLibrary && params.contains(name.name));
  if (!known && isWord(name.name))
    return Value::word(name.name);
  if (!known) {
    // Resolution saw an assignment, but the branch with it was not taken.
    error(name.range, "expected '" + name.name +
                          "' to have a value here, but the 'if' or the scan that assigns it "
                          "has not done so");
    return {};
  }
  return materialize(lookup(name.name), name.range);
}

/// Makes a value usable in the current region.
Value Elaborator::materialize(const Value &value, Range use) {
  if (!value.isTensor() || mlir::Value(value.tensor).getParentBlock() == region->block)
    return value;
  if (region->scan)
    return captureInScan(value, use);
  Value inside = value;
  inside.tensor = materializeIn(*region, value.tensor);
  return inside;
}

/// `value` as an argument of a repeat's function, and of those around it.
mlir::Value Elaborator::materializeIn(RegionFrame &target, mlir::Value value) {
  if (value.getParentBlock() == target.block)
    return value;
  mlir::Value outside = materializeIn(*target.parent, value);
  auto [entry, isNew] = target.captured.try_emplace(outside, nullptr);
  // Captured tensors come before the weights in the argument list.
  if (isNew)
    entry->second = target.block->insertArgument(unsigned(target.captured.size() - 1), value.getType(), value.getLoc());
  return entry->second;
}

//===----------------------------------------------------------------------===//
// Operators
//===----------------------------------------------------------------------===//

Value Elaborator::evalUnary(const UnaryExpr &unary) {
  Value operand = eval(*unary.operand);
  if (!operand.isTensor())
    return constUnary(unary, operand, reporter());
  if (!isReal(operand, unary.operand->range, unary.op == UnaryOp::Not ? "after 'not'" : "after '-'"))
    return {};
  mlir::Location place = loc(unary.range);
  mlir::Value result =
      unary.op == UnaryOp::Not
          ? mlir::Value(nn::SubOp::create(region->builder, place, constant(1, {}, place), operand.tensor))
          : mlir::Value(nn::NegOp::create(region->builder, place, operand.tensor));
  return tensorValue(result, operand.shape, operand.batched, unary.range);
}

Value Elaborator::evalBinary(const BinaryExpr &binary) {
  Value lhs = eval(*binary.lhs);
  if (binary.op == BinaryOp::And || binary.op == BinaryOp::Or)
    return evalLogical(binary, lhs);
  Value rhs = eval(*binary.rhs);
  if (lhs.isPoison() || rhs.isPoison())
    return {};
  if (!lhs.isTensor() && !rhs.isTensor())
    return constBinary(binary, lhs, rhs, reporter());
  if (binary.op == BinaryOp::Contract)
    return contract(binary, lhs, rhs);
  // `x == full` is a question about the compile-time side, not about x.
  std::string what = ("'" + spelling(binary.op) + "'").str();
  Operand operands[] = {{&lhs, binary.lhs->range}, {&rhs, binary.rhs->range}};
  llvm::SmallVector<mlir::Value, 2> tensors;
  std::optional<Value> result = align(what, binary.opRange, operands, tensors);
  if (!result)
    return {};
  mlir::OpBuilder &builder = region->builder;
  mlir::Location place = loc(binary.range);
  auto not1 = [&](mlir::Value x) -> mlir::Value {
    return nn::SubOp::create(builder, place, constant(1, {}, place), x);
  };
  mlir::Value x = tensors[0], y = tensors[1];
  switch (binary.op) {
  case BinaryOp::Add: result->tensor = nn::AddOp::create(builder, place, x, y); break;
  case BinaryOp::Sub: result->tensor = nn::SubOp::create(builder, place, x, y); break;
  case BinaryOp::Mul: result->tensor = nn::MulOp::create(builder, place, x, y); break;
  case BinaryOp::Div: result->tensor = nn::DivOp::create(builder, place, x, y); break;
  case BinaryOp::Greater: result->tensor = nn::GreaterOp::create(builder, place, x, y); break;
  case BinaryOp::Less: result->tensor = nn::GreaterOp::create(builder, place, y, x); break;
  case BinaryOp::GreaterEqual: result->tensor = not1(nn::GreaterOp::create(builder, place, y, x)); break;
  case BinaryOp::LessEqual: result->tensor = not1(nn::GreaterOp::create(builder, place, x, y)); break;
  case BinaryOp::Equal: result->tensor = nn::EqualOp::create(builder, place, x, y); break;
  case BinaryOp::NotEqual: result->tensor = not1(nn::EqualOp::create(builder, place, x, y)); break;
  default:
    error(binary.opRange,
          "expected numbers around '" + spelling(binary.op) + "', but got " + describe(lhs) + " and " + describe(rhs));
    return {};
  }
  result->origin = binary.range;
  return *result;
}

/// Compile-time `and` and `or` leave out the right side where the left decides;
/// on tensors of 0 and 1 they are products and maxima.
Value Elaborator::evalLogical(const BinaryExpr &binary, const Value &lhs) {
  bool isAnd = binary.op == BinaryOp::And;
  if (lhs.kind == ValueKind::Bool && lhs.boolean != isAnd)
    return lhs;
  Value rhs = eval(*binary.rhs);
  if (lhs.isPoison() || rhs.isPoison())
    return {};
  if (!lhs.isTensor() || !rhs.isTensor())
    return constBinary(binary, lhs, rhs, reporter());
  Operand operands[] = {{&lhs, binary.lhs->range}, {&rhs, binary.rhs->range}};
  llvm::SmallVector<mlir::Value, 2> tensors;
  std::optional<Value> result = align(isAnd ? "'and'" : "'or'", binary.opRange, operands, tensors);
  if (!result)
    return {};
  mlir::Location place = loc(binary.range);
  result->tensor = isAnd ? mlir::Value(nn::MulOp::create(region->builder, place, tensors[0], tensors[1]))
                         : mlir::Value(nn::MaximumOp::create(region->builder, place, tensors[0], tensors[1]));
  result->origin = binary.range;
  return *result;
}

//===----------------------------------------------------------------------===//
// Contraction
//===----------------------------------------------------------------------===//

/// diag(a) . M scales rows, M . diag(a) columns.
Value Elaborator::scaleByDiagonal(const BinaryExpr &binary, const Value &lhs, const Value &rhs) {
  Value left = lhs, right = rhs;
  bool both = lhs.diagonal && rhs.diagonal;
  left.diagonal = right.diagonal = false;
  if (lhs.diagonal) {
    left.shape.pop_back();
    if (!both) {
      Shape rows = left.shape;
      rows.resize(right.shape.size(), 1);
      left = reshaped(left, rows, binary.lhs->range);
    }
  }
  if (rhs.diagonal)
    right.shape.pop_back();
  Operand operands[] = {{&left, binary.lhs->range}, {&right, binary.rhs->range}};
  llvm::SmallVector<mlir::Value, 2> tensors;
  std::optional<Value> result = align("'.'", binary.opRange, operands, tensors);
  if (!result)
    return {};
  result->tensor = nn::MulOp::create(region->builder, loc(binary.range), tensors[0], tensors[1]);
  result->origin = binary.range;
  if (both) {
    result->diagonal = true;
    result->shape.push_back(result->shape.back());
  }
  return *result;
}

/// Sums over the last dimension of the left and the first of the right side.
Value Elaborator::contract(const BinaryExpr &binary, const Value &lhs, const Value &rhs) {
  for (auto [value, side] : {std::pair(&lhs, binary.lhs), std::pair(&rhs, binary.rhs)}) {
    if (value->isTensor() && value->diagonal)
      continue;
    if (!hasRank(*value, 1, side->range, "beside '.'"))
      return {};
  }
  int64_t left = lhs.shape.back(), right = rhs.shape.front();
  if (left != right || left == kTime) {
    auto builder = error(
        binary.opRange, left == right ? "expected a compile-time dimension to sum over in '.', but got T"
                                      : "expected the last dimension of the left side of '.' to equal the first of the "
                                        "right, but got " +
                                            dimStr(left) + " and " + dimStr(right));
    builder.note(binary.lhs->range, "this has shape " + str(lhs.shape));
    describeOrigin(builder, "it", {&lhs, binary.lhs->range});
    builder.note(binary.rhs->range, "this has shape " + str(rhs.shape));
    describeOrigin(builder, "it", {&rhs, binary.rhs->range});
    return {};
  }
  if (lhs.diagonal || rhs.diagonal)
    return scaleByDiagonal(binary, lhs, rhs);

  Shape shape(llvm::ArrayRef(lhs.shape).drop_back());
  shape.append(rhs.shape.begin() + 1, rhs.shape.end());
  mlir::OpBuilder &builder = region->builder;
  mlir::Location place = loc(binary.range);
  int64_t lhsDim = int64_t(lhs.shape.size()) - 1 + lhs.batched, rhsDim = rhs.batched;
  mlir::Value result;
  if (lhs.batched && rhs.batched) {
    result =
        nn::DotOp::create(builder, place, lhs.tensor, rhs.tensor, llvm::ArrayRef<int64_t>{0},
                          llvm::ArrayRef<int64_t>{0}, llvm::ArrayRef<int64_t>{lhsDim}, llvm::ArrayRef<int64_t>{rhsDim});
  } else if (!rhs.batched) {
    result = nn::DotOp::create(builder, place, lhs.tensor, rhs.tensor, llvm::ArrayRef<int64_t>{lhsDim},
                               llvm::ArrayRef<int64_t>{rhsDim});
  } else {
    // The batch has to stay in front: the product the other way round, then
    // the left side's dimensions moved before the right side's.
    result = nn::DotOp::create(builder, place, rhs.tensor, lhs.tensor, llvm::ArrayRef<int64_t>{rhsDim},
                               llvm::ArrayRef<int64_t>{lhsDim});
    int64_t rest = int64_t(rhs.shape.size()) - 1, rows = int64_t(lhs.shape.size()) - 1;
    llvm::SmallVector<int64_t> permutation{0};
    for (int64_t i = 0; i < rows; ++i)
      permutation.push_back(1 + rest + i);
    for (int64_t i = 0; i < rest; ++i)
      permutation.push_back(1 + i);
    if (rows && rest)
      result = nn::TransposeOp::create(builder, place, result, permutation);
  }
  return tensorValue(result, shape, lhs.batched || rhs.batched, binary.range);
}
