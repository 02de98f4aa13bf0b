//===- rows.cuh - Teams of threads that share a row -------------*- C++ -*-===//
// A row is worked on by a team: 1, 2, 4, ..., 32 lanes of a warp, or a whole block.
// All lanes of a warp (all threads of the block) call these functions together.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/device/kernel.cuh"

namespace tidegate::device {

struct Sum {
  TIDEGATE_DEVICE static float of(float x, float y) { return x + y; }
  TIDEGATE_DEVICE static float neutral() { return 0; }
};
struct Max {
  TIDEGATE_DEVICE static float of(float x, float y) { return op::maximum(x, y); }
  TIDEGATE_DEVICE static float neutral() { return -bitsToFloat(0x7f800000u); }
};

/// The threads of a team wait for each other. Scope: block.
template <int team>
TIDEGATE_DEVICE void syncTeam() {
  if constexpr (team > 32)
    syncBlock();
  else
    syncWarp();
}

/// Fold of x over groups of `width` neighbouring lanes; every lane gets it. `width`
/// is a power of two up to 32, or kThreads: then `work` holds kWarps floats and two
/// barriers pass. Scope: block.
template <typename Fold, int width>
TIDEGATE_DEVICE float foldLanes(float x, float *work) {
#pragma unroll
  for (int mask = 1; mask < smallerOf(width, 32); mask *= 2)
    x = Fold::of(x, shuffleXor(x, mask));
  if constexpr (width > 32) {
    if (laneIndex() == 0)
      work[warpIndex()] = x;
    syncBlock();
    x = work[0];
#pragma unroll
    for (int w = 1; w < kWarps; ++w)
      x = Fold::of(x, work[w]);
    syncBlock();
  }
  return x;
}

/// out[i] = sum over the block's teams, in their order, of x[i] of the thread that
/// stands at the same place in each team, for `count` values per thread; the thread
/// of the first team gets it. `work` holds kThreads floats. Scope: block.
template <int team, int count>
TIDEGATE_DEVICE void sumTeams(float (&x)[count], float *work) {
  if constexpr (team < kThreads) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      syncBlock();
      work[threadIndex()] = x[i];
      syncBlock();
      if (threadIndex() < team)
        for (int t = threadIndex() + team; t < kThreads; t += team)
          x[i] += work[t];
    }
    syncBlock();
  }
}

} // namespace tidegate::device
