//===- SoftwareWarp.h - A block of threads played on the CPU ----*- C++ -*-===//
// Runs device code without a device. Every thread of a block is a fiber; what a
// warp or a block does together waits until all its threads have come, and a
// thread that never comes is reported. A schedule says who runs ahead of whom,
// and whether started copies happen at once or as late as they may: a program
// that gives the same bits under all of them does not race in these runs. What
// RaceCheck.h finds does not depend on the schedule.
//
// Include it before any header of runtime/device.
//===----------------------------------------------------------------------===//
#pragma once

#define TIDEGATE_SOFTWARE_WARP
#define TIDEGATE_DEVICE inline

#include "runtime/device/warp.cuh"
#include "tests/unit/device/RaceCheck.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <ucontext.h>
#include <vector>

namespace tidegate::device {

/// Which warp runs first, and when copies land.
struct Schedule {
  enum class Order { RoundRobin, FirstAhead, LastAhead } order = Order::RoundRobin;
  bool lateCopies = false;

  /// All of them.
  static std::vector<Schedule> all() {
    std::vector<Schedule> schedules;
    for (Order order : {Order::RoundRobin, Order::FirstAhead, Order::LastAhead})
      for (bool late : {false, true})
        schedules.push_back({order, late});
    return schedules;
  }
};

/// The schedule of playGrid.
inline Schedule &playedSchedule() {
  static Schedule schedule;
  return schedule;
}

/// Which block of how many, and its shared memory; see kernel.cuh.
struct Grid {
  long long block, blocks;
  unsigned char *shared;
};

class SoftwareBlock {
public:
  /// Runs `program` on every thread of a block. Errors: runtime_error when threads wait for ones that do
  /// not come, or lanes of a warp meet in different functions.
  static void run(int threads, Schedule schedule, const std::function<void()> &program) {
    SoftwareBlock block(threads, schedule, program);
    current() = &block;
    block.schedule();
    current() = nullptr;
    if (!block.error.empty())
      throw std::runtime_error(block.error);
  }

  static SoftwareBlock &self() { return *current(); }
  int thread() const { return running; }

  /// Waits for the 32 lanes of the warp; the last to come calls `perform(in, out)` on all lanes' pointers.
  template <typename Perform>
  void inWarp(const char *what, const void *in, void *out, Perform perform) {
    Meeting &meeting = warps[running / 32];
    int lane = running % 32;
    if (meeting.come == 0)
      meeting.what = what;
    else if (std::strcmp(meeting.what, what))
      fail("thread " + std::to_string(running) + " calls " + what + " while its warp is in " + meeting.what);
    meeting.in[lane] = in;
    meeting.out[lane] = out;
    wait(meeting, 32, [&] { perform(meeting.in, meeting.out); });
  }

  void inBlock() {
    wait(all, static_cast<int>(fibers.size()), [] { RaceCheck::self().meetBlock(); });
  }

  void copy(void *to, const void *from, bool valid, size_t bytes = 16) {
    auto act = [=] { valid ? std::memcpy(to, from, bytes) : std::memset(to, 0, bytes); };
    const void *code = RaceCheck::here();
    RaceCheck::self().startCopy(to, bytes, code);
    const PlayersOwn own;
    const bool isLate = plan.lateCopies;
    if (!isLate)
      act();
    fibers[running]->open.push_back([=, this] {
      if (isLate)
        act();
      RaceCheck::self().run(running);
      RaceCheck::self().landCopy(to, bytes, code);
      RaceCheck::self().run(RaceCheck::kPlayer);
    });
  }
  void commit() {
    Fiber &fiber = *fibers[running];
    fiber.groups.push_back(std::move(fiber.open));
    fiber.open.clear();
  }
  void awaitCopies(size_t pending) {
    const PlayersOwn own;
    auto &groups = fibers[running]->groups;
    while (groups.size() > pending) {
      for (auto &act : groups.front())
        act();
      groups.erase(groups.begin());
    }
  }

private:
  static constexpr size_t kStack = 64 << 10;

