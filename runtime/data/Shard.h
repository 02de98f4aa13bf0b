//===- Shard.h - A file of tokens with its documents ------------*- C++ -*-===//
// One page of header, the tokens (uint16 or uint32), then the index: where each
// document starts, and the end. The header counts and checksums the rest and
// names the tokenizer, so a shard can be read, and refused, by itself. All
// numbers are little-endian.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/FileIo.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace tidegate::data {

inline constexpr size_t kShardHeaderBytes = 4096; // A page: the tokens are aligned for mapping.
inline constexpr const char *kShardSuffix = ".tgs";

/// The first bytes of a shard, as they lie in the file.
struct ShardHeader {
  char magic[8];          ///< "TGSHARD1"
  uint32_t version;       ///< 1
  uint32_t tokenBytes;    ///< 2 or 4
  uint64_t tokens;
  uint64_t documents;
  uint64_t tokenizerHash;
  uint64_t sourceBytes;   ///< Of text that the tokens stand for.
  uint32_t vocab;         ///< Ids are below it.
  uint32_t number;        ///< Of the shard in its data set.
  uint32_t payloadCrc;    ///< CRC-32 of tokens and index.
  uint32_t headerCrc;     ///< CRC-32 of what stands before.

  size_t indexOffset() const; ///< In the file: behind the tokens, a multiple of 8.
  size_t fileBytes() const;
};
static_assert(sizeof(ShardHeader) == 64);

/// "shard-00012.tgs".
std::string shardName(int64_t number);

/// A shard, mapped. Its pages are given back as reading goes on, so that the
/// resident part stays small however large the data is.
class Shard {
public:
  /// Checks the header and sizes; `verify` reads everything and compares the checksum.
  /// Errors: NotFound, Io; Corrupt, which names the file and what is wrong.
  explicit Shard(const std::string &path, bool verify = false);

  const ShardHeader &header() const { return head; }
  const std::string &path() const { return file.path(); }
  int64_t tokens() const { return static_cast<int64_t>(head.tokens); }
  int64_t documents() const { return static_cast<int64_t>(head.documents); }
  /// Where document i starts; i = documents() is the end.
  int64_t documentStart(int64_t i) const { return static_cast<int64_t>(index[i]); }
  /// The document that token `offset` is in.
  int64_t documentOf(int64_t offset) const;
  /// Copies tokens [offset, offset + out.size()). Errors: Corrupt for an id outside the vocabulary.
  void read(int64_t offset, std::span<int32_t> out) const;

private:
  [[noreturn]] void corrupt(const std::string &what) const;
  void giveBack() const; ///< Its resident pages.

  runtime::MappedFile file;
  ShardHeader head;
  std::span<const uint64_t> index;
  mutable int64_t touched = 0; ///< Bytes that may have become resident since pages were given back.
};

/// Writes one shard: appears under its name when it is complete, or not at all.
class ShardWriter {
public:
  ShardWriter(const std::string &path, uint32_t number, uint32_t vocab, uint64_t tokenizerHash);
  ShardWriter(const ShardWriter &) = delete;
  ~ShardWriter();

  /// A document is what lies between two calls of startDocument.
  void startDocument();
  /// Errors: Internal for an id outside the vocabulary.
  void add(std::span<const int32_t> ids);
  void countSource(uint64_t bytes) { head.sourceBytes += bytes; }
  /// Syncs and renames.
  ShardHeader finish();

private:
  void flush();

  std::string path, temporary;
  int descriptor = -1;
  ShardHeader head{};
  std::vector<std::byte> buffer;
  std::vector<uint64_t> index;
};

} // namespace tidegate::data
