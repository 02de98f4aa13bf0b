//===- HostTensor.h - A row-major tensor in host memory --------*- C++ -*-===//
// What crosses the border between files, programs and tests: an element type,
// a shape and owned bytes. Views of memory owned elsewhere are HostSpans.
//===----------------------------------------------------------------------===//
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tidegate::runtime {

enum class Dtype { F32, F64, I32, I64, BF16, F16 };

size_t dtypeSize(Dtype dtype);
/// "f32", "bf16", ... as in messages and on the command line.
std::string_view dtypeName(Dtype dtype);
bool isFloating(Dtype dtype);

template <typename T>
inline constexpr Dtype dtypeOf = [] {
  static_assert(sizeof(T) == 0, "a host element is float, double, int32_t or int64_t");
  return Dtype::F32;
}();
template <>
inline constexpr Dtype dtypeOf<float> = Dtype::F32;
template <>
inline constexpr Dtype dtypeOf<double> = Dtype::F64;
template <>
inline constexpr Dtype dtypeOf<int32_t> = Dtype::I32;
template <>
inline constexpr Dtype dtypeOf<int64_t> = Dtype::I64;

/// "[2, 3]".
std::string shapeText(std::span<const int64_t> shape);
/// Product of the sizes; InvalidArgument for a negative size or an overflow.
int64_t elementCount(std::span<const int64_t> shape);

/// A mutable view of a tensor owned elsewhere, flat and row-major.
struct HostSpan {
  Dtype dtype = Dtype::F32;
  void *data = nullptr;
  int64_t elements = 0;

  /// The elements as T; InvalidArgument when the dtype is another one.
  template <typename T>
  std::span<T> as() const {
    checkDtype(dtypeOf<T>);
    return {static_cast<T *>(data), static_cast<size_t>(elements)};
  }
  /// Element i of a floating (f32, f64) span, widened.
  double get(int64_t i) const;
  /// Rounds to the element type.
  void set(int64_t i, double value) const;
  std::span<std::byte> bytes() const { return {static_cast<std::byte *>(data), elements * dtypeSize(dtype)}; }

private:
  void checkDtype(Dtype wanted) const;
};

/// Row-major elements with their shape; owns its bytes (aligned to 16).
class HostTensor {
public:
  HostTensor() = default;
  /// Zero-filled.
  HostTensor(Dtype dtype, std::vector<int64_t> shape);

  template <typename T>
  static HostTensor of(std::vector<int64_t> shape, std::span<const T> values) {
    HostTensor tensor(dtypeOf<T>, std::move(shape));
    tensor.checkCount(values.size());
    std::copy(values.begin(), values.end(), tensor.as<T>().begin());
    return tensor;
  }

  Dtype dtype() const { return elementType; }
  const std::vector<int64_t> &shape() const { return sizes; }
  int64_t elements() const { return count; }

  template <typename T>
  std::span<T> as() {
    return view().as<T>();
  }
  template <typename T>
  std::span<const T> as() const {
    return const_cast<HostTensor *>(this)->view().as<T>();
  }
  HostSpan view() { return {elementType, storage.data(), count}; }
  std::span<std::byte> bytes() { return {storage.data(), storage.size()}; }
  std::span<const std::byte> bytes() const { return {storage.data(), storage.size()}; }

  /// The same values in another element type. Floating types round to nearest,
  /// ties to even; they do not become integers, nor integers floating ones;
  /// i64 to i32 checks the range. InvalidArgument otherwise, and for a finite
  /// value that f16 or bf16 is too narrow for.
  HostTensor to(Dtype target) const;

private:
  void checkCount(size_t given) const;

  Dtype elementType = Dtype::F32;
  std::vector<int64_t> sizes{0};
  int64_t count = 0;
  std::vector<std::byte> storage;
};

} // namespace tidegate::runtime
