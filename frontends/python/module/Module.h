//===- Module.h - The parts of the extension module -------------*- C++ -*-===//
// One function a topic; Module.cpp calls them all.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Driver/Driver.h"

#include <pybind11/pybind11.h>

namespace tidegate::python {

/// The exceptions of C++ as those of tidegate.errors.
void bindErrors(pybind11::module_ &module);
/// Program, Entry: compile and call.
void bindProgram(pybind11::module_ &module);
/// Model, Decoder: weights, losses, training steps, decoding.
void bindModel(pybind11::module_ &module);
/// Tokenizer, ShardWriter.
void bindData(pybind11::module_ &module);
/// The commands: the whole tool, training with hooks.
void bindCommands(pybind11::module_ &module);

/// A program and how it is compiled; the class Program of Python.
struct Program {
  ProgramSource source;
  CompileOptions options;
};

} // namespace tidegate::python
