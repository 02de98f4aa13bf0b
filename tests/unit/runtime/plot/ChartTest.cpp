//===- ChartTest.cpp --------------------------------------------*- C++ -*-===//
// Ticks, smoothing, and the pictures' structure.
//===----------------------------------------------------------------------===//
#include "runtime/plot/Chart.h"
#include "runtime/core/Error.h"
#include "tests/unit/runtime/TestFiles.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace tidegate::plot;
using namespace tidegate::test;
using tidegate::runtime::RuntimeError;

namespace {
Chart twoRuns() {
  Chart chart{"loss", "steps", "nats", {}, 400, 300};
  chart.series.push_back({"a <1>", {{1, 5}, {2, NAN}, {3, 4}, {4, 2}}, false, 0});
  chart.series.push_back({"a", {{4, 3}}, true, 0});
  chart.series.push_back({"b", {{1, 5}, {4, 1}}, false, 1});
  return chart;
}
size_t countOf(const std::string &text, const std::string &part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != text.npos; ++at)
    ++count;
  return count;
}
} // namespace

TEST(ChartTest, TicksAreRound) {
  EXPECT_EQ(ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(ticks(1.3, 2.9, 4), (std::vector<double>{1.5, 2, 2.5}));
  EXPECT_EQ(ticks(-30, 250, 3), (std::vector<double>{0, 100, 200}));
}

TEST(ChartTest, SmoothingIsUnbiased) {
  std::vector<Point> constant(50, Point{0, 3});
  for (Point p : smoothed(constant, 10))
    EXPECT_NEAR(p.y, 3, 1e-12);
  std::vector<Point> points{{1, 1}, {2, NAN}, {3, 5}};
  EXPECT_EQ(smoothed(points, 1).size(), 2u) << "what is not finite has no part";
  EXPECT_EQ(smoothed(points, 1)[1].y, 5);
  EXPECT_NEAR(smoothed(points, 2)[1].y, (0.5 * 1 + 5) / 1.5, 1e-12);
}

TEST(ChartTest, ThinningKeepsMeans) {
  std::vector<Point> points;
  for (int i = 0; i < 1000; ++i)
    points.push_back({double(i), double(i % 10)});
  auto few = thinned(points, 100);
  ASSERT_EQ(few.size(), 100u);
  for (Point p : few)
    EXPECT_NEAR(p.y, 4.5, 1e-12);
  EXPECT_EQ(thinned(points, 5000).size(), 1000u);
}

TEST(ChartTest, SvgHasEveryPart) {
  std::string svg = svgOf(twoRuns());
  EXPECT_EQ(countOf(svg, "<polyline"), 2u + 2) << "two pieces with more than a point, two legend lines";
  EXPECT_EQ(countOf(svg, "<circle"), 1u + 1) << "the held-out dot, and the point left of the gap";
  EXPECT_EQ(countOf(svg, "a &lt;1&gt;"), 1u);
  EXPECT_EQ(countOf(svg, "nan"), 0u);
  EXPECT_NE(svg.find("height=\"340.00\""), std::string::npos) << "two legend lines under the picture";
}

TEST(ChartTest, Files) {
  ScratchDirectory scratch;
  writeChart(twoRuns(), scratch.path("c.svg"));
  EXPECT_EQ(readText(scratch.path("c.svg")), svgOf(twoRuns()));
  writeChart(twoRuns(), scratch.path("c.png"));
  EXPECT_EQ(readText(scratch.path("c.png")).substr(0, 8), "\x89PNG\r\n\x1a\n");
  EXPECT_NE(messageOf<RuntimeError>([&] { writeChart(twoRuns(), scratch.path("c.gif")); }).find(".svg or .png"),
            std::string::npos);
  EXPECT_NE(messageOf<RuntimeError>([&] { svgOf({}); }).find("there are none"), std::string::npos);
}
