// Sums, decay and triangular inverses of runtime/device/recurrence.cuh, played on the CPU.
#include "tests/unit/device/Play.h"

#include "runtime/device/memory.cuh"
#include "runtime/device/recurrence.cuh"

using namespace tidegate::device;

namespace {

/// Cumulative log decays of `count` events: they fall, by nothing, a little or a lot.
std::vector<float> randomGates(int count, int width, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> pick(0, 1);
  std::vector<float> gates(count * width);
  for (int d = 0; d < width; ++d) {
    float sum = 0;
    for (int i = 0; i < count; ++i) {
      float kind = pick(generator);
      sum -= kind < 0.2f ? 0 : kind < 0.9f ? 0.1f * pick(generator) : 30 * pick(generator);
      gates[i * width + d] = sum;
    }
  }
  return gates;
}

template <int n>
void checkCumsum(Running running) {
  SCOPED_TRACE(testing::Message() << n << " reverse " << running.reverse << " exclusive " << running.exclusive);
  auto x = randomValues(n, 1);
  auto result = runBlock(n, [&](SharedArena arena, float *out) {
    float *values = arena.floats(n);
    for (int i = threadIndex(); i < n; i += kThreads)
      values[i] = x[i];
    syncBlock();
    cumsum<n>(values, running);
    for (int i = threadIndex(); i < n; i += kThreads)
      out[i] = values[i];
  });
  for (int i = 0; i < n; ++i) {
    double sum = 0;
    for (int j = 0; j < n; ++j)
      if ((running.reverse ? j > i : j < i) || (j == i && !running.exclusive))
        sum += x[j];
    ASSERT_NEAR(sum, result[i], 1e-5) << i;
  }
}

template <int rows, int cols>
void checkTileCumsum(Running running) {
  SCOPED_TRACE(testing::Message() << rows << " x " << cols);
  auto x = randomValues(rows * cols, 2);
  auto result = runBlock(rows * cols, [&](SharedArena arena, float *out) {
    auto tile = arena.tile<SharedTile<float, rows, cols>>();
    float *partial = arena.floats(16 * cols);
    loadRows(tile, x.data(), cols, rows);
    syncBlock();
    cumsum(tile, running, partial);
    for (int i = threadIndex(); i < rows * cols; i += kThreads)
      out[i] = *tile.at(i / cols, i % cols);
  });
  for (int i = 0; i < rows; ++i)
    for (int d = 0; d < cols; ++d) {
      double sum = 0;
      for (int j = 0; j < rows; ++j)
        if ((running.reverse ? j > i : j < i) || (j == i && !running.exclusive))
          sum += x[j * cols + d];
      ASSERT_NEAR(sum, result[i * cols + d], 1e-5) << i << ", " << d;
    }
}

TEST(Cumsum, Vectors) {
  for (bool reverse : {false, true})
    for (bool exclusive : {false, true}) {
      checkCumsum<64>({reverse, exclusive});
      checkCumsum<128>({reverse, exclusive});
      checkCumsum<16>({reverse, exclusive});
      checkCumsum<48>({reverse, exclusive});
    }
}

TEST(Cumsum, Tiles) {
  for (bool reverse : {false, true})
    for (bool exclusive : {false, true}) {
      checkTileCumsum<64, 32>({reverse, exclusive});
      checkTileCumsum<64, 256>({reverse, exclusive});
      checkTileCumsum<48, 80>({reverse, exclusive});
      checkTileCumsum<16, 16>({reverse, exclusive});
    }
}

/// Tokens of several events: the gate of an event falls with time, that is token and place.
template <typename P>
std::vector<float> gatesOf(const std::vector<float> &timeline, int tokens, int width, int placesPerToken) {
  std::vector<float> gates(tokens * P::kCount * width);
  for (int e = 0; e < tokens * P::kCount; ++e)
    for (int d = 0; d < width; ++d)
      gates[e * width + d] = timeline[(P::token(e) * placesPerToken + P::of(e % P::kCount)) * width + d];
  return gates;
}

template <typename T, typename Rows, typename Cols, int tokens, int width>
void checkDecay(double scoresBound) {
  constexpr double kMixBound = 5e-5; // in either type: a mix does not round its decayed rows
  constexpr int rows = tokens * Rows::kCount, cols = tokens * Cols::kCount, kPlaces = 4;
  SCOPED_TRACE(testing::Message() << rows << " x " << cols << " x " << width << (sizeof(T) == 2 ? " bf16" : " float"));
  auto timeline = randomGates(tokens * kPlaces, width, 7);
  auto gq = gatesOf<Rows>(timeline, tokens, width, kPlaces), gk = gatesOf<Cols>(timeline, tokens, width, kPlaces);
  auto q = randomValues(rows * width, 8), k = randomValues(cols * width, 9), p = randomValues(rows * cols, 10);
  for (auto *values : {&q, &k, &p}) // what lies in a tile is rounded already
    for (float &x : *values)
      x = toFloat(Converter<T>::from(x));

  constexpr int kScores = rows * cols, kMixed = rows * width;
  auto result = runBlock(kScores + kMixed + cols * width, [&](SharedArena arena, float *out) {
    auto tileQ = arena.tile<SharedTile<T, rows, width>>();
    auto tileK = arena.tile<SharedTile<T, cols, width>>();
    auto tileP = arena.tile<SharedTile<T, rows, cols>>();
    auto tileGq = arena.tile<SharedTile<float, rows, width>>();
    auto tileGk = arena.tile<SharedTile<float, cols, width>>();
    loadRows(tileQ, q.data(), width, rows);
    loadRows(tileK, k.data(), width, cols);
    loadRows(tileP, p.data(), cols, rows);
    loadRows(tileGq, gq.data(), width, rows);
    loadRows(tileGk, gk.data(), width, cols);
    syncBlock();
    Fragment<rows, cols> scores;
    decayScores<Rows, Cols>(scores, tileQ, tileK, tileGq, tileGk);
    storeRows(out, cols, rows, scores);
    Fragment<rows, width> mixed;
    mixed.fill(0);
    decayMix<Rows, Cols>(mixed, tileP, tileK, tileGq, tileGk);
    storeRows(out + kScores, width, rows, mixed);
    Fragment<cols, width> back;
    back.fill(0);
    decayMixTransposed<Rows, Cols>(back, tileP, tileQ, tileGq, tileGk);
    storeRows(out + kScores + kMixed, width, cols, back);
  });

  std::vector<double> expected(result.size(), 0);
  for (int j = 0; j < rows; ++j)
    for (int m = 0; m < cols; ++m)
      if (isBefore<Rows, Cols>(m, j))
        for (int d = 0; d < width; ++d) {
          double decay = std::exp(double(gq[j * width + d]) - double(gk[m * width + d]));
          expected[j * cols + m] += decay * q[j * width + d] * k[m * width + d];
          expected[kScores + j * width + d] += decay * p[j * cols + m] * k[m * width + d];
          expected[kScores + kMixed + m * width + d] += decay * p[j * cols + m] * q[j * width + d];
        }
  for (auto [first, last] : {std::pair{0, kScores}, {kScores, kScores + kMixed}, {kScores + kMixed, int(result.size())}}) {
    double error = 0, size = 0;
    for (int i = first; i < last; ++i) {
      ASSERT_TRUE(std::isfinite(result[i])) << i;
      error += (result[i] - expected[i]) * (result[i] - expected[i]);
      size += expected[i] * expected[i];
    }
    EXPECT_LT(std::sqrt(error / size), first == 0 ? scoresBound : kMixBound) << "part from " << first;
  }
}

TEST(Decay, OneEventPerToken) {
  using Read = Places<2>;
  using Add = Places<1>;
  checkDecay<float, Read, Add, 64, 32>(1e-5);
  checkDecay<bf16, Read, Add, 64, 32>(3e-3);
  checkDecay<bf16, Add, Add, 64, 64>(3e-3); // an add that reads just before itself: strictly lower
  checkDecay<bf16, Read, Add, 48, 16>(3e-3);
}

TEST(Decay, SeveralEventsPerToken) {
  checkDecay<bf16, Places<3>, Places<1, 2>, 32, 32>(3e-3);
  checkDecay<bf16, Places<1, 3>, Places<0, 2>, 32, 16>(3e-3);
  checkDecay<float, Places<1, 0>, Places<0, 2>, 16, 16>(1e-5); // a stale read
}

template <int n>
void checkInverse(float size) {
  SCOPED_TRACE(n);
  auto m = randomValues(n * n, 11);
  for (float &x : m)
    x *= size;
  auto result = runBlock(n * n, [&](SharedArena arena, float *out) {
    auto t = arena.tile<SharedTile<float, n, n>>(), given = arena.tile<SharedTile<float, n, n>>();
    loadRows(given, m.data(), n, n);
    syncBlock();
    invertUnitLower(t, given);
    for (int i = threadIndex(); i < n * n; i += kThreads)
      out[i] = *t.at(i / n, i % n);
  });
  // (I - m) t = I, relative to the size of what is summed.
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) {
      double sum = result[i * n + j], scale = std::abs(sum);
      for (int k = 0; k < i; ++k) {
        double part = double(m[i * n + k]) * result[k * n + j];
        sum -= part;
        scale += std::abs(part);
      }
      if (j > i) {
        ASSERT_EQ(0, result[i * n + j]);
      }
      ASSERT_NEAR(i == j, sum, 1e-5 * (1 + scale)) << i << ", " << j;
    }
}

