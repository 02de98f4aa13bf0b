//===- AppendFile.h - A log that survives its writer ------------*- C++ -*-===//
// Every append reaches the system at once, so that a process that dies loses
// at most the end of one append.
//===----------------------------------------------------------------------===//
#pragma once

#include <string>
#include <string_view>

namespace tidegate::runtime {

class AppendFile {
public:
  /// Opens or creates `path`. Errors: RuntimeError, naming it, here and below.
  explicit AppendFile(const std::string &path);
  AppendFile(const AppendFile &) = delete;
  ~AppendFile();

  const std::string &path() const { return filePath; }
  void append(std::string_view bytes);
  /// Makes what was appended survive a power failure.
  void sync();

private:
  std::string filePath;
  int descriptor;
};

} // namespace tidegate::runtime
