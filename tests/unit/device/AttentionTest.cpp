// Attention of runtime/device/attention.cuh and its gradients, played on the CPU, against runtime/core/Attention.h.
#include "tests/unit/device/Play.h"

#include "runtime/core/Attention.h"
#include "runtime/device/attention.cuh"
#include "runtime/device/attention_grad.cuh"

using namespace tidegate::device;
using tidegate::runtime::AttentionInputs;
using tidegate::runtime::AttentionSizes;

namespace {

enum class Places { None, Documents, Single }; // no positions, documents of some length, of one token each

/// A problem and what the core makes of it. The past holds tokens of the first document.
struct Problem {
  AttentionSizes n;
  bool hasPast;
  std::vector<float> query, key, value, pastKey, pastValue, out, lse;
  std::vector<int> positions;

  Problem(AttentionSizes sizes, bool hasPast, Places places) : n(sizes), hasPast(hasPast) {
    query = randomValues(n.B * n.T * n.H * n.K, 1);
    key = randomValues(n.B * n.T * n.G * n.K, 2);
    value = randomValues(n.B * n.T * n.G * n.V, 3);
    pastKey = randomValues(n.B * (n.W - 1) * n.G * n.K, 4);
    pastValue = randomValues(n.B * (n.W - 1) * n.G * n.V, 5);
    for (int64_t i = 0; i < int64_t(query.size()); ++i)
      query[i] *= 0.5f;
    int at = 2, length = 9;
    for (int64_t i = 0; i < n.B * n.T && places != Places::None; ++i) {
      positions.push_back(places == Places::Single ? 0 : at++);
      if (at == length)
        at = 0, length = 1 + int(i % 40);
    }
    out.resize(n.B * n.T * n.H * n.V);
    lse.resize(n.B * n.T * n.H);
    attention(n, inputs(), out.data(), lse.data());
  }

  const int *places() const { return positions.empty() ? nullptr : positions.data(); }
  AttentionInputs<float> inputs() const {
    return {query.data(),
            key.data(),
            value.data(),
            places(),
            hasPast ? pastKey.data() : nullptr,
            hasPast ? pastValue.data() : nullptr};
  }
};

/// The arrays of a problem as a kernel sees them.
template <typename T>
struct OnDevice {
  Array<T> query, key, value, pastKey, pastValue;
  AttentionArguments arguments;

  explicit OnDevice(const Problem &p)
      : query(p.query), key(p.key), value(p.value), pastKey(p.pastKey), pastValue(p.pastValue) {
    arguments = {query.data(),
                 key.data(),
                 value.data(),
                 p.places(),
                 p.hasPast ? pastKey.data() : nullptr,
                 p.hasPast ? pastValue.data() : nullptr,
                 nullptr,
                 nullptr,
                 p.n.B,
                 p.n.T,
                 p.n.H,
                 p.n.G,
                 p.n.K,
                 p.n.V,
                 p.n.W};
  }
};

/// Relative to the size of the whole; the weights that meet the values have eight bits.
void expectNear(const char *what, const std::vector<float> &expected, const float *got, double tolerance) {
  double error = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(std::isfinite(got[i])) << what << " at " << i;
    error += std::pow(double(expected[i]) - got[i], 2);
    size += std::pow(double(expected[i]), 2);
  }
  EXPECT_LE(std::sqrt(error), tolerance * std::sqrt(size) + 1e-6) << what;
  double largest = std::sqrt(size / std::max<size_t>(1, expected.size()));
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_NEAR(expected[i], got[i], 12 * tolerance * std::max<double>(largest, std::abs(expected[i])) + 1e-6)
        << what << " at " << i;
}

std::string describe(const Problem &p) {
  std::ostringstream text;
  text << p.n.B << " x " << p.n.T << ", heads " << p.n.H << " / " << p.n.G << ", widths " << p.n.K << " / " << p.n.V
       << ", window " << p.n.W << (p.hasPast ? ", past" : "") << (p.places() ? ", positions" : "");
  return text.str();
}

/// Whether all schedules are played or, where they would only take time, one.
enum class Play { All, One };

template <typename Program>
std::vector<float> play(Play which, Program program) {
  return which == Play::All ? underAllSchedules(program) : program(Schedule{});
}

