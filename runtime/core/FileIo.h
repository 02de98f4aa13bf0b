//===- FileIo.h - Reading by mapping, writing all or nothing ----*- C++ -*-===//
// A result file appears complete or not at all: it is written under another
// name in the same directory, synced, and renamed. Every failure names the
// path and the system's reason.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace tidegate::runtime {

/// A whole file, mapped read-only. Directories and special files are refused.
class MappedFile {
public:
  explicit MappedFile(const std::string &path);
  MappedFile(MappedFile &&other) noexcept;
  MappedFile &operator=(MappedFile &&) = delete;
  ~MappedFile();

  const std::string &path() const { return filePath; }
  std::span<const std::byte> bytes() const { return {data, size}; }
  std::string_view text() const { return {reinterpret_cast<const char *>(data), size}; }

private:
  std::string filePath;
  const std::byte *data = nullptr;
  size_t size = 0;
};

/// CRC-32 (the one of gzip) of `bytes`, continuing from `crc`.
uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc = 0);

/// What was written, to be compared when it is read again.
struct FileDigest {
  uint64_t bytes = 0;
  uint32_t crc = 0;
};

/// An open file being written; counts and checksums as it goes.
class FileWriter {
public:
  /// Creates or truncates `path`.
  explicit FileWriter(const std::string &path);
  FileWriter(const FileWriter &) = delete;
  ~FileWriter();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Syncs to the disk and closes; a destructor without it leaves a partial file.
  FileDigest finish();

private:
  std::string path;
  int descriptor;
  FileDigest digest;
};

using Produce = std::function<void(FileWriter &)>;

/// Writes `path` through a temporary file beside it; on failure the temporary
/// is removed and what was at `path` stays.
FileDigest writeFileAtomically(const std::string &path, const Produce &produce);

/// Makes renames and new entries of a directory durable.
void syncDirectory(const std::string &path);

/// Creates `path` with its parents, and checks that files can be made in it.
void makeWritableDirectory(const std::string &path);

} // namespace tidegate::runtime
