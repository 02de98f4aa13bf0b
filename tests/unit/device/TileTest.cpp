// Tiles, products and copies of runtime/device, played on the CPU.
#include "tests/unit/device/Play.h"

#include "runtime/device/memory.cuh"
#include "runtime/device/product.cuh"
#include "runtime/device/streamed_product.cuh"

#include <set>

using namespace tidegate::device;

namespace {

template <typename T, As asA, As asB, int m, int n, int k>
void checkProduct() {
  SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k << " transposed " << int(asA) << int(asB));
  auto a = randomValues(m * k, 1), b = randomValues(k * n, 2);
  using A = SharedTile<T, asA == As::Stored ? m : k, asA == As::Stored ? k : m>;
  using B = SharedTile<T, asB == As::Stored ? k : n, asB == As::Stored ? n : k>;
  auto result = runBlock(m * n, [&](SharedArena arena, float *out) {
    auto left = arena.tile<A>();
    auto right = arena.tile<B>();
    loadRows(left, a.data(), A::kCols, A::kRows);
    loadRows(right, b.data(), B::kCols, B::kRows);
    syncBlock();
    Fragment<m, n> d;
    d.fill(0);
    product<asA, asB>(d, left, right);
    storeRows(out, n, m, d);
  });
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      double sum = 0;
      for (int l = 0; l < k; ++l)
        sum += double(a[asA == As::Stored ? i * k + l : l * m + i]) * b[asB == As::Stored ? l * n + j : j * k + l];
      ASSERT_NEAR(sum, result[i * n + j], 1e-4) << "at " << i << ", " << j;
    }
}

template <typename T, int m, int n, int k>
void checkAllForms() {
  checkProduct<T, As::Stored, As::Stored, m, n, k>();
  checkProduct<T, As::Stored, As::Transposed, m, n, k>();
  checkProduct<T, As::Transposed, As::Stored, m, n, k>();
  checkProduct<T, As::Transposed, As::Transposed, m, n, k>();
}

TEST(SharedTile, HoldsEveryElementOnce) {
  auto check = [](auto tile) {
    std::set<unsigned char *> places;
    for (int i = 0; i < tile.kRows; ++i)
      for (int j = 0; j < tile.kCols; ++j)
        places.insert(reinterpret_cast<unsigned char *>(tile.at(i, j)));
    EXPECT_EQ(size_t(tile.kRows * tile.kCols), places.size());
    EXPECT_LE(*places.rbegin() - *places.begin(), tile.kBytes);
  };
  static SharedMemory shared;
  check(SharedTile<bf16, 64, 64>{shared.bytes});
  check(SharedTile<bf16, 64, 160>{shared.bytes});
  check(SharedTile<bf16, 48, 80>{shared.bytes});
  check(SharedTile<float, 64, 16>{shared.bytes});
}

/// Eight rows of one 16-byte column unit cover all 32 banks, whatever the width.
TEST(SharedTile, MatrixLoadsHaveNoBankConflicts) {
  static SharedMemory shared;
  auto check = [](auto tile) {
    for (int row = 0; row < tile.kRows; row += 8)
      for (int col = 0; col < tile.kCols; col += tile.kUnit) {
        std::set<uintptr_t> banks;
        for (int r = 0; r < 8; ++r)
          banks.insert(reinterpret_cast<uintptr_t>(tile.at(row + r, col)) / 16 % 8);
        ASSERT_EQ(8u, banks.size()) << tile.kCols << " columns, at " << row << ", " << col;
      }
  };
  check(SharedTile<bf16, 64, 16>{shared.bytes});
  check(SharedTile<bf16, 64, 32>{shared.bytes});
  check(SharedTile<bf16, 64, 48>{shared.bytes});
  check(SharedTile<bf16, 64, 64>{shared.bytes});
  check(SharedTile<bf16, 64, 80>{shared.bytes});
  check(SharedTile<bf16, 64, 96>{shared.bytes});
  check(SharedTile<bf16, 64, 256>{shared.bytes});
  check(SharedTile<float, 64, 64>{shared.bytes});
}

TEST(Product, Bf16) {
  checkAllForms<bf16, 64, 64, 64>();
  checkAllForms<bf16, 64, 32, 64>();
  checkAllForms<bf16, 16, 64, 32>();
  checkAllForms<bf16, 32, 48, 16>();
  checkAllForms<bf16, 48, 80, 96>();
  checkAllForms<bf16, 128, 64, 64>();
  checkAllForms<bf16, 80, 16, 64>();
}

TEST(Product, Float) {
  checkAllForms<float, 64, 64, 32>();
  checkAllForms<float, 48, 32, 16>();
}

/// A right side that comes slice by slice is the one that lies there whole, on top of what is in the accumulators.
/// `S`: as it lies in global memory.
template <typename T, As asB, int slice, int m, int n, int k, typename S = T>
void checkStreamed() {
  SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k << " by " << slice << " transposed " << int(asB));
  auto a = randomValues(m * k, 1), b = randomValues(k * n, 2);
  std::vector<S> stored(k * n);
  for (int i = 0; i < k * n; ++i)
    stored[i] = Converter<S>::from(b[i]);
  auto result = runBlock(m * n, [&](SharedArena arena, float *out) {
    auto left = arena.tile<SharedTile<T, m, k>>();
    auto ring = arena.tile<SharedTile<T, 2 * slice, n>>(); // both stages, which are whole kilobytes here
    loadRows(left, a.data(), k, m);
    Fragment<m, n> d;
    d.fill(1);
    streamedProduct<As::Stored, asB, slice>(d, left, stored.data(), ring.base);
    storeRows(out, n, m, d);
  });
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      double sum = 1;
      for (int l = 0; l < k; ++l)
        sum += double(a[i * k + l]) * b[asB == As::Stored ? l * n + j : j * k + l];
      ASSERT_NEAR(sum, result[i * n + j], 1e-4) << "at " << i << ", " << j;
    }
}

