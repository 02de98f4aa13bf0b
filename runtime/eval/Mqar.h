//===- Mqar.h - Multi-query associative recall ------------------*- C++ -*-===//
// A made-up task that measures recall: K pairs of a key and a value, then each
// key once more, somewhere; the model has to say its value. An example is a
// function of (seed, stream, index), so nothing needs to be stored.
// Source: Arora et al., "Zoology: Measuring and Improving Recall in Efficient
// Language Models", 2023 (arXiv 2312.04927).
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/Random.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace tidegate::eval {

/// T tokens: k1 v1 k2 v2 ... kK vK, then (T - 2K) / 2 slots of two positions.
/// Keys are distinct ids in [1, vocab / 2), values distinct ids in [vocab / 2, vocab). K
/// distinct slots, near ones likelier (slot x = 1, 2, ... with weight
/// a x^(a - 1), without replacement), get one key each at their first position;
/// the label there is the key's value. The value is not written again. Every
/// other label is train::kIgnoredLabel: labels are aligned with the ids and not
/// to be shifted.
struct MqarTask {
  int64_t vocab = 8192;
  int64_t pairs = 4;  ///< K.
  int64_t T = 64;     ///< Even, at least 4K, less than vocab.
  double power = 0.01; ///< a; 1 makes all slots equally likely.
  bool randomFill = false; ///< The other positions of the tail, and every other 0: any id instead of 0.

  /// InvalidArgument for sizes that do not fit.
  void validate() const;
};

class MqarGenerator {
public:
  /// Examples of one stream ("train", "test") share nothing with those of another.
  MqarGenerator(const MqarTask &task, uint64_t seed, std::string_view stream);

  const MqarTask &task() const { return rules; }
  /// Writes example `index`, below 2^40. Shapes: both T.
  void example(uint64_t index, std::span<int32_t> ids, std::span<int32_t> labels) const;

private:
  MqarTask rules;
  runtime::RandomStream random;
};

} // namespace tidegate::eval
