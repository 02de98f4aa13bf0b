//===- convert.cuh - Element types ------------------------------*- C++ -*-===//
// Computation is in float; memory holds float or bfloat16.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/warp.cuh"

namespace tidegate::device {

TIDEGATE_DEVICE float toFloat(bf16 x) { return bitsToFloat(static_cast<unsigned>(x.bits) << 16); }
TIDEGATE_DEVICE float toFloat(float x) { return x; }

/// x / y; programs in bfloat16 (TIDEGATE_FAST_DIVIDE) take the division of two units in the last place.
TIDEGATE_DEVICE float divide(float x, float y) {
#if defined(TIDEGATE_FAST_DIVIDE) && !defined(TIDEGATE_SOFTWARE_WARP)
  return __fdividef(x, y);
#else
  return x / y;
#endif
}

template <typename T>
struct Converter;
template <>
struct Converter<float> {
  TIDEGATE_DEVICE static float from(float x) { return x; }
};
template <>
struct Converter<bf16> {
  TIDEGATE_DEVICE static bf16 from(float x) { return {static_cast<unsigned short>(packBf16(x, 0) & 0xffff)}; }
};

} // namespace tidegate::device
