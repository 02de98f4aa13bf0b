//===- RaceCheck.h - Races in the shared memory of a played block -*- C++ -*-===//
// Finds accesses to shared memory that nothing orders, whatever the schedule of a run
// and whether or not its result shows it: two threads touch the same bytes, one of
// them writes, and no barrier lies between; or anybody touches bytes that a copy is
// still under way to. The compiler reports every access: code under test is compiled,
// but not linked, with -fsanitize=thread, and the functions that it then calls are
// those at the end here.
//
// A barrier of the block orders all threads, syncWarp those of its warp. Shuffles and
// matrix products order nothing.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <dlfcn.h>

/// What the compiler does not report: the check would call itself.
#define TIDEGATE_UNREPORTED __attribute__((no_sanitize("thread")))

namespace tidegate::device {

/// The accesses to the shared memory of one block. Plain code on plain memory: what it calls would be reported.
class RaceCheck {
public:
#ifdef __SANITIZE_THREAD__
  static constexpr bool kIsOn = true;
#else
  static constexpr bool kIsOn = false;
#endif

  static RaceCheck &self();

  /// A block begins, in `bytes` of shared memory.
  TIDEGATE_UNREPORTED void begin(const void *shared, size_t bytes) {
    first = reinterpret_cast<uintptr_t>(shared);
    size = kIsOn ? bytes < kMostBytes ? bytes : kMostBytes : 0;
    for (size_t i = 0; i < (size + kCellBytes - 1) / kCellBytes; ++i)
      cells[i] = Cell();
    for (uint32_t &last : warpMet)
      last = 0;
    now = blockMet = 1; // later than what did not happen
    thread = kPlayer;
    message[0] = 0;
  }
  /// The block ends. The first race, empty without one.
  TIDEGATE_UNREPORTED const char *end() {
    size = 0;
    return message;
  }

  /// The caller's place in the code.
  static TIDEGATE_UNREPORTED __attribute__((noinline)) const void *here() { return __builtin_return_address(0); }

  /// Whose accesses follow.
  static constexpr int kPlayer = -1;
  TIDEGATE_UNREPORTED void run(int of) { thread = of; }

  TIDEGATE_UNREPORTED void meetBlock() { blockMet = ++now; }
  TIDEGATE_UNREPORTED void meetWarp(int warp) { warpMet[warp] = ++now; }

  TIDEGATE_UNREPORTED void access(const void *place, size_t bytes, bool isWrite, const void *code) {
    const uintptr_t offset = reinterpret_cast<uintptr_t>(place) - first;
    if (offset >= size || thread == kPlayer)
      return;
    const Touch touch{now, static_cast<int32_t>(static_cast<const char *>(code) - origin()),
                      static_cast<int16_t>(thread)};
    for (size_t i = offset / kCellBytes; i < (offset + bytes + kCellBytes - 1) / kCellBytes; ++i)
      touchCell(cells[i], touch, isWrite, i * kCellBytes);
  }

  /// A copy of the running thread starts, and lands.
  TIDEGATE_UNREPORTED void startCopy(const void *place, size_t bytes, const void *code) {
    access(place, bytes, true, code);
    mark(place, bytes, true);
  }
  TIDEGATE_UNREPORTED void landCopy(const void *place, size_t bytes, const void *code) {
    mark(place, bytes, false);
    access(place, bytes, true, code);
  }

private:
  static constexpr size_t kMostBytes = 227 << 10;
  static constexpr size_t kCellBytes = 2; ///< What the smallest element takes.
  static constexpr int kMostWarps = 32;

  /// That a thread read or wrote: when, and where in the code.
  struct Touch {
    uint32_t time = 0; ///< 0: never.
    int32_t code = 0;
    int16_t thread = 0;
  };
  struct Cell {
    /// The last write, the last read, and the last of another thread, one of another warp if there is one.
    Touch write, read, otherRead;
    bool isUnderWay = false;
  };

  TIDEGATE_UNREPORTED bool isBehindBarrier(const Touch &touch) const { return touch.time < blockMet; }
  TIDEGATE_UNREPORTED bool isOrdered(const Touch &before, const Touch &touch) const {
    return isBehindBarrier(before) || before.thread == touch.thread ||
           (before.thread / 32 == touch.thread / 32 && before.time < warpMet[touch.thread / 32]);
  }

