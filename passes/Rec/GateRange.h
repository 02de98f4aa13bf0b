//===- GateRange.h - Bounds of a gate from its expression -------*- C++ -*-===//
#pragma once

#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"

#include <cmath>
#include <limits>

namespace tidegate::rec {

/// A closed interval of the extended reals.
struct Interval {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();

  bool isBounded() const { return std::isfinite(low) && std::isfinite(high); }
  friend bool operator==(const Interval &, const Interval &) = default;
};

/// The numbers that a value may hold, element by element, whatever the weights
/// and inputs are (as long as they are finite). Constants, element-wise ops,
/// shapes and reductions are followed through the function that holds the
/// value; products, scans, lookups, calls and arguments may be anything.
class RangeAnalysis {
public:
  Interval rangeOf(mlir::Value value);

private:
  Interval compute(mlir::Value value);
  llvm::DenseMap<mlir::Value, Interval> known;
};

/// Of log |x| for x in a range.
Interval logOfRange(Interval x);

} // namespace tidegate::rec