TEST(InvertUnitLower, TimesTheMatrixIsOne) {
  checkInverse<64>(0.3f);
  checkInverse<64>(1);
  checkInverse<16>(1);
  checkInverse<48>(0.5f);
  checkInverse<80>(0.3f);
  checkInverse<128>(0.2f);
}

/// Repeated unit keys with beta = 1: the hardest case of the delta rule.
TEST(InvertUnitLower, RepeatedKeys) {
  constexpr int n = 64;
  auto result = runBlock(n * n, [&](SharedArena arena, float *out) {
    auto t = arena.tile<SharedTile<float, n, n>>(), given = arena.tile<SharedTile<float, n, n>>();
    for (int i = threadIndex(); i < n * n; i += kThreads)
      *given.at(i / n, i % n) = i % n < i / n ? -1 : 0;
    syncBlock();
    invertUnitLower(t, given);
    for (int i = threadIndex(); i < n * n; i += kThreads)
      out[i] = *t.at(i / n, i % n);
  });
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) // the inverse of ones on and below the diagonal
      ASSERT_EQ(i == j ? 1 : i == j + 1 ? -1 : 0, result[i * n + j]);
}

/// Events of `tokens` tokens, `n` rows with padding. Weights of size `size`; without a factor or gates there is none.
template <bool transposed, typename Rows, typename Cols, int tokens, int width, bool hasFactor, bool hasGates,
          typename P>
