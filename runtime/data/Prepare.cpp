//===- Prepare.cpp - Units, workers, manifest -------------------*- C++ -*-===//
// Workers take the next unit that has no shard yet.
//===----------------------------------------------------------------------===//
#include "runtime/data/Prepare.h"

#include "runtime/core/Error.h"
#include "runtime/data/DataSet.h"
#include "runtime/data/Documents.h"
#include "runtime/data/Shard.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <thread>
#include <time.h>

using namespace tidegate::data;
namespace runtime = tidegate::runtime;
using nlohmann::ordered_json;
using tidegate::runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

struct Segment {
  std::string path;
  int64_t begin, end;
};
using Unit = std::vector<Segment>;

std::vector<std::string> filesOf(const std::vector<std::string> &inputs) {
  std::vector<std::string> files;
  for (const std::string &input : inputs) {
    if (!fs::exists(input))
      throw RuntimeError(RuntimeError::Kind::NotFound, "cannot open '" + input + "': no such file or directory");
    if (!fs::is_directory(input)) {
      files.push_back(input);
      continue;
    }
    std::vector<std::string> inside;
    for (const auto &entry : fs::directory_iterator(input))
      if (entry.is_regular_file() && entry.path().filename().string()[0] != '.')
        inside.push_back(entry.path().string());
    std::sort(inside.begin(), inside.end());
    files.insert(files.end(), inside.begin(), inside.end());
  }
  if (files.empty())
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected files to prepare, but found none in the inputs");
  return files;
}

/// Small files share a unit, large divisible ones fill several.
std::vector<Unit> unitsOf(const std::vector<std::string> &files, int64_t size) {
  std::vector<Unit> units;
  int64_t room = 0;
  for (const std::string &file : files) {
    const int64_t bytes = static_cast<int64_t>(fs::file_size(file));
    const bool divisible = isDivisible(file);
    for (int64_t begin = 0; begin < bytes;) {
      if (room <= 0) {
        units.emplace_back();
        room = size;
      }
      const int64_t end = divisible ? std::min(bytes, begin + room) : bytes;
      units.back().push_back({file, begin, end});
      room -= end - begin;
      begin = end;
    }
  }
  return units;
}

double threadCpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

class Job {
public:
  Job(const PrepareOptions &options, const Tokenizer &tokenizer, const std::function<void(const PrepareProgress &)> &report)
      : options(options), tokenizer(tokenizer), report(report), units(unitsOf(filesOf(options.inputs), options.shardBytes)) {
    if (units.empty())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected text to prepare, but the inputs are empty");
    progress.shards = static_cast<int64_t>(units.size());
  }

