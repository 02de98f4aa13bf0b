//===- EventFile.h - Curves for TensorBoard ---------------------*- C++ -*-===//
// One file of event records: scalars by tag and step. A record is its length,
// a checksum of the length, a protobuf message, and a checksum of the message.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/AppendFile.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace tidegate::train {

/// CRC-32C (Castagnoli) of `bytes`.
uint32_t crc32c(std::string_view bytes);

class EventFile {
public:
  using Scalars = std::span<const std::pair<const char *, double>>;

  /// A new file in `directory`, read after all that are there. Records of older
  /// files from `firstStep` on are declared void.
  EventFile(const std::string &directory, int64_t firstStep);

  const std::string &path() const { return file.path(); }
  /// Values that are not finite are written too; TensorBoard marks them.
  void add(int64_t step, Scalars scalars);

private:
  void record(std::string_view message);

  runtime::AppendFile file;
};

} // namespace tidegate::train
