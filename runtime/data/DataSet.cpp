//===- DataSet.cpp - Directories, pipes and servers of shards ---*- C++ -*-===//
// Each source makes a shard a local file, then opens it.
//===----------------------------------------------------------------------===//
#include "runtime/data/DataSet.h"

#include "runtime/core/Error.h"
#include "runtime/data/Http.h"
#include "runtime/data/Tokenizer.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <filesystem>
#include <thread>
#include <unistd.h>

using namespace tidegate::data;
namespace runtime = tidegate::runtime;
using nlohmann::json;
using tidegate::runtime::RuntimeError;
using Kind = RuntimeError::Kind;
namespace fs = std::filesystem;

namespace {

json parseManifest(std::string_view text, const std::string &path) {
  const json manifest = json::parse(text, nullptr, false);
  if (manifest.is_discarded() || !manifest.is_object() || manifest.value("format", json()) != "tidegate-shards" ||
      !manifest.contains("shards") || !manifest["shards"].is_array())
    throw RuntimeError(Kind::Corrupt, "'" + path + "' is not the description of a data set");
  return manifest;
}

/// The JSON of a shard that the manifest lists, compared with the shard itself.
void compare(const Shard &shard, const json &listed) {
  if (listed.value("tokens", json()) != shard.header().tokens || listed.value("crc32", json()) != shard.header().payloadCrc)
    throw RuntimeError(Kind::Corrupt, "shard '" + shard.path() + "' is not the one that " + kManifestName + " lists");
}

/// Shards that become local files one by one.
class ArrivingShards : public BlockSource {
public:
  std::shared_ptr<const Corpus> block(int64_t i) override {
    while (static_cast<int64_t>(arrived.size()) <= i) {
      const std::string path = fetch(static_cast<int64_t>(arrived.size()));
      if (path.empty())
        return nullptr;
      auto shard = std::make_shared<const Shard>(path);
      if (!arrived.empty() && shard->header().tokenizerHash != arrived[0]->shards()[0]->header().tokenizerHash)
        throw RuntimeError(Kind::InvalidArgument, "shard '" + path + "' was made with another tokenizer than the first");
      arrived.push_back(std::make_shared<const Corpus>(std::vector<std::shared_ptr<const Shard>>{std::move(shard)}));
    }
    return arrived[i];
  }

protected:
  /// Waits for shard `number`; its path, or "" after the last one.
  virtual std::string fetch(int64_t number) = 0;

  /// Asks until `attempt` has an answer.
  template <typename Attempt>
  std::string poll(const Waiting &waiting, const std::string &what, Attempt attempt) {
    const auto start = std::chrono::steady_clock::now();
    while (true) {
      if (const std::optional<std::string> path = attempt())
        return *path;
      if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > waiting.limitSeconds)
        throw RuntimeError(Kind::Io, "waited " + std::to_string(static_cast<int64_t>(waiting.limitSeconds)) + " s for " +
                                         what + ", but neither it nor " + kManifestName + " appeared");
      std::this_thread::sleep_for(std::chrono::duration<double>(waiting.pollSeconds));
    }
  }

private:
  std::vector<std::shared_ptr<const Corpus>> arrived;
};

class WatchedDirectory : public ArrivingShards {
public:
  WatchedDirectory(const std::string &directory, const Waiting &waiting) : directory(directory), waiting(waiting) {}
  std::string identity() const override { return "shards arriving in " + directory; }
  std::string tokenizerHome() override { return directory; }

private:
  std::string fetch(int64_t number) override {
    const std::string path = directory + "/" + shardName(number);
    return poll(waiting, "'" + path + "'", [&]() -> std::optional<std::string> {
      // The manifest is written last: look for it first.
      const bool complete = fs::exists(directory + "/" + kManifestName);
      if (fs::exists(path)) {
        Shard(path, /*verify=*/true);
        return path;
      }
      if (!complete)
        return std::nullopt;
      if (number < static_cast<int64_t>(readManifest(directory)["shards"].size()))
        throw RuntimeError(Kind::NotFound, "shard '" + path + "' is listed by " + kManifestName + ", but does not exist");
      return "";
    });
  }

  std::string directory;
  Waiting waiting;
};

class PipedShards : public ArrivingShards {
public:
  PipedShards(int descriptor, const std::string &cache) : descriptor(descriptor) {
    runtime::makeWritableDirectory(cache);
    directory = cache + "/pipe-XXXXXX";
    if (!mkdtemp(directory.data()))
      runtime::throwErrno("create a directory in", cache);
  }
  ~PipedShards() override {
    std::error_code ignored;
    fs::remove_all(directory, ignored);
  }
  std::string identity() const override { return "shards from a pipe"; }

private:
  std::string fetch(int64_t number) override {
    if (ended)
      return "";
    std::vector<std::byte> page(kShardHeaderBytes);
    const size_t got = read(page);
    if (got == 0) {
      ended = true;
      return "";
    }
    ShardHeader header;
    std::memcpy(&header, page.data(), sizeof header);
    if (got < page.size() || std::memcmp(header.magic, "TGSHARD1", 8) != 0)
      throw RuntimeError(Kind::Corrupt, "expected shard " + std::to_string(number) +
                                            " on the pipe, but found something else or half a header");
    const std::string path = directory + "/" + shardName(number);
    runtime::writeFileAtomically(path, [&](runtime::FileWriter &file) {
      file.write(page);
      std::vector<std::byte> buffer(1 << 20);
      for (uint64_t left = header.fileBytes() - page.size(); left > 0;) {
        const size_t n = read(std::span(buffer).first(std::min<uint64_t>(left, buffer.size())));
        if (n == 0)
          throw RuntimeError(Kind::Corrupt, "the pipe ended inside shard " + std::to_string(number));
        file.write(std::span<const std::byte>(buffer).first(n));
        left -= n;
      }
    });
    Shard(path, /*verify=*/true);
    return path;
  }

