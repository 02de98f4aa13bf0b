//===- MqarScore.h - How well a model recalls -------------------*- C++ -*-===//
#pragma once

#include "runtime/eval/Advance.h"
#include "runtime/eval/Mqar.h"
#include "runtime/train/Model.h"

namespace tidegate::eval {

struct MqarScore {
  int64_t examples = 0;
  double accuracy = 0;      ///< Mean over examples of the share of right queries.
  double standardError = 0; ///< Of that mean; NaN for fewer than two examples.
  double nats = 0;          ///< Mean negative log-likelihood of a query's value.
};

/// Examples 0 .. `examples` - 1 of the generator, B at a time. A query is right
/// when the likeliest id of the whole vocabulary is its value.
/// Errors: InvalidArgument when the model's vocabulary is smaller than the task's.
MqarScore scoreMqar(train::Model &model, const MqarGenerator &generator, int64_t examples, int64_t B,
                    const Advance &advance = {});

} // namespace tidegate::eval
