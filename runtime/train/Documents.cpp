//===- Documents.cpp - Several documents in one row -------------*- C++ -*-===//
#include "runtime/train/Documents.h"

#include "runtime/core/Error.h"

#include <string>

using namespace tidegate::train;
using tidegate::runtime::RuntimeError;

namespace {

[[noreturn]] void invalid(const std::string &message) {
  throw RuntimeError(RuntimeError::Kind::InvalidArgument, message);
}

std::string placeText(int64_t b, int64_t t) { return "row " + std::to_string(b) + ", token " + std::to_string(t); }

} // namespace

std::vector<int32_t> tidegate::train::positionsOfRows(int64_t B, int64_t T, std::span<const int32_t> first) {
  std::vector<int32_t> positions(B * T);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < T; ++t)
      positions[b * T + t] = static_cast<int32_t>(t) + (first.empty() ? 0 : first[b]);
  return positions;
}

std::vector<int32_t> tidegate::train::positionsOfBoundaries(std::span<const int64_t> boundaries, int64_t T) {
  if (boundaries.size() < 2)
    invalid("expected at least 2 document boundaries, 0 and the number of tokens, but got " +
            std::to_string(boundaries.size()));
  if (boundaries.front() != 0)
    invalid("expected document boundaries that start at 0, but the first is " + std::to_string(boundaries.front()));
  for (size_t i = 1; i < boundaries.size(); ++i)
    if (boundaries[i] <= boundaries[i - 1])
      invalid("expected increasing document boundaries, but number " + std::to_string(i) + " is " +
              std::to_string(boundaries[i]) + " after " + std::to_string(boundaries[i - 1]));
  if (boundaries.back() != T)
    invalid("expected document boundaries that end at the " + std::to_string(T) + " tokens of the row, but the last is " +
            std::to_string(boundaries.back()));
  std::vector<int32_t> positions;
  positions.reserve(T);
  for (size_t i = 1; i < boundaries.size(); ++i)
    for (int64_t t = boundaries[i - 1]; t < boundaries[i]; ++t)
      positions.push_back(static_cast<int32_t>(t - boundaries[i - 1]));
  return positions;
}

void tidegate::train::checkPositions(std::span<const int32_t> positions, int64_t B, int64_t T,
                                     std::span<const int32_t> first) {
  if (static_cast<int64_t>(positions.size()) != B * T)
    invalid("expected " + std::to_string(B) + " x " + std::to_string(T) + " positions, but got " +
            std::to_string(positions.size()));
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < T; ++t) {
      const int32_t found = positions[b * T + t];
      if (t == 0 && first.empty() && found >= 0)
        continue; // goes on with a document from before the row
      if (t == 0 && first.empty())
        invalid("expected positions of at least 0, but got " + std::to_string(found) + " at " + placeText(b, t));
      const int64_t next = t == 0 ? first[b] : int64_t(positions[b * T + t - 1]) + 1;
      if (found != 0 && found != next)
        invalid("position " + std::to_string(found) + " at " + placeText(b, t) +
                " neither continues the document (" + std::to_string(next) + ") nor starts one (0)");
    }
}
