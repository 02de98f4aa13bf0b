//===- TinyModels.h - Compiled models for tests of the driver ---*- C++ -*-===//
// The examples at sizes that compile and run in a second or two.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Driver/Driver.h"
#include "runtime/core/Random.h"
#include "runtime/train/Init.h"

#include <vector>

namespace tidegate::test {

inline ProgramSource tinyGla(const std::string &layers = "1") {
  return {TIDEGATE_SOURCE_DIR "/examples/gla/gla.tg",
          {{"D", "32"}, {"L", layers}, {"H", "2"}, {"vocab", "40"}, {"mlp_width", "48"}},
          {}};
}

inline std::unique_ptr<train::Model> initialised(const ProgramSource &source, const CompileOptions &options) {
  auto model = compileModel(source, options);
  train::initialiseParameters(*model, 11);
  return model;
}

/// Random ids and labels.
struct RandomTokens {
  RandomTokens(int64_t B, int64_t T, int64_t vocab) : ids(B * T), labels(B * T), B(B), T(T) {
    runtime::RandomStream random(3, "tokens");
    for (int64_t i = 0; i < B * T; ++i) {
      ids[i] = int32_t(random.below(vocab, 2 * i));
      labels[i] = int32_t(random.below(vocab, 2 * i + 1));
    }
  }
  /// `count` rows from `first` on.
  train::TokenBatch rows(int64_t first, int64_t count) const {
    auto part = [&](const std::vector<int32_t> &all) { return std::span(all).subspan(first * T, count * T); };
    return {part(ids), part(labels), count, T};
  }
  train::TokenBatch all() const { return rows(0, B); }

  std::vector<int32_t> ids, labels;
  int64_t B, T;
};

/// Of a vocabulary that has eight blocks of rows; the head has a bias, whose gradient is a sum but no product, and a
/// soft cap behind its product.
inline constexpr const char *kSoftCap = R"(
param V = 300, D = 16
model Tiny(ids: [T] int) -> [T, V] {
  h = rms_norm(embedding(ids, V, D, 1) as embed, 0.000001) as norm
  return 4 * tanh(linear(h, V, bias = true, std = 0.5) as head / 4)
}
)";

/// A number of each row from outside enters, and the maximum of a row is taken off.
inline constexpr const char *kGate = R"(
param V = 300, D = 16
model Tiny(ids: [T] int) -> [T, V] {
  h = embedding(ids, V, D, 1) as embed
  z = linear(h, V, std = 0.5) as head * sigmoid(linear(h, 1, std = 0.5) as gate)
  return z - max(z)
}
)";

} // namespace tidegate::test
