//===- Error.h - The runtime's one way to say failure -----------*- C++ -*-===//
// A message states what was expected and what was found, with the file or the
// tensor by name. The kind decides the exit code: everything but Internal is
// the input's or the machine's fault.
//===----------------------------------------------------------------------===//
#pragma once

#include <stdexcept>
#include <string>

namespace tidegate::runtime {

class RuntimeError : public std::runtime_error {
public:
  enum class Kind {
    InvalidArgument, ///< A value or shape that does not fit.
    NotFound,        ///< A file, tensor or entry that does not exist.
    Corrupt,         ///< A file whose content contradicts itself or its checksum.
    Io,              ///< The operating system refused; the text names path and reason.
    Device,          ///< The GPU or its driver refused; the text has CUDA's name of the error.
    Internal         ///< Our bug.
  };

  RuntimeError(Kind kind, const std::string &message) : std::runtime_error(message), errorKind(kind) {}
  Kind kind() const { return errorKind; }

private:
  Kind errorKind;
};

/// An Io or NotFound error for `path` out of `errno`: "cannot <doing> 'path': <reason>".
[[noreturn]] void throwErrno(const std::string &doing, const std::string &path);

} // namespace tidegate::runtime
