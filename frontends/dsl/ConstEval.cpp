//===- ConstEval.cpp - Arithmetic at compile time ---------------*- C++ -*-===//
#include "frontends/dsl/ConstEval.h"
#include <cmath>

using namespace tidegate::dsl;

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Value Value::of(const Number &number) {
  Value value;
  value.kind = ValueKind::Number;
  value.number = number;
  return value;
}

Value Value::of(bool boolean) {
  Value value;
  value.kind = ValueKind::Bool;
  value.boolean = boolean;
  return value;
}

Value Value::word(llvm::StringRef text) {
  Value value;
  value.kind = ValueKind::Word;
  value.text = text.str();
  return value;
}

Value Value::init(const llvm::Twine &text) {
  Value value;
  value.kind = ValueKind::Init;
  value.text = text.str();
  return value;
}

std::string tidegate::dsl::dimStr(int64_t dim) { return dim == kTime ? "T" : std::to_string(dim); }

std::string tidegate::dsl::str(llvm::ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (int64_t dim : shape)
    text += (text.size() > 1 ? ", " : "") + dimStr(dim);
  return text + "]";
}

std::string tidegate::dsl::describe(const Value &value) {
  switch (value.kind) {
  case ValueKind::Poison: return "an invalid value";
  case ValueKind::Number: return "the number " + value.number.str();
  case ValueKind::Bool: return value.boolean ? "'true'" : "'false'";
  case ValueKind::Word: return "the word '" + value.text + "'";
  case ValueKind::Tensor:
    if (value.diagonal)
      return "a diagonal matrix of shape " + str(value.shape);
    return (value.isInt ? "an int tensor of shape " : "a tensor of shape ") + str(value.shape);
  case ValueKind::Init: return "the initialisation " + value.text;
  case ValueKind::TimeIndex: return "the time index of a scan";
  case ValueKind::HeadIndex: return "the head index of a scan";
  case ValueKind::Tuple: return std::to_string(value.elements.size()) + " values";
  }
  return "";
}

std::string tidegate::dsl::str(const Value &value) {
  switch (value.kind) {
  case ValueKind::Number: return value.number.str();
  case ValueKind::Bool: return value.boolean ? "true" : "false";
  default: return value.text;
  }
}

bool tidegate::dsl::isWord(llvm::StringRef name) { return name == "full" || name == "none"; }

//===----------------------------------------------------------------------===//
// Operators
//===----------------------------------------------------------------------===//

Value tidegate::dsl::constUnary(const UnaryExpr &expr, const Value &operand, ReportFn report) {
  if (operand.isPoison())
    return {};
  if (expr.op == UnaryOp::Not) {
    if (operand.kind == ValueKind::Bool)
      return Value::of(!operand.boolean);
    report(expr.operand->range, "expected true or false after 'not', but got " + describe(operand));
    return {};
  }
  if (operand.isNumber())
    return Value::of(-operand.number);
  if (operand.kind == ValueKind::Init)
    return Value::init("neg(" + operand.text + ")");
  report(expr.operand->range, "expected a number or a tensor after '-', but got " + describe(operand));
  return {};
}

/// Arithmetic on initialisations is kept as text: log(uniform(0, 16)) + 1.
static std::string initText(const Value &value) {
  return value.isNumber() ? formatDouble(value.number.toDouble()) : value.text;
}

static Value initBinary(const BinaryExpr &expr, const Value &lhs, const Value &rhs, ReportFn report) {
  llvm::StringRef name;
  switch (expr.op) {
  case BinaryOp::Add: name = "add"; break;
  case BinaryOp::Sub: name = "sub"; break;
  case BinaryOp::Mul: name = "mul"; break;
  case BinaryOp::Div: name = "div"; break;
  default:
    report(expr.opRange, "expected '+', '-', '*' or '/' on an initialisation, but got '" + spelling(expr.op) + "'");
    return {};
  }
  return Value::init(name + "(" + initText(lhs) + ", " + initText(rhs) + ")");
}

static Value arithmetic(const BinaryExpr &expr, const Value &lhs, const Value &rhs, ReportFn report) {
  const Number &a = lhs.number, &b = rhs.number;
  bool divides = expr.op == BinaryOp::Div || expr.op == BinaryOp::Mod;
  if (divides && b.isZero()) {
    report(expr.range, "expected a divisor other than 0, but got " + a.str() + " " + spelling(expr.op) + " 0");
    return {};
  }
  if (expr.op == BinaryOp::Mod && (!a.isInteger() || !b.isInteger())) {
    report(expr.range, "expected integers around '%', but got " + a.str() + " % " + b.str());
    return {};
  }
  Number number;
  switch (expr.op) {
  case BinaryOp::Add: number = a + b; break;
  case BinaryOp::Sub: number = a - b; break;
  case BinaryOp::Mul: number = a * b; break;
  case BinaryOp::Div: number = a / b; break;
  default: number = a - b * (a / b).floor(); break;
  }
  Value result = Value::of(number);
  if (!std::isfinite(number.toDouble())) {
    report(expr.range,
           "expected a finite number, but " + a.str() + " " + spelling(expr.op) + " " + b.str() + " is not");
    return {};
  }
  if (!number.isInteger()) {
    if (expr.op == BinaryOp::Div && a.isInteger() && b.isInteger())
      result.division = Division{a.integer(), b.integer(), expr.range};
    else
      result.division = lhs.division ? lhs.division : rhs.division;
  }
  return result;
}

