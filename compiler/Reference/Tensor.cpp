//===- Tensor.cpp - Index arithmetic of dense tensors -----------*- C++ -*-===//
#include "compiler/Reference/Tensor.h"

namespace tidegate::reference {

int64_t product(const std::vector<int64_t> &shape) {
  int64_t n = 1;
  for (int64_t size : shape)
    n *= size;
  return n;
}

Tensor Tensor::zeros(std::vector<int64_t> shape) {
  Tensor tensor;
  tensor.values.assign(product(shape), 0.0);
  tensor.shape = std::move(shape);
  return tensor;
}

int64_t Tensor::size() const { return product(shape); }

std::vector<int64_t> rowMajorStrides(const std::vector<int64_t> &shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (std::size_t d = shape.size(); d-- > 1;)
    strides[d - 1] = strides[d] * shape[d];
  return strides;
}

std::vector<int64_t> offsets(const std::vector<int64_t> &sizes, const std::vector<int64_t> &strides) {
  std::vector<int64_t> result{0};
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    std::vector<int64_t> next;
    next.reserve(result.size() * sizes[d]);
    for (int64_t base : result)
      for (int64_t i = 0; i < sizes[d]; ++i)
        next.push_back(base + i * strides[d]);
    result = std::move(next);
  }
  return result;
}

std::vector<int64_t> broadcastOffsets(const std::vector<int64_t> &from, const std::vector<int64_t> &to) {
  std::vector<int64_t> own = rowMajorStrides(from), strides(to.size(), 0);
  std::size_t missing = to.size() - from.size();
  for (std::size_t d = 0; d < from.size(); ++d)
    strides[missing + d] = from[d] == 1 ? 0 : own[d];
  return offsets(to, strides);
}

} // namespace tidegate::reference
