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

/// Runs a block's program in memory full of NaN, and fails at races in it.
template <typename Program>
void playBlock(int threads, Schedule schedule, SharedMemory &shared, Program program) {
  std::memset(shared.bytes, 0xff, sizeof shared.bytes);
  RaceCheck::self().begin(shared.bytes, sizeof shared.bytes);
  SoftwareBlock::run(threads, schedule, program);
  EXPECT_STREQ("", RaceCheck::self().end());
}

/// Runs a block's program(arena, result) under every schedule, in memory full of
/// NaN; `result` must come out the same each time.
template <typename Program>
std::vector<float> runBlock(size_t size, Program program) {
  std::vector<float> first;
  for (Schedule schedule : Schedule::all()) {
    auto shared = std::make_unique<SharedMemory>();
    std::vector<float> result(size, NAN);
    playBlock(kThreads, schedule, *shared, [&] { program(SharedArena(shared->bytes), result.data()); });
    if (first.empty())
      first = result;
    EXPECT_EQ(0, std::memcmp(first.data(), result.data(), size * sizeof(float))) << "results differ between schedules";
  }
  return first;
}

/// Runs the blocks of a launch one after the other, program(block, shared memory full of NaN) on each; from the last
/// when late warps run ahead, so that blocks that depend on each other show.
template <typename Program>
void playLaunch(Schedule schedule, long long blocks, Program program) {
  auto shared = std::make_unique<SharedMemory>();
  for (long long i = 0; i < blocks; ++i) {
    long long block = schedule.order == Schedule::Order::LastAhead ? blocks - 1 - i : i;
    playBlock(kThreads, schedule, *shared, [&] { program(block, shared->bytes); });
  }
}

/// A device array: its values survive nowhere but here, and what was not written is NaN.
template <typename T>
class Array {
public:
  explicit Array(size_t count) : values(count + 8) {
    std::memset(values.data(), 0xff, values.size() * sizeof(T));
    first = reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(values.data()) + 15) / 16 * 16);
    size = count;
  }
  explicit Array(const std::vector<float> &from) : Array(from.size()) {
    for (size_t i = 0; i < size; ++i)
      if constexpr (std::is_same_v<T, int>)
        first[i] = int(from[i]);
      else
        first[i] = Converter<T>::from(from[i]);
  }
  Array(const Array &) = delete;

  T *data() const { return first; }
  /// As floats; what is not is converted exactly.
  std::vector<float> floats() const {
    std::vector<float> result(size);
    for (size_t i = 0; i < size; ++i)
      if constexpr (std::is_same_v<T, int>)
        result[i] = float(first[i]);
      else
        result[i] = toFloat(first[i]);
    return result;
  }

private:
  std::vector<T> values;
  T *first;
  size_t size;
};

/// The result of play(schedule), which must be the same under every schedule.
template <typename Program>
std::vector<float> underAllSchedules(Program play) {
  std::vector<float> first;
  for (Schedule schedule : Schedule::all()) {
    std::vector<float> result = play(schedule);
    if (first.empty())
      first = result;
    EXPECT_EQ(first.size(), result.size());
    EXPECT_EQ(0, std::memcmp(first.data(), result.data(), result.size() * sizeof(float)))
        << "results differ between schedules";
  }
  return first;
}

inline long long ceilDivLong(long long a, long long b) { return (a + b - 1) / b; }

} // namespace tidegate::device
