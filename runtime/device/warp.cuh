//===- warp.cuh - What the hardware does for a warp -------------*- C++ -*-===//
// The only file with PTX. Everything above it is plain C++ over these functions,
// so that it also runs where they are played by software: a program that brings
// its own versions defines TIDEGATE_SOFTWARE_WARP before including this.
//
// Scope `thread`: any thread may call it alone. Scope `warp`: all 32 lanes call
// it together. Scope `block`: all threads of the block do.
//===----------------------------------------------------------------------===//
#pragma once

namespace tidegate::device {

/// The bits of a bfloat16.
struct bf16 {
  unsigned short bits;
};

} // namespace tidegate::device

#ifndef TIDEGATE_SOFTWARE_WARP

#define TIDEGATE_DEVICE __device__ __forceinline__

namespace tidegate::device {

/// Index of the thread in its block. Scope: thread.
TIDEGATE_DEVICE int threadIndex() { return threadIdx.x; }

/// Waits for all threads; their writes to shared memory are seen after it. Scope: block.
TIDEGATE_DEVICE void syncBlock() { __syncthreads(); }

/// As syncBlock, for one warp. Scope: warp.
TIDEGATE_DEVICE void syncWarp() { __syncwarp(); }

/// `value` of lane `lane ^ mask`. Scope: warp.
TIDEGATE_DEVICE float shuffleXor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

/// `value` of lane `lane - delta`, or the caller's own where there is none. Scope: warp.
TIDEGATE_DEVICE float shuffleUp(float value, int delta) { return __shfl_up_sync(0xffffffffu, value, delta); }

/// `value` of lane `source`. Scope: warp.
TIDEGATE_DEVICE float shuffle(float value, int source) { return __shfl_sync(0xffffffffu, value, source); }

TIDEGATE_DEVICE unsigned sharedAddress(const void *shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

/// Four 8 x 8 matrices of 16-bit elements from shared memory: lane 8 i + r names
/// row r of matrix i, 16 bytes, 16-byte aligned; `out[i]` gets the elements
/// (lane / 4, 2 (lane % 4)) and the next of matrix i. Scope: warp.
TIDEGATE_DEVICE void loadMatrices(unsigned (&out)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(sharedAddress(row))
               : "memory");
}

/// The same of the transposed matrices. Scope: warp.
TIDEGATE_DEVICE void loadMatricesTransposed(unsigned (&out)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(sharedAddress(row))
               : "memory");
}

/// d += a b with a 16 x 16, b 16 x 8, d 16 x 8: bfloat16 in, float out. With
/// r = lane / 4 and c = 2 (lane % 4), pairs of neighbours along the contraction:
/// a[0] (r, c), a[1] (r + 8, c), a[2] (r, c + 8), a[3] (r + 8, c + 8);
/// b0 (c, r), b1 (c + 8, r); d[0], d[1] (r, c), (r, c + 1); d[2], d[3] row r + 8.
/// Scope: warp.
TIDEGATE_DEVICE void multiplyAdd(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Two floats rounded to bfloat16, the first in the low half. Scope: thread.
TIDEGATE_DEVICE unsigned packBf16(float first, float second) {
  unsigned packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(second), "f"(first));
  return packed;
}

TIDEGATE_DEVICE float bitsToFloat(unsigned bits) { return __uint_as_float(bits); }
TIDEGATE_DEVICE unsigned floatToBits(float x) { return __float_as_uint(x); }

/// 2^x, relative error below 2^-22; 0 for x below -126. Scope: thread.
TIDEGATE_DEVICE float exp2Fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Starts to copy 16 aligned bytes from global to shared memory; with `valid`
/// false it writes zeros and reads nothing. Scope: thread.
TIDEGATE_DEVICE void startCopy16(void *shared, const void *global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :: "r"(sharedAddress(shared)), "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}

/// The same for 4 bytes. Scope: thread.
TIDEGATE_DEVICE void startCopy4(void *shared, const void *global, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
               :: "r"(sharedAddress(shared)), "l"(global), "r"(valid ? 4 : 0)
               : "memory");
}

/// Ends a group of started copies of this thread. Scope: thread.
TIDEGATE_DEVICE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most `pending` groups of this thread are under way; others see
/// the bytes after the next syncBlock. Scope: thread.
template <int pending>
TIDEGATE_DEVICE void waitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

} // namespace tidegate::device

#endif // TIDEGATE_SOFTWARE_WARP