  struct Meeting {
    const char *what = "";
    const void *in[32];
    void *out[32];
    int come = 0;
    uint64_t times = 0;
  };
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStack]};
    bool done = false;
    std::vector<std::function<void()>> open;
    std::vector<std::vector<std::function<void()>>> groups;
  };

  SoftwareBlock(int threads, Schedule plan, const std::function<void()> &program)
      : plan(plan), program(program), warps((threads + 31) / 32) {
    for (int i = 0; i < threads; ++i) {
      fibers.push_back(std::make_unique<Fiber>());
      Fiber &fiber = *fibers.back();
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStack;
      fiber.context.uc_link = &home;
      makecontext(&fiber.context, &SoftwareBlock::enter, 0);
    }
  }

  /// While it lives, accesses are those of the player.
  struct PlayersOwn {
    PlayersOwn() { RaceCheck::self().run(RaceCheck::kPlayer); }
    ~PlayersOwn() { RaceCheck::self().run(self().running); }
  };

  static SoftwareBlock *&current() {
    static SoftwareBlock *block = nullptr;
    return block;
  }

  static void enter() {
    SoftwareBlock &block = self();
    try {
      block.program();
    } catch (const std::exception &e) {
      block.error = e.what();
    }
    block.fibers[block.running]->done = true;
    ++block.progress;
  }

  [[noreturn]] void fail(const std::string &why) { throw std::runtime_error(why); }

  template <typename Act>
  void wait(Meeting &meeting, int count, Act act) {
    uint64_t before = meeting.times;
    if (++meeting.come == count) {
      {
        const PlayersOwn own;
        act();
      }
      meeting.come = 0;
      ++meeting.times;
      ++progress;
      return;
    }
    while (meeting.times == before)
      swapcontext(&fibers[running]->context, &home);
  }

  void resume(int i) {
    if (fibers[i]->done || !error.empty())
      return;
    running = i;
    RaceCheck::self().run(i);
    swapcontext(&home, &fibers[i]->context);
    RaceCheck::self().run(RaceCheck::kPlayer);
  }

  /// Lets the threads of warp w run until they wait for others.
  void runAhead(int w) {
    uint64_t before;
    do {
      before = progress;
      for (int i = 32 * w; i < std::min<int>(32 * w + 32, fibers.size()); ++i)
        resume(i);
    } while (progress != before);
  }

  void schedule() {
    int count = static_cast<int>(warps.size());
    while (error.empty() && !std::all_of(fibers.begin(), fibers.end(), [](auto &f) { return f->done; })) {
      uint64_t before = progress;
      if (plan.order == Schedule::Order::RoundRobin)
        for (int i = 0; i < static_cast<int>(fibers.size()); ++i)
          resume(i);
      else
        for (int w = 0; w < count; ++w)
          runAhead(plan.order == Schedule::Order::FirstAhead ? w : count - 1 - w);
      if (progress == before && error.empty())
        error = "threads wait for others that do not come";
    }
  }

  Schedule plan;
  const std::function<void()> &program;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Meeting> warps;
  Meeting all;
  ucontext_t home;
  int running = 0;
  uint64_t progress = 0;
  std::string error;
};

inline int threadIndex() { return SoftwareBlock::self().thread(); }
inline void syncBlock() { SoftwareBlock::self().inBlock(); }
inline void syncWarp() {
  SoftwareBlock::self().inWarp("syncWarp", nullptr, nullptr,
                               [](auto &, auto &) { RaceCheck::self().meetWarp(threadIndex() / 32); });
}

/// Every lane gets the value of lane `source(lane)`.
template <typename Source>
float exchange(const char *what, float value, Source source) {
  float result = 0;
  SoftwareBlock::self().inWarp(what, &value, &result, [&](auto &in, auto &out) {
    float values[32];
    for (int lane = 0; lane < 32; ++lane)
      values[lane] = *static_cast<const float *>(in[lane]);
    for (int lane = 0; lane < 32; ++lane)
      *static_cast<float *>(out[lane]) = values[source(lane)];
  });
  return result;
}
inline float shuffleXor(float value, int mask) {
  return exchange("shuffleXor", value, [=](int lane) { return lane ^ mask; });
}
inline float shuffleUp(float value, int delta) {
  return exchange("shuffleUp", value, [=](int lane) { return lane < delta ? lane : lane - delta; });
}
inline float shuffle(float value, int source) {
  return exchange("shuffle", value, [=](int) { return source; });
}