void checkSolve(float size) {
  constexpr int count = tokens * Rows::kCount, n = ceilDiv(count, 16) * 16, kPlaces = 4;
  SCOPED_TRACE(testing::Message() << count << " x " << width << (transposed ? " transposed" : "")
                                  << (hasFactor ? " with a factor" : "") << (hasGates ? " under decay" : ""));
  auto timeline = randomGates(tokens * kPlaces, width, 12);
  for (int i = 2 * kPlaces; i < tokens * kPlaces; ++i) // one hard gate
    for (int d = 0; d < width; d += 3)
      timeline[i * width + d] -= 1000;
  auto gq = gatesOf<Rows>(timeline, tokens, width, kPlaces), gk = gatesOf<Cols>(timeline, tokens, width, kPlaces);
  auto x = randomValues(count * width, 13), f = randomValues(count * width, 14), p = randomValues(count * count, 15);
  for (float &w : p)
    w *= size;
  for (int j = 0; j < count; ++j) // what is not before is not read
    for (int m = 0; m < count; ++m)
      if (!isBefore<Rows, Cols>(m, j))
        p[j * count + m] = NAN;
  auto result = runBlock(count * width, [&](SharedArena arena, float *out) {
    auto tileX = arena.tile<SharedTile<float, n, width>>(), tileF = arena.tile<SharedTile<float, n, width>>();
    auto tileGq = arena.tile<SharedTile<float, n, width>>(), tileGk = arena.tile<SharedTile<float, n, width>>();
    auto tileP = arena.tile<SharedTile<P, n, n>>();
    float *work = arena.floats(kSolveWork<width>);
    for (auto [tile, from] : {std::pair{tileX, &x}, {tileF, &f}, {tileGq, &gq}, {tileGk, &gk}})
      loadRows(tile, from->data(), width, count);
    for (int i = threadIndex(); i < n * n; i += kThreads)
      tileP.set(i / n, i % n, i / n < count && i % n < count ? p[i / n * count + i % n] : 0);
    syncBlock();
    const auto solve = [&](const auto &factor, const auto &gates) {
      decaySolve<transposed, Rows, Cols, count>(tileX, tileP, factor, gates, work);
    };
    const auto withFactor = [&](const auto &gates) { hasFactor ? solve(tileF, gates) : solve(NoFactor(), gates); };
    hasGates ? withFactor(Gates<n, width>{tileGq, tileGk}) : withFactor(NoGates());
    for (int i = threadIndex(); i < count * width; i += kThreads)
      out[i] = *tileX.at(i / width, i % width);
  });

  double error = 0, norm = 0;
  for (int d = 0; d < width; ++d) {
    std::vector<double> y(count);
    for (int i = 0; i < count; ++i) {
      const int target = transposed ? count - 1 - i : i;
      y[target] = x[target * width + d];
      for (int source = 0; source < count; ++source) {
        const int j = transposed ? source : target, m = transposed ? target : source;
        if (isBefore<Rows, Cols>(m, j))
          y[target] += double(p[j * count + m]) * (hasFactor ? f[j * width + d] : 1) * y[source] *
                       (hasGates ? std::exp(double(gq[j * width + d]) - double(gk[m * width + d])) : 1);
      }
      ASSERT_TRUE(std::isfinite(result[target * width + d])) << target << ", " << d;
      error += std::pow(result[target * width + d] - y[target], 2);
      norm += std::pow(y[target], 2);
    }
  }
  EXPECT_LT(std::sqrt(error / norm), 1e-5);
}

