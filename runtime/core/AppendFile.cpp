//===- AppendFile.cpp - A log that survives its writer ----------*- C++ -*-===//
#include "runtime/core/AppendFile.h"

#include "runtime/core/Error.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

using namespace tidegate::runtime;

AppendFile::AppendFile(const std::string &path)
    : filePath(path), descriptor(open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666)) {
  if (descriptor < 0)
    throwErrno("open", path);
}

AppendFile::~AppendFile() { close(descriptor); }

void AppendFile::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      throwErrno("write", filePath);
    bytes.remove_prefix(size_t(written));
  }
}

void AppendFile::sync() {
  if (fsync(descriptor) != 0)
    throwErrno("sync", filePath);
}