template <typename T, int K, int V>
void checkForward(const Problem &p, Play which) {
  SCOPED_TRACE(describe(p) + (sizeof(T) == 2 ? " bf16" : " float"));
  const auto &n = p.n;
  const OnDevice<T> given(p);
  constexpr int kQueries = attentionShape(sizeof(T), larger(K, V)).own;
  auto result = play(which, [&](Schedule schedule) {
    Array<T> out(n.B * n.T * n.H * n.V);
    Array<float> lse(n.B * n.T * n.H);
    AttentionArguments a = given.arguments;
    a.out = out.data(), a.lse = lse.data();
    const int tiles = int(ceilDivLong(n.T, kQueries));
    playLaunch(schedule, tiles * n.H * n.B, [&](long long block, unsigned char *shared) {
      attentionBlock<T, T, T, T, T, T, float, K, V>(a, int(block % tiles), int(block / tiles % n.H),
                                                    int(block / tiles / n.H), shared);
    });
    auto all = out.floats(), more = lse.floats();
    all.insert(all.end(), more.begin(), more.end());
    return all;
  });
  const double tolerance = sizeof(T) == 2 ? 4e-3 : 1e-5;
  expectNear("out", p.out, result.data(), tolerance);
  expectNear("lse", p.lse, result.data() + p.out.size(), 1e-5);
}

