//===- RaceCheckTest.cpp - What counts as a race ----------------------------===//
#include "tests/unit/device/Play.h"

#include "runtime/device/memory.cuh"

namespace tidegate::device {
namespace {

class RaceCheckTest : public testing::Test {
protected:
  void SetUp() override {
    if (!RaceCheck::kIsOn)
      GTEST_SKIP() << "accesses are not reported in this build";
  }

  /// Whether a block's program(floats in shared memory) is told to race, under any schedule.
  template <typename Program>
  static int races(Program program) {
    int found = 0;
    for (Schedule schedule : Schedule::all()) {
      playedSchedule() = schedule;
      try {
        playGrid(1, kThreads, 4096, [&](Grid grid) { program(reinterpret_cast<float *>(grid.shared)); });
      } catch (const std::runtime_error &error) {
        EXPECT_TRUE(std::string(error.what()).find("a race at byte") == 0) << error.what();
        ++found;
      }
    }
    return found;
  }
  const int kAll = static_cast<int>(Schedule::all().size());

  /// Each thread writes its place, and reads that of a thread `away`; `first` and `second` lie between and behind.
  template <typename First, typename Second>
  static int exchanged(int away, First first, Second second) {
    return races([&](float *x) {
      x[threadIndex()] = 1;
      first();
      const float y = x[threadIndex() ^ away];
      second();
      x[threadIndex()] = y;
    });
  }
  static constexpr auto nothing = [] {};
};

TEST_F(RaceCheckTest, BarriersOrderThreads) {
  EXPECT_EQ(0, exchanged(32, syncBlock, syncBlock));
  EXPECT_EQ(0, exchanged(1, syncWarp, syncWarp));
  EXPECT_EQ(0, exchanged(0, nothing, nothing)); // nobody else's
}
TEST_F(RaceCheckTest, AMissingBarrierIsFoundUnderEverySchedule) {
  EXPECT_EQ(kAll, exchanged(32, nothing, syncBlock)); // a read behind a write
  EXPECT_EQ(kAll, exchanged(32, syncBlock, nothing)); // a write behind a read
  EXPECT_EQ(kAll, races([](float *x) { x[threadIndex() % 32] = 1; }));
}
TEST_F(RaceCheckTest, LanesInStepAreNotInOrder) {
  EXPECT_EQ(kAll, exchanged(1, nothing, syncBlock));
  EXPECT_EQ(kAll, exchanged(1, [] { shuffle(0, 0); }, syncBlock));
  EXPECT_EQ(kAll, exchanged(32, syncWarp, syncBlock)); // of another warp
}
TEST_F(RaceCheckTest, ManyMayReadButNoneWriteMeanwhile) {
  const auto readers = [](int lastReader, int writer) {
    return races([=](float *x) {
      if (threadIndex() == 0)
        x[0] = 1;
      syncBlock();
      volatile float y = 0;
      if (threadIndex() <= lastReader)
        y = x[0];
      if (threadIndex() == writer)
        x[0] = 2;
    });
  };
  EXPECT_EQ(kAll, readers(kThreads - 1, 0));
  EXPECT_EQ(kAll, readers(kThreads - 1, kThreads - 1));
  EXPECT_EQ(kAll, readers(1, 1));
  EXPECT_EQ(0, readers(0, 0));
}
TEST_F(RaceCheckTest, CopiesAreAwaitedAndThenMadeVisible) {
  static float from[kThreads * 4] = {};
  const auto copied = [](bool isAwaited, bool isVisible) {
    return races([=](float *x) {
      startCopy16(x + 4 * threadIndex(), from + 4 * threadIndex(), true);
      commitCopies();
      if (isAwaited)
        waitCopies<0>();
      if (isVisible)
        syncBlock();
      volatile float y = x[4 * threadIndex() ^ 128];
      waitCopies<0>();
    });
  };
  EXPECT_EQ(0, copied(true, true));
  EXPECT_EQ(kAll, copied(false, true));
  EXPECT_EQ(kAll, copied(true, false));
}

} // namespace
} // namespace tidegate::device
