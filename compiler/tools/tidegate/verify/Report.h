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
  bool holds() const;
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

} // namespace tidegate::tool
