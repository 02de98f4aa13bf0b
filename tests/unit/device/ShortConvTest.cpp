// Short convolutions of runtime/device/short_conv.cuh, played on the CPU, against runtime/core/ShortConv.h.
#include "tests/unit/device/Play.h"

#include "runtime/core/ShortConv.h"
#include "runtime/device/elements.cuh"
#include "runtime/device/short_conv.cuh"

using namespace tidegate::device;
using tidegate::runtime::ShortConvSizes;

namespace {

/// Documents of 1, 2, 3, ... tokens, and one that began before the row.
std::vector<int> somePositions(long long batch, long long tokens) {
  std::vector<int> positions;
  for (long long b = 0; b < batch; ++b) {
    int at = 3, length = 6;
    for (long long t = 0; t < tokens; ++t) {
      positions.push_back(at++);
      if (at == length)
        at = 0, length = 1 + int(t % 5);
    }
  }
  return positions;
}

void expectNear(const std::vector<float> &expected, const std::vector<float> &got, double relative) {
  ASSERT_EQ(expected.size(), got.size());
  double size = 1e-3;
  for (float x : expected)
    size = std::max(size, double(std::abs(x)));
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_NEAR(expected[i], got[i], relative * size) << i;
}

template <typename Rows, typename Out, int taps, int unit>
void check(long long B, long long T, long long C, bool hasEdge, bool hasPositions) {
  SCOPED_TRACE(testing::Message() << B << " x " << T << " x " << C << ", " << taps << " taps by " << unit << ", edge "
                                  << hasEdge << ", positions " << hasPositions);
  const ShortConvSizes sizes{B, T, C, taps};
  const long long edge = taps - 1;
  const double tolerance = sizeof(Out) == 2 ? 1.0 / 200 : 1e-5;
  auto x = randomValues(B * T * C, 1), dy = randomValues(B * T * C, 2), w = randomValues(C * taps, 3),
       past = randomValues(B * edge * C, 4);
  auto positions = somePositions(B, T);
  const int *places = hasPositions ? positions.data() : nullptr;
  const float *before = hasEdge ? past.data() : nullptr;
  Array<Rows> xOnDevice(x), dyOnDevice(dy);
  Array<float> wOnDevice(w), pastOnDevice(past);
  const void *beforeOnDevice = hasEdge ? pastOnDevice.data() : nullptr;
  auto blocks = [&](long long rows) { return ceilDivLong(B * ceilDivLong(rows, kConvRun) * (C / unit), kThreads); };

  std::vector<float> y(B * T * C);
  shortConv(sizes, x.data(), w.data(), before, places, y.data(), static_cast<float *>(nullptr));
  expectNear(y, underAllSchedules([&](Schedule schedule) {
               Array<Out> out(B * T * C);
               playLaunch(schedule, blocks(T), [&](long long block, unsigned char *) {
                 shortConvBlock<Rows, float, float, Out, taps, unit>({xOnDevice.data(), wOnDevice.data(),
                                                                      beforeOnDevice, places, out.data(), nullptr,
                                                                      nullptr, B, T, C},
                                                                     block);
               });
               return out.floats();
             }),
             tolerance);

  std::vector<float> dx(B * T * C), dpast(B * edge * C);
  shortConvInputGrad(sizes, dy.data(), w.data(), before, places, dx.data(), hasEdge ? dpast.data() : nullptr);
  if (hasEdge)
    dx.insert(dx.end(), dpast.begin(), dpast.end());
  expectNear(dx, underAllSchedules([&](Schedule schedule) {
               Array<Out> out(B * T * C);
               Array<float> outEdge(B * edge * C);
               playLaunch(schedule, blocks(hasEdge ? T + edge : T), [&](long long block, unsigned char *) {
                 shortConvInputGradBlock<Rows, float, float, Out, float, taps, unit>(
                     {dyOnDevice.data(), wOnDevice.data(), beforeOnDevice, places, out.data(),
                      hasEdge ? outEdge.data() : nullptr, nullptr, B, T, C},
                     block);
               });
               auto all = out.floats(), more = outEdge.floats();
               if (hasEdge)
                 all.insert(all.end(), more.begin(), more.end());
               return all;
             }),
             tolerance);

  std::vector<float> dw(C * taps);
  shortConvWeightGrad(sizes, x.data(), dy.data(), before, places, dw.data());
  const long long count = B * ceilDivLong(T, kWeightTokens);
  expectNear(
      dw, underAllSchedules([&](Schedule schedule) {
        Array<float> parts(count * C * taps), out(C * taps);
        playLaunch(schedule, count * ceilDivLong(C, 32 * unit), [&](long long block, unsigned char *shared) {
          shortConvWeightGradBlock<Rows, Rows, float, taps, unit>(
              {xOnDevice.data(), dyOnDevice.data(), beforeOnDevice, places, nullptr, nullptr, parts.data(), B, T, C},
              block, reinterpret_cast<float *>(shared));
        });
        playLaunch(schedule, ceilDivLong(C * taps, 32), [&](long long block, unsigned char *shared) {
          sumPartsBlock<float>({parts.data(), out.data(), count, C * taps}, block, reinterpret_cast<float *>(shared));
        });
        return out.floats();
      }),
      1e-5);
}

TEST(ShortConvOnDevice, EqualsTheCore) {
  for (bool hasEdge : {false, true})
    for (bool hasPositions : {false, true}) {
      check<float, float, 4, 4>(2, 17, 12, hasEdge, hasPositions);
      check<bf16, bf16, 4, 8>(1, 65, 16, hasEdge, hasPositions);
      check<bf16, float, 3, 2>(2, 1, 6, hasEdge, hasPositions); // fewer tokens than taps
      check<float, float, 2, 1>(1, 300, 5, hasEdge, hasPositions);
      check<float, float, 7, 4>(1, 20, 4, hasEdge, hasPositions);
      check<float, bf16, 1, 1>(1, 20, 3, hasEdge, hasPositions);
    }
  check<bf16, bf16, 4, 8>(1, 3, 272, true, true); // two groups of channels
}

} // namespace
