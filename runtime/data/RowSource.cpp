//===- RowSource.cpp - Ranks, mixtures, reading ahead -----------*- C++ -*-===//
// What can be put around a source of rows without knowing where they are from.
//===----------------------------------------------------------------------===//
#include "runtime/data/RowSource.h"

#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/core/Random.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <sys/mman.h>
#include <thread>

using namespace tidegate::data;
namespace runtime = tidegate::runtime;
using nlohmann::json;
using tidegate::runtime::RuntimeError;

namespace {

/// JSON of another form than a source writes is a damaged checkpoint, not a bug.
template <typename Action>
void asSavedPosition(const json &state, Action action) {
  try {
    action();
  } catch (const json::exception &) {
    throw RuntimeError(RuntimeError::Kind::Corrupt, "the saved data position is not one: " + state.dump());
  }
}

class RankedBatches : public BatchSource {
public:
  RankedBatches(std::unique_ptr<RowSource> source, int64_t rank, int64_t ranks, bool positions)
      : source(std::move(source)), rank(rank), ranks(ranks), positions(positions) {}

  Batch next(int64_t rows, int64_t T) override {
    Batch batch{rows, T, std::vector<int32_t>(rows * T), std::vector<int32_t>(rows * T), {}};
    if (positions)
      batch.positions.resize(rows * T);
    for (int64_t i = 0; i < ranks * rows; ++i) {
      if (i / rows != rank) {
        source->row(T, nullptr);
        continue;
      }
      const size_t at = (i - rank * rows) * T;
      RowTarget target{std::span(batch.ids).subspan(at, T), std::span(batch.labels).subspan(at, T), {}};
      if (positions)
        target.positions = std::span(batch.positions).subspan(at, T);
      source->row(T, &target);
    }
    return batch;
  }
  json state() const override { return source->state(); }
  void restore(const json &state) override {
    asSavedPosition(state, [&] { source->restore(state); });
  }

private:
  std::unique_ptr<RowSource> source;
  int64_t rank, ranks;
  bool positions;
};

class Mixture : public RowSource {
public:
  Mixture(std::vector<std::unique_ptr<RowSource>> sources, std::vector<double> weights, uint64_t seed)
      : sources(std::move(sources)), weights(std::move(weights)), stream(seed, "mixture") {}

  void row(int64_t T, const RowTarget *target) override {
    double left = stream.uniform(count++) * std::accumulate(weights.begin(), weights.end(), 0.0);
    size_t choice = 0;
    while (choice + 1 < sources.size() && left >= weights[choice])
      left -= weights[choice++];
    sources[choice]->row(T, target);
  }
  json state() const override {
    json states = json::array();
    for (const auto &source : sources)
      states.push_back(source->state());
    return {{"rows", count}, {"weights", weights}, {"sources", states}};
  }
  void restore(const json &state) override {
    if (!state.contains("sources") || state["sources"].size() != sources.size() || state.value("weights", json()) != weights)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "expected the saved data position to be of a mixture with the same weights, but found " +
                             state.dump());
    count = state.at("rows").get<uint64_t>();
    for (size_t i = 0; i < sources.size(); ++i)
      sources[i]->restore(state["sources"][i]);
  }

private:
  std::vector<std::unique_ptr<RowSource>> sources;
  std::vector<double> weights;
  runtime::RandomStream stream;
  uint64_t count = 0;
};

/// One producer, one consumer. A request of another shape starts over from the
/// position of what was handed out.
class Prefetch : public BatchSource {
public:
  Prefetch(std::unique_ptr<BatchSource> source, size_t depth)
      : source(std::move(source)), depth(depth), handedOut(this->source->state()) {}
  ~Prefetch() override { stop(); }

  Batch next(int64_t rows, int64_t T) override {
    if (rows != wantedRows || T != wantedT) {
      rewind();
      wantedRows = rows;
      wantedT = T;
    }
    if (!producer.joinable())
      producer = std::thread([this] { produce(); });
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !ready.empty() || failure; });
    if (ready.empty()) {
      const std::exception_ptr error = failure;
      lock.unlock();
      rewind();
      std::rethrow_exception(error);
    }
    Batch batch = std::move(ready.front().first);
    handedOut = std::move(ready.front().second);
    ready.pop_front();
    changed.notify_all();
    return batch;
  }
  json state() const override { return handedOut; }
  void restore(const json &state) override {
    stop();
    source->restore(state);
    handedOut = source->state();
  }

