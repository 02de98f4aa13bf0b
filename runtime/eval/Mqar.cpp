//===- Mqar.cpp - Multi-query associative recall ----------------*- C++ -*-===//
// Drawing K slots one after the other, each by its weight among those left, is
// the same as ordering all slots by independent exponential waiting times with
// the weights as rates, and taking the first K.
//===----------------------------------------------------------------------===//
#include "runtime/eval/Mqar.h"

#include "runtime/core/Error.h"
#include "runtime/train/Model.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <unordered_map>

using namespace tidegate;
using namespace tidegate::eval;
using runtime::RuntimeError;

namespace {

/// The draws of one example, in order.
class Draws {
public:
  Draws(const runtime::RandomStream &random, uint64_t example) : random(random), next(example << 24) {}

  int64_t below(int64_t n) { return static_cast<int64_t>(random.below(n, next++)); }
  /// Exponential with rate 1, more than 0.
  double waitingTime() { return -std::log1p(-random.uniform(next++)); }

private:
  const runtime::RandomStream &random;
  uint64_t next;
};

/// `count` distinct integers of [first, first + n) in random order: the start of
/// a Fisher-Yates shuffle, of which only what moved is stored.
std::vector<int32_t> distinct(Draws &draws, int64_t first, int64_t n, int64_t count) {
  std::unordered_map<int64_t, int64_t> moved;
  auto at = [&](int64_t place) {
    auto found = moved.find(place);
    return found == moved.end() ? place : found->second;
  };
  std::vector<int32_t> result;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t j = i + draws.below(n - i);
    result.push_back(static_cast<int32_t>(first + at(j)));
    moved[j] = at(i);
  }
  return result;
}

/// `count` of the slots 0 .. n - 1 in the order they are drawn.
std::vector<int64_t> weightedSlots(Draws &draws, int64_t n, int64_t count, double power) {
  std::vector<double> times(n);
  // The factor a of the weights is common to all.
  for (int64_t x = 1; x <= n; ++x)
    times[x - 1] = draws.waitingTime() * std::pow(static_cast<double>(x), 1 - power);
  std::vector<int64_t> slots(n);
  std::iota(slots.begin(), slots.end(), int64_t(0));
  std::partial_sort(slots.begin(), slots.begin() + count, slots.end(), [&](int64_t a, int64_t b) {
    return times[a] != times[b] ? times[a] < times[b] : a < b;
  });
  slots.resize(count);
  return slots;
}

} // namespace

void MqarTask::validate() const {
  auto expect = [](bool holds, const std::string &what, const std::string &found) {
    if (!holds)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "associative recall needs " + what + ", but got " + found);
  };
  auto text = [](int64_t value) { return std::to_string(value); };
  expect(pairs >= 1, "at least 1 pair", text(pairs));
  expect(T % 2 == 0, "an even number of tokens", text(T));
  expect(T >= 4 * pairs, "at least 4 tokens a pair, " + text(4 * pairs) + " for " + text(pairs), text(T));
  expect(vocab > T, "a vocabulary of more ids than the " + text(T) + " tokens of an example", text(vocab));
  expect(vocab <= INT32_MAX, "a vocabulary of 32-bit ids", text(vocab));
  expect(power > 0, "a positive power of the slots' weights", std::to_string(power));
}

MqarGenerator::MqarGenerator(const MqarTask &task, uint64_t seed, std::string_view stream)
    : rules(task), random(seed, "associative recall, " + std::string(stream)) {
  rules.validate();
}

void MqarGenerator::example(uint64_t index, std::span<int32_t> ids, std::span<int32_t> labels) const {
  const int64_t K = rules.pairs, half = rules.vocab / 2;
  Draws draws(random, index);
  const std::vector<int32_t> keys = distinct(draws, 1, half - 1, K), values = distinct(draws, half, rules.vocab - half, K);
  const std::vector<int64_t> slots = weightedSlots(draws, (rules.T - 2 * K) / 2, K, rules.power);
  std::fill(ids.begin(), ids.end(), 0);
  std::fill(labels.begin(), labels.end(), train::kIgnoredLabel);
  for (int64_t i = 0; i < K; ++i) {
    ids[2 * i] = keys[i];
    ids[2 * i + 1] = values[i];
    const int64_t query = 2 * K + 2 * slots[i];
    ids[query] = keys[i];
    labels[query] = values[i];
  }
  if (rules.randomFill)
    for (int32_t &id : ids)
      if (id == 0)
        id = static_cast<int32_t>(draws.below(rules.vocab));
}
