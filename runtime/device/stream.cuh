//===- stream.cuh - Neighbours in memory, as one access ---------*- C++ -*-===//
// Threads that stream through memory take `unit` neighbours at a time, as floats
// in registers, in accesses of up to 16 bytes. The address must be a multiple of
// the smaller of 16 bytes and `unit` elements.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/convert.cuh"

namespace tidegate::device {

/// Words that are read and written together.
template <typename T, int count>
struct alignas(sizeof(T) * count) Words {
  T word[count];
};

/// x = `unit` neighbours. Scope: thread. Exact.
template <int unit>
TIDEGATE_DEVICE void loadVector(float (&x)[unit], const float *from) {
  constexpr int kWords = unit < 4 ? unit : 4;
#pragma unroll
  for (int i = 0; i < unit; i += kWords) {
    const auto words = *reinterpret_cast<const Words<float, kWords> *>(from + i);
#pragma unroll
    for (int w = 0; w < kWords; ++w)
      x[i + w] = words.word[w];
  }
}
template <int unit>
TIDEGATE_DEVICE void loadVector(float (&x)[unit], const bf16 *from) {
  if constexpr (unit == 1) {
    x[0] = toFloat(*from);
  } else {
    constexpr int kWords = unit < 8 ? unit / 2 : 4;
#pragma unroll
    for (int i = 0; i < unit; i += 2 * kWords) {
      const auto words = *reinterpret_cast<const Words<unsigned, kWords> *>(from + i);
#pragma unroll
      for (int w = 0; w < kWords; ++w) {
        x[i + 2 * w] = bitsToFloat(words.word[w] << 16);
        x[i + 2 * w + 1] = bitsToFloat(words.word[w] & 0xffff0000u);
      }
    }
  }
}

/// `unit` neighbours = x, rounded to the element type. Scope: thread.
template <int unit>
TIDEGATE_DEVICE void storeVector(float *to, const float (&x)[unit]) {
  constexpr int kWords = unit < 4 ? unit : 4;
#pragma unroll
  for (int i = 0; i < unit; i += kWords) {
    Words<float, kWords> words;
#pragma unroll
    for (int w = 0; w < kWords; ++w)
      words.word[w] = x[i + w];
    *reinterpret_cast<Words<float, kWords> *>(to + i) = words;
  }
}
template <int unit>
TIDEGATE_DEVICE void storeVector(bf16 *to, const float (&x)[unit]) {
  if constexpr (unit == 1) {
    *to = Converter<bf16>::from(x[0]);
  } else {
    constexpr int kWords = unit < 8 ? unit / 2 : 4;
#pragma unroll
    for (int i = 0; i < unit; i += 2 * kWords) {
      Words<unsigned, kWords> words;
#pragma unroll
      for (int w = 0; w < kWords; ++w)
        words.word[w] = packBf16(x[i + 2 * w], x[i + 2 * w + 1]);
      *reinterpret_cast<Words<unsigned, kWords> *>(to + i) = words;
    }
  }
}

/// `from` where there is one, else zeros. Scope: thread.
template <int unit, typename T>
TIDEGATE_DEVICE void loadOrZero(float (&x)[unit], const T *from, bool exists) {
  if (exists) {
    loadVector(x, from);
  } else {
#pragma unroll
    for (int i = 0; i < unit; ++i)
      x[i] = 0;
  }
}

} // namespace tidegate::device
