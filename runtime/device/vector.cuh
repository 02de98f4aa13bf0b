//===- vector.cuh - Neighbours in memory as floats --------------*- C++ -*-===//
// n in {1, 2, 4, 8} elements of bfloat16 or float at an address that is aligned to
// all of them, in as few accesses as 16 bytes each allow. Scope: thread.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/convert.cuh"

namespace tidegate::device {

template <int count>
struct alignas(4 * count) Words {
  unsigned word[count];
};

template <int n>
TIDEGATE_DEVICE void loadVector(float (&x)[n], const float *from) {
  constexpr int kStep = n < 4 ? n : 4;
#pragma unroll
  for (int i = 0; i < n; i += kStep) {
    auto words = *reinterpret_cast<const Words<kStep> *>(from + i);
#pragma unroll
    for (int j = 0; j < kStep; ++j)
      x[i + j] = bitsToFloat(words.word[j]);
  }
}

template <int n>
TIDEGATE_DEVICE void loadVector(float (&x)[n], const bf16 *from) {
  if constexpr (n == 1) {
    x[0] = toFloat(*from);
  } else {
    auto words = *reinterpret_cast<const Words<n / 2> *>(from);
#pragma unroll
    for (int j = 0; j < n / 2; ++j) {
      x[2 * j] = bitsToFloat(words.word[j] << 16);
      x[2 * j + 1] = bitsToFloat(words.word[j] & 0xffff0000u);
    }
  }
}

template <int n>
TIDEGATE_DEVICE void loadVector(int (&x)[n], const int *from) {
#pragma unroll
  for (int i = 0; i < n; ++i)
    x[i] = from[i];
}

template <int n>
TIDEGATE_DEVICE void storeVector(float *to, const float (&x)[n]) {
  constexpr int kStep = n < 4 ? n : 4;
#pragma unroll
  for (int i = 0; i < n; i += kStep) {
    Words<kStep> words;
#pragma unroll
    for (int j = 0; j < kStep; ++j)
      words.word[j] = floatToBits(x[i + j]);
    *reinterpret_cast<Words<kStep> *>(to + i) = words;
  }
}

template <int n>
TIDEGATE_DEVICE void storeVector(bf16 *to, const float (&x)[n]) {
  if constexpr (n == 1) {
    *to = Converter<bf16>::from(x[0]);
  } else {
    Words<n / 2> words;
#pragma unroll
    for (int j = 0; j < n / 2; ++j)
      words.word[j] = packBf16(x[2 * j], x[2 * j + 1]);
    *reinterpret_cast<Words<n / 2> *>(to) = words;
  }
}

} // namespace tidegate::device
