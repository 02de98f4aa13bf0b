//===- Chart.h - Curves over a common axis ----------------------*- C++ -*-===//
// Lines with axes, grid and legend, drawn onto a canvas: SVG text, or pixels.
//===----------------------------------------------------------------------===//
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tidegate::plot {

struct Point {
  double x = 0, y = 0;
};

struct Series {
  std::string name;
  std::vector<Point> points; ///< By rising x; values that are not finite leave a gap.
  bool markers = false;      ///< Dots instead of a line; they are no legend entry of their own.
  int color = 0;             ///< Series of one colour belong together.
};

struct Chart {
  std::string title, xLabel, yLabel;
  std::vector<Series> series;
  double width = 960, height = 540; ///< Of the whole picture without its legend.
};

/// What a chart is drawn with; y grows downwards, the unit is a pixel.
class Canvas {
public:
  enum class Anchor { Start, Middle, End };
  virtual ~Canvas() = default;
  virtual void line(Point from, Point to, const std::string &color, double width) = 0;
  virtual void polyline(const std::vector<Point> &points, const std::string &color, double width, bool dashed) = 0;
  virtual void dot(Point center, double radius, const std::string &color) = 0;
  virtual void text(Point at, const std::string &text, Anchor anchor, double size, bool upwards) = 0;
};

/// Height with the legend, a line for each named series.
double totalHeight(const Chart &chart);
/// Errors: RuntimeError, InvalidArgument when there is no finite point.
void draw(const Chart &chart, Canvas &canvas);

/// About `count` round values within [low, high].
std::vector<double> ticks(double low, double high, int count);
/// Means over stretches of x, at most `count` points.
std::vector<Point> thinned(const std::vector<Point> &points, size_t count);
/// Exponential moving average over about `points` points, unbiased at the start.
std::vector<Point> smoothed(const std::vector<Point> &points, double length);

/// Writes a picture; the name's end says which kind: .svg or .png (needs a build with cairo).
/// Errors: RuntimeError for another end, and for files.
void writeChart(const Chart &chart, const std::string &path);
std::string svgOf(const Chart &chart);

} // namespace tidegate::plot
