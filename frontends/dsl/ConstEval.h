//===- ConstEval.h - Arithmetic at compile time -----------------*- C++ -*-===//
// Numbers, booleans and words: used for params, compile-time arguments,
// dimensions and conditions. Errors are reported through a callback, because
// where to point depends on how the code was reached.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_CONSTEVAL_H
#define TIDEGATE_FRONTENDS_DSL_CONSTEVAL_H

#include "frontends/dsl/Builtins.h"
#include "frontends/dsl/Value.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace tidegate::dsl {

using ReportFn = llvm::function_ref<void(Range, const llvm::Twine &)>;

Value constUnary(const UnaryExpr &expr, const Value &operand, ReportFn report);
Value constBinary(const BinaryExpr &expr, const Value &lhs, const Value &rhs, ReportFn report);
/// Functions on numbers, and the initialisations normal, uniform, log(...), ...
Value constBuiltin(const BuiltinInfo &info, const CallExpr &call, llvm::ArrayRef<Value> args, ReportFn report);

/// The words that need no quotes.
bool isWord(llvm::StringRef name);

/// Evaluates an expression without tensors; `lookup` gives the value of a name,
/// or nothing when it has already reported the name as unknown.
Value evalConst(const Expr &expr, llvm::function_ref<Value(const NameExpr &)> lookup, ReportFn report);

/// The largest dimension there can be.
constexpr int64_t kMaxDim = (int64_t(1) << 31) - 1;

/// `value` as a dimension of at least `least`; reports at `range` otherwise.
/// `what` names it: "a dimension", "the number of heads".
std::optional<int64_t> asInteger(const Value &value, Range range, llvm::StringRef what, int64_t least,
                                 llvm::function_ref<DiagnosticBuilder(Range, const llvm::Twine &)> report);

} // namespace tidegate::dsl
#endif