  PrepareSummary run() {
    runtime::makeWritableDirectory(options.out);
    agreeOnPlan();
    keepTokenizer();
    std::vector<std::thread> threads;
    for (int64_t i = 0; i < options.workers; ++i)
      threads.emplace_back([this] { work(); });
    for (std::thread &thread : threads)
      thread.join();
    if (failure)
      std::rethrow_exception(failure);
    progress.seconds = seconds();
    return {progress, kept, writeManifest()};
  }

private:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }

  ordered_json plan() const {
    ordered_json files = ordered_json::array();
    for (const std::string &file : filesOf(options.inputs))
      files.push_back({{"path", fs::absolute(file).lexically_normal().string()},
                       {"bytes", fs::file_size(file)},
                       {"modified", fs::last_write_time(file).time_since_epoch().count()}});
    return {{"tokenizer", options.tokenizer}, {"tokenizer_hash", hashText(tokenizer.hash())},
            {"field", options.field},         {"shard_bytes", options.shardBytes},
            {"eos", options.documentEnds},    {"inputs", files}};
  }

  /// What is in the directory was made by the same command, or nothing is there.
  void agreeOnPlan() {
    const std::string path = options.out + "/prepare.json";
    const ordered_json now = plan();
    const bool hasShards = std::any_of(fs::directory_iterator(options.out), fs::directory_iterator(), [](const auto &entry) {
      const std::string name = entry.path().filename().string(); // Also one that is being written.
      return name.starts_with("shard-") || name == kManifestName;
    });
    if (!fs::exists(path) || !hasShards) {
      if (hasShards)
        throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                           "'" + options.out + "' already holds shards; pass another directory");
      runtime::writeFileAtomically(path, [&](runtime::FileWriter &file) { file.write(now.dump(1) + "\n"); });
      return;
    }
    const runtime::MappedFile file(path);
    const ordered_json before = ordered_json::parse(file.text(), nullptr, false);
    if (before.is_discarded() || !before.is_object())
      throw RuntimeError(RuntimeError::Kind::Corrupt, "'" + path + "' is damaged: it is not a JSON object");
    for (const auto &[key, value] : now.items())
      if (key != "tokenizer" && (!before.contains(key) || before[key] != value))
        throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                           "'" + options.out + "' was begun with other " + key +
                               "; finish it with the same command, or pass another directory");
  }

  /// Whoever uses the shards finds the tokenizer beside them.
  void keepTokenizer() const {
    for (const auto &[name, content] : tokenizer.files())
      if (!fs::exists(options.out + "/" + name))
        runtime::writeFileAtomically(options.out + "/" + name, [&](runtime::FileWriter &file) { file.write(content); });
  }

  void work() {
    const double cpuStart = threadCpuSeconds();
    try {
      for (size_t i = nextUnit++; i < units.size() && !stopped; i = nextUnit++)
        shard(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure)
        failure = std::current_exception();
      stopped = true;
    }
    const std::lock_guard lock(mutex);
    progress.cpuSeconds += threadCpuSeconds() - cpuStart;
  }

  bool alreadyThere(const std::string &path) const {
    if (!fs::exists(path))
      return false;
    try {
      return Shard(path, /*verify=*/true).header().tokenizerHash == tokenizer.hash();
    } catch (const RuntimeError &error) {
      if (error.kind() == RuntimeError::Kind::Corrupt)
        return false; // It is written anew.
      throw;
    }
  }

  void shard(size_t number) {
    const std::string path = options.out + "/" + shardName(static_cast<int64_t>(number));
    if (alreadyThere(path)) {
      const std::lock_guard lock(mutex);
      ++kept;
      ++progress.shardsDone;
      return;
    }
    ShardWriter writer(path, static_cast<uint32_t>(number), static_cast<uint32_t>(tokenizer.vocab()), tokenizer.hash());
    std::vector<int32_t> suffix = tokenizer.suffix();
    if (options.documentEnds && suffix.empty() && tokenizer.eos())
      suffix.push_back(*tokenizer.eos());
    for (const Segment &segment : units[number]) {
      const auto reader = openDocuments(segment.path, options.field, segment.begin, segment.end);
      for (Piece piece; !stopped && reader->next(piece);) {
        writer.startDocument();
        std::vector<int32_t> ids = tokenizer.encode(piece.text);
        if (piece.starts)
          writer.add(tokenizer.prefix());
        writer.add(ids);
        if (piece.ends)
          writer.add(suffix);
        writer.countSource(piece.text.size());
        advance(piece.text.size(), ids.size());
      }
    }
    if (stopped)
      return; // Another worker failed: nothing half done gets a name.
    writer.finish();
    const std::lock_guard lock(mutex);
    ++progress.shardsDone;
  }

  void advance(size_t bytes, size_t tokens) {
    const std::lock_guard lock(mutex);
    progress.textBytes += static_cast<int64_t>(bytes);
    progress.tokens += static_cast<int64_t>(tokens);
    if (!report || seconds() - reported < 1)
      return;
    reported = progress.seconds = seconds();
    report(progress);
  }

  ordered_json writeManifest() const {
    ordered_json shards = ordered_json::array();
    int64_t tokens = 0, documents = 0, bytes = 0;
    for (size_t i = 0; i < units.size(); ++i) {
      const std::string name = shardName(static_cast<int64_t>(i));
      const ShardHeader header = Shard(options.out + "/" + name).header();
      tokens += header.tokens;
      documents += header.documents;
      bytes += header.sourceBytes;
      shards.push_back({{"name", name}, {"tokens", header.tokens}, {"documents", header.documents},
                        {"text_bytes", header.sourceBytes}, {"file_bytes", header.fileBytes()},
                        {"crc32", header.payloadCrc}});
    }
    const ordered_json manifest = {{"format", "tidegate-shards"},
                                   {"version", 1},
                                   {"tokenizer", options.tokenizer},
                                   {"tokenizer_hash", hashText(tokenizer.hash())},
                                   {"vocab", tokenizer.vocab()},
                                   {"tokens", tokens},
                                   {"documents", documents},
                                   {"text_bytes", bytes},
                                   {"shards", shards}};
    runtime::writeFileAtomically(options.out + "/" + kManifestName,
                                 [&](runtime::FileWriter &file) { file.write(manifest.dump(1) + "\n"); });
    return manifest;
  }

  const PrepareOptions &options;
  const Tokenizer &tokenizer;
  const std::function<void(const PrepareProgress &)> &report;
  const std::vector<Unit> units;
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  std::atomic<size_t> nextUnit = 0;
  std::atomic<bool> stopped = false;
  std::mutex mutex; ///< Of what follows.
  PrepareProgress progress;
  double reported = 0;
  int64_t kept = 0;
  std::exception_ptr failure;
};

} // namespace

PrepareSummary tidegate::data::prepare(const PrepareOptions &options, const Tokenizer &tokenizer,
                                       const std::function<void(const PrepareProgress &)> &report) {
  return Job(options, tokenizer, report).run();
}
