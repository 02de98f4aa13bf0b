//===- Number.h - Compile-time numbers --------------------------*- C++ -*-===//
// Numbers of the language are exact while they can be: integers and fractions
// of 64-bit integers, so that `D * 1/2` is an integer and `0.5` is the same as
// `1/2`. What leaves that range (sqrt, exp, 1e-300, overflow) is a double and
// can no longer be a dimension.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_NUMBER_H
#define TIDEGATE_FRONTENDS_DSL_NUMBER_H

#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <optional>
#include <string>

namespace tidegate::dsl {

class Number {
public:
  Number(int64_t integer = 0) : num(integer), value(static_cast<double>(integer)) {}
  static Number fraction(__int128 num, __int128 den); ///< `den` is not 0.
  static Number inexact(double value);
  /// Reads an integer or decimal literal; nothing when it overflows a double.
  static std::optional<Number> parse(llvm::StringRef literal);

  bool isExact() const { return den != 0; }
  bool isInteger() const { return den == 1; }
  bool isZero() const { return value == 0; }
  int64_t integer() const { return num; } ///< Only if isInteger().
  double toDouble() const { return value; }
  /// `12`, `1/2` for a fraction without a short decimal form, `0.02`, `1e-06`.
  std::string str() const;

  Number operator+(const Number &o) const;
  Number operator-(const Number &o) const;
  Number operator*(const Number &o) const;
  Number operator/(const Number &o) const; ///< `o` is not 0.
  Number operator-() const { return Number(0) - *this; }
  Number floor() const;
  Number ceil() const { return -(-*this).floor(); }
  bool operator==(const Number &o) const;
  bool operator<(const Number &o) const;

private:
  int64_t num = 0, den = 1; ///< Reduced; den = 0 marks an inexact number.
  double value = 0;
};

/// The shortest text that reads back as `value`.
std::string formatDouble(double value);

} // namespace tidegate::dsl
#endif
