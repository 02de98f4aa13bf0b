//===- stream.cuh - What kernels that pass through memory share -*- C++ -*-===//
#pragma once

#include "runtime/device/vector.cuh"

namespace tidegate::device {

/// x, but what is computed from it is computed again in every round of a loop, not kept in registers. Scope: thread.
TIDEGATE_DEVICE int recomputed(int x) {
#ifndef TIDEGATE_SOFTWARE_WARP
  asm volatile("" : "+r"(x));
#endif
  return x;
}

/// `from` where there is one, else zeros. Scope: thread.
template <int n, typename T>
TIDEGATE_DEVICE void loadOrZero(float (&x)[n], const T *from, bool exists) {
  if (exists) {
    loadVector(x, from);
  } else {
#pragma unroll
    for (int i = 0; i < n; ++i)
      x[i] = 0;
  }
}

} // namespace tidegate::device
