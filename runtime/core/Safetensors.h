//===- Safetensors.h - Tensors by name in a file ----------------*- C++ -*-===//
// Reads and writes the safetensors format: 8 bytes header length, a JSON
// header, raw little-endian data. Reading trusts nothing: a file that is
// truncated, overlaps itself or leaves holes is refused with the tensor's name.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/FileIo.h"
#include "runtime/core/HostTensor.h"

#include <map>
#include <string>
#include <vector>

namespace tidegate::runtime {

class SafetensorsFile {
public:
  struct Entry {
    Dtype dtype;
    std::vector<int64_t> shape;
    size_t begin, end; ///< Bytes from the start of the data section.
  };

  /// Maps and validates. Errors: NotFound, Io, Corrupt.
  explicit SafetensorsFile(const std::string &path);

  const std::string &path() const { return file.path(); }
  const std::map<std::string, Entry> &entries() const { return table; }
  const std::map<std::string, std::string> &metadata() const { return extra; }
  bool contains(const std::string &name) const { return table.count(name) != 0; }

  /// A copy of one tensor; NotFound (with the nearest name, if one is near) otherwise.
  HostTensor tensor(const std::string &name) const;
  /// Copies one tensor into memory of the given shape, widening or rounding
  /// floating types. InvalidArgument when the shape differs.
  void readInto(const std::string &name, std::span<const int64_t> shape, HostSpan target) const;
  /// The raw bytes, as long as this file is open.
  std::span<const std::byte> bytes(const std::string &name) const;

private:
  const Entry &entry(const std::string &name) const;
  [[noreturn]] void corrupt(const std::string &finding) const;

  MappedFile file;
  std::map<std::string, Entry> table;
  std::map<std::string, std::string> extra;
  size_t dataStart = 0;
};

/// A tensor to be written; the bytes stay the caller's.
struct NamedTensor {
  std::string name;
  Dtype dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

NamedTensor named(std::string name, const HostTensor &tensor);

/// Writes the format through `writer`, in the given order.
void writeSafetensors(FileWriter &writer, std::span<const NamedTensor> tensors,
                      const std::map<std::string, std::string> &metadata = {});
/// The same into a file that appears complete or not at all.
FileDigest writeSafetensorsFile(const std::string &path, std::span<const NamedTensor> tensors,
                                const std::map<std::string, std::string> &metadata = {});

} // namespace tidegate::runtime