template <typename Rows, typename Cols, int tokens, int width, bool hasFactor, bool hasGates, typename P = float>
void checkSolves(float size) {
  checkSolve<false, Rows, Cols, tokens, width, hasFactor, hasGates, P>(size);
  checkSolve<true, Rows, Cols, tokens, width, hasFactor, hasGates, P>(size);
}

TEST(DecaySolve, OneEventPerToken) {
  checkSolves<Places<1>, Places<1>, 64, 32, false, true>(0.3f);
  checkSolves<Places<1>, Places<1>, 16, 16, true, true>(1);
  checkSolves<Places<0>, Places<0>, 48, 80, true, false>(0.1f);
  checkSolves<Places<0>, Places<2>, 32, 144, true, true>(0.5f); // a stale read
}

TEST(DecaySolve, SeveralEventsPerToken) {
  checkSolves<Places<1, 2>, Places<1, 2>, 32, 16, false, true>(0.3f);
  checkSolves<Places<1, 0>, Places<1, 2>, 16, 32, true, true>(0.5f); // rows out of order
  checkSolves<Places<0, 0, 2>, Places<1, 2, 3>, 16, 16, true, true>(0.3f);  // tokens across blocks of 16
  checkSolves<Places<0, 0, 2>, Places<1, 2, 3>, 13, 16, false, true>(0.3f); // and fewer events than rows
}

} // namespace
