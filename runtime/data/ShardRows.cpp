//===- ShardRows.cpp - Windows and documents in shuffled order --*- C++ -*-===//
// A cursor of (epoch, block, item, offset) and two ways to walk it.
//===----------------------------------------------------------------------===//
#include "runtime/data/ShardRows.h"

#include "runtime/core/Error.h"
#include "runtime/data/Permutation.h"

#include <algorithm>

using namespace tidegate::data;
using nlohmann::json;
using tidegate::runtime::RuntimeError;

namespace {

const char *const kShuffleNames[] = {"window", "document", "none"};

struct Cursor {
  int64_t epoch = 0, block = 0;
  int64_t item = 0;   ///< Windows or documents of the block that are done.
  int64_t offset = 0; ///< Tokens of the current document that are done.
};

class ShardRows : public RowSource {
public:
  ShardRows(std::shared_ptr<BlockSource> blocks, Shuffle shuffle, uint64_t seed)
      : blocks(std::move(blocks)), shuffle(shuffle), seed(seed) {}

  void row(int64_t T, const RowTarget *target) override {
    if (length && length != T)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected rows of " + std::to_string(length) +
                                                                  " tokens as before, but got a request for " +
                                                                  std::to_string(T));
    length = T;
    if (shuffle == Shuffle::Window)
      window(T, target);
    else
      sequence(T, target);
  }

  json state() const override {
    return {{"data", blocks->identity()}, {"seed", seed},          {"shuffle", name()},      {"seq", length},
            {"epoch", cursor.epoch},      {"block", cursor.block}, {"item", cursor.item}, {"offset", cursor.offset}};
  }

  void restore(const json &state) override {
    auto expect = [&](const char *key, const json &value) {
      if (state.value(key, json()) != value)
        throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                           "expected the saved data position to have " + std::string(key) + " " + value.dump() +
                               ", but found " + state.value(key, json()).dump());
    };
    expect("data", blocks->identity());
    expect("seed", seed);
    expect("shuffle", name());
    const int64_t saved = state.at("seq").get<int64_t>();
    if (length && saved)
      expect("seq", length);
    length = saved ? saved : length;
    cursor = {state.at("epoch").get<int64_t>(), state.at("block").get<int64_t>(), state.at("item").get<int64_t>(),
              state.at("offset").get<int64_t>()};
    corpus = nullptr;
    emptyPassAllowed = true;
  }

private:
  std::string name() const { return kShuffleNames[static_cast<int>(shuffle)]; }

  /// The block of the cursor; in the first epoch in the order of arrival, later
  /// (all of them are there) shuffled.
  const Corpus &current() {
    if (corpus)
      return *corpus;
    int64_t index = cursor.block;
    if (cursor.epoch > 0 && shuffle != Shuffle::None)
      index = static_cast<int64_t>(Permutation(blockCount(), seed, cursor.epoch, UINT32_MAX)(index));
    corpus = blocks->block(index);
    const uint64_t items = shuffle == Shuffle::Window ? windows() : corpus->documents();
    permutation = Permutation(items, seed, cursor.epoch, index);
    return *corpus;
  }

  int64_t blockCount() {
    while (!count) {
      int64_t n = 0;
      while (blocks->block(n))
        ++n;
      count = n;
    }
    return count;
  }

  int64_t windows() const { return std::max<int64_t>(0, (corpus->tokens() - 1) / length); }

  /// Skips to the next block; a pass over all blocks is an epoch.
  void nextBlock() {
    corpus = nullptr;
    cursor.item = cursor.offset = 0;
    ++cursor.block;
    const bool more = cursor.epoch ? cursor.block < blockCount() : blocks->block(cursor.block) != nullptr;
    if (more)
      return;
    if (!usedInEpoch && !emptyPassAllowed)
      tooShort();
    cursor.block = 0;
    ++cursor.epoch;
    usedInEpoch = emptyPassAllowed = false;
  }

  [[noreturn]] void tooShort() const {
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "a sequence of " + std::to_string(length) + " tokens needs " + std::to_string(length + 1) +
                           " tokens, but no part of the data (" + blocks->identity() + ") has as many");
  }

  void checkFirst() {
    if (!corpus && cursor.block == 0 && !blocks->block(0))
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected data, but " + blocks->identity() + " is empty");
  }

  void window(int64_t T, const RowTarget *target) {
    checkFirst();
    while (current(), cursor.item >= windows())
      nextBlock();
    usedInEpoch = true;
    const int64_t start = static_cast<int64_t>(permutation(cursor.item++)) * T;
    if (!target)
      return;
    row1.resize(T + 1);
    corpus->read(start, row1);
    give(*target);
    for (size_t t = 0; t < target->positions.size();) {
      const int64_t document = corpus->documentOf(start + t);
      const int64_t end = std::min<int64_t>(corpus->documentStart(document + 1) - start, T);
      for (int64_t first = t; static_cast<int64_t>(t) < end; ++t)
        target->positions[t] = static_cast<int32_t>(t - first);
    }
  }

  void sequence(int64_t T, const RowTarget *target) {
    checkFirst();
    row1.resize(T + 1);
    for (int64_t t = 0; t < T;)
      t += piece(t, T, target);
    if (!target)
      return;
    // The label of the last token: look ahead, then come back.
    const Cursor saved = cursor;
    const bool savedUsed = usedInEpoch;
    const std::shared_ptr<const Corpus> savedCorpus = corpus;
    const Permutation savedPermutation = permutation;
    const RowTarget ids{row1, {}, {}};
    piece(T, T + 1, &ids);
    cursor = saved;
    usedInEpoch = savedUsed;
    corpus = savedCorpus;
    permutation = savedPermutation;
    give(*target);
  }

  /// The part of the current document that fills the row from t on, at most to `end`.
  int64_t piece(int64_t t, int64_t end, const RowTarget *target) {
    while (current(), cursor.item >= corpus->documents())
      nextBlock();
    const int64_t document = shuffle == Shuffle::None ? cursor.item : permutation(cursor.item);
    const int64_t start = corpus->documentStart(document) + cursor.offset;
    const int64_t left = corpus->documentStart(document + 1) - start, n = std::min(left, end - t);
    if (target) {
      corpus->read(start, std::span(row1).subspan(t, n));
      for (int64_t i = 0; i < n && !target->positions.empty(); ++i)
        target->positions[t + i] = static_cast<int32_t>(i);
    }
    usedInEpoch = usedInEpoch || n > 0;
    cursor.offset += n;
    if (n == left)
      ++cursor.item, cursor.offset = 0;
    return n;
  }

  void give(const RowTarget &target) const {
    std::copy(row1.begin(), row1.end() - 1, target.ids.begin());
    std::copy(row1.begin() + 1, row1.end(), target.labels.begin());
  }

  std::shared_ptr<BlockSource> blocks;
  Shuffle shuffle;
  uint64_t seed;
  int64_t length = 0; ///< T, once it is known.
  Cursor cursor;
  std::shared_ptr<const Corpus> corpus; ///< Of the cursor; null: not looked up yet.
  Permutation permutation{0, 0, 0, 0};
  std::vector<int32_t> row1; ///< A row and the token behind it.
  int64_t count = 0;         ///< Blocks, once they are known.
  bool usedInEpoch = false;
  bool emptyPassAllowed = true; ///< A restored cursor may stand at the end of an epoch.
};

} // namespace

std::unique_ptr<RowSource> tidegate::data::makeShardRows(std::shared_ptr<BlockSource> blocks, Shuffle shuffle,
                                                         uint64_t seed) {
  return std::make_unique<ShardRows>(std::move(blocks), shuffle, seed);
}
