//===- Shard.cpp - Mapping and writing shards -------------------*- C++ -*-===//
// The header is written last, over zeros; the name is given after the sync.
//===----------------------------------------------------------------------===//
#include "runtime/data/Shard.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/mman.h>
#include <unistd.h>

using namespace tidegate::data;
using tidegate::runtime::RuntimeError;
using tidegate::runtime::throwErrno;

static_assert(std::endian::native == std::endian::little, "shards are read in place");

namespace {

constexpr char kMagic[9] = "TGSHARD1";
constexpr size_t kBuffer = 1 << 20;
constexpr int64_t kMaxTouched = 1 << 20; // Of each shard; a data set has many.
constexpr size_t kVerified = 8 << 20;
constexpr int64_t kFaultAround = 64 << 10; // What one page fault may map.

std::span<const std::byte> bytesOf(const void *data, size_t size) {
  return {static_cast<const std::byte *>(data), size};
}

uint32_t headerCrcOf(const ShardHeader &header) {
  return tidegate::runtime::crc32(bytesOf(&header, offsetof(ShardHeader, headerCrc)));
}

void writeAll(int descriptor, std::span<const std::byte> bytes, off_t offset, const std::string &path) {
  while (!bytes.empty()) {
    const ssize_t written = offset < 0 ? write(descriptor, bytes.data(), bytes.size())
                                       : pwrite(descriptor, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      throwErrno("write", path);
    bytes = bytes.subspan(written);
    if (offset >= 0)
      offset += written;
  }
}

} // namespace

size_t ShardHeader::indexOffset() const { return (kShardHeaderBytes + tokens * tokenBytes + 7) / 8 * 8; }
size_t ShardHeader::fileBytes() const { return indexOffset() + (documents + 1) * 8; }

std::string tidegate::data::shardName(int64_t number) {
  char name[32];
  std::snprintf(name, sizeof name, "shard-%05lld%s", static_cast<long long>(number), kShardSuffix);
  return name;
}

Shard::Shard(const std::string &path, bool verify) : file(path) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < kShardHeaderBytes)
    corrupt("it has " + std::to_string(bytes.size()) + " bytes, fewer than a header");
  std::memcpy(&head, bytes.data(), sizeof head);
  if (std::memcmp(head.magic, kMagic, 8) != 0)
    corrupt("it does not start with " + std::string(kMagic));
  if (head.headerCrc != headerCrcOf(head))
    corrupt("its header does not have the checksum it says");
  if (head.version != 1 || (head.tokenBytes != 2 && head.tokenBytes != 4))
    corrupt("expected version 1 with tokens of 2 or 4 bytes, but found version " + std::to_string(head.version) +
            " with " + std::to_string(head.tokenBytes));
  if (head.tokens > (uint64_t(1) << 48) || head.documents > (uint64_t(1) << 48) || head.fileBytes() != bytes.size())
    corrupt("its header describes " + std::to_string(head.fileBytes()) + " bytes, but it has " +
            std::to_string(bytes.size()));
  index = {reinterpret_cast<const uint64_t *>(bytes.data() + head.indexOffset()), head.documents + 1};
  if (index.front() != 0 || index.back() != head.tokens)
    corrupt("its index does not cover its tokens");
  if (!verify)
    return;
  uint32_t crc = 0;
  for (size_t at = kShardHeaderBytes; at < bytes.size(); at += kVerified) { // A piece at a time is resident.
    const auto piece = bytes.subspan(at, std::min(kVerified, bytes.size() - at));
    crc = runtime::crc32(piece, crc);
    giveBack();
  }
  if (crc != head.payloadCrc)
    corrupt("its content does not have the checksum of its header");
  if (!std::is_sorted(index.begin(), index.end()))
    corrupt("its index is not in order");
  giveBack();
}

void Shard::corrupt(const std::string &what) const {
  throw RuntimeError(RuntimeError::Kind::Corrupt, "shard '" + path() + "' is damaged: " + what);
}

int64_t Shard::documentOf(int64_t offset) const {
  return std::upper_bound(index.begin(), index.end(), static_cast<uint64_t>(offset)) - index.begin() - 1;
}

