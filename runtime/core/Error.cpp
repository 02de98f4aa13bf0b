//===- Error.cpp - Errors of the operating system ---------------*- C++ -*-===//
// Turns errno into a RuntimeError that names the path.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"

#include <cerrno>
#include <system_error>

void tidegate::runtime::throwErrno(const std::string &doing, const std::string &path) {
  int code = errno;
  auto kind = code == ENOENT ? RuntimeError::Kind::NotFound : RuntimeError::Kind::Io;
  throw RuntimeError(kind, "cannot " + doing + " '" + path + "': " + std::generic_category().message(code));
}