  /// Fills `out` as far as the pipe goes.
  size_t read(std::span<std::byte> out) {
    size_t filled = 0;
    while (filled < out.size()) {
      const ssize_t got = ::read(descriptor, out.data() + filled, out.size() - filled);
      if (got < 0 && errno == EINTR)
        continue;
      if (got < 0)
        runtime::throwErrno("read", "the pipe");
      if (got == 0)
        break;
      filled += got;
    }
    return filled;
  }

  int descriptor;
  std::string directory;
  bool ended = false;
};

class RemoteShards : public ArrivingShards {
public:
  RemoteShards(std::string address, const std::string &cache, const Waiting &waiting)
      : url(std::move(address)), waiting(waiting) {
    while (!url.empty() && url.back() == '/')
      url.pop_back();
    directory = cache + "/" + hashText(hashBytes(url));
    runtime::makeWritableDirectory(directory);
  }
  std::string identity() const override { return "shards of " + url; }
  std::string tokenizerHome() override {
    for (const char *name : kTokenizerFiles)
      if (!fs::exists(directory + "/" + name))
        http::download(url + "/" + name, directory + "/" + name, waiting);
    return directory;
  }

private:
  std::string fetch(int64_t number) override {
    const std::string name = shardName(number), path = directory + "/" + name;
    if (fs::exists(path) && verified(path))
      return path;
    return poll(waiting, "'" + url + "/" + name + "'", [&]() -> std::optional<std::string> {
      const std::optional<json> manifest = remoteManifest();
      for (int damaged = 0; http::download(url + "/" + name, path, waiting); ++damaged) {
        if (verified(path)) {
          if (manifest && number < static_cast<int64_t>((*manifest)["shards"].size()))
            compare(Shard(path), (*manifest)["shards"][number]);
          return path;
        }
        if (damaged == waiting.retries)
          throw RuntimeError(Kind::Corrupt, "'" + url + "/" + name + "' arrived damaged " +
                                                std::to_string(damaged + 1) + " times");
      }
      if (!manifest)
        return std::nullopt;
      if (number < static_cast<int64_t>((*manifest)["shards"].size()))
        throw RuntimeError(Kind::NotFound,
                           "'" + url + "/" + name + "' is listed by " + kManifestName + ", but does not exist");
      return "";
    });
  }

  /// A damaged file goes away.
  bool verified(const std::string &path) {
    try {
      Shard(path, /*verify=*/true);
      return true;
    } catch (const RuntimeError &error) {
      if (error.kind() != Kind::Corrupt)
        throw;
      fs::remove(path);
      return false;
    }
  }

  std::optional<json> remoteManifest() {
    const std::string path = directory + "/" + kManifestName;
    fs::remove(path);
    if (!http::download(url + "/" + kManifestName, path, waiting))
      return std::nullopt;
    return parseManifest(runtime::MappedFile(path).text(), url + "/" + kManifestName);
  }

  std::string url, directory;
  Waiting waiting;
};

} // namespace

json tidegate::data::readManifest(const std::string &directory) {
  const std::string path = directory + "/" + kManifestName;
  return parseManifest(runtime::MappedFile(path).text(), path);
}

std::vector<std::shared_ptr<const Shard>> tidegate::data::openShards(const std::string &directory, bool verify) {
  const json manifest = readManifest(directory);
  const json &list = manifest["shards"];
  std::vector<std::shared_ptr<const Shard>> shards(list.size());
  std::vector<std::exception_ptr> failures(list.size());
  auto open = [&](const json &listed) {
    if (!listed.is_object() || !listed.value("name", json()).is_string())
      throw RuntimeError(Kind::Corrupt, "'" + directory + "/" + kManifestName + "' lists a shard without a name");
    auto shard = std::make_shared<const Shard>(directory + "/" + listed["name"].get<std::string>(), verify);
    compare(*shard, listed);
    return shard;
  };
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i = next++; i < shards.size(); i = next++)
      try {
        shards[i] = open(list[i]);
      } catch (...) {
        failures[i] = std::current_exception();
      }
  };
  std::vector<std::thread> helpers; // Reading everything takes time.
  for (unsigned i = 1; verify && i < std::thread::hardware_concurrency(); ++i)
    helpers.emplace_back(work);
  work();
  for (std::thread &helper : helpers)
    helper.join();
  for (const std::exception_ptr &failure : failures)
    if (failure)
      std::rethrow_exception(failure);
  return shards;
}

std::unique_ptr<BlockSource> tidegate::data::watchDirectory(const std::string &directory, const Waiting &waiting) {
  return std::make_unique<WatchedDirectory>(directory, waiting);
}

std::unique_ptr<BlockSource> tidegate::data::readPipe(int descriptor, const std::string &cache) {
  return std::make_unique<PipedShards>(descriptor, cache);
}

std::unique_ptr<BlockSource> tidegate::data::openRemote(const std::string &url, const std::string &cache,
                                                        const Waiting &waiting) {
  return std::make_unique<RemoteShards>(url, cache, waiting);
}
