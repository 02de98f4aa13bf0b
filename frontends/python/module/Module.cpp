//===- Module.cpp - tidegate._tidegate --------------------------*- C++ -*-===//
// The compiler and the runtime as Python sees them. Everything convenient is
// written in Python, in the package around this module.
//===----------------------------------------------------------------------===//
#include "frontends/python/module/Module.h"

PYBIND11_MODULE(_tidegate, module) {
  module.doc() = "The compiler and the runtime of Tidegate.";
  module.attr("version") = TIDEGATE_VERSION;
  tidegate::python::bindErrors(module);
  tidegate::python::bindProgram(module);
  tidegate::python::bindModel(module);
  tidegate::python::bindData(module);
  tidegate::python::bindCommands(module);
}
