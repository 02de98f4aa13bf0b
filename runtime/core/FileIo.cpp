//===- FileIo.cpp - POSIX files with errors that name them ------*- C++ -*-===//
// Thin RAII over open, mmap, write, fsync and rename.
//===----------------------------------------------------------------------===//
#include "runtime/core/FileIo.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <zlib.h>

using namespace tidegate::runtime;
namespace fs = std::filesystem;

namespace {

std::string parentOf(const std::string &path) {
  std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

} // namespace

MappedFile::MappedFile(const std::string &path) : filePath(path) {
  int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    throwErrno("open", path);
  struct stat info;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(descriptor);
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected a regular file, but '" + path + "' is " +
                           (S_ISDIR(info.st_mode) ? "a directory" : "not one"));
  }
  size = static_cast<size_t>(info.st_size);
  if (size > 0) {
    void *address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (address == MAP_FAILED) {
      int code = errno;
      close(descriptor);
      errno = code;
      throwErrno("map", path);
    }
    data = static_cast<const std::byte *>(address);
  }
  close(descriptor);
}

MappedFile::MappedFile(MappedFile &&other) noexcept
    : filePath(std::move(other.filePath)), data(std::exchange(other.data, nullptr)),
      size(std::exchange(other.size, 0)) {}

MappedFile::~MappedFile() {
  if (data)
    munmap(const_cast<std::byte *>(data), size);
}

uint32_t tidegate::runtime::crc32(std::span<const std::byte> bytes, uint32_t crc) {
  return static_cast<uint32_t>(crc32_z(crc, reinterpret_cast<const Bytef *>(bytes.data()), bytes.size()));
}

FileWriter::FileWriter(const std::string &path)
    : path(path), descriptor(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor < 0)
    throwErrno("create", path);
}

FileWriter::~FileWriter() {
  if (descriptor >= 0)
    close(descriptor);
}

void FileWriter::write(std::span<const std::byte> bytes) {
  digest.bytes += bytes.size();
  digest.crc = crc32(bytes, digest.crc);
  while (!bytes.empty()) {
    // Linux writes at most 2 GiB at a time.
    ssize_t written = ::write(descriptor, bytes.data(), std::min<size_t>(bytes.size(), size_t(1) << 30));
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      throwErrno("write", path);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void FileWriter::write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

FileDigest FileWriter::finish() {
  if (fsync(descriptor) != 0)
    throwErrno("sync", path);
  if (close(std::exchange(descriptor, -1)) != 0)
    throwErrno("close", path);
  return digest;
}

FileDigest tidegate::runtime::writeFileAtomically(const std::string &path, const Produce &produce) {
  if (fs::is_directory(path))
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected a file to write, but '" + path +
                                                                "' is a directory");
  static std::atomic<unsigned> count{0}; // threads may write one path
  std::string temporary = parentOf(path) + "/." + fs::path(path).filename().string() + ".tmp" +
                          std::to_string(getpid()) + "-" + std::to_string(count++);
  try {
    FileWriter writer(temporary);
    produce(writer);
    FileDigest digest = writer.finish();
    if (rename(temporary.c_str(), path.c_str()) != 0)
      throwErrno("rename the finished file to", path);
    syncDirectory(parentOf(path));
    return digest;
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
}

void tidegate::runtime::syncDirectory(const std::string &path) {
  int descriptor = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    throwErrno("open the directory", path);
  // Some file systems cannot sync a directory and say EINVAL; there is nothing more to do on them.
  int failed = fsync(descriptor) != 0 && errno != EINVAL ? errno : 0;
  close(descriptor);
  if (failed) {
    errno = failed;
    throwErrno("sync the directory", path);
  }
}

void tidegate::runtime::makeWritableDirectory(const std::string &path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path))
    throw RuntimeError(RuntimeError::Kind::Io, "cannot create the directory '" + path + "': " +
                                                   (error ? error.message() : "a file of that name exists"));
  std::string probe = path + "/.probeXXXXXX";
  int descriptor = mkstemp(probe.data());
  if (descriptor < 0)
    throwErrno("write into the directory", path);
  close(descriptor);
  unlink(probe.c_str());
}
