//===- HostTensor.cpp - Host tensors and their conversions ------*- C++ -*-===//
// Conversions between element types go through double (floating) or int64
// (integers), both of which hold every source value exactly.
//===----------------------------------------------------------------------===//
#include "runtime/core/HostTensor.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

using namespace tidegate::runtime;

namespace {

[[noreturn]] void invalid(const std::string &message) {
  throw RuntimeError(RuntimeError::Kind::InvalidArgument, message);
}

float fromBFloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

float fromHalf(uint16_t bits) {
  int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float magnitude = exponent == 31 ? (mantissa ? std::numeric_limits<float>::quiet_NaN()
                                               : std::numeric_limits<float>::infinity())
                    : exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                    : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

/// The bits of a 16-bit float with `mantissa` stored bits: 10 for f16, 7 for bf16. Rounds to nearest even.
uint16_t toSixteen(double value, int mantissa) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (value == 0)
    return sign;
  const uint16_t infinity = 0x7fff >> mantissa << mantissa;
  if (std::isnan(value))
    return sign | infinity | 1 << (mantissa - 1);
  const int bias = (1 << (14 - mantissa)) - 1;
  int exponent;
  std::frexp(value, &exponent); // value = [0.5, 1) * 2^exponent
  const int unit = std::max(exponent - 1, 1 - bias) - mantissa; // Of the last place.
  if (std::isinf(value) || exponent > bias + 1)
    return sign | infinity;
  const auto steps = static_cast<int64_t>(std::nearbyint(std::ldexp(std::abs(value), -unit)));
  // Steps beyond the mantissa carry into the exponent, up to infinity.
  const int64_t bits = steps + (static_cast<int64_t>(unit + mantissa + bias - 1) << mantissa);
  return sign | static_cast<uint16_t>(std::min<int64_t>(bits, infinity));
}

template <typename T>
T load(const std::byte *bytes, int64_t i) {
  T value;
  std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
  return value;
}

double loadFloating(Dtype dtype, const std::byte *bytes, int64_t i) {
  switch (dtype) {
  case Dtype::F32:
    return load<float>(bytes, i);
  case Dtype::F64:
    return load<double>(bytes, i);
  case Dtype::BF16:
    return fromBFloat16(load<uint16_t>(bytes, i));
  default:
    return fromHalf(load<uint16_t>(bytes, i));
  }
}

} // namespace

size_t tidegate::runtime::dtypeSize(Dtype dtype) {
  switch (dtype) {
  case Dtype::F64:
  case Dtype::I64:
    return 8;
  case Dtype::F32:
  case Dtype::I32:
    return 4;
  case Dtype::BF16:
  case Dtype::F16:
    return 2;
  }
  throw RuntimeError(RuntimeError::Kind::Internal, "an element type outside the enumeration");
}

std::string_view tidegate::runtime::dtypeName(Dtype dtype) {
  switch (dtype) {
  case Dtype::F32:
    return "f32";
  case Dtype::F64:
    return "f64";
  case Dtype::I32:
    return "i32";
  case Dtype::I64:
    return "i64";
  case Dtype::BF16:
    return "bf16";
  case Dtype::F16:
    return "f16";
  }
  throw RuntimeError(RuntimeError::Kind::Internal, "an element type outside the enumeration");
}

bool tidegate::runtime::isFloating(Dtype dtype) { return dtype != Dtype::I32 && dtype != Dtype::I64; }

std::string tidegate::runtime::shapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

int64_t tidegate::runtime::elementCount(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(count, size, &count) || count > std::numeric_limits<int64_t>::max() / 8)
      invalid("expected non-negative sizes with a representable product, but got shape " + shapeText(shape));
  return count;
}

void HostSpan::checkDtype(Dtype wanted) const {
  if (dtype != wanted)
    invalid("expected " + std::string(dtypeName(wanted)) + " elements, but the tensor holds " +
            std::string(dtypeName(dtype)));
}

double HostSpan::get(int64_t i) const {
  return dtype == Dtype::F32 ? as<float>()[i] : as<double>()[i];
}

void HostSpan::set(int64_t i, double value) const {
  if (dtype == Dtype::F32)
    as<float>()[i] = static_cast<float>(value);
  else
    as<double>()[i] = value;
}

HostTensor::HostTensor(Dtype dtype, std::vector<int64_t> shape)
    : elementType(dtype), sizes(std::move(shape)), count(elementCount(sizes)), storage(count * dtypeSize(dtype)) {}

void HostTensor::checkCount(size_t given) const {
  if (given != static_cast<size_t>(count))
    invalid("expected " + std::to_string(count) + " values for shape " + shapeText(sizes) + ", but got " +
            std::to_string(given));
}

HostTensor HostTensor::to(Dtype target) const {
  if (target == elementType)
    return *this;
  if (isFloating(target) != isFloating(elementType))
    invalid("expected " + std::string(dtypeName(target)) + " values, but the tensor holds " +
            std::string(dtypeName(elementType)));
  HostTensor result(target, sizes);
  const std::byte *source = storage.data();
  if (target == Dtype::BF16 || target == Dtype::F16) {
    const int mantissa = target == Dtype::F16 ? 10 : 7;
    for (int64_t i = 0; i < count; ++i) {
      const double value = loadFloating(elementType, source, i);
      const uint16_t bits = toSixteen(value, mantissa);
      if (std::isfinite(value) && !std::isfinite(loadFloating(target, reinterpret_cast<const std::byte *>(&bits), 0)))
        invalid("expected values that fit " + std::string(dtypeName(target)) + ", but got " + std::to_string(value));
      std::memcpy(result.bytes().data() + i * sizeof(bits), &bits, sizeof(bits));
    }
  } else if (isFloating(target)) {
    HostSpan out = result.view();
    for (int64_t i = 0; i < count; ++i)
      out.set(i, loadFloating(elementType, source, i));
  } else if (target == Dtype::I64) {
    for (int64_t i = 0; i < count; ++i)
      result.as<int64_t>()[i] = load<int32_t>(source, i);
  } else {
    for (int64_t i = 0; i < count; ++i) {
      int64_t value = load<int64_t>(source, i);
      if (value != static_cast<int32_t>(value))
        invalid("expected values that fit i32, but got " + std::to_string(value));
      result.as<int32_t>()[i] = static_cast<int32_t>(value);
    }
  }
  return result;
}
