//===- DataSet.h - Where the shards of a data set come from -----*- C++ -*-===//
// A complete directory, one that is still filling, a pipe, or a server. All of
// them are blocks; a complete directory can also be one large block.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/Corpus.h"

#include <nlohmann/json.hpp>

namespace tidegate::data {

inline constexpr const char *kManifestName = "dataset.json";

/// Reads DIR/dataset.json. Errors: NotFound, Corrupt.
nlohmann::json readManifest(const std::string &directory);

/// Every shard of a complete directory, checked against the manifest; `verify`
/// also reads and checksums them. Errors: NotFound, Corrupt with the shard's name.
std::vector<std::shared_ptr<const Shard>> openShards(const std::string &directory, bool verify = false);

/// How to wait for what is not there yet.
struct Waiting {
  double pollSeconds = 0.5;
  double limitSeconds = 600; ///< Without a new shard; then an Io error.
  int retries = 8;           ///< Of a failed request, with doubling pauses.
  double firstPause = 0.1;   ///< Seconds.
};

/// Shards in the order of their numbers, each as soon as it is there, until
/// dataset.json says how many there are.
std::unique_ptr<BlockSource> watchDirectory(const std::string &directory, const Waiting &waiting = {});

/// Shards one after the other from a descriptor (`cat DIR/*.tgs |`), kept in
/// files of a fresh directory below `cache` for later epochs.
std::unique_ptr<BlockSource> readPipe(int descriptor, const std::string &cache);

/// Shards below an http(s) address, downloaded to a directory below `cache`
/// when they are needed and kept there. A download that was cut off is resumed
/// by a range request, and what arrived is verified.
std::unique_ptr<BlockSource> openRemote(const std::string &url, const std::string &cache, const Waiting &waiting = {});

} // namespace tidegate::data
