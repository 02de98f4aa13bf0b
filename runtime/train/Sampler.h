//===- Sampler.h - Choosing the next token ----------------------*- C++ -*-===//
// Temperature and nucleus (top-p) sampling. The draw of position i depends on
// the seed and i only.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <span>

namespace tidegate::train {

struct SamplerConfig {
  double temperature = 0.8; ///< 0: always the likeliest token.
  double topP = 0.95;       ///< Keeps the likeliest tokens up to this mass, in (0, 1].
  uint64_t seed = 0;
};

/// A token of the distribution softmax(logits / temperature), cut to top-p.
/// Logits of minus infinity are never chosen; equal ones rank by id.
/// Errors: InvalidArgument when a logit is NaN or none is finite.
int32_t sampleToken(std::span<const double> logits, const SamplerConfig &config, uint64_t position);

} // namespace tidegate::train
