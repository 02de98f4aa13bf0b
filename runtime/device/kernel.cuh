//===- kernel.cuh - What every generated kernel starts from -----*- C++ -*-===//
#pragma once

#include "runtime/device/math.cuh"
#include "runtime/device/vector.cuh"

#ifndef TIDEGATE_WARPS
#define TIDEGATE_WARPS 4
#endif

namespace tidegate::device {

constexpr int kWarps = TIDEGATE_WARPS; ///< warps of a block
constexpr int kThreads = 32 * kWarps;

constexpr int smallerOf(int a, int b) { return a < b ? a : b; }

// Unsigned, so that the compiler knows their ranges: addresses then fold into constants.
TIDEGATE_DEVICE int laneIndex() { return static_cast<unsigned>(threadIndex()) % 32; }
TIDEGATE_DEVICE int warpIndex() { return static_cast<unsigned>(threadIndex()) / 32; }

#ifndef TIDEGATE_SOFTWARE_WARP
/// Which block of how many this is, and the dynamic shared memory of the block,
/// aligned to 1024 bytes.
struct Grid {
  long long block, blocks;
  unsigned char *shared;
};
#endif

} // namespace tidegate::device
