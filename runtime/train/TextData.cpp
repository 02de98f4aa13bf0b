//===- TextData.cpp - Windows of a mapped text ------------------*- C++ -*-===//
// Windows start anywhere and are drawn with replacement.
//===----------------------------------------------------------------------===//
#include "runtime/train/TextData.h"

#include "runtime/core/Error.h"
#include "runtime/core/Random.h"

#include <algorithm>

using namespace tidegate::train;
using tidegate::runtime::RuntimeError;

TextData::TextData(const std::string &path, double fraction, int64_t maxHeldOut) : file(path) {
  size_t size = file.bytes().size();
  if (size == 0)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected text in '" + path + "', but the file is empty");
  split = size - std::min(static_cast<size_t>(fraction * static_cast<double>(size)), static_cast<size_t>(maxHeldOut));
}

void TextData::checkWindow(int64_t T) const {
  if (static_cast<int64_t>(split) < T + 1)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "a sequence of " + std::to_string(T) + " tokens needs " + std::to_string(T + 1) +
                           " bytes of training text, but '" + path() + "' has " + std::to_string(split) + " (and " +
                           std::to_string(heldOut().size()) + " held out)");
}

void TextData::batch(uint64_t seed, int64_t step, int64_t B, int64_t T, std::span<int32_t> ids,
                     std::span<int32_t> labels) const {
  checkWindow(T);
  const runtime::RandomStream stream(seed, "training windows");
  const std::string_view text = training();
  for (int64_t b = 0; b < B; ++b) {
    const size_t start = stream.below(text.size() - T, static_cast<uint64_t>(step) * B + b);
    for (int64_t t = 0; t < T; ++t) {
      ids[b * T + t] = static_cast<unsigned char>(text[start + t]);
      labels[b * T + t] = static_cast<unsigned char>(text[start + t + 1]);
    }
  }
}
