//===- Suggest.cpp - Edit distance ------------------------------*- C++ -*-===//
// Three rows of the usual dynamic program are enough to see swaps.
//===----------------------------------------------------------------------===//
#include "runtime/core/Suggest.h"

#include <algorithm>
#include <numeric>
#include <vector>

size_t tidegate::runtime::editDistance(const std::string &a, const std::string &b) {
  std::vector<size_t> before, previous(b.size() + 1), current(b.size() + 1);
  std::iota(previous.begin(), previous.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        current[j] = std::min(current[j], before[j - 2] + 1);
    }
    before = previous;
    previous = current;
  }
  return previous[b.size()];
}

std::string tidegate::runtime::didYouMean(const std::string &given, std::span<const std::string> valid) {
  const std::string *best = nullptr;
  size_t bestDistance = given.size() / 3 + 2; // Beyond a third of the word it is another word.
  for (const std::string &candidate : valid)
    if (size_t distance = editDistance(given, candidate); distance < bestDistance) {
      best = &candidate;
      bestDistance = distance;
    }
  return best ? "; did you mean '" + *best + "'?" : "";
}
