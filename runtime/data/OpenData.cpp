//===- OpenData.cpp - From paths and options to batches ---------*- C++ -*-===//
// What a path is decides where its blocks come from; everything behind is the same.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/data/DataSet.h"
#include "runtime/data/Documents.h"
#include "runtime/data/Http.h"
#include "runtime/data/Prepare.h"
#include "runtime/data/ShardRows.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <functional>
#include <thread>
#include <unistd.h>

using namespace tidegate::data;
namespace runtime = tidegate::runtime;
using tidegate::runtime::RuntimeError;
using Kind = RuntimeError::Kind;
namespace fs = std::filesystem;

namespace {

struct WeightedPath {
  std::string path;
  double weight = 1;
};

/// PATH=WEIGHT, unless a file of that very name exists.
WeightedPath parsePath(const std::string &text) {
  const size_t equals = text.rfind('=');
  double weight = 0;
  if (equals == std::string::npos || fs::exists(text))
    return {text};
  const char *end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + equals + 1, end, weight);
  if (error != std::errc() || stop != end)
    return {text};
  if (!(weight > 0) || !std::isfinite(weight))
    throw RuntimeError(Kind::InvalidArgument, "expected a weight above 0 in '" + text + "'");
  return {text.substr(0, equals), weight};
}

bool isShardDirectory(const std::string &path) {
  return fs::is_directory(path) && (fs::exists(path + "/" + kManifestName) || fs::exists(path + "/prepare.json") ||
                                    fs::exists(path + "/" + shardName(0)));
}

class Opening {
public:
  explicit Opening(const DataOptions &options) : options(options) {}

  OpenedData whole() {
    check();
    if (options.paths.size() == 1 && (options.tokenizer.empty() || options.tokenizer == "bytes") && !options.documents &&
        isPlainText(options.paths[0]))
      byteText(options.paths[0]);
    else
      mixture();
    if (options.prefetch)
      opened.training = makePrefetch(std::move(opened.training));
    opened.description["seed"] = options.seed;
    return std::move(opened);
  }

private:
  void check() const {
    if (options.paths.empty())
      throw RuntimeError(Kind::InvalidArgument, "expected data to train on, but got no path");
    if (options.ranks < 1 || options.rank < 0 || options.rank >= options.ranks)
      throw RuntimeError(Kind::InvalidArgument, "expected a rank in [0, " + std::to_string(options.ranks) +
                                                    "), but got " + std::to_string(options.rank));
    if (!(options.heldOut >= 0 && options.heldOut < 1))
      throw RuntimeError(Kind::InvalidArgument,
                         "expected a held-out part in [0, 1), but got " + std::to_string(options.heldOut));
  }

  static bool isPlainText(const std::string &path) {
    return fs::is_regular_file(path) && isDivisible(path) && fs::path(path).extension() != ".jsonl" &&
           fs::path(path).extension() != ".ndjson";
  }

  int64_t heldOutTokens(int64_t tokens) const {
    return std::min(static_cast<int64_t>(options.heldOut * double(tokens)), options.maxHeldOut);
  }

  void byteText(const std::string &path) {
    const runtime::MappedFile file(path);
    const std::string_view text = file.text();
    if (text.empty())
      throw RuntimeError(Kind::InvalidArgument, "expected text in '" + path + "', but the file is empty");
    const int64_t end = static_cast<int64_t>(text.size()) - heldOutTokens(static_cast<int64_t>(text.size()));
    opened.training = makeByteText(path, end, options.seed, options.rank, options.ranks);
    opened.tokenizer = makeByteTokenizer();
    opened.tokenizerName = "bytes";
    opened.prefixed = false;
    opened.heldOut.ids = opened.tokenizer->encode(text.substr(end));
    opened.heldOut.textBytes = static_cast<int64_t>(text.size()) - end;
    opened.vocab = 256;
    opened.description = {{"data", path}, {"kind", "bytes of a text"}, {"training_tokens", end}};
  }

