//===- math.cuh - Element-wise operations -----------------------*- C++ -*-===//
// One function per element-wise op of the graph, under the op's own name, so that
// generated code reads like the graph. All in float. Scope: thread.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/convert.cuh"

namespace tidegate::device::op {

TIDEGATE_DEVICE float neg(float x) { return -x; }
TIDEGATE_DEVICE float exp(float x) { return ::expf(x); }
TIDEGATE_DEVICE float log(float x) { return ::logf(x); }
TIDEGATE_DEVICE float sqrt(float x) { return ::sqrtf(x); }
TIDEGATE_DEVICE float rsqrt(float x) { return 1.0f / ::sqrtf(x); }
TIDEGATE_DEVICE float abs(float x) { return ::fabsf(x); }
/// e^-x may be inf, which gives 0.
TIDEGATE_DEVICE float sigmoid(float x) { return divide(1.0f, 1.0f + ::expf(-x)); }
TIDEGATE_DEVICE float softplus(float x) { return ::fmaxf(x, 0.0f) + ::log1pf(::expf(-::fabsf(x))); }
TIDEGATE_DEVICE float tanh(float x) { return ::tanhf(x); }
TIDEGATE_DEVICE float sin(float x) { return ::sinf(x); }
TIDEGATE_DEVICE float cos(float x) { return ::cosf(x); }
/// position * base^channel less whole turns, computed in double.
TIDEGATE_DEVICE float angle(float position, float channel, double log2Base) {
  const double turns = double(position) * (::exp2(double(channel) * log2Base) * 0.15915494309189535);
  return float((turns - ::floor(turns + 0.5)) * 6.283185307179586);
}
TIDEGATE_DEVICE float is_finite(float x) { return x - x == 0.0f ? 1.0f : 0.0f; }
TIDEGATE_DEVICE float stop_gradient(float x) { return x; }

TIDEGATE_DEVICE float add(float x, float y) { return x + y; }
TIDEGATE_DEVICE float sub(float x, float y) { return x - y; }
TIDEGATE_DEVICE float mul(float x, float y) { return x * y; }
TIDEGATE_DEVICE float div(float x, float y) { return divide(x, y); }
/// NaN if one of them is, as the graph's op.
TIDEGATE_DEVICE float maximum(float x, float y) { return x != x || y != y ? x + y : ::fmaxf(x, y); }
TIDEGATE_DEVICE float minimum(float x, float y) { return x != x || y != y ? x + y : ::fminf(x, y); }
TIDEGATE_DEVICE float greater(float x, float y) { return x > y ? 1.0f : 0.0f; }
TIDEGATE_DEVICE float equal(float x, float y) { return x == y ? 1.0f : 0.0f; }
TIDEGATE_DEVICE float select(float condition, float x, float y) { return condition != 0.0f ? x : y; }
TIDEGATE_DEVICE float reset(float state, float flag) { return flag != 0.0f ? 0.0f : state; }
TIDEGATE_DEVICE float reset(float state, float flag, float init) { return flag != 0.0f ? init : state; }

} // namespace tidegate::device::op