  TIDEGATE_UNREPORTED void touchCell(Cell &cell, const Touch &touch, bool isWrite, size_t offset) {
    if (cell.isUnderWay)
      report("copies", cell.write, isWrite ? "writes" : "reads", touch, offset);
    if (!isOrdered(cell.write, touch))
      report("writes", cell.write, isWrite ? "writes" : "reads", touch, offset);
    if (isWrite) {
      if (!isOrdered(cell.read, touch))
        report("reads", cell.read, "writes", touch, offset);
      if (!isOrdered(cell.otherRead, touch))
        report("reads", cell.otherRead, "writes", touch, offset);
      cell.write = touch;
      return;
    }
    // Of two warps that have read, either is one that a later writer is not in.
    if (cell.read.thread != touch.thread &&
        (isBehindBarrier(cell.otherRead) || cell.otherRead.thread / 32 == touch.thread / 32))
      cell.otherRead = cell.read;
    cell.read = touch;
  }

  TIDEGATE_UNREPORTED void mark(const void *place, size_t bytes, bool isUnderWay) {
    const uintptr_t offset = reinterpret_cast<uintptr_t>(place) - first;
    if (offset < size)
      for (size_t i = offset / kCellBytes; i < (offset + bytes + kCellBytes - 1) / kCellBytes; ++i)
        cells[i].isUnderWay = isUnderWay;
  }

  /// An address from which places in the code are counted.
  static TIDEGATE_UNREPORTED const char *origin() { return reinterpret_cast<const char *>(&RaceCheck::self); }

  /// Places in the code are offsets in the library, for addr2line.
  TIDEGATE_UNREPORTED void report(const char *did, const Touch &before, const char *does, const Touch &touch,
                                  size_t offset) {
    if (message[0])
      return;
    Dl_info library{};
    dladdr(origin(), &library);
    const long long base = origin() - static_cast<const char *>(library.dli_fbase);
    std::snprintf(message, sizeof message,
                  "a race at byte %zu of shared memory: thread %d %s (code at 0x%llx) and thread %d %s (0x%llx) with "
                  "no barrier between, in %s",
                  offset, before.thread, did, base + before.code, touch.thread, does, base + touch.code,
                  library.dli_fname ? library.dli_fname : "the program");
  }

  uintptr_t first = 0;
  size_t size = 0;
  int thread = kPlayer;
  uint32_t now = 1, blockMet = 1, warpMet[kMostWarps] = {}; ///< Meetings are counted.
  char message[512] = {};
  Cell cells[kIsOn ? kMostBytes / kCellBytes : 1];
};

inline constinit RaceCheck raceCheck;
TIDEGATE_UNREPORTED inline RaceCheck &RaceCheck::self() { return raceCheck; }

} // namespace tidegate::device

#ifdef __SANITIZE_THREAD__
// What the compiler calls before each access, and at functions' ends.
#define TIDEGATE_REPORT extern "C" TIDEGATE_UNREPORTED __attribute__((used)) inline void
#define TIDEGATE_REPORTS(bytes)                                                                                        \
  TIDEGATE_REPORT __tsan_read##bytes(void *p) {                                                                        \
    tidegate::device::RaceCheck::self().access(p, bytes, false, __builtin_return_address(0));                          \
  }                                                                                                                    \
  TIDEGATE_REPORT __tsan_write##bytes(void *p) {                                                                       \
    tidegate::device::RaceCheck::self().access(p, bytes, true, __builtin_return_address(0));                           \
  }                                                                                                                    \
  TIDEGATE_REPORT __tsan_unaligned_read##bytes(void *p) {                                                              \
    tidegate::device::RaceCheck::self().access(p, bytes, false, __builtin_return_address(0));                          \
  }                                                                                                                    \
  TIDEGATE_REPORT __tsan_unaligned_write##bytes(void *p) {                                                             \
    tidegate::device::RaceCheck::self().access(p, bytes, true, __builtin_return_address(0));                           \
  }
TIDEGATE_REPORTS(1)
TIDEGATE_REPORTS(2)
TIDEGATE_REPORTS(4)
TIDEGATE_REPORTS(8)
TIDEGATE_REPORTS(16)
TIDEGATE_REPORT __tsan_read_range(void *p, size_t bytes) {
  tidegate::device::RaceCheck::self().access(p, bytes, false, __builtin_return_address(0));
}
TIDEGATE_REPORT __tsan_write_range(void *p, size_t bytes) {
  tidegate::device::RaceCheck::self().access(p, bytes, true, __builtin_return_address(0));
}
TIDEGATE_REPORT __tsan_vptr_update(void **, void *) {}
TIDEGATE_REPORT __tsan_vptr_read(void **) {}
TIDEGATE_REPORT __tsan_func_entry(void *) {}
TIDEGATE_REPORT __tsan_func_exit() {}
TIDEGATE_REPORT __tsan_init() {}
#undef TIDEGATE_REPORTS
#undef TIDEGATE_REPORT
#endif