void Shard::read(int64_t offset, std::span<int32_t> out) const {
  const std::byte *start = file.bytes().data() + kShardHeaderBytes + offset * head.tokenBytes;
  auto copy = [&](const auto *tokens) {
    for (size_t i = 0; i < out.size(); ++i) {
      if (tokens[i] >= head.vocab)
        corrupt("token " + std::to_string(offset + i) + " is " + std::to_string(tokens[i]) +
                ", outside its vocabulary of " + std::to_string(head.vocab));
      out[i] = static_cast<int32_t>(tokens[i]);
    }
  };
  if (head.tokenBytes == 2)
    copy(reinterpret_cast<const uint16_t *>(start));
  else
    copy(reinterpret_cast<const uint32_t *>(start));
  touched += static_cast<int64_t>(out.size()) * head.tokenBytes + kFaultAround;
  if (touched > kMaxTouched) {
    giveBack();
    touched = 0;
  }
}

void Shard::giveBack() const {
  madvise(const_cast<std::byte *>(file.bytes().data()), file.bytes().size(), MADV_DONTNEED);
}

ShardWriter::ShardWriter(const std::string &path, uint32_t number, uint32_t vocab, uint64_t tokenizerHash)
    : path(path), temporary(path + ".part") {
  std::memcpy(head.magic, kMagic, 8);
  head.version = 1;
  head.tokenBytes = vocab <= 65536 ? 2 : 4;
  head.vocab = vocab;
  head.number = number;
  head.tokenizerHash = tokenizerHash;
  descriptor = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0)
    throwErrno("create", temporary);
  const std::vector<std::byte> page(kShardHeaderBytes);
  writeAll(descriptor, page, -1, temporary);
  buffer.reserve(2 * kBuffer);
}

ShardWriter::~ShardWriter() {
  if (descriptor < 0)
    return;
  close(descriptor);
  unlink(temporary.c_str());
}

void ShardWriter::startDocument() {
  if (index.empty() || index.back() != head.tokens)
    index.push_back(head.tokens);
}

void ShardWriter::add(std::span<const int32_t> ids) {
  if (index.empty())
    startDocument();
  head.tokens += ids.size();
  for (int32_t id : ids) {
    if (id < 0 || static_cast<uint32_t>(id) >= head.vocab)
      throw RuntimeError(RuntimeError::Kind::Internal, "token id " + std::to_string(id) +
                                                           " is outside the tokenizer's vocabulary of " +
                                                           std::to_string(head.vocab));
  }
  while (!ids.empty()) { // The low bytes come first.
    const std::span<const int32_t> part = ids.first(std::min(ids.size(), kBuffer / sizeof(int32_t)));
    const size_t before = buffer.size();
    buffer.resize(before + part.size() * head.tokenBytes);
    std::byte *to = buffer.data() + before;
    for (int32_t id : part) {
      std::memcpy(to, &id, head.tokenBytes);
      to += head.tokenBytes;
    }
    ids = ids.subspan(part.size());
    if (buffer.size() >= kBuffer)
      flush();
  }
}

void ShardWriter::flush() {
  head.payloadCrc = runtime::crc32(buffer, head.payloadCrc);
  writeAll(descriptor, buffer, -1, temporary);
  buffer.clear();
}

ShardHeader ShardWriter::finish() {
  if (!index.empty() && index.back() == head.tokens)
    index.pop_back(); // A document without tokens at the end.
  head.documents = index.size();
  index.push_back(head.tokens);
  buffer.resize(buffer.size() + head.indexOffset() - kShardHeaderBytes - head.tokens * head.tokenBytes);
  const auto indexBytes = std::as_bytes(std::span(index));
  buffer.insert(buffer.end(), indexBytes.begin(), indexBytes.end());
  flush();
  head.headerCrc = headerCrcOf(head);
  writeAll(descriptor, bytesOf(&head, sizeof head), 0, temporary);
  if (fsync(descriptor) != 0)
    throwErrno("sync", temporary);
  close(descriptor);
  descriptor = -1;
  if (rename(temporary.c_str(), path.c_str()) != 0)
    throwErrno("rename", temporary);
  runtime::syncDirectory(std::filesystem::path(path).parent_path().string());
  return head;
}
