//===- Chart.cpp - Layout of a chart ----------------------------*- C++ -*-===//
#include "runtime/plot/Chart.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace tidegate::plot;
using tidegate::runtime::RuntimeError;

namespace {

// Distinguishable also without red or green (Okabe and Ito).
constexpr const char *kColors[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"};
constexpr int kNumColors = std::size(kColors);
constexpr const char *kGrid = "#dddddd", *kAxis = "#444444";
constexpr double kLeft = 76, kRight = 24, kTop = 44, kBottom = 56, kLegendLine = 20, kText = 13;

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void add(double value) { low = std::min(low, value), high = std::max(high, value); }
  /// Not empty, and a little wider than the values.
  void widen(double share) {
    double margin = (high - low) * share;
    if (high == low)
      margin = high == 0 ? 1 : std::abs(high) * 0.05;
    low -= margin, high += margin;
  }
};

bool isFinite(Point p) { return std::isfinite(p.x) && std::isfinite(p.y); }

std::string numberText(double value, double step) {
  char text[32];
  if (std::abs(value) >= 1e4 && step >= 1000)
    std::snprintf(text, sizeof text, "%gk", value / 1e3);
  else
    std::snprintf(text, sizeof text, "%.6g", std::abs(value) < step * 1e-9 ? 0.0 : value);
  return text;
}

} // namespace

std::vector<double> tidegate::plot::ticks(double low, double high, int count) {
  const double raw = (high - low) / count, power = std::pow(10, std::floor(std::log10(raw)));
  double step = power * 10;
  for (double factor : {5.0, 2.0, 1.0})
    if (power * factor >= raw)
      step = power * factor;
  std::vector<double> values;
  for (double i = std::ceil(low / step); i * step <= high; ++i)
    values.push_back(i * step);
  return values;
}

std::vector<Point> tidegate::plot::thinned(const std::vector<Point> &points, size_t count) {
  if (points.size() <= count)
    return points;
  std::vector<Point> result;
  for (size_t i = 0; i < count; ++i) {
    const size_t from = i * points.size() / count, to = (i + 1) * points.size() / count;
    Point sum;
    double finite = 0;
    for (size_t j = from; j < to; ++j)
      if (isFinite(points[j]))
        sum.x += points[j].x, sum.y += points[j].y, ++finite;
    result.push_back({sum.x / finite, sum.y / finite}); // NaN, a gap, where nothing is finite.
  }
  return result;
}

std::vector<Point> tidegate::plot::smoothed(const std::vector<Point> &points, double length) {
  const double keep = length > 1 ? 1 - 1 / length : 0;
  double sum = 0, weight = 0;
  std::vector<Point> result;
  for (Point p : points) {
    if (!isFinite(p))
      continue;
    sum = keep * sum + p.y;
    weight = keep * weight + 1;
    result.push_back({p.x, sum / weight});
  }
  return result;
}

double tidegate::plot::totalHeight(const Chart &chart) {
  return chart.height + kLegendLine * double(std::ranges::count(chart.series, false, &Series::markers));
}

void tidegate::plot::draw(const Chart &chart, Canvas &canvas) {
  Range x, y;
  for (const Series &series : chart.series)
    for (Point p : series.points)
      if (isFinite(p))
        x.add(p.x), y.add(p.y);
  if (x.low > x.high)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected points to draw, but there are none");
  x.widen(0);
  y.widen(0.04);
  const double left = kLeft, right = chart.width - kRight, top = kTop, bottom = chart.height - kBottom;
  auto place = [&](Point p) {
    return Point{left + (p.x - x.low) / (x.high - x.low) * (right - left),
                 bottom - (p.y - y.low) / (y.high - y.low) * (bottom - top)};
  };
  using Anchor = Canvas::Anchor;
  canvas.text({chart.width / 2, kTop - 18}, chart.title, Anchor::Middle, kText + 3, false);
  const auto columns = ticks(x.low, x.high, 8), rows = ticks(y.low, y.high, 7);
  for (double value : columns) {
    const double at = place({value, y.low}).x;
    canvas.line({at, top}, {at, bottom}, kGrid, 1);
    canvas.text({at, bottom + 18}, numberText(value, columns.size() > 1 ? columns[1] - columns[0] : 1),
                Anchor::Middle, kText, false);
  }
  for (double value : rows) {
    const double at = place({x.low, value}).y;
    canvas.line({left, at}, {right, at}, kGrid, 1);
    canvas.text({left - 8, at + 4}, numberText(value, rows.size() > 1 ? rows[1] - rows[0] : 1), Anchor::End, kText,
                false);
  }
  canvas.line({left, bottom}, {right, bottom}, kAxis, 1.5);
  canvas.line({left, top}, {left, bottom}, kAxis, 1.5);
  canvas.text({(left + right) / 2, bottom + 42}, chart.xLabel, Anchor::Middle, kText, false);
  canvas.text({20, (top + bottom) / 2}, chart.yLabel, Anchor::Middle, kText, true);

  double legend = chart.height + 4;
  for (const Series &series : chart.series) {
    const std::string color = kColors[series.color % kNumColors];
    const bool dashed = series.color / kNumColors % 2;
    std::vector<Point> piece;
    auto flush = [&] {
      if (piece.size() > 1)
        canvas.polyline(piece, color, 1.8, dashed);
      else if (piece.size() == 1)
        canvas.dot(piece[0], 2, color);
      piece.clear();
    };
    for (Point p : series.points) {
      if (!isFinite(p))
        flush();
      else if (series.markers)
        canvas.dot(place(p), 4, color);
      else
        piece.push_back(place(p));
    }
    flush();
    if (series.markers)
      continue;
    canvas.polyline({{left, legend}, {left + 28, legend}}, color, 2.5, dashed);
    canvas.text({left + 38, legend + 4}, series.name, Anchor::Start, kText, false);
    legend += kLegendLine;
  }
}