inline void loadMatricesAs(unsigned (&out)[4], const void *row, bool transposed) {
  if (reinterpret_cast<uintptr_t>(row) % 16)
    throw std::runtime_error("a matrix row is not 16-byte aligned");
  RaceCheck::self().access(row, 16, false, RaceCheck::here());
  SoftwareBlock::self().inWarp(
      transposed ? "loadMatricesTransposed" : "loadMatrices", row, out, [transposed](auto &in, auto &out) {
        for (int lane = 0; lane < 32; ++lane)
          for (int i = 0; i < 4; ++i) {
            uint16_t pair[2];
            for (int p = 0; p < 2; ++p) {
              int r = lane / 4, c = 2 * (lane % 4) + p;
              if (transposed)
                std::swap(r, c);
              std::memcpy(&pair[p], static_cast<const char *>(in[8 * i + r]) + 2 * c, 2);
            }
            static_cast<unsigned *>(out[lane])[i] = pair[0] | unsigned(pair[1]) << 16;
          }
      });
}
inline void loadMatrices(unsigned (&out)[4], const void *row) { loadMatricesAs(out, row, false); }
inline void loadMatricesTransposed(unsigned (&out)[4], const void *row) { loadMatricesAs(out, row, true); }

inline float bitsToFloat(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned floatToBits(float x) { return std::bit_cast<unsigned>(x); }

inline void multiplyAdd(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  unsigned operands[6] = {a[0], a[1], a[2], a[3], b0, b1};
  SoftwareBlock::self().inWarp("multiplyAdd", operands, d, [](auto &in, auto &out) {
    float left[16][16], right[16][8];
    for (int lane = 0; lane < 32; ++lane) {
      auto *given = static_cast<const unsigned *>(in[lane]);
      int r = lane / 4, c = 2 * (lane % 4);
      for (int p = 0; p < 2; ++p) {
        auto half = [&](int i) { return bitsToFloat((given[i] >> (16 * p) & 0xffff) << 16); };
        for (int i = 0; i < 4; ++i)
          left[r + i % 2 * 8][c + p + i / 2 * 8] = half(i);
        for (int i = 0; i < 2; ++i)
          right[c + p + 8 * i][r] = half(4 + i);
      }
    }
    for (int lane = 0; lane < 32; ++lane)
      for (int e = 0; e < 4; ++e) {
        int row = lane / 4 + e / 2 * 8, col = 2 * (lane % 4) + e % 2;
        float sum = 0;
        for (int k = 0; k < 16; ++k)
          sum += left[row][k] * right[k][col];
        static_cast<float *>(out[lane])[e] += sum;
      }
  });
}

inline unsigned packBf16(float first, float second) {
  auto round = [](float x) {
    uint32_t bits = std::bit_cast<uint32_t>(x);
    if (x != x)
      return uint32_t(0x7fff);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16; // to nearest, ties to even
  };
  return round(first) | round(second) << 16;
}

inline float exp2Fast(float x) { return x < -126 ? 0 : std::exp2(x); }

inline void startCopy16(void *shared, const void *global, bool valid) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 || (valid && reinterpret_cast<uintptr_t>(global) % 16))
    throw std::runtime_error("a copy of 16 bytes is not aligned");
  SoftwareBlock::self().copy(shared, global, valid);
}
inline void startCopy4(void *shared, const void *global, bool valid) {
  if (reinterpret_cast<uintptr_t>(shared) % 4 || (valid && reinterpret_cast<uintptr_t>(global) % 4))
    throw std::runtime_error("a copy of 4 bytes is not aligned");
  SoftwareBlock::self().copy(shared, global, valid, 4);
}
inline void commitCopies() { SoftwareBlock::self().commit(); }
template <int pending>
inline void waitCopies() {
  SoftwareBlock::self().awaitCopies(pending);
}

/// Runs program(grid) for every block of a grid, one after the other, each in shared memory full of NaN; from the last
/// when late warps run ahead, so that blocks that depend on each other show. Errors: as SoftwareBlock::run;
/// runtime_error for races, in code that is checked for them.
template <typename Program>
void playGrid(long long blocks, int threads, size_t sharedBytes, const Program &program) {
  constexpr size_t kAlignment = 1024;
  std::vector<unsigned char> memory(sharedBytes + kAlignment);
  auto *shared = reinterpret_cast<unsigned char *>(
      (reinterpret_cast<uintptr_t>(memory.data()) + kAlignment - 1) / kAlignment * kAlignment);
  const bool fromLast = playedSchedule().order == Schedule::Order::LastAhead;
  for (long long i = 0; i < blocks; ++i) {
    const long long block = fromLast ? blocks - 1 - i : i;
    std::memset(shared, 0xff, sharedBytes);
    RaceCheck::self().begin(shared, sharedBytes);
    SoftwareBlock::run(threads, playedSchedule(), [&] { program(Grid{block, blocks, shared}); });
    if (const char *race = RaceCheck::self().end(); race[0])
      throw std::runtime_error(race);
  }
}

} // namespace tidegate::device
