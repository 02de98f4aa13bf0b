//===- GateRange.h - Bounds of a gate from its expression -------*- C++ -*-===//
#pragma once

#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"

#include <cmath>
#include <limits>

namespace tidegate::rec {

/// A closed interval of the extended reals.
struct Interval {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();

  bool isBounded() const { return std::isfinite(low) && std::isfinite(high); }
  bool isWithin(Interval other) const { return low >= other.low && high <= other.high; }
  friend bool operator==(const Interval &, const Interval &) = default;
};

/// The numbers that a value may hold, element by element, whatever the weights
/// and inputs are (as long as they are finite). Constants, element-wise ops,
/// shapes and reductions are followed through the function that holds the
/// value, into the body of a scan and out of it; products, states, lookups, calls
/// and arguments may be anything.
class RangeAnalysis {
public:
  using Ranges = llvm::DenseMap<mlir::Value, Interval>;
  RangeAnalysis() = default;
  /// `known`: what else is known, of arguments above all.
  explicit RangeAnalysis(Ranges known) : known(std::move(known)) {}

  Interval rangeOf(mlir::Value value);
  /// Of a product element by element, in which a factor may occur more than once.
  Interval rangeOfProduct(llvm::ArrayRef<mlir::Value> factors);
  /// Every value that was looked at.
  const Ranges &ranges() const { return known; }

private:
  Interval compute(mlir::Value value);
  Ranges known;
};

/// Of log |x| for x in a range.
Interval logOfRange(Interval x);

} // namespace tidegate::rec