TEST(Product, Streamed) {
  checkStreamed<bf16, As::Stored, 32, 64, 64, 128>();
  checkStreamed<bf16, As::Transposed, 32, 64, 64, 96>();
  checkStreamed<bf16, As::Stored, 64, 16, 48, 64>();
  checkStreamed<float, As::Stored, 16, 16, 64, 48>();
  checkStreamed<float, As::Transposed, 32, 32, 32, 64>();
  checkStreamed<bf16, As::Stored, 32, 64, 64, 128, float>();
  checkStreamed<bf16, As::Transposed, 64, 16, 48, 64, float>();
}

TEST(Product, LeftInRegisters) {
  constexpr int m = 64, n = 48, k = 80;
  auto a = randomValues(m * k, 3), b = randomValues(k * n, 4);
  auto result = runBlock(m * n, [&](SharedArena arena, float *out) {
    auto left = arena.tile<SharedTile<bf16, m, k>>();
    auto right = arena.tile<SharedTile<bf16, k, n>>();
    loadRows(left, a.data(), k, m);
    loadRows(right, b.data(), n, k);
    syncBlock();
    Fragment<m, k> inRegisters;
    load(inRegisters, left);
    Fragment<m, n> d;
    d.fill(0);
    product<As::Stored>(d, inRegisters, right);
    storeRows(out, n, m, d);
  });
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      double sum = 0;
      for (int l = 0; l < k; ++l)
        sum += double(a[i * k + l]) * b[l * n + j];
      ASSERT_NEAR(sum, result[i * n + j], 1e-4);
    }
}

TEST(Product, SkipsTheContractionThatIsZero) {
  auto a = randomValues(64 * 64, 5);
  auto result = runBlock(64 * 64, [&](SharedArena arena, float *out) {
    auto tile = arena.tile<SharedTile<bf16, 64, 64>>();
    loadRows(tile, a.data(), 64, 64);
    syncBlock();
    Fragment<64, 64> d;
    d.fill(1);
    product<As::Stored, As::Stored>(d, tile, tile, 16, 48);
    storeRows(out, 64, 64, d);
  });
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < 64; ++j) {
      double sum = 1;
      for (int l = 16; l < 48; ++l)
        sum += double(a[i * 64 + l]) * a[l * 64 + j];
      ASSERT_NEAR(sum, result[i * 64 + j], 1e-4);
    }
}

TEST(Memory, RowsBeyondTheEndAreZeroAndNotWritten) {
  constexpr int rows = 64, cols = 32, valid = 37, stride = 40;
  alignas(16) static bf16 from[rows * stride];
  for (int i = 0; i < rows * stride; ++i)
    from[i] = Converter<bf16>::from(float(i % 97));
  auto result = runBlock(rows * cols, [&](SharedArena arena, float *out) {
    auto tile = arena.tile<SharedTile<bf16, rows, cols>>();
    startRows(tile, from, stride, valid, /*width=*/24);
    commitCopies();
    waitCopies<0>();
    syncBlock();
    Fragment<rows, cols> x;
    load(x, tile);
    x.forEach([&](int row, int col, float &v) { ASSERT_TRUE((row < valid && col < 24) || v == 0); });
    storeRows(out, cols, valid, x, 24);
  });
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < cols; ++j) {
      float got = result[i * cols + j];
      if (i < valid && j < 24)
        EXPECT_EQ(float((i * stride + j) % 97), got);
      else
        EXPECT_TRUE(std::isnan(got));
    }
}

TEST(Fragment, SumsOfRows) {
  constexpr int rows = 48, cols = 80;
  auto a = randomValues(rows * cols, 6);
  auto result = runBlock(rows, [&](SharedArena arena, float *out) {
    float *partial = arena.floats(rows * kWarps), *sums = arena.floats(rows);
    Fragment<rows, cols> x;
    x.forEach([&](int row, int col, float &v) { v = a[row * cols + col]; });
    sumColumns(sums, partial, x);
    for (int i = threadIndex(); i < rows; i += kThreads)
      out[i] = sums[i];
  });
  for (int i = 0; i < rows; ++i) {
    double sum = 0;
    for (int j = 0; j < cols; ++j)
      sum += a[i * cols + j];
    EXPECT_NEAR(sum, result[i], 1e-4);
  }
}

/// The emulation itself: a race shows, a lost thread is an error.
TEST(SoftwareBlock, SchedulesTellRaces) {
  std::set<float> seen;
  for (Schedule schedule : Schedule::all()) {
    float shared = 0, result = 0;
    SoftwareBlock::run(kThreads, schedule, [&] {
      if (threadIndex() == 0)
        shared = 1;
      if (threadIndex() == kThreads - 1)
        result = shared; // no barrier
    });
    seen.insert(result);
  }
  EXPECT_EQ(2u, seen.size());
}

TEST(SoftwareBlock, ThreadsThatDoNotComeAreAnError) {
  EXPECT_THROW(SoftwareBlock::run(kThreads, {}, [] {
                 if (threadIndex() != 5)
                   syncBlock();
               }),
               std::runtime_error);
  EXPECT_THROW(SoftwareBlock::run(kThreads, {}, [] {
                 if (threadIndex() % 2)
                   shuffleXor(0, 1);
                 else
                   syncWarp();
               }),
               std::runtime_error);
}

} // namespace
