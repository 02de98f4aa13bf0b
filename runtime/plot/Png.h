//===- Png.h - Charts as pixels ---------------------------------*- C++ -*-===//
#pragma once

#include "runtime/plot/Chart.h"

namespace tidegate::plot {

/// The bytes of a PNG file, two pixels a unit.
/// Errors: RuntimeError, InvalidArgument in a build without cairo.
std::string pngOf(const Chart &chart);

} // namespace tidegate::plot
