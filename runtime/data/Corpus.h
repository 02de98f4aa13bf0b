//===- Corpus.h - Several shards as one row of tokens -----------*- C++ -*-===//
// Offsets count tokens of all shards, document numbers their documents.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/Shard.h"

namespace tidegate::data {

class Corpus {
public:
  /// The tokens before `end` (of all shards together) belong to the corpus.
  explicit Corpus(std::vector<std::shared_ptr<const Shard>> shards, int64_t end = INT64_MAX);

  int64_t tokens() const { return end; }
  int64_t documents() const { return documentCount; }
  int64_t documentStart(int64_t i) const; ///< i = documents() is the end.
  int64_t documentOf(int64_t offset) const;
  void read(int64_t offset, std::span<int32_t> out) const;
  const std::vector<std::shared_ptr<const Shard>> &shards() const { return parts; }

private:
  size_t partOf(const std::vector<int64_t> &starts, int64_t value) const;

  std::vector<std::shared_ptr<const Shard>> parts;
  std::vector<int64_t> tokenStarts{0}, documentStarts{0};
  int64_t end, documentCount = 0;
};

/// The corpora that one pass over a data set goes through, one after the other.
class BlockSource {
public:
  virtual ~BlockSource() = default;
  /// Waits until block i is there; nullptr when there are only i blocks.
  virtual std::shared_ptr<const Corpus> block(int64_t i) = 0;
  /// What makes the data this data, as far as it is known before all has arrived.
  virtual std::string identity() const = 0;
  /// A directory with the files of the tokenizer that was used; "" if it is not known.
  virtual std::string tokenizerHome() { return ""; }
};

/// Blocks that are there already.
class ReadyBlocks : public BlockSource {
public:
  ReadyBlocks(std::vector<std::shared_ptr<const Corpus>> blocks, std::string name)
      : blocks(std::move(blocks)), name(std::move(name)) {}
  std::shared_ptr<const Corpus> block(int64_t i) override {
    return i < static_cast<int64_t>(blocks.size()) ? blocks[i] : nullptr;
  }
  std::string identity() const override { return name; }

private:
  std::vector<std::shared_ptr<const Corpus>> blocks;
  std::string name;
};

} // namespace tidegate::data