  void mixture() {
    std::vector<WeightedPath> items;
    for (const std::string &text : options.paths)
      items.push_back(parsePath(text));
    // Shards first: unless one is named, texts get the tokenizer of the shards that they are mixed with.
    std::vector<std::shared_ptr<BlockSource>> blocks(items.size());
    for (const bool texts : {false, true})
      for (size_t i = 0; i < items.size(); ++i)
        if (isText(items[i].path) == texts)
          blocks[i] = texts ? local(prepared(items[i].path)) : shardsOf(items[i].path);
    std::vector<std::unique_ptr<RowSource>> rows;
    std::vector<double> weights;
    nlohmann::json sets = nlohmann::json::array();
    for (size_t i = 0; i < items.size(); ++i) {
      sets.push_back({{"data", blocks[i]->identity()}, {"weight", items[i].weight}});
      rows.push_back(makeShardRows(blocks[i], options.shuffle, options.seed + i));
      weights.push_back(items[i].weight);
    }
    opened.description = {{"sets", sets}, {"documents", options.documents}};
    std::unique_ptr<RowSource> source =
        rows.size() == 1 ? std::move(rows[0]) : makeMixture(std::move(rows), std::move(weights), options.seed);
    opened.training = makeRankedBatches(std::move(source), options.rank, options.ranks, options.documents);
  }

  static bool isText(const std::string &path) {
    if (path == "-" || http::isAddress(path))
      return false;
    if (!fs::exists(path))
      throw RuntimeError(Kind::NotFound, "cannot open '" + path + "': no such file or directory");
    return !isShardDirectory(path);
  }

  std::shared_ptr<BlockSource> shardsOf(const std::string &path) {
    if (path == "-")
      return checkFirst(readPipe(STDIN_FILENO, options.cache), "standard input");
    if (http::isAddress(path))
      return checkFirst(openRemote(path, options.cache), path);
    return fs::exists(path + "/" + kManifestName) ? local(path) : checkFirst(watchDirectory(path), path);
  }

  /// Shards of a text, made in the cache.
  std::string prepared(const std::string &path) {
    if (!opened.tokenizer)
      useTokenizer(options.tokenizer.empty() ? "bytes" : options.tokenizer);
    PrepareOptions work;
    work.inputs = {path};
    work.tokenizer = opened.tokenizerName;
    work.workers = std::max(1u, std::thread::hardware_concurrency());
    uint64_t key = hashBytes(fs::absolute(path).string() + "\n" + hashText(opened.tokenizer->hash()));
    if (!fs::is_directory(path))
      key = hashBytes(std::to_string(fs::file_size(path)) + "\n" +
                          std::to_string(fs::last_write_time(path).time_since_epoch().count()),
                      key);
    work.out = options.cache + "/text-" + hashText(key);
    if (!fs::exists(work.out + "/" + kManifestName))
      prepare(work, *opened.tokenizer);
    return work.out;
  }

  std::shared_ptr<BlockSource> local(const std::string &path) {
    const std::vector<std::shared_ptr<const Shard>> shards = openShards(path, /*verify=*/true);
    if (shards.empty())
      throw RuntimeError(Kind::InvalidArgument, "expected tokens in '" + path + "', but the data set is empty");
    uint64_t content = hashBytes("");
    int64_t bytes = 0;
    for (const auto &shard : shards) {
      checkTokenizer(*shard, path, [&] { return path; });
      content = hashBytes(std::to_string(shard->header().payloadCrc) + " " + std::to_string(shard->tokens()) + "\n", content);
      bytes += static_cast<int64_t>(shard->header().sourceBytes);
    }
    const Corpus whole(shards);
    const int64_t split = holdOut(whole, bytes);
    std::vector<std::shared_ptr<const Corpus>> blocks;
    if (!options.shardwise) {
      blocks.push_back(std::make_shared<const Corpus>(shards, split));
    } else {
      int64_t before = 0;
      for (const auto &shard : shards) {
        if (before < split)
          blocks.push_back(
              std::make_shared<const Corpus>(std::vector<std::shared_ptr<const Shard>>{shard}, split - before));
        before += shard->tokens();
      }
    }
    return std::make_shared<ReadyBlocks>(std::move(blocks),
                                         "shards with content " + hashText(content) + ", " + std::to_string(split) + " tokens");
  }