template <typename T, int K, int V>
void checkBackward(const Problem &p, Play which) {
  SCOPED_TRACE(describe(p) + (sizeof(T) == 2 ? " bf16" : " float"));
  const auto &n = p.n;
  const auto outGrad = randomValues(p.out.size(), 6), lseGrad = randomValues(p.lse.size(), 7);
  std::vector<float> queryGrad(p.query.size()), keyGrad(p.key.size()), valueGrad(p.value.size()),
      pastKeyGrad(p.pastKey.size()), pastValueGrad(p.pastValue.size());
  attentionGrad<float>(n, p.inputs(), {p.out.data(), p.lse.data(), outGrad.data(), lseGrad.data()},
                       {queryGrad.data(), keyGrad.data(), valueGrad.data(), p.hasPast ? pastKeyGrad.data() : nullptr,
                        p.hasPast ? pastValueGrad.data() : nullptr});

  const OnDevice<T> given(p);
  const Array<T> dy(outGrad);
  const Array<float> y(p.out), lse(p.lse), dlse(lseGrad);
  const int width = larger(K, V), queries = queryGradShape(sizeof(T), width).own,
            keys = keyGradShape(sizeof(T), width).own;
  auto result = play(which, [&](Schedule schedule) {
    const int64_t padded = ceilDivLong(n.T, kAttentionGroup) * kAttentionGroup;
    Array<float> base(n.B * n.H * padded), scaledLse(n.B * n.H * padded), dq(p.query.size()), dk(p.key.size()),
        dv(p.value.size()), dpk(p.pastKey.size()), dpv(p.pastValue.size());
    Array<int> first(n.B * padded), groups(n.B * padded / kAttentionGroup * 2);
    AttentionGradArguments a{given.arguments,
                             dy.data(),
                             dlse.data(),
                             dq.data(),
                             dk.data(),
                             dv.data(),
                             p.hasPast ? dpk.data() : nullptr,
                             p.hasPast ? dpv.data() : nullptr,
                             base.data(),
                             scaledLse.data(),
                             first.data(),
                             groups.data(),
                             padded};
    a.of.out = y.data(), a.of.lse = lse.data();
    playLaunch(schedule, n.B * padded / kAttentionGroup,
               [&](long long block, unsigned char *) { attentionBaseBlock<float, T, float, float, V>(a, block); });
    const int queryTiles = int(ceilDivLong(n.T, queries));
    playLaunch(schedule, queryTiles * n.H * n.B, [&](long long block, unsigned char *shared) {
      attentionQueryGradBlock<T, T, T, T, T, T, float, K, V>(a, int(block % queryTiles), int(block / queryTiles % n.H),
                                                             int(block / queryTiles / n.H), shared);
    });
    const int keyTiles = int(ceilDivLong(n.T + (p.hasPast ? n.W - 1 : 0), keys));
    auto byKeys = [&](auto isByKeys, auto isByValues) {
      playLaunch(schedule, keyTiles * n.G * n.B, [&](long long block, unsigned char *shared) {
        attentionKeyGradBlock<T, T, T, T, T, T, float, float, float, float, K, V, isByKeys, isByValues>(
            a, int(block % keyTiles), int(block / keyTiles % n.G), int(block / keyTiles / n.G), shared);
      });
    };
    if constexpr (keyGradIsSplit(K, V)) {
      byKeys(std::true_type(), std::false_type());
      byKeys(std::false_type(), std::true_type());
    } else {
      byKeys(std::true_type(), std::true_type());
    }
    std::vector<float> all;
    for (const auto *part : {&dq, &dk, &dv, &dpk, &dpv}) {
      auto values = part->floats();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  });
  const double tolerance = sizeof(T) == 2 ? 6e-3 : 2e-5;
  const float *at = result.data();
  auto check = [&](const char *what, const std::vector<float> &expected, bool isStored = true) {
    if (isStored)
      expectNear(what, expected, at, tolerance);
    at += expected.size();
  };
  check("query", queryGrad);
  check("key", keyGrad);
  check("value", valueGrad);
  check("past key", pastKeyGrad, p.hasPast);
  check("past value", pastValueGrad, p.hasPast);
}

template <typename T, int K, int V>
void check(AttentionSizes sizes, bool hasPast, Places places, Play which) {
  sizes.K = K, sizes.V = V;
  const Problem problem(sizes, hasPast, places);
  checkForward<T, K, V>(problem, which);
  checkBackward<T, K, V>(problem, which);
}

/// Sizes around those of tiles, windows of one token, beyond the sequence and across tiles.
TEST(Attention, Windows) {
  for (auto [T, W] : {std::pair{1, 5}, {17, 1}, {63, 64}, {64, 17}, {65, 20}, {100, 200}})
    for (bool hasPast : {false, true}) {
      check<bf16, 16, 16>({1, T, 1, 1, 0, 0, W}, hasPast, Places::None, Play::One);
      check<bf16, 16, 16>({1, T, 1, 1, 0, 0, W}, hasPast, Places::Documents, Play::One);
    }
  check<bf16, 16, 16>({1, 140, 1, 1, 0, 0, 50}, false, Places::Documents, Play::One);
  check<bf16, 16, 16>({1, 65, 1, 1, 0, 0, 50}, true, Places::Single, Play::One);
}

TEST(Attention, HeadsInGroupsAndBatchRows) {
  check<bf16, 16, 32>({2, 65, 4, 2, 0, 0, 40}, true, Places::Documents, Play::One);
  check<float, 16, 16>({2, 17, 3, 1, 0, 0, 9}, false, Places::None, Play::One);
}

TEST(Attention, Widths) {
  check<bf16, 48, 48>({1, 65, 1, 1, 0, 0, 65}, false, Places::None, Play::One);
  check<bf16, 64, 64>({1, 65, 1, 1, 0, 0, 65}, false, Places::None, Play::One);
  check<bf16, 80, 80>({1, 65, 1, 1, 0, 0, 65}, false, Places::None, Play::One);
  check<bf16, 128, 128>({1, 65, 1, 1, 0, 0, 65}, false, Places::None, Play::One);
  check<bf16, 256, 256>({1, 33, 1, 1, 0, 0, 65}, true, Places::None, Play::One);
  check<bf16, 20, 7>({1, 17, 2, 1, 0, 0, 5}, true, Places::Documents, Play::One); // rows that are not aligned
  check<bf16, 24, 40>({1, 65, 1, 1, 0, 0, 33}, false, Places::None, Play::One);
}

TEST(Attention, Floats) {
  check<float, 16, 16>({1, 100, 1, 1, 0, 0, 30}, true, Places::Documents, Play::One);
  check<float, 64, 64>({1, 65, 1, 1, 0, 0, 65}, false, Places::None, Play::One);
  check<float, 80, 18>({1, 17, 1, 1, 0, 0, 65}, true, Places::None, Play::One);
  check<float, 256, 256>({1, 17, 1, 1, 0, 0, 4}, false, Places::None, Play::One);
}

/// Of each kind of kernel one, under every order of warps and copies.
TEST(Attention, DoesNotRace) {
  check<bf16, 16, 16>({1, 140, 1, 1, 0, 0, 100}, false, Places::Documents, Play::All);
  check<bf16, 80, 80>({1, 65, 1, 1, 0, 0, 9}, true, Places::None, Play::All);
  check<bf16, 20, 16>({1, 70, 1, 1, 0, 0, 9}, false, Places::None, Play::All);
  check<float, 16, 16>({1, 70, 1, 1, 0, 0, 9}, false, Places::Documents, Play::All);
}

/// Scores of hundreds, far below and above those of other keys.
TEST(Attention, LargeScores) {
  Problem p({1, 65, 1, 1, 16, 16, 40}, false, Places::None);
  for (float &x : p.query)
    x *= 64;
  attention(p.n, p.inputs(), p.out.data(), p.lse.data());
  checkForward<bf16, 16, 16>(p, Play::One);
  checkForward<float, 16, 16>(p, Play::One);
}

} // namespace
