//===- PngMissing.cpp - A build without cairo -------------------*- C++ -*-===//
#include "runtime/core/Error.h"
#include "runtime/plot/Png.h"

std::string tidegate::plot::pngOf(const Chart &) {
  throw runtime::RuntimeError(runtime::RuntimeError::Kind::InvalidArgument,
                              "this build has no cairo and writes no PNG; choose a name that ends in .svg");
}
