//===- Decay.h - Logarithms of decays ---------------------------*- C++ -*-===//
#pragma once

#include "mlir/IR/Builders.h"

namespace tidegate::rec {

struct LogDecay {
  mlir::Value log;      ///< log |decay|, -inf for 0.
  mlir::Value negative; ///< 1 where the decay is below 0, else 0; null if it cannot be.
};

/// The logarithm of a decay. An exponential or a sigmoid gives it without
/// rounding; that of any other value has gradient 0 where the value is below
/// 1e-6 (1e-12 in f64), where it could not be told from rounding errors.
LogDecay logOfDecay(mlir::OpBuilder &builder, mlir::Value decay);

} // namespace tidegate::rec
