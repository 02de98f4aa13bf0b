//===- Suggest.h - "did you mean" -------------------------------*- C++ -*-===//
// The nearest of a list of names, if it is near enough to be a typing slip.
//===----------------------------------------------------------------------===//
#pragma once

#include <span>
#include <string>

namespace tidegate::runtime {

/// Insertions, deletions, substitutions and swaps of neighbours that turn a into b.
size_t editDistance(const std::string &a, const std::string &b);
/// "; did you mean 'x'?" or nothing.
std::string didYouMean(const std::string &given, std::span<const std::string> valid);

} // namespace tidegate::runtime
