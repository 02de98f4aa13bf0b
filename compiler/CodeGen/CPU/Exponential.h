//===- Exponential.h - exp as plain arithmetic ------------------*- C++ -*-===//
#pragma once

#include "mlir/IR/BuiltinOps.h"

namespace tidegate::cpu {

/// Replaces every math.exp of `module`, of numbers or vectors of f32 or f64, by
/// arithmetic that LLVM vectorises like any other: no call, no table.
///
/// Error: within 1.5 units in the last place, also where the result is subnormal;
/// inf, 0 and NaN where exp gives them. Tested in tests/unit/codegen.
/// Source: Cody & Waite, "Software Manual for the Elementary Functions", 1980,
/// chapter 6: x = n log 2 + r with log 2 in two parts, then a series in r.
void expandExponentials(mlir::ModuleOp module);

} // namespace tidegate::cpu
