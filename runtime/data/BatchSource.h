//===- BatchSource.h - Where training batches come from ---------*- C++ -*-===//
// A source hands out rows of tokens in an order that is a function of its
// options alone, and its position is a small JSON value: a resumed run, more
// prefetching or more ranks see the tokens that an uninterrupted one would.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tidegate::data {

class Tokenizer;

/// Rows of tokens with what comes after each. Shapes: rows x T, row-major.
struct Batch {
  int64_t rows = 0, T = 0;
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;    ///< The token that comes after.
  std::vector<int32_t> positions; ///< Index in the document (0 starts one); empty unless documents are kept apart.
};

class BatchSource {
public:
  virtual ~BatchSource() = default;

  /// The next rows of this rank. T must not change during a run.
  /// Errors: RuntimeError: Corrupt with the file's name, Io, InvalidArgument
  ///         when the data is shorter than a window.
  virtual Batch next(int64_t rows, int64_t T) = 0;
  /// The position behind the batches handed out so far.
  virtual nlohmann::json state() const = 0;
  /// Errors: InvalidArgument when `state` is of other data or another order.
  virtual void restore(const nlohmann::json &state) = 0;
};

/// What is shuffled anew in each epoch.
enum class Shuffle {
  Window,   ///< Windows of T tokens of the concatenated documents.
  Document, ///< Documents; windows are cut of the shuffled sequence.
  None      ///< Nothing: the order of the files.
};

struct DataOptions {
  /// Data to mix: a text file, a directory of shards, `-` (shards on stdin) or
  /// an http(s) address of such a directory; with a weight by `PATH=WEIGHT`.
  std::vector<std::string> paths;
  std::string tokenizer; ///< See openTokenizer; must match the shards'. Empty: theirs, or bytes for texts alone.
  Shuffle shuffle = Shuffle::Window;
  bool shardwise = false; ///< Shuffle within shards only; always so for shards that are still arriving.
  bool documents = false;             ///< Produce positions.
  uint64_t seed = 42;
  int64_t rank = 0, ranks = 1;        ///< A batch is rows [rank * rows, (rank + 1) * rows) of the global one.
  double heldOut = 0;                 ///< Part of the tokens at the end that training never sees; 0 for arriving shards.
  int64_t maxHeldOut = 1 << 24;       ///< Tokens.
  std::string cache = "out/data-cache"; ///< For downloads, and for texts prepared on the way.
  bool prefetch = true;               ///< Read ahead in a thread.
};

/// Tokens for evaluation, documents one after the other.
struct HeldOut {
  std::vector<int32_t> ids;
  int64_t textBytes = 0; ///< Bytes of text they stand for (estimated from the shards' average).
  std::vector<int32_t> positions = {}; ///< Of each in its document; empty unless documents are kept apart.
};

struct OpenedData {
  std::unique_ptr<BatchSource> training;
  HeldOut heldOut;
  int64_t vocab = 0;          ///< Ids are below it.
  std::shared_ptr<const Tokenizer> tokenizer; ///< What ids mean; null: nothing that is text.
  std::string tokenizerName;                  ///< For people: its path, or bytes.
  bool prefixed = true; ///< Documents begin with Tokenizer::prefix.
  nlohmann::json description; ///< Of data and order, for the run's record.
};

/// Opens data for training. A single text file with the tokenizer "bytes" gives
/// windows that start anywhere; every other text is prepared into the cache.
/// Errors: RuntimeError: NotFound, Corrupt, Io; InvalidArgument when the
///         tokenizer is not the shards' or an option is out of range.
OpenedData openData(const DataOptions &options);

} // namespace tidegate::data
