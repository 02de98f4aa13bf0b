//===- Permutation.h - A shuffle without a table ----------------*- C++ -*-===//
// A bijection of [0, n) that is a function of a key: a Feistel network over
// the next even power of two, applied again while the result is outside.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/Random.h"

#include <array>
#include <cstdint>

namespace tidegate::data {

/// Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002 (cycle walking).
class Permutation {
public:
  /// Another shuffle for each (seed, epoch, block). n may be 0.
  Permutation(uint64_t n, uint64_t seed, uint64_t epoch, uint64_t block)
      : n(n), key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
        tweak{static_cast<uint32_t>(epoch), static_cast<uint32_t>(block)} {
    while (half < 32 && (uint64_t(1) << 2 * half) < n)
      ++half;
  }

  /// Where index i < n goes.
  uint64_t operator()(uint64_t i) const {
    do
      i = once(i);
    while (i >= n);
    return i;
  }

private:
  uint64_t once(uint64_t x) const {
    const uint64_t mask = (uint64_t(1) << half) - 1;
    uint64_t left = x >> half, right = x & mask;
    for (uint32_t round = 0; round < kRounds; ++round) {
      const uint32_t mixed = runtime::philox({static_cast<uint32_t>(right), round, tweak[0], tweak[1]}, key)[0];
      left ^= mixed & mask;
      std::swap(left, right);
    }
    return left << half | right;
  }

  static constexpr uint32_t kRounds = 6;
  uint64_t n;
  std::array<uint32_t, 2> key, tweak;
  unsigned half = 1; ///< Bits of each half.
};

} // namespace tidegate::data
