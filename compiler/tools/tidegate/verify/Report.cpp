//===- Report.cpp - The table and the verdict -------------------*- C++ -*-===//
// Rows of one check are grouped; the worst of a group is what people read.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/verify/Report.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

using namespace tidegate::tool;

namespace {

/// How close to its bound; a NaN is worst.
double badness(const CheckRow &row) {
  return std::isnan(row.error) ? std::numeric_limits<double>::infinity() : row.error / row.bound;
}

std::string scientific(double value) {
  std::ostringstream text;
  text << std::scientific << std::setprecision(2) << value;
  return text.str();
}

} // namespace

bool VerifyReport::holds() const {
  return !rows.empty() && std::all_of(rows.begin(), rows.end(), [](const CheckRow &row) { return row.holds(); });
}

void VerifyReport::print(std::ostream &out, bool all) const {
  std::vector<const CheckRow *> shown;
  for (size_t first = 0; first < rows.size();) {
    size_t last = first, worst = first;
    for (; last < rows.size() && rows[last].check == rows[first].check; ++last)
      if (badness(rows[last]) > badness(rows[worst]))
        worst = last;
    for (size_t i = first; i < last; ++i)
      if (all || i == worst || !rows[i].holds())
        shown.push_back(&rows[i]);
    first = last;
  }
  size_t checkWidth = 5, tensorWidth = 6;
  for (const CheckRow *row : shown) {
    checkWidth = std::max(checkWidth, row->check.size());
    tensorWidth = std::max(tensorWidth, row->tensor.size());
  }
  auto line = [&](const std::string &check, const std::string &tensor, const std::string &error,
                  const std::string &bound, const std::string &verdict) {
    out << std::left << std::setw(int(checkWidth)) << check << "  " << std::setw(int(tensorWidth)) << tensor << "  "
        << std::right << std::setw(9) << error << "  " << std::setw(9) << bound << "  " << verdict << "\n";
  };
  line("check", all ? "tensor" : "worst", "error", "bound", "");
  for (const CheckRow *row : shown)
    line(row->check, row->tensor, scientific(row->error), scientific(row->bound), row->holds() ? "ok" : "FAILS");
  const auto failed = std::count_if(rows.begin(), rows.end(), [](const CheckRow &row) { return !row.holds(); });
  if (rows.empty())
    out << "verdict: nothing was compared\n";
  else if (failed)
    out << "verdict: " << failed << " of " << rows.size() << " comparisons fail\n";
  else
    out << "verdict: all " << rows.size() << " comparisons hold\n";
}

std::string VerifyReport::json() const {
  nlohmann::ordered_json object = {{"holds", holds()}, {"rows", nlohmann::ordered_json::array()}};
  for (const CheckRow &row : rows)
    object["rows"].push_back({{"check", row.check},
                              {"tensor", row.tensor},
                              {"error", row.error},
                              {"bound", row.bound},
                              {"holds", row.holds()}});
  return object.dump();
}

double tidegate::tool::relativeError(runtime::HostSpan a, runtime::HostSpan b, double floor) {
  if (a.elements != b.elements)
    return std::numeric_limits<double>::infinity();
  double difference = 0, scale = floor;
  for (int64_t i = 0; i < a.elements; ++i) {
    const double x = a.get(i), y = b.get(i);
    if (std::isnan(x) || std::isnan(y))
      return std::numeric_limits<double>::quiet_NaN();
    difference = std::max(difference, std::abs(x - y));
    scale = std::max(scale, std::abs(y));
  }
  return difference == 0 ? 0 : difference / scale;
}

double tidegate::tool::relativeError(double a, double b) { return a == b ? 0 : std::abs(a - b) / std::abs(b); }

double tidegate::tool::rms(runtime::HostSpan values) {
  double square = 0;
  for (int64_t i = 0; i < values.elements; ++i)
    square += values.get(i) * values.get(i);
  return values.elements == 0 ? 0 : std::sqrt(square / double(values.elements));
}

RmsErrors tidegate::tool::rmsErrors(runtime::HostSpan a, runtime::HostSpan b, int64_t width, double floor) {
  RmsErrors errors;
  if (a.elements != b.elements)
    return {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
  const double whole = std::max(rms(b), floor);
  double sum = 0;
  for (int64_t first = 0; first < a.elements; first += width) {
    double difference = 0, square = 0;
    for (int64_t i = first; i < first + width; ++i) {
      const double x = a.get(i), y = b.get(i);
      difference += (x - y) * (x - y);
      square += y * y;
    }
    if (std::isnan(difference))
      return {difference, difference};
    sum += difference;
    if (difference > 0)
      errors.row = std::max(errors.row, std::sqrt(difference / double(width)) /
                                            std::max(std::sqrt(square / double(width)), whole));
  }
  if (sum > 0)
    errors.whole = std::sqrt(sum / double(a.elements)) / whole;
  return errors;
}

std::vector<double> tidegate::tool::halfGradientFloors(const std::vector<ValueAndGradient> &all) {
  constexpr double kShare = 1.0 / 16, kLeastSize = 0.1;
  auto sizeOf = [&](const ValueAndGradient &of) { // Of a move of the loss, per unit of the gradient's root mean square.
    return std::max(rms(of.value), kLeastSize) * std::sqrt(double(of.gradient.elements));
  };
  double largest = 0;
  for (const ValueAndGradient &of : all)
    largest = std::max(largest, rms(of.gradient) * sizeOf(of));
  std::vector<double> floors;
  for (const ValueAndGradient &of : all)
    floors.push_back(kShare * largest / sizeOf(of));
  return floors;
}
