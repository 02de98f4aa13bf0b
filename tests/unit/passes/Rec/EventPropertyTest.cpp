//===- EventPropertyTest.cpp - Any event program, chunked and derived -----===//
// 200 random programs of 1 to 4 events on the state, and reads at any place:
// the chunk form is the token form; its derived gradients, of every input and
// of the initial state, are the token form's and those of finite differences.
// Half of them are in the form for products that round.
// TIDEGATE_SEED=N draws others; the seed is printed.
//===----------------------------------------------------------------------===//
#include "Chunked.h"
#include "EventPrograms.h"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <thread>

using namespace tidegate;
using namespace tidegate::test;

using Tensors = std::vector<reference::Tensor>;

namespace {

constexpr double kFormBound = 1e-9, kGradientBound = 1e-8, kDifferenceBound = 1e-5;
constexpr double kFloor = 1e-4; ///< Of the largest value or gradient: below it, rounding decides.
constexpr double kTiny = 1e-12;

/// 1 to 4 scales and adds, at most 3 of which read, with 1 or 2 reads among and after them.
std::vector<Event> drawEvents(std::mt19937 &random) {
  auto coin = [&] { return random() % 2 == 0; };
  std::vector<Event> events;
  int readers = 0;
  for (unsigned n = 1 + random() % 4; n > 0; --n) {
    Event event{"ssvmccaaaaaa"[random() % 12]};
    if (event.kind == 'a') {
      event.hasReader = readers < 3 && coin();
      readers += event.hasReader;
      event.hasValue = !event.hasReader || coin();
      event.isStale = coin();
      event.hasFactor = event.hasReader && random() % 4 == 0;
    }
    events.push_back(event);
  }
  if (coin())
    events.insert(events.begin() + random() % (events.size() + 1), Event{'r'});
  events.push_back({'r'});
  return events;
}

std::string textOf(const std::vector<Event> &events) {
  std::string text;
  for (const Event &event : events)
    text += std::string(text.empty() ? "" : " ") + event.kind + (event.hasReader ? event.isStale ? "~" : "-" : "") +
            (event.hasFactor ? "*" : "");
  return text;
}

double inner(const Tensors &a, const Tensors &b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t e = 0; e < a[i].values.size(); ++e)
      sum += a[i].values[e] * b[i].values[e];
  return sum;
}

/// Checks programs, one after another.
class Properties {
public:
  explicit Properties(std::seed_seq &&seed) : random(seed) {}

  /// Everything that is claimed of one program.
  void expectProperties(const Case &c, int64_t chunk, const std::string &what, bool halfProducts = false) {
    Module token(c.text), chunked(c.text);
    Tensors want = token.run("f", c.arguments), arguments = c.arguments, cotangents;
    toChunk(chunked, chunk, halfProducts);
    Tensors got = chunked.run("f", c.arguments);
    ASSERT_EQ(got.size(), want.size());
    double scale = largest(c.arguments.back()); // What a state that was erased is left over from.
    for (const auto &tensor : want)
      scale = std::max(scale, largest(tensor));
    for (size_t i = 0; i < want.size(); ++i) {
      expectWithin(relativeError(got[i], want[i], kFloor * scale), kFormBound, worstForm, what + ", result " + std::to_string(i));
      cotangents.push_back(randomTensor(want[i].shape, random));
    }
    arguments.insert(arguments.end(), cotangents.begin(), cotangents.end());
    addGradient(token);
    addGradient(chunked);
    Tensors gradient = chunked.run("f_grad", arguments), oracle = token.run("f_grad", arguments);
    ASSERT_EQ(gradient.size(), c.arguments.size());
    double most = kTiny; // Closed gates may leave nothing.
    for (const auto &tensor : oracle)
      most = std::max(most, largest(tensor));
    for (size_t i = 0; i < oracle.size(); ++i)
      expectWithin(relativeError(gradient[i], oracle[i], kFloor * most), kGradientBound, worstGradient,
                   what + ", gradient of argument " + std::to_string(i));
    expectSlopes(token, c.arguments, cotangents, gradient, what);
  }

