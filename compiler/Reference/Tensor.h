//===- Tensor.h - Values of the reference interpreter -----------*- C++ -*-===//
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tidegate::reference {

/// A dense row-major tensor in double precision, or of indices.
struct Tensor {
  std::vector<int64_t> shape;
  std::vector<double> values; ///< Empty for indices.
  std::vector<int32_t> ids;   ///< Empty for numbers.

  static Tensor zeros(std::vector<int64_t> shape);
  /// Number of elements that `shape` asks for.
  int64_t size() const;
};

/// Product of sizes; 1 for none.
int64_t product(const std::vector<int64_t> &shape);

/// Element strides of a row-major tensor.
std::vector<int64_t> rowMajorStrides(const std::vector<int64_t> &shape);

/// Row-major walk over an index space of the given sizes: the offset of each
/// point, where a step along dimension `d` moves by `strides[d]`.
std::vector<int64_t> offsets(const std::vector<int64_t> &sizes, const std::vector<int64_t> &strides);

/// For each element of shape `to`, the offset of the element of shape `from`
/// that broadcasting (aligned at the end) repeats there.
std::vector<int64_t> broadcastOffsets(const std::vector<int64_t> &from, const std::vector<int64_t> &to);

} // namespace tidegate::reference
