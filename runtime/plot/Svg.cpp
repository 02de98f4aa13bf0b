//===- Svg.cpp - Charts as SVG ----------------------------------*- C++ -*-===//
// Plain text: fonts are the viewer's.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/plot/Chart.h"
#include "runtime/plot/Png.h"

#include <filesystem>

using namespace tidegate::plot;
using namespace tidegate::runtime;

namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

std::string escaped(const std::string &text) {
  std::string result;
  for (char c : text)
    switch (c) {
    case '&': result += "&amp;"; break;
    case '<': result += "&lt;"; break;
    case '>': result += "&gt;"; break;
    case '"': result += "&quot;"; break;
    default: result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  return result;
}

class SvgCanvas : public Canvas {
public:
  void line(Point from, Point to, const std::string &color, double width) override {
    body += "<line x1=\"" + number(from.x) + "\" y1=\"" + number(from.y) + "\" x2=\"" + number(to.x) + "\" y2=\"" +
            number(to.y) + "\"" + stroke(color, width);
  }
  void polyline(const std::vector<Point> &points, const std::string &color, double width, bool dashed) override {
    body += "<polyline fill=\"none\" stroke-linejoin=\"round\" points=\"";
    for (Point p : points)
      body += number(p.x) + "," + number(p.y) + " ";
    body += dashed ? "\" stroke-dasharray=\"7 4\"" : "\"";
    body += stroke(color, width);
  }
  void dot(Point center, double radius, const std::string &color) override {
    body += "<circle cx=\"" + number(center.x) + "\" cy=\"" + number(center.y) + "\" r=\"" + number(radius) +
            "\" fill=\"" + color + "\"/>\n";
  }
  void text(Point at, const std::string &text, Anchor anchor, double size, bool upwards) override {
    static const char *const kAnchors[] = {"start", "middle", "end"};
    body += "<text x=\"" + number(at.x) + "\" y=\"" + number(at.y) + "\" font-size=\"" + number(size) +
            "\" text-anchor=\"" + kAnchors[int(anchor)] + "\"";
    if (upwards)
      body += " transform=\"rotate(-90 " + number(at.x) + " " + number(at.y) + ")\"";
    body += ">" + escaped(text) + "</text>\n";
  }

  std::string body;

private:
  static std::string stroke(const std::string &color, double width) {
    return " stroke=\"" + color + "\" stroke-width=\"" + number(width) + "\"/>\n";
  }
};

} // namespace

std::string tidegate::plot::svgOf(const Chart &chart) {
  SvgCanvas canvas;
  draw(chart, canvas);
  const std::string size = "width=\"" + number(chart.width) + "\" height=\"" + number(totalHeight(chart)) + "\"";
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" " + size +
         " font-family=\"sans-serif\">\n<rect " + size + " fill=\"white\"/>\n" + canvas.body + "</svg>\n";
}

void tidegate::plot::writeChart(const Chart &chart, const std::string &path) {
  const std::string end = std::filesystem::path(path).extension().string();
  if (end == ".svg")
    writeFileAtomically(path, [&](FileWriter &out) { out.write(svgOf(chart)); });
  else if (end == ".png")
    writeFileAtomically(path, [&](FileWriter &out) { out.write(pngOf(chart)); });
  else
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected a picture's name to end in .svg or .png, but got '" +
                                                                path + "'");
}
