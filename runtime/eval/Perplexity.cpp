//===- Perplexity.cpp - Perplexity over windows of tokens -------*- C++ -*-===//
// A window of T tokens is T - 1 inputs and, one position ahead, T - 1 labels.
//===----------------------------------------------------------------------===//
#include "runtime/eval/Perplexity.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <cmath>

using namespace tidegate;
using namespace tidegate::eval;
using runtime::RuntimeError;

TokenStream TokenStream::of(std::span<const int32_t> tokens) {
  return {static_cast<int64_t>(tokens.size()), [tokens](int64_t first, std::span<int32_t> out) {
            std::copy_n(tokens.begin() + first, out.size(), out.begin());
          },
          {}};
}

double PerplexityResult::perplexity() const { return std::exp(meanNats()); }

PerplexityResult tidegate::eval::perplexity(train::Model &model, const TokenStream &tokens, int64_t B, int64_t T,
                                            const Advance &advance) {
  auto expect = [](bool holds, const std::string &what, int64_t found) {
    if (!holds)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected " + what + ", but got " + std::to_string(found));
  };
  expect(B >= 1, "at least 1 window at a time", B);
  expect(T >= 2, "windows of at least 2 tokens, the first of which is not predicted", T);
  expect(tokens.size >= 2, "at least 2 tokens to evaluate on", tokens.size);
  T = std::min(T, tokens.size);

  PerplexityResult result;
  result.tokens = tokens.size;
  // A single token left over predicts nothing.
  result.windows = tokens.size / T + (tokens.size % T > 1);
  std::vector<int32_t> window(T), ids, labels, positions;
  for (int64_t first = 0; first < result.windows; first += B) {
    const int64_t rows = std::min(B, result.windows - first), inputs = T - 1;
    ids.assign(rows * inputs, 0);
    labels.assign(rows * inputs, train::kIgnoredLabel);
    positions.assign(tokens.positions ? rows * inputs : 0, 0);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t from = (first + row) * T, count = std::min(T, tokens.size - from);
      tokens.read(from, std::span(window).first(count));
      std::copy_n(window.begin(), count - 1, ids.begin() + row * inputs);
      std::copy_n(window.begin() + 1, count - 1, labels.begin() + row * inputs);
      if (!tokens.positions)
        continue;
      const auto places = std::span(positions).subspan(row * inputs, count - 1);
      tokens.positions(from, places);
      for (int32_t t = 0; t < count - 1; ++t) // A window starts from the zero state.
        places[t] = std::min(places[t], t);
    }
    const train::LossResult loss = model.evalLoss({ids, labels, rows, inputs, positions});
    result.nats += loss.loss * static_cast<double>(loss.count);
    result.predicted += loss.count;
    if (advance)
      advance(first + rows, result.windows);
  }
  return result;
}
