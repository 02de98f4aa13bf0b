// Kernels that pass through memory once, lookups and their gradient: runtime/device/elements.cuh and lookup.cuh, played
// on the CPU.
#include "tests/unit/device/Play.h"

#include "runtime/device/elements.cuh"
#include "runtime/device/lookup.cuh"

using namespace tidegate::device;

namespace {

/// What an element type keeps of a value.
template <typename T>
float rounded(float x) {
  return toFloat(Converter<T>::from(x));
}

template <typename To>
void checkFill(long long count) {
  auto result = underAllSchedules([&](Schedule schedule) {
    Array<To> to(count + 3);
    playLaunch(schedule, ceilDivLong(count, kStreamRounds * kThreads), [&](long long block, unsigned char *) {
      fillBlock<To>({to.data(), count, 0.3f}, block);
    });
    return to.floats();
  });
  for (long long i = 0; i < count; ++i)
    ASSERT_EQ(rounded<To>(0.3f), result[i]) << i;
  EXPECT_TRUE(std::isnan(result[count]));
}

TEST(Elements, Fill) {
  checkFill<float>(1);
  checkFill<bf16>(700);
}

template <typename From, typename To, int unit>
void checkCast(long long count) {
  SCOPED_TRACE(testing::Message() << count << " by " << unit);
  std::vector<float> given(count);
  for (long long i = 0; i < count; ++i)
    given[i] = float(i) * 0.37f - 11;
  Array<From> from(given);
  auto result = underAllSchedules([&](Schedule schedule) {
    Array<To> to(count + 1);
    playLaunch(schedule, ceilDivLong(count, kStreamRounds * kThreads * unit), [&](long long block, unsigned char *) {
      castBlock<From, To, unit>({from.data(), to.data(), count}, block);
    });
    return to.floats();
  });
  for (long long i = 0; i < count; ++i)
    ASSERT_EQ(rounded<To>(rounded<From>(given[i])), result[i]) << i;
  EXPECT_TRUE(std::isnan(result[count]));
}

TEST(Elements, Casts) {
  checkCast<float, bf16, 8>(4104);
  checkCast<bf16, float, 8>(1000);
  checkCast<float, bf16, 4>(20);
  checkCast<float, bf16, 2>(514);
  checkCast<bf16, float, 1>(513);
}

template <typename Out>
void checkSum(long long count, long long elements) {
  auto parts = randomValues(count * elements, 3);
  auto result = underAllSchedules([&](Schedule schedule) {
    Array<Out> out(elements);
    playLaunch(schedule, ceilDivLong(elements, 32), [&](long long block, unsigned char *shared) {
      sumPartsBlock<Out>({parts.data(), out.data(), count, elements}, block, reinterpret_cast<float *>(shared));
    });
    return out.floats();
  });
  for (long long i = 0; i < elements; ++i) {
    double sum = 0;
    for (long long p = 0; p < count; ++p)
      sum += parts[p * elements + i];
    ASSERT_NEAR(sum, result[i], sizeof(Out) == 2 ? std::abs(sum) / 256 : 1e-5) << i;
  }
}

TEST(Elements, SumsOfParts) {
  checkSum<float>(1, 1);
  checkSum<float>(3, 33);
  checkSum<float>(64, 70);
  checkSum<bf16>(131, 40);
}

TEST(Elements, Positions) {
  const long long batch = 3, tokens = 50;
  int before[] = {0, 7, 100};
  for (const int *first : {static_cast<const int *>(nullptr), static_cast<const int *>(before)}) {
    auto result = underAllSchedules([&](Schedule schedule) {
      Array<int> out(batch * tokens), next(batch);
      playLaunch(schedule, ceilDivLong(batch * tokens, kThreads), [&](long long block, unsigned char *) {
        positionsBlock({first, out.data(), next.data(), batch, tokens}, block);
      });
      auto all = out.floats(), after = next.floats();
      all.insert(all.end(), after.begin(), after.end());
      return all;
    });
    for (long long b = 0; b < batch; ++b) {
      for (long long t = 0; t < tokens; ++t)
        ASSERT_EQ((first ? first[b] : 0) + t, result[b * tokens + t]);
      ASSERT_EQ((first ? first[b] : 0) + tokens, result[batch * tokens + b]);
    }
  }
}

template <int unit>
void checkLastRows(long long tokens, long long edge, long long width, bool hasPast) {
  SCOPED_TRACE(testing::Message() << tokens << " tokens, edge " << edge << ", past " << hasPast);
  const long long batch = 2;
  auto rows = randomValues(batch * tokens * width, 1), past = randomValues(batch * edge * width, 2);
  Array<bf16> rowsOnDevice(rows);
  Array<float> pastOnDevice(past);
  auto result = underAllSchedules([&](Schedule schedule) {
    Array<float> next(batch * edge * width);
    playLaunch(schedule, ceilDivLong(batch * edge, kWarps), [&](long long block, unsigned char *) {
      lastRowsBlock<bf16, float, float, unit>(
          {rowsOnDevice.data(), hasPast ? pastOnDevice.data() : nullptr, next.data(), batch, tokens, edge, width},
          block);
    });
    return next.floats();
  });
  for (long long b = 0; b < batch; ++b)
    for (long long s = 0; s < edge; ++s)
      for (long long d = 0; d < width; ++d) {
        long long row = s + tokens;
        float expected = row >= edge ? rows[(b * tokens + row - edge) * width + d]
                         : hasPast   ? past[(b * edge + row) * width + d]
                                     : 0;
        ASSERT_EQ(expected, result[(b * edge + s) * width + d]);
      }
}

TEST(Elements, LastRows) {
  for (bool hasPast : {false, true}) {
    checkLastRows<8>(1, 3, 16, hasPast);
    checkLastRows<2>(5, 3, 70, hasPast);
    checkLastRows<1>(3, 3, 5, hasPast);
    checkLastRows<4>(2, 0, 4, hasPast);
  }
}

/// Chunk `n` of rows to heads and back: what comes back is the rows once per head that shares them.
template <typename Rows, int unit>
void checkChunkRows(long long tokens, long long n, long long chunk, long long heads, long long rowHeads, long long width) {
  SCOPED_TRACE(testing::Message() << tokens << " tokens, chunk " << n << ", heads " << rowHeads << " / " << heads);
  const long long batch = 2, blocks = ceilDivLong(chunk * width, kThreads * unit);
  auto rows = randomValues(batch * tokens * rowHeads * width, 1);
  Array<Rows> onDevice(rows);
  auto heads32 = underAllSchedules([&](Schedule schedule) {
    Array<float> result(batch * heads * chunk * width);
    for (long long b = 0; b < batch; ++b)
      for (long long h = 0; h < heads; ++h)
        playLaunch(schedule, blocks, [&](long long block, unsigned char *) {
          rowsToHeadsBlock<Rows, float, unit>(
              {onDevice.data(), result.data(), batch, tokens, n * chunk, heads, rowHeads, chunk, width}, block, h, b);
        });
    return result.floats();
  });
  Array<float> given(heads32);
  auto back = underAllSchedules([&](Schedule schedule) {
    Array<float> result(batch * tokens * rowHeads * width);
    for (long long i = 0; i < batch * tokens * rowHeads * width; ++i)
      result.data()[i] = 0;
    for (long long b = 0; b < batch; ++b)
      for (long long h = 0; h < rowHeads; ++h)
        playLaunch(schedule, blocks, [&](long long block, unsigned char *) {
          headsToRowsBlock<float, float, unit>(
              {result.data(), given.data(), batch, tokens, n * chunk, heads, rowHeads, chunk, width}, block, h, b);
        });
    return result.floats();
  });
  auto at = [&](long long b, long long t, long long h, long long d) { return ((b * tokens + t) * rowHeads + h) * width + d; };
  for (long long b = 0; b < batch; ++b)
    for (long long h = 0; h < heads; ++h)
      for (long long c = 0; c < chunk; ++c)
        for (long long d = 0; d < width; ++d) {
          const long long t = n * chunk + c, from = h / (heads / rowHeads);
          ASSERT_EQ(t < tokens ? rows[at(b, t, from, d)] : 0, heads32[((b * heads + h) * chunk + c) * width + d]);
        }
  for (long long b = 0; b < batch; ++b)
    for (long long t = 0; t < tokens; ++t)
      for (long long h = 0; h < rowHeads; ++h)
        for (long long d = 0; d < width; ++d) {
          const bool isInside = t / chunk == n;
          ASSERT_NEAR(isInside ? rows[at(b, t, h, d)] * float(heads / rowHeads) : 0, back[at(b, t, h, d)], 1e-5);
        }
}

TEST(Elements, ChunkRows) {
  checkChunkRows<bf16, 8>(20, 1, 8, 2, 2, 16); // whole
  checkChunkRows<bf16, 8>(20, 2, 8, 4, 2, 16); // partial, shared
  checkChunkRows<float, 1>(5, 0, 8, 3, 1, 1);
  checkChunkRows<float, 2>(9, 1, 4, 2, 2, 6);
}

template <typename Table, typename Out, int unit>
void checkLookup(long long count, long long rows, long long width) {
  auto table = randomValues(rows * width, 5);
  Array<Table> onDevice(table);
  std::vector<int> ids(count);
  for (long long i = 0; i < count; ++i)
    ids[i] = int(i * 7 % (rows + 2)) - 1; // some before and some behind the table
  auto result = underAllSchedules([&](Schedule schedule) {
    Array<Out> out(count * width);
    playLaunch(schedule, ceilDivLong(count, kWarps), [&](long long block, unsigned char *) {
      lookupBlock<Table, Out, unit>({onDevice.data(), ids.data(), out.data(), count, rows, width}, block);
    });
    return out.floats();
  });
  for (long long i = 0; i < count; ++i)
    for (long long d = 0; d < width; ++d)
      ASSERT_EQ(ids[i] >= 0 && ids[i] < rows ? table[ids[i] * width + d] : 0, result[i * width + d]);
}

TEST(Lookup, Rows) {
  checkLookup<bf16, bf16, 8>(21, 9, 320);
  checkLookup<float, bf16, 4>(5, 9, 12);
  checkLookup<float, float, 1>(30, 4, 7);
}

/// All launches of the gradient; sums are compared with those in the order of the places.
template <typename In, typename Out, int unit>
void checkLookupGrad(const std::vector<int> &ids, long long rows, long long width) {
  const long long count = ids.size(), blocks = ceilDivLong(count, kSortRows), pieces = ceilDivLong(count, kPieceRows);
  const long long slices = ceilDivLong(width, kThreads * unit);
  SCOPED_TRACE(testing::Message() << count << " ids of " << rows << ", width " << width);
  auto in = randomValues(count * width, 8);
  Array<In> onDevice(in);
  auto result = underAllSchedules([&](Schedule schedule) {
    Array<int> keys[2] = {Array<int>(count), Array<int>(count)}, order[2] = {Array<int>(count), Array<int>(count)};
    Array<int> counts(blocks * kDigits), starts(rows + 1);
    Array<float> parts(pieces * 2 * width);
    Array<Out> out(rows * width);
    int pass = 0;
    for (int shift = 0; pass == 0 || rows >> shift; shift += kDigitBits, ++pass) {
      SortArguments sort{pass ? keys[pass % 2].data() : ids.data(),
                         pass ? order[pass % 2].data() : nullptr,
                         keys[(pass + 1) % 2].data(),
                         order[(pass + 1) % 2].data(),
                         counts.data(),
                         count,
                         rows,
                         shift};
      playLaunch(schedule, blocks, [&](long long block, unsigned char *shared) {
        digitCountsBlock(sort, block, {reinterpret_cast<unsigned short *>(shared)});
      });
      playLaunch(schedule, blocks, [&](long long block, unsigned char *shared) {
        digitPlacesBlock(sort, block, {reinterpret_cast<unsigned short *>(shared)},
                         reinterpret_cast<int *>(shared + kCounterBytes));
      });
    }
    RunArguments run{onDevice.data(),
                     keys[pass % 2].data(),
                     order[pass % 2].data(),
                     starts.data(),
                     parts.data(),
                     out.data(),
                     count,
                     rows,
                     width};
    playLaunch(schedule, ceilDivLong(rows + 1, kThreads),
               [&](long long block, unsigned char *) { runStartsBlock(run, block); });
    playLaunch(schedule, pieces * slices, [&](long long block, unsigned char *shared) {
      runSumsBlock<In, Out, unit>(run, block / slices, block % slices, reinterpret_cast<int *>(shared));
    });
    playLaunch(schedule, ceilDivLong(rows, kWarps),
               [&](long long block, unsigned char *) { runTotalsBlock<Out, unit>(run, block); });
    return out.floats();
  });
  std::vector<double> expected(rows * width, 0);
  for (long long i = 0; i < count; ++i)
    if (ids[i] >= 0 && ids[i] < rows)
      for (long long d = 0; d < width; ++d)
        expected[ids[i] * width + d] += in[i * width + d];
  for (long long i = 0; i < rows * width; ++i)
    ASSERT_NEAR(expected[i], result[i], sizeof(Out) == 2 ? std::abs(expected[i]) / 128 : 1e-4)
        << "row " << i / width << ", column " << i % width;
}

std::vector<int> someIds(long long count, int rows, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int> pick(-1, rows); // one place before and one behind the table
  std::vector<int> ids(count);
  for (int &id : ids)
    id = generator() % 4 ? pick(generator) : 2; // one of them often
  return ids;
}

TEST(LookupGrad, SumsTheRowsOfEqualIds) {
  checkLookupGrad<float, float, 1>({4}, 6, 3);
  checkLookupGrad<bf16, float, 8>(someIds(700, 40, 1), 40, 16);
  checkLookupGrad<bf16, bf16, 2>(someIds(65, 5, 2), 5, 2);
  checkLookupGrad<float, float, 4>(std::vector<int>(200, 3), 4, 520); // one run over four pieces, two slices
}

TEST(LookupGrad, SortsByTwoDigits) {
  checkLookupGrad<bf16, float, 8>(someIds(2500, 600, 3), 600, 8); // three blocks of keys
  checkLookupGrad<float, float, 1>({-1, 300, 1, 299, 256, 1, 255}, 300, 1);
}

} // namespace
