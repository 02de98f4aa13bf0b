//===- Errors.cpp - C++ exceptions in Python --------------------*- C++ -*-===//
#include "compiler/tools/tidegate/CommandLine.h"
#include "frontends/python/module/Module.h"
#include "runtime/core/Error.h"

namespace py = pybind11;
using namespace tidegate;
using runtime::RuntimeError;

namespace {

py::object classOf(const char *name) { return py::module_::import("tidegate.errors").attr(name); }

py::object messageOf(const CompileMessage &from) {
  py::list notes;
  for (const CompileMessage &note : from.notes)
    notes.append(messageOf(note));
  return classOf("Message")(from.file, from.line, from.column, from.text, notes);
}

void raise(const py::object &type, const py::object &value) { PyErr_SetObject(type.ptr(), value.ptr()); }

void raiseCompileError(const CompileError &error) {
  py::list messages;
  for (const CompileMessage &message : error.messages())
    messages.append(messageOf(message));
  py::object type = classOf("CompileError");
  raise(type, type(error.what(), messages));
}

void raiseRuntimeError(const RuntimeError &error) {
  switch (error.kind()) {
  case RuntimeError::Kind::InvalidArgument: return PyErr_SetString(PyExc_ValueError, error.what());
  case RuntimeError::Kind::NotFound: return raise(classOf("NotFoundError"), py::str(error.what()));
  case RuntimeError::Kind::Corrupt: return raise(classOf("CorruptError"), py::str(error.what()));
  case RuntimeError::Kind::Io:
  case RuntimeError::Kind::Device: return PyErr_SetString(PyExc_OSError, error.what());
  case RuntimeError::Kind::Internal: return raise(classOf("InternalError"), py::str(error.what()));
  }
}

} // namespace

void python::bindErrors(py::module_ &) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer)
        std::rethrow_exception(pointer);
    } catch (const CompileError &error) {
      raiseCompileError(error);
    } catch (const RuntimeError &error) {
      raiseRuntimeError(error);
    } catch (const tool::UsageError &error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    }
  });
}
