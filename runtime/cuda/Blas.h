//===- Blas.h - Matrix products of cuBLASLt ---------------------*- C++ -*-===//
// The library is loaded when it is first needed. The same product on the same
// GPU gives the same bits: no reduction whose order is open is allowed.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/HostTensor.h"
#include "runtime/cuda/Driver.h"

#include <map>

namespace tidegate::runtime::cuda {

/// C = op(A) op(B), or C += op(A) op(B) if it `adds`, row-major and contiguous: op(A) is m x k, op(B) k x n; op(X) is X
/// transposed when its flag is set. `count` products of this size lie one after the other in memory.
struct MatrixProduct {
  bool transA = false, transB = false;
  int64_t m = 0, n = 0, k = 0, count = 1;
  Dtype a = Dtype::F32, b = Dtype::F32, c = Dtype::F32;
  bool adds = false;

  auto operator<=>(const MatrixProduct &) const = default;
  /// "bf16 [8, 4] = bf16 [8, 2] x transposed bf16 [4, 2], 3 times".
  std::string text() const;
};

/// One per stream, whose products share the workspace.
class Blas {
public:
  static constexpr int64_t kWorkspaceBytes = 64 << 20;

  /// Errors: RuntimeError with whyMissing(), or without a GPU.
  Blas();
  /// Why there is no library: none found, or too old; empty if there is. TIDEGATE_CUBLASLT=PATH names another file.
  static std::string whyMissing();
  /// "13.1.0".
  static std::string version();

  /// Operands are both bf16 or both f32, the result is bf16 (of bf16 alone) or f32; sums run in f32, and f32 operands
  /// are not rounded. Errors: RuntimeError InvalidArgument for other types, Device; both name the product.
  void multiply(const Stream &stream, const MatrixProduct &product, const void *a, const void *b, void *c);

private:
  struct Algorithm {
    uint64_t data[8];
  };
  /// What the choice of an algorithm depends on: sizes and the alignment of the addresses.
  struct Key {
    MatrixProduct product;
    int alignA, alignB, alignC;
    auto operator<=>(const Key &) const = default;
  };
  /// Descriptions for the library, made once.
  struct Prepared {
    Handle operation, a, b, c;
    Algorithm algorithm;
  };
  Prepared prepare(const Key &key) const;

  Handle library;
  DeviceMemory workspace;
  std::map<Key, Prepared> products;
};

/// RuntimeError InvalidArgument unless the types of a product can be multiplied.
void checkTypes(const MatrixProduct &product);

} // namespace tidegate::runtime::cuda
