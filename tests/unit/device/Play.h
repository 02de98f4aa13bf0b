//===- Play.h - Running device code in tests --------------------*- C++ -*-===//
#pragma once

#include "tests/unit/device/SoftwareWarp.h"

#include "runtime/device/tile.cuh"

#include <gtest/gtest.h>
#include <random>

namespace tidegate::device {

/// Values that bfloat16 holds exactly: products are then exact up to the order of float sums.
inline std::vector<float> randomValues(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int> pick(-128, 128);
  std::vector<float> values(count);
  for (float &x : values)
    x = float(pick(generator)) / 128;
  return values;
}

struct alignas(1024) SharedMemory {
  unsigned char bytes[227 << 10];
};

/// Hands out aligned pieces of a block's shared memory.
class SharedArena {
public:
  explicit SharedArena(unsigned char *base) : next(base) {}
  template <typename Tile>
  Tile tile() {
    return Tile{take(Tile::kBytes)};
  }
  float *floats(size_t count) { return reinterpret_cast<float *>(take(count * sizeof(float))); }

private:
  unsigned char *take(size_t bytes) {
    unsigned char *place = next;
    next += (bytes + 1023) / 1024 * 1024;
    return place;
  }
  unsigned char *next;
};

/// Runs a block's program(arena, result) under every schedule, in memory full of
/// NaN; `result` must come out the same each time.
template <typename Program>
std::vector<float> runBlock(size_t size, Program program) {
  std::vector<float> first;
  for (Schedule schedule : Schedule::all()) {
    auto shared = std::make_unique<SharedMemory>();
    std::memset(shared->bytes, 0xff, sizeof shared->bytes);
    std::vector<float> result(size, NAN);
    SoftwareBlock::run(kThreads, schedule, [&] { program(SharedArena(shared->bytes), result.data()); });
    if (first.empty())
      first = result;
    EXPECT_EQ(0, std::memcmp(first.data(), result.data(), size * sizeof(float)))
        << "results differ between schedules";
  }
  return first;
}

} // namespace tidegate::device
