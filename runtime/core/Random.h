//===- Random.h - Counter-based random numbers ------------------*- C++ -*-===//
// A number is a function of (seed, stream name, index) and nothing else, so
// draws do not depend on order or threads, and resuming needs no saved state.
//===----------------------------------------------------------------------===//
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace tidegate::runtime {

/// Philox 4x32 with 10 rounds.
/// Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

class RandomStream {
public:
  RandomStream(uint64_t seed, std::string_view name);

  uint64_t bits(uint64_t index) const;
  /// In [0, 1), a multiple of 2^-53.
  double uniform(uint64_t index) const;
  /// An integer in [0, n), n > 0, from 64 bits (bias below n / 2^64).
  uint64_t below(uint64_t n, uint64_t index) const;
  /// Standard normal draws 2 * pair and 2 * pair + 1 (Box-Muller).
  std::array<double, 2> normalPair(uint64_t pair) const;

private:
  std::array<uint32_t, 4> block(uint64_t index, uint32_t lane) const;

  std::array<uint32_t, 2> key;
  uint32_t nameBits; ///< More of the name than the key holds.
};

} // namespace tidegate::runtime