static bool equalValues(const Value &lhs, const Value &rhs) {
  if (lhs.kind != rhs.kind)
    return false;
  switch (lhs.kind) {
  case ValueKind::Number: return lhs.number == rhs.number;
  case ValueKind::Bool: return lhs.boolean == rhs.boolean;
  default: return lhs.text == rhs.text;
  }
}

Value tidegate::dsl::constBinary(const BinaryExpr &expr, const Value &lhs, const Value &rhs, ReportFn report) {
  if (lhs.isPoison() || rhs.isPoison())
    return {};
  if (expr.op == BinaryOp::Equal)
    return Value::of(equalValues(lhs, rhs));
  if (expr.op == BinaryOp::NotEqual)
    return Value::of(!equalValues(lhs, rhs));
  if (expr.op == BinaryOp::And || expr.op == BinaryOp::Or) {
    for (auto [value, side] : {std::pair(&lhs, expr.lhs), std::pair(&rhs, expr.rhs)})
      if (value->kind != ValueKind::Bool) {
        report(side->range, "expected true or false beside '" + spelling(expr.op) + "', but got " + describe(*value));
        return {};
      }
    return Value::of(expr.op == BinaryOp::And ? lhs.boolean && rhs.boolean : lhs.boolean || rhs.boolean);
  }
  bool inits = lhs.kind == ValueKind::Init || rhs.kind == ValueKind::Init;
  for (auto [value, side] : {std::pair(&lhs, expr.lhs), std::pair(&rhs, expr.rhs)})
    if (!value->isNumber() && value->kind != ValueKind::Init) {
      report(side->range, "expected a number beside '" + spelling(expr.op) + "', but got " + describe(*value));
      return {};
    }
  if (inits)
    return initBinary(expr, lhs, rhs, report);
  switch (expr.op) {
  case BinaryOp::Less: return Value::of(lhs.number < rhs.number);
  case BinaryOp::LessEqual: return Value::of(!(rhs.number < lhs.number));
  case BinaryOp::Greater: return Value::of(rhs.number < lhs.number);
  case BinaryOp::GreaterEqual: return Value::of(!(lhs.number < rhs.number));
  case BinaryOp::Contract:
    report(expr.opRange, "expected tensors around '.', but got " + describe(lhs) + " and " + describe(rhs));
    return {};
  default: return arithmetic(expr, lhs, rhs, report);
  }
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

static std::optional<double> unaryFormula(Builtin id, double x) {
  switch (id) {
  case Builtin::Exp: return std::exp(x);
  case Builtin::Log: return std::log(x);
  case Builtin::Sqrt: return std::sqrt(x);
  case Builtin::Rsqrt: return 1 / std::sqrt(x);
  case Builtin::Sigmoid: return 1 / (1 + std::exp(-x));
  case Builtin::Softplus: return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
  case Builtin::Tanh: return std::tanh(x);
  case Builtin::Sin: return std::sin(x);
  case Builtin::Cos: return std::cos(x);
  case Builtin::SoftplusInverse: return x + std::log(-std::expm1(-x));
  default: return std::nullopt;
  }
}

static Value initBuiltin(const BuiltinInfo &info, const CallExpr &call, llvm::ArrayRef<Value> args, ReportFn report) {
  switch (info.id) {
  case Builtin::Normal:
  case Builtin::Uniform:
    for (auto [arg, value] : llvm::zip(call.args, args))
      if (!value.isNumber()) {
        report(arg.value->range, "expected a number in " + info.signature + ", but got " + describe(value));
        return {};
      }
    if (info.id == Builtin::Normal && args[0].number < Number(0)) {
      report(call.args[0].value->range, "expected a standard deviation of at least 0, but got " + args[0].number.str());
      return {};
    }
    [[fallthrough]];
  case Builtin::Exp:
  case Builtin::Log:
  case Builtin::Sqrt:
  case Builtin::SoftplusInverse:
  case Builtin::Maximum:
  case Builtin::Minimum: {
    std::string text = info.name.str() + "(";
    for (const Value &arg : args)
      text += (&arg == args.begin() ? "" : ", ") + initText(arg);
    return Value::init(text + ")");
  }
  default:
    report(call.callee.range, "expected exp, log, sqrt, softplus_inverse, maximum or minimum on an initialisation, "
                              "but got '" +
                                  info.name + "'");
    return {};
  }
}

Value tidegate::dsl::constBuiltin(const BuiltinInfo &info, const CallExpr &call, llvm::ArrayRef<Value> args,
                                  ReportFn report) {
  bool inits = info.id == Builtin::Normal || info.id == Builtin::Uniform;
  for (const Value &arg : args) {
    if (arg.isPoison())
      return {};
    inits |= arg.kind == ValueKind::Init;
  }
  if (inits)
    return initBuiltin(info, call, args, report);
  for (auto [arg, value] : llvm::zip(call.args, args))
    if (!value.isNumber() && !(info.id == Builtin::Where && &value == args.begin())) {
      report(arg.value->range, "expected a number in " + info.signature + ", but got " + describe(value));
      return {};
    }
  switch (info.id) {
  case Builtin::Maximum: return args[0].number < args[1].number ? args[1] : args[0];
  case Builtin::Minimum: return args[1].number < args[0].number ? args[1] : args[0];
  case Builtin::Abs: return args[0].number < Number(0) ? Value::of(-args[0].number) : args[0];
  case Builtin::StopGradient: return args[0];
  case Builtin::Floor: return Value::of(args[0].number.floor());
  case Builtin::Ceil: return Value::of(args[0].number.ceil());
  case Builtin::Where:
    if (args[0].kind == ValueKind::Bool)
      return args[0].boolean ? args[1] : args[2];
    report(call.args[0].value->range, "expected a condition in " + info.signature + ", but got " + describe(args[0]));
    return {};
  default: break;
  }
  std::optional<double> result = args.size() == 1 ? unaryFormula(info.id, args[0].number.toDouble()) : std::nullopt;
  if (!result) {
    report(call.args[0].value->range, "expected a tensor in " + info.signature + ", but got " + describe(args[0]));
    return {};
  }
  if (!std::isfinite(*result)) {
    report(call.range, "expected a finite number, but " + info.name + "(" + args[0].number.str() + ") is not");
    return {};
  }
  return Value::of(Number::inexact(*result));
}

//===----------------------------------------------------------------------===//
// Expressions and dimensions
//===----------------------------------------------------------------------===//

Value tidegate::dsl::evalConst(const Expr &expr, llvm::function_ref<Value(const NameExpr &)> lookup, ReportFn report) {
  switch (expr.kind) {
  case ExprKind::Number: return Value::of(llvm::cast<NumberExpr>(expr).value);
  case ExprKind::Bool: return Value::of(llvm::cast<BoolExpr>(expr).value);
  case ExprKind::String: return Value::word(llvm::cast<StringExpr>(expr).value);
  case ExprKind::Name: return lookup(llvm::cast<NameExpr>(expr));
  case ExprKind::Unary: {
    auto &unary = llvm::cast<UnaryExpr>(expr);
    return constUnary(unary, evalConst(*unary.operand, lookup, report), report);
  }
  case ExprKind::Binary: {
    auto &binary = llvm::cast<BinaryExpr>(expr);
    Value lhs = evalConst(*binary.lhs, lookup, report);
    Value rhs = evalConst(*binary.rhs, lookup, report);
    return constBinary(binary, lhs, rhs, report);
  }
  case ExprKind::Call: {
    auto &call = llvm::cast<CallExpr>(expr);
    const BuiltinInfo *info = findBuiltin(call.callee.text);
    if (!info || call.args.size() != info->arity || !call.path.empty()) {
      report(expr.range, "expected a value known when compiling, but got a call of '" + call.callee.text + "'");
      return {};
    }
    llvm::SmallVector<Value, 3> args;
    for (const CallArg &arg : call.args)
      args.push_back(evalConst(*arg.value, lookup, report));
    return constBuiltin(*info, call, args, report);
  }
  case ExprKind::Index:
    report(expr.range, "expected a value known when compiling, but got an indexed tensor");
    return {};
  case ExprKind::Error: return {};
  }
  return {};
}

std::optional<int64_t>
tidegate::dsl::asInteger(const Value &value, Range range, llvm::StringRef what, int64_t least,
                         llvm::function_ref<DiagnosticBuilder(Range, const llvm::Twine &)> report) {
  if (value.isPoison())
    return std::nullopt;
  std::string expectation = ("expected an integer as " + what).str();
  if (!value.isNumber()) {
    report(range, expectation + ", but got " + describe(value));
    return std::nullopt;
  }
  if (!value.number.isInteger()) {
    if (!value.division) {
      report(range, expectation + ", but got " + value.number.str());
      return std::nullopt;
    }
    const Division &division = *value.division;
    std::string text = expectation + ", but " + std::to_string(division.dividend) + " / " +
                       std::to_string(division.divisor) + " does not divide";
    report(range, text).note(division.range.Start == range.Start ? Range() : division.range, "the division is here");
    return std::nullopt;
  }
  int64_t integer = value.number.integer();
  if (integer < least || integer > kMaxDim) {
    report(range, expectation + " between " + llvm::Twine(least) + " and " + llvm::Twine(kMaxDim) + ", but got " +
                      llvm::Twine(integer));
    return std::nullopt;
  }
  return integer;
}
