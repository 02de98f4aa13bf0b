//===- EventPrograms.h - Random recurrences in token form -------*- C++ -*-===//
#pragma once

#include "tests/unit/compiler/Reference/Run.h"

#include <random>

namespace tidegate::test {

/// Sizes of one case.
struct Sizes {
  int64_t batch = 1, tokens = 1, heads = 1, keys = 1, values = 1;
};

/// One event of a token, as in spec order. Letters of `kind`: 's' scale per
/// channel, 'c' scalar scale, 'v' scale per value channel, 'm' per channel of both
/// sides, 'a' add, 'r' read.
struct Event {
  char kind;
  bool hasValue = true;   ///< Of an add.
  bool hasReader = false; ///< Of an add.
  bool isStale = false;   ///< Of an add: its reader sees the state at the token's entry.
  bool hasFactor = false; ///< Of an add that reads: what it reads is scaled per value channel.
};

/// A function `@f(operands..., %s0) -> (reads..., final state)` in f64 whose
/// one scan runs a program of events, and random arguments for it.
struct Case {
  std::string text;
  std::vector<reference::Tensor> arguments;
  unsigned numReads = 0;
};

/// Where the state starts anew, and from what.
struct Restarts {
  std::vector<double> flags; ///< B x T of 1 and 0; empty: never.
  bool toInitial = false;    ///< To %s0, else to zero.
};

/// `logDecay()` draws the logarithms of decays. With restarts the flags are an
/// argument `B x T x H` before %s0; the other arguments are as without.
Case makeCase(const std::vector<Event> &events, const Sizes &sizes, std::mt19937 &random,
              const std::function<double()> &logDecay, const Restarts &restarts = {});

/// A program of 2 to 6 events with at least one add and one read.
std::vector<Event> randomEvents(std::mt19937 &random);

/// Draws from the gates of a kind: one number for all, or one of several.
std::function<double()> gatesFrom(std::vector<double> choices, std::mt19937 &random);

reference::Tensor randomTensor(Shape shape, std::mt19937 &random, double size = 1.0);

/// max |a - b| / max(max |b|, floor)
double relativeError(const reference::Tensor &a, const reference::Tensor &b, double floor = 1e-300);
double largest(const reference::Tensor &a);

} // namespace tidegate::test