private:
  void produce() {
    try {
      while (true) {
        {
          std::unique_lock lock(mutex);
          changed.wait(lock, [&] { return stopping || ready.size() < depth; });
          if (stopping)
            return;
        }
        Batch batch = source->next(wantedRows, wantedT);
        json position = source->state();
        const std::lock_guard lock(mutex);
        ready.emplace_back(std::move(batch), std::move(position));
        changed.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      changed.notify_all();
    }
  }
  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      changed.notify_all();
    }
    if (producer.joinable())
      producer.join();
    stopping = false;
    ready.clear();
    failure = nullptr;
  }
  void rewind() {
    const bool ran = producer.joinable();
    stop();
    if (ran)
      source->restore(handedOut);
  }

  std::unique_ptr<BatchSource> source;
  size_t depth;
  json handedOut;
  int64_t wantedRows = 0, wantedT = 0;
  std::thread producer;
  std::mutex mutex; ///< Of what follows.
  std::condition_variable changed;
  std::deque<std::pair<Batch, json>> ready;
  std::exception_ptr failure;
  bool stopping = false;
};

class ByteText : public BatchSource {
public:
  ByteText(const std::string &path, int64_t end, uint64_t seed, int64_t rank, int64_t ranks)
      : file(path), end(end), seed(seed), rank(rank), ranks(ranks), stream(seed, "training windows") {}

  Batch next(int64_t rows, int64_t T) override {
    if (end < T + 1)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "a sequence of " + std::to_string(T) + " tokens needs " + std::to_string(T + 1) +
                             " bytes of training text, but '" + file.path() + "' has " + std::to_string(end));
    drawn += rows * ranks; // The first row of step s has number s * rows * ranks.
    Batch batch{rows, T, std::vector<int32_t>(rows * T), std::vector<int32_t>(rows * T), {}};
    for (int64_t b = 0; b < rows; ++b) {
      const uint64_t start = stream.below(end - T, drawn + rank * rows + b);
      const auto *bytes = reinterpret_cast<const unsigned char *>(file.text().data()) + start;
      for (int64_t t = 0; t < T; ++t) {
        batch.ids[b * T + t] = bytes[t];
        batch.labels[b * T + t] = bytes[t + 1];
      }
      giveBack(T);
    }
    return batch;
  }
  json state() const override { return {{"rows", drawn}, {"seed", seed}, {"bytes", end}}; }
  void restore(const json &state) override {
    if (!state.is_object() || state.value("seed", json()) != seed || state.value("bytes", json()) != end)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "expected the saved data position to be of " + std::to_string(end) + " bytes with seed " +
                             std::to_string(seed) + ", but found " + state.dump());
    asSavedPosition(state, [&] { drawn = state.at("rows").get<uint64_t>(); });
  }

private:
  /// Pages that were read stay resident until the kernel is told otherwise.
  void giveBack(int64_t bytes) {
    constexpr int64_t kMostTouched = 16 << 20, kFaultAround = 64 << 10; // The latter: what one page fault may map.
    touched += bytes + kFaultAround;
    if (touched <= kMostTouched)
      return;
    madvise(const_cast<std::byte *>(file.bytes().data()), file.bytes().size(), MADV_DONTNEED);
    touched = 0;
  }

  runtime::MappedFile file;
  int64_t end;
  int64_t touched = 0; ///< Bytes that may be resident.
  uint64_t seed;
  int64_t rank, ranks;
  runtime::RandomStream stream;
  uint64_t drawn = 0;
};

} // namespace

std::unique_ptr<BatchSource> tidegate::data::makeRankedBatches(std::unique_ptr<RowSource> rows, int64_t rank,
                                                               int64_t ranks, bool positions) {
  return std::make_unique<RankedBatches>(std::move(rows), rank, ranks, positions);
}

std::unique_ptr<RowSource> tidegate::data::makeMixture(std::vector<std::unique_ptr<RowSource>> sources,
                                                       std::vector<double> weights, uint64_t seed) {
  return std::make_unique<Mixture>(std::move(sources), std::move(weights), seed);
}

std::unique_ptr<BatchSource> tidegate::data::makePrefetch(std::unique_ptr<BatchSource> source, size_t depth) {
  return std::make_unique<Prefetch>(std::move(source), depth);
}

std::unique_ptr<BatchSource> tidegate::data::makeByteText(const std::string &path, int64_t end, uint64_t seed,
                                                          int64_t rank, int64_t ranks) {
  return std::make_unique<ByteText>(path, end, seed, rank, ranks);
}
