//===- Value.h - What an expression is worth --------------------*- C++ -*-===//
// While a program is elaborated every expression has one of these values.
// Tensors know the shape the user sees: without the batch, `T` as kTime. A
// Poison is the value of something already reported: whatever uses it is
// silently poison too, so one mistake gives one message.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_VALUE_H
#define TIDEGATE_FRONTENDS_DSL_VALUE_H

#include "frontends/dsl/Ast.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Value.h"

namespace tidegate::dsl {

/// The run-time dimension T.
constexpr int64_t kTime = mlir::ShapedType::kDynamic;

using Shape = llvm::SmallVector<int64_t, 4>;

enum class ValueKind { Poison, Number, Bool, Word, Tensor, Init, TimeIndex, HeadIndex, Tuple };

/// A division of two integers that left a rest; kept to explain a dimension.
struct Division {
  int64_t dividend = 0, divisor = 0;
  Range range;
};

struct Value {
  ValueKind kind = ValueKind::Poison;
  Number number;
  bool boolean = false;
  std::string text; ///< Word, or the text of an initialisation.
  std::optional<Division> division;

  mlir::Value tensor;
  Shape shape;          ///< As the user sees it.
  bool batched = false; ///< `tensor` has the batch as its first dimension.
  bool isInt = false;
  bool diagonal = false; ///< diag(v): `tensor` is v, `shape` is [n, n].

  std::vector<Value> elements; ///< Of a tuple.
  Range origin;                ///< The expression that made it.

  bool isPoison() const { return kind == ValueKind::Poison; }
  bool isNumber() const { return kind == ValueKind::Number; }
  bool isTensor() const { return kind == ValueKind::Tensor; }

  static Value of(const Number &number);
  static Value of(bool boolean);
  static Value word(llvm::StringRef text);
  static Value init(const llvm::Twine &text);
};

/// `[T, 512]`
std::string str(llvm::ArrayRef<int64_t> shape);
/// `512` or `T`
std::string dimStr(int64_t dim);
/// What a value is, for "expected ..., but got ...": `the number 3`, `a tensor of shape [T, 8]`.
std::string describe(const Value &value);
/// The value of a param as `params` prints it and --set takes it.
std::string str(const Value &value);

} // namespace tidegate::dsl
#endif
