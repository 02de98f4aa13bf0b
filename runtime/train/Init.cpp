//===- Init.cpp - Reading `init` texts and drawing values -------*- C++ -*-===//
// Draws are made in double and rounded once, so f32 and f64 models of one seed
// agree to rounding.
//===----------------------------------------------------------------------===//
#include "runtime/train/Init.h"

#include "runtime/core/Error.h"
#include "runtime/core/Random.h"

#include <algorithm>
#include <charconv>
#include <vector>

using namespace tidegate::train;
using tidegate::runtime::HostSpan;
using tidegate::runtime::RandomStream;
using tidegate::runtime::RuntimeError;

namespace {

/// Splits "word(1, 2)" into word and numbers; false when it is not of that form.
bool splitCall(const std::string &text, std::string &word, std::vector<double> &numbers) {
  size_t open = text.find('(');
  word = text.substr(0, open);
  if (open == std::string::npos)
    return true;
  if (text.back() != ')')
    return false;
  const char *at = text.data() + open + 1, *end = text.data() + text.size() - 1;
  while (at < end) {
    while (at < end && *at == ' ')
      ++at;
    double value;
    auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || (next != end && *next != ','))
      return false;
    numbers.push_back(value);
    at = next == end ? end : next + 1;
  }
  return true;
}

} // namespace

Initialiser tidegate::train::parseInit(const std::string &init, const std::string &name) {
  std::string word;
  std::vector<double> numbers;
  using Kind = Initialiser::Kind;
  if (splitCall(init, word, numbers)) {
    const size_t n = numbers.size();
    if (word == "zeros" && n == 0)
      return {Kind::Constant, 0};
    if (word == "ones" && n == 0)
      return {Kind::Constant, 1};
    if (word == "constant" && n == 1)
      return {Kind::Constant, numbers[0]};
    if (word == "normal" && n == 1 && numbers[0] >= 0)
      return {Kind::Normal, 0, numbers[0]};
    if (word == "uniform" && n == 2 && numbers[0] <= numbers[1])
      return {Kind::Uniform, numbers[0], numbers[1]};
  }
  throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                     "weight '" + name + "' has init '" + init +
                         "', expected zeros, ones, constant(c), normal(std) or uniform(low, high)");
}

void tidegate::train::initialise(const Initialiser &init, const std::string &name, uint64_t seed, HostSpan target) {
  const RandomStream stream(seed, name);
  const int64_t n = target.elements;
  switch (init.kind) {
  case Initialiser::Kind::Constant:
    for (int64_t i = 0; i < n; ++i)
      target.set(i, init.a);
    return;
  case Initialiser::Kind::Uniform:
#pragma omp parallel for
    for (int64_t i = 0; i < n; ++i)
      target.set(i, init.a + (init.b - init.a) * stream.uniform(i));
    return;
  case Initialiser::Kind::Normal:
#pragma omp parallel for
    for (int64_t pair = 0; pair < (n + 1) / 2; ++pair) {
      auto draws = stream.normalPair(pair);
      for (int64_t i = 2 * pair; i < std::min(2 * pair + 2, n); ++i)
        target.set(i, init.a + init.b * draws[i % 2]);
    }
    return;
  }
}

void tidegate::train::initialiseParameters(Model &model, uint64_t seed) {
  const auto &parameters = model.parameters();
  for (size_t i = 0; i < parameters.size(); ++i)
    initialise(parseInit(parameters[i].init, parameters[i].name), parameters[i].name, seed, model.parameter(i));
}
