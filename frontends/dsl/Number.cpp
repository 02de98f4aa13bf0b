//===- Number.cpp - Compile-time numbers ------------------------*- C++ -*-===//
#include "frontends/dsl/Number.h"
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

using namespace tidegate::dsl;
using Wide = __int128;

static Wide gcd(Wide a, Wide b) {
  while (b) {
    Wide rest = a % b;
    a = b;
    b = rest;
  }
  return a < 0 ? -a : a;
}

static bool fits(Wide x) {
  return x >= -std::numeric_limits<int64_t>::max() && x <= std::numeric_limits<int64_t>::max();
}

Number Number::inexact(double value) {
  Number n;
  n.num = n.den = 0;
  n.value = value;
  return n;
}

Number Number::fraction(Wide num, Wide den) {
  Wide divisor = gcd(num, den);
  if (den < 0)
    divisor = -divisor;
  num /= divisor;
  den /= divisor;
  double value = static_cast<double>(num) / static_cast<double>(den);
  if (!fits(num) || !fits(den))
    return inexact(value);
  Number n;
  n.num = static_cast<int64_t>(num);
  n.den = static_cast<int64_t>(den);
  n.value = value;
  return n;
}

std::optional<Number> Number::parse(llvm::StringRef literal) {
  double value = 0;
  auto [end, failure] = std::from_chars(literal.begin(), literal.end(), value);
  if (end != literal.end() || (failure != std::errc() && !(value == 0)) || !std::isfinite(value))
    return std::nullopt;
  if (failure == std::errc::result_out_of_range)
    return std::nullopt;
  // Digits as an integer, divided or multiplied by a power of ten.
  Wide digits = 0;
  int exponent = 0;
  bool point = false;
  size_t i = 0;
  for (; i < literal.size() && literal[i] != 'e' && literal[i] != 'E'; ++i) {
    if (literal[i] == '.') {
      point = true;
      continue;
    }
    digits = digits * 10 + (literal[i] - '0');
    exponent -= point;
    if (!fits(digits))
      return inexact(value);
  }
  int written = 0;
  if (i < literal.size() && literal.substr(i + 1).ltrim('+').getAsInteger(10, written))
    return inexact(value);
  if (std::abs(written) > 100 || std::abs(exponent) > 100)
    return inexact(value);
  exponent += written;
  Wide power = 1;
  for (int k = 0; k < std::abs(exponent); ++k) {
    power *= 10;
    if (!fits(power))
      return inexact(value);
  }
  if (exponent >= 0 && digits && power > std::numeric_limits<int64_t>::max() / digits)
    return inexact(value);
  Number exact = exponent >= 0 ? fraction(digits * power, 1) : fraction(digits, power);
  exact.value = value;
  return exact;
}

Number Number::operator+(const Number &o) const {
  if (isExact() && o.isExact()) {
    Wide a = Wide(num) * o.den, b = Wide(o.num) * den;
    return fraction(a + b, Wide(den) * o.den);
  }
  return inexact(value + o.value);
}

Number Number::operator-(const Number &o) const {
  if (isExact() && o.isExact()) {
    Wide a = Wide(num) * o.den, b = Wide(o.num) * den;
    return fraction(a - b, Wide(den) * o.den);
  }
  return inexact(value - o.value);
}

Number Number::operator*(const Number &o) const {
  if (isExact() && o.isExact())
    return fraction(Wide(num) * o.num, Wide(den) * o.den);
  return inexact(value * o.value);
}

Number Number::operator/(const Number &o) const {
  if (isExact() && o.isExact())
    return fraction(Wide(num) * o.den, Wide(den) * o.num);
  return inexact(value / o.value);
}

Number Number::floor() const {
  if (isExact()) {
    int64_t quotient = num / den;
    return Number(quotient - (num % den < 0));
  }
  double low = std::floor(value);
  return std::abs(low) < 9e15 ? Number(static_cast<int64_t>(low)) : inexact(low);
}

bool Number::operator==(const Number &o) const {
  return isExact() && o.isExact() ? num == o.num && den == o.den : value == o.value;
}

bool Number::operator<(const Number &o) const {
  return isExact() && o.isExact() ? Wide(num) * o.den < Wide(o.num) * den : value < o.value;
}

std::string tidegate::dsl::formatDouble(double value) {
  char text[40];
  auto result = std::to_chars(text, text + sizeof(text), value);
  return std::string(text, result.ptr);
}

std::string Number::str() const {
  if (isInteger())
    return std::to_string(num);
  std::string decimal = formatDouble(value);
  if (isExact() && decimal.size() > 12)
    return std::to_string(num) + "/" + std::to_string(den);
  return decimal;
}
