//===- Prepare.h - Texts to shards ------------------------------*- C++ -*-===//
// The inputs are cut into units before anything is read; each unit becomes one
// shard. So the result does not depend on the number of workers, and a run that
// was killed goes on with the shards that are missing.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/Tokenizer.h"

#include <functional>
#include <nlohmann/json.hpp>

namespace tidegate::data {

struct PrepareOptions {
  std::vector<std::string> inputs; ///< Files; a directory stands for the files in it, by name.
  std::string out;
  std::string tokenizer = "bytes"; ///< For the record.
  std::string field = "text";      ///< Of JSONL, and column of Parquet.
  int64_t shardBytes = 64 << 20;   ///< Of input in one shard; a compressed file is never cut.
  int64_t workers = 1;
  bool documentEnds = false;       ///< EOS after each document even where the tokenizer puts none.
};

struct PrepareProgress {
  int64_t shardsDone = 0, shards = 0;
  int64_t textBytes = 0, tokens = 0; ///< Done now.
  double seconds = 0, cpuSeconds = 0; ///< Wall clock; of all workers.
};

struct PrepareSummary {
  PrepareProgress work;
  int64_t kept = 0; ///< Shards that were there already.
  nlohmann::ordered_json manifest;
};

/// Makes or completes the data set in `out`, with a copy of the tokenizer.
/// dataset.json is written last.
/// Errors: RuntimeError: NotFound, Io; Corrupt inputs; InvalidArgument when `out`
///         holds a data set of other inputs, options or another tokenizer.
PrepareSummary prepare(const PrepareOptions &options, const Tokenizer &tokenizer,
                       const std::function<void(const PrepareProgress &)> &report = {});

} // namespace tidegate::data