  /// Adds the end of the set to the held-out tokens; where it begins, at a
  /// document unless the set is all one document.
  int64_t holdOut(const Corpus &set, int64_t bytes) {
    const int64_t wanted = heldOutTokens(set.tokens());
    if (wanted == 0)
      return set.tokens();
    int64_t split = set.tokens() - wanted;
    const int64_t document = set.documentOf(split);
    if (const int64_t next = set.documentStart(document + 1); next < set.tokens())
      split = next;
    else if (document > 0)
      split = set.documentStart(document);
    std::vector<int32_t> ids(std::min(set.tokens() - split, options.maxHeldOut));
    set.read(split, ids);
    if (options.documents)
      for (int64_t at = split, end = split + int64_t(ids.size()); at < end;) {
        const int64_t document = set.documentOf(at), start = set.documentStart(document);
        for (const int64_t next = std::min(end, set.documentStart(document + 1)); at < next; ++at)
          opened.heldOut.positions.push_back(static_cast<int32_t>(at - start));
      }
    opened.heldOut.textBytes += std::llround(double(bytes) * double(ids.size()) / double(set.tokens()));
    opened.heldOut.ids.insert(opened.heldOut.ids.end(), ids.begin(), ids.end());
    return split;
  }

  std::shared_ptr<BlockSource> checkFirst(std::shared_ptr<BlockSource> blocks, const std::string &path) {
    const auto first = blocks->block(0);
    if (!first)
      throw RuntimeError(Kind::InvalidArgument, "expected shards from '" + path + "', but there are none");
    checkTokenizer(*first->shards()[0], path, [&] { return blocks->tokenizerHome(); });
    return blocks;
  }

  void useTokenizer(const std::string &name) {
    opened.tokenizer = openTokenizer(name);
    opened.tokenizerName = name;
  }

  /// Whether the shards have the tokenizer of all; the first ones choose it if it was not named.
  void checkTokenizer(const Shard &shard, const std::string &path, const std::function<std::string()> &home) {
    const uint64_t hash = shard.header().tokenizerHash;
    if (!opened.tokenizer)
      useTokenizer(options.tokenizer.empty() ? ownTokenizer(hash, path, home) : options.tokenizer);
    if (hash != opened.tokenizer->hash())
      throw RuntimeError(Kind::InvalidArgument, "the shards of '" + path + "' were made with another tokenizer than '" +
                                                    opened.tokenizerName + "' (" + hashText(hash) + ", not " +
                                                    hashText(opened.tokenizer->hash()) + ")");
    opened.vocab = std::max<int64_t>(opened.vocab, shard.header().vocab);
  }

  static std::string ownTokenizer(uint64_t hash, const std::string &path, const std::function<std::string()> &home) {
    if (hash == makeByteTokenizer()->hash())
      return "bytes";
    const std::string directory = home();
    if (!directory.empty() && std::any_of(std::begin(kTokenizerFiles), std::end(kTokenizerFiles),
                                          [&](const char *name) { return fs::exists(directory + "/" + name); }))
      return directory;
    throw RuntimeError(Kind::InvalidArgument, "the shards of '" + path + "' were made with a tokenizer (" + hashText(hash) +
                                                  ") that is not beside them; name its file");
  }

  const DataOptions &options;
  OpenedData opened;
};

} // namespace

OpenedData tidegate::data::openData(const DataOptions &options) { return Opening(options).whole(); }