  /// Central differences along a direction in each argument.
  void expectSlopes(Module &token, const Tensors &at, const Tensors &cotangents, const Tensors &gradient,
                    const std::string &what) {
    const double h = 2e-5;
    std::vector<double> slopes, sizes;
    double all = kTiny;
    for (size_t i = 0; i < at.size(); ++i) {
      reference::Tensor direction = randomTensor(at[i].shape, random);
      auto valueAt = [&](double step) {
        Tensors moved = at;
        for (size_t e = 0; e < moved[i].values.size(); ++e)
          moved[i].values[e] += step * direction.values[e];
        return inner(token.run("f", moved), cotangents);
      };
      double numeric = (valueAt(h) - valueAt(-h)) / (2 * h);
      double along = 0, size = 0;
      for (size_t e = 0; e < direction.values.size(); ++e) {
        along += gradient[i].values[e] * direction.values[e];
        size = std::hypot(size, gradient[i].values[e]);
      }
      slopes.push_back(std::abs(along - numeric));
      sizes.push_back(size);
      all = std::max(all, size);
    }
    for (size_t i = 0; i < slopes.size(); ++i)
      expectWithin(slopes[i] / std::max(sizes[i], kFloor * all), kDifferenceBound, worstSlope,
                   what + ", difference along argument " + std::to_string(i));
  }

  void expectWithin(double error, double bound, double &worst, const std::string &what) {
    EXPECT_LE(error, bound) << what; // false for a NaN
    worst = std::max(worst, error);
  }

  std::mt19937 random;
  double worstForm = 0, worstGradient = 0, worstSlope = 0;
};

/// Program `n` of a seed, whichever thread runs it.
Properties checkProgram(unsigned seed, int n) {
  // Mild, hard, none, closed, and all of them side by side.
  static const std::vector<std::vector<double>> gates = {
      {-1e-4, -0.01, -0.1}, {-0.5, -2, -20}, {0}, {-1000}, {0, -1e-3, -0.3, -5, -50, -1000}};
  Properties check({seed, unsigned(n)});
  auto upTo = [&](int64_t most) { return 1 + int64_t(check.random() % most); };
  const std::vector<Event> events = drawEvents(check.random);
  const Sizes sizes{upTo(2), upTo(300), upTo(2), upTo(48), upTo(48)};
  Case c = makeCase(events, sizes, check.random, gatesFrom(gates[n % gates.size()], check.random));
  check.expectProperties(c, n % 3 ? 64 : 16,
                         "seed " + std::to_string(seed) + ", program " + std::to_string(n) + ": " + textOf(events) +
                             ", B T H K V = " + std::to_string(sizes.batch) + " " + std::to_string(sizes.tokens) +
                             " " + std::to_string(sizes.heads) + " " + std::to_string(sizes.keys) + " " +
                             std::to_string(sizes.values),
                         /*halfProducts=*/n % 2);
  return check;
}

} // namespace

TEST(EventPropertyTest, TwoHundredRandomPrograms) {
  const char *given = std::getenv("TIDEGATE_SEED");
  const unsigned seed = given ? std::strtoul(given, nullptr, 10) : 1;
  std::cout << "TIDEGATE_SEED=" << seed << std::endl;
  std::atomic<int> next = 0;
  std::vector<std::thread> workers;
  std::vector<Properties> worst(std::max(2u, std::thread::hardware_concurrency()), Properties({0}));
  for (Properties &mine : worst)
    workers.emplace_back([&] {
      for (int n = next++; n < 200 && !testing::Test::HasFailure(); n = next++) {
        Properties one = checkProgram(seed, n);
        mine.worstForm = std::max(mine.worstForm, one.worstForm);
        mine.worstGradient = std::max(mine.worstGradient, one.worstGradient);
        mine.worstSlope = std::max(mine.worstSlope, one.worstSlope);
      }
    });
  for (std::thread &worker : workers)
    worker.join();
  auto most = [&](double Properties::*error) {
    double all = 0;
    for (const Properties &mine : worst)
      all = std::max(all, mine.*error);
    return all;
  };
  std::cout << "worst errors: chunk form " << most(&Properties::worstForm) << ", gradients "
            << most(&Properties::worstGradient) << ", differences " << most(&Properties::worstSlope) << std::endl;
}

TEST(EventPropertyTest, RepeatedUnitKeysWrittenInFullUnderAnyGate) {
  Properties check({1});
  // S <- a S, then what the one key reads is replaced: I - k k^T is singular at every token.
  for (double gate : {0.0, -1e-3, -50.0, -1000.0}) {
    const Sizes sizes{1, 150, 1, 6, 5};
    Case c = makeCase({{'s'}, {'a', true, true}, {'r'}}, sizes, check.random, [&] { return gate; });
    auto &key = c.arguments[1].values, &reader = c.arguments[3].values; // gate, key, value, reader, query, state
    for (size_t e = 0; e < key.size(); ++e) {
      key[e] = e % 6 == 2 ? 0.6 : e % 6 == 4 ? -0.8 : 0;
      reader[e] = -key[e];
    }
    check.expectProperties(c, 64, "gate " + std::to_string(gate));
  }
}
