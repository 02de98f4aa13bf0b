//===- PngCairo.cpp - Charts as pixels --------------------------*- C++ -*-===//
// Drawing and PNG by cairo; fonts are the system's.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/plot/Png.h"

#include <cairo.h>
#include <charconv>
#include <memory>

using namespace tidegate::plot;
using tidegate::runtime::RuntimeError;

namespace {

constexpr double kPixels = 2; // A picture for print and high-resolution screens.

class CairoCanvas : public Canvas {
public:
  CairoCanvas(double width, double height)
      : surface(cairo_image_surface_create(CAIRO_FORMAT_RGB24, int(width * kPixels), int(height * kPixels))),
        context(cairo_create(surface.get())) {
    cairo_scale(context.get(), kPixels, kPixels);
    setColor("#ffffff");
    cairo_paint(context.get());
    cairo_select_font_face(context.get(), "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_line_join(context.get(), CAIRO_LINE_JOIN_ROUND);
  }

  void line(Point from, Point to, const std::string &color, double width) override {
    polyline({from, to}, color, width, false);
  }
  void polyline(const std::vector<Point> &points, const std::string &color, double width, bool dashed) override {
    const double dashes[] = {7, 4};
    setColor(color);
    cairo_set_line_width(context.get(), width);
    cairo_set_dash(context.get(), dashes, dashed ? 2 : 0, 0);
    cairo_new_path(context.get());
    for (Point p : points)
      cairo_line_to(context.get(), p.x, p.y);
    cairo_stroke(context.get());
  }
  void dot(Point center, double radius, const std::string &color) override {
    setColor(color);
    cairo_new_path(context.get());
    cairo_arc(context.get(), center.x, center.y, radius, 0, 6.283185307179586);
    cairo_fill(context.get());
  }
  void text(Point at, const std::string &text, Anchor anchor, double size, bool upwards) override {
    setColor("#000000");
    cairo_set_font_size(context.get(), size);
    cairo_text_extents_t extents;
    cairo_text_extents(context.get(), text.c_str(), &extents);
    cairo_save(context.get());
    cairo_translate(context.get(), at.x, at.y);
    if (upwards)
      cairo_rotate(context.get(), -1.5707963267948966);
    cairo_move_to(context.get(), -extents.x_advance * int(anchor) / 2, 0);
    cairo_show_text(context.get(), text.c_str());
    cairo_restore(context.get());
  }

  std::string png() {
    std::string bytes;
    auto append = [](void *to, const unsigned char *data, unsigned length) {
      static_cast<std::string *>(to)->append(reinterpret_cast<const char *>(data), length);
      return CAIRO_STATUS_SUCCESS;
    };
    cairo_status_t status = cairo_status(context.get());
    if (status == CAIRO_STATUS_SUCCESS)
      status = cairo_surface_write_to_png_stream(surface.get(), append, &bytes);
    if (status != CAIRO_STATUS_SUCCESS)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         std::string("cannot draw the picture: ") + cairo_status_to_string(status));
    return bytes;
  }

private:
  void setColor(const std::string &color) { // "#rrggbb"
    unsigned value = 0;
    std::from_chars(color.data() + 1, color.data() + color.size(), value, 16);
    cairo_set_source_rgb(context.get(), (value >> 16) / 255.0, (value >> 8 & 255) / 255.0, (value & 255) / 255.0);
  }

  struct Destroy {
    void operator()(cairo_surface_t *s) const { cairo_surface_destroy(s); }
    void operator()(cairo_t *c) const { cairo_destroy(c); }
  };
  std::unique_ptr<cairo_surface_t, Destroy> surface;
  std::unique_ptr<cairo_t, Destroy> context;
};

} // namespace

std::string tidegate::plot::pngOf(const Chart &chart) {
  CairoCanvas canvas(chart.width, totalHeight(chart));
  draw(chart, canvas);
  return canvas.png();
}
