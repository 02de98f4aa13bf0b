//===- Report.h - Errors against bounds -------------------------*- C++ -*-===//
// What `tidegate verify` measures, row by row, and its verdict.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/HostTensor.h"

#include <ostream>
#include <string>
#include <vector>

namespace tidegate::tool {

struct CheckRow {
  std::string check;  ///< "f64 gradient", ...
  std::string tensor; ///< What was compared.
  double error, bound;

  bool holds() const { return error <= bound; } ///< False for a NaN.
};

struct VerifyReport {
  std::vector<CheckRow> rows;

  void add(const std::string &check, const std::string &tensor, double error, double bound) {
    rows.push_back({check, tensor, error, bound});
  }
  bool holds() const; ///< No row fails, and there is one.
  /// Every row (`all`), or the worst of each check and every one that fails.
  void print(std::ostream &out, bool all) const;
  std::string json() const;
};

/// Largest |a - b| over the largest |b|, or over `floor` where that is larger.
/// 0 when both are all zero; infinite when sizes differ, NaN when a value is.
double relativeError(runtime::HostSpan a, runtime::HostSpan b, double floor = 0);
double relativeError(double a, double b);

/// Errors by root mean square, over that of `b` or over `floor` where that is larger. NaN when a value is.
struct RmsErrors {
  double whole = 0; ///< Of all elements.
  double row = 0;   ///< The worst of rows of `width` elements, each over its own or the whole's, whichever is larger.
};
RmsErrors rmsErrors(runtime::HostSpan a, runtime::HostSpan b, int64_t width, double floor = 0);
/// Root mean square of the elements.
double rms(runtime::HostSpan values);

/// A value with the gradient of a loss by it.
struct ValueAndGradient {
  runtime::HostSpan value, gradient;
};
/// The root mean square below which each gradient is measured against that scale
/// in half precision, where a sum is as exact as its terms are large. A gradient
/// counts by how far the loss goes when its value moves by its own size (at least
/// 0.1: a decay near 1 has a logarithm near 0). Those terms are of the size of the
/// largest gradient so counted: `q . dq - k . dk` is the gradient of a log decay,
/// and may cancel to nothing. A gradient of less than a sixteenth of it is measured
/// against a sixteenth.
std::vector<double> halfGradientFloors(const std::vector<ValueAndGradient> &all);

} // namespace tidegate::tool
