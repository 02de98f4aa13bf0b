//===- BatchSourceTest.cpp --------------------------------------*- C++ -*-===//
// Every token once an epoch, one order for all ranks, exact positions.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/data/DataSet.h"
#include "runtime/data/Permutation.h"
#include "runtime/data/Prepare.h"
#include "runtime/data/RowSource.h"
#include "tests/unit/runtime/TestFiles.h"

#include <algorithm>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <map>
#include <thread>
#include <unistd.h>

using namespace tidegate::data;
using namespace tidegate::test;
using tidegate::runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kT = 16;

/// A data set of 40 documents in several shards. Token values tell document and
/// place: document d has the tokens 1000 d + 0, 1, 2, ...
class BatchSourceTest : public testing::Test {
protected:
  BatchSourceTest() {
    fs::create_directory(set());
    nlohmann::json shards = nlohmann::json::array();
    for (int s = 0; s < 4; ++s) {
      ShardWriter writer(set() + "/" + shardName(s), s, 65000, makeByteTokenizer()->hash());
      for (int d = 10 * s; d < 10 * s + 10; ++d) {
        writer.startDocument();
        for (int i = 0; i < length(d); ++i)
          writer.add(std::vector<int32_t>{1000 * d + i});
      }
      const ShardHeader header = writer.finish();
      shards.push_back({{"name", shardName(s)}, {"tokens", header.tokens}, {"crc32", header.payloadCrc}});
      total += header.tokens;
    }
    writeText(set() + "/dataset.json", nlohmann::json{{"format", "tidegate-shards"}, {"shards", shards}}.dump());
    options.paths = {set()};
    options.prefetch = false;
    options.cache = scratch.path("cache");
  }
  std::string set() const { return scratch.path("set"); }
  static int length(int d) { return 1 + 37 * d % 101; }

  std::unique_ptr<BatchSource> open(Shuffle shuffle, int64_t rank = 0, int64_t ranks = 1) {
    options.shuffle = shuffle;
    options.rank = rank;
    options.ranks = ranks;
    return openData(options).training;
  }

  ScratchDirectory scratch;
  DataOptions options;
  int64_t total = 0;
};

std::vector<int32_t> take(BatchSource &source, int n, int64_t rows = 2) {
  std::vector<int32_t> all;
  for (int i = 0; i < n; ++i) {
    const Batch batch = source.next(rows, kT);
    all.insert(all.end(), batch.ids.begin(), batch.ids.end());
    all.insert(all.end(), batch.labels.begin(), batch.labels.end());
    all.insert(all.end(), batch.positions.begin(), batch.positions.end());
  }
  return all;
}

constexpr Shuffle kAll[] = {Shuffle::Window, Shuffle::Document, Shuffle::None};

} // namespace

TEST(PermutationTest, IsABijectionThatDependsOnTheKey) {
  for (uint64_t n : {1, 2, 3, 10, 64, 1000}) {
    const Permutation shuffle(n, 42, 1, 2), other(n, 42, 2, 2);
    std::set<uint64_t> seen;
    bool differs = false;
    for (uint64_t i = 0; i < n; ++i) {
      seen.insert(shuffle(i));
      differs |= shuffle(i) != other(i);
    }
    EXPECT_EQ(seen.size(), n);
    EXPECT_LT(*seen.rbegin(), n);
    EXPECT_EQ(differs || n < 10, true);
  }
}

TEST_F(BatchSourceTest, DocumentsAreCompleteAndInOrderInside) {
  auto source = open(Shuffle::Document);
  std::vector<int32_t> ids;
  while (static_cast<int64_t>(ids.size()) < total) {
    const Batch batch = source->next(1, kT);
    ids.insert(ids.end(), batch.ids.begin(), batch.ids.end());
  }
  ids.resize(total);
  std::vector<int> order;
  for (size_t at = 0; at < ids.size();) {
    const int d = ids[at] / 1000;
    order.push_back(d);
    for (int i = 0; i < length(d); ++i)
      ASSERT_EQ(ids[at++], 1000 * d + i);
  }
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  ASSERT_EQ(order.size(), 40u);
  for (int d = 0; d < 40; ++d)
    EXPECT_EQ(order[d], d);
}

TEST_F(BatchSourceTest, WindowsCoverTheDataOnceAnEpoch) {
  std::vector<int32_t> plain;
  for (int d = 0; d < 40; ++d)
    for (int i = 0; i < length(d); ++i)
      plain.push_back(1000 * d + i);
  auto source = open(Shuffle::Window);
  std::set<std::vector<int32_t>> first, second;
  const int64_t windows = (total - 1) / kT;
  std::vector<std::vector<int32_t>> order[2];
  for (int64_t i = 0; i < 2 * windows; ++i) {
    const Batch batch = source->next(1, kT);
    order[i / windows].push_back(batch.ids);
    const auto at = std::find(plain.begin(), plain.end(), batch.ids[0]);
    ASSERT_TRUE(std::equal(batch.ids.begin(), batch.ids.end(), at));
    ASSERT_TRUE(std::equal(batch.labels.begin(), batch.labels.end(), at + 1));
    ASSERT_EQ((at - plain.begin()) % kT, 0);
  }
  EXPECT_NE(order[0], order[1]);
  std::sort(order[0].begin(), order[0].end());
  std::sort(order[1].begin(), order[1].end());
  EXPECT_EQ(order[0], order[1]);
  EXPECT_EQ(std::unique(order[0].begin(), order[0].end()), order[0].end());
}

TEST_F(BatchSourceTest, LabelsAreWhatComesNext) {
  for (Shuffle shuffle : {Shuffle::Document, Shuffle::None}) {
    auto source = open(shuffle);
    Batch last = source->next(1, kT);
    for (int i = 0; i < 300; ++i) { // Over several epochs.
      const Batch batch = source->next(1, kT);
      ASSERT_EQ(last.labels.back(), batch.ids.front()) << i;
      ASSERT_TRUE(std::equal(batch.ids.begin() + 1, batch.ids.end(), batch.labels.begin()));
      last = batch;
    }
  }
}

TEST_F(BatchSourceTest, PositionsRestartWithDocumentsAndRows) {
  options.documents = true;
  for (Shuffle shuffle : kAll) {
    auto source = open(shuffle);
    for (int i = 0; i < 200; ++i) {
      const Batch batch = source->next(1, kT);
      ASSERT_EQ(batch.positions.size(), size_t(kT));
      for (int64_t t = 0; t < kT; ++t) {
        const bool starts = t == 0 || batch.ids[t] % 1000 == 0;
        ASSERT_EQ(batch.positions[t], starts ? 0 : batch.positions[t - 1] + 1);
      }
    }
  }
}

TEST_F(BatchSourceTest, RanksShareOneOrder) {
  options.documents = true;
  for (Shuffle shuffle : kAll) {
    auto whole = open(shuffle), left = open(shuffle, 0, 2), right = open(shuffle, 1, 2);
    for (int i = 0; i < 60; ++i) {
      const Batch all = whole->next(6, kT), a = left->next(3, kT), b = right->next(3, kT);
      std::vector<int32_t> joined = a.ids;
      joined.insert(joined.end(), b.ids.begin(), b.ids.end());
      ASSERT_EQ(all.ids, joined);
      joined = a.labels;
      joined.insert(joined.end(), b.labels.begin(), b.labels.end());
      ASSERT_EQ(all.labels, joined);
    }
  }
}

TEST_F(BatchSourceTest, GoesOnFromEverySavedPosition) {
  options.documents = true;
  for (bool shardwise : {false, true})
    for (bool prefetch : {false, true})
      for (Shuffle shuffle : kAll) {
        options.shardwise = shardwise;
        options.prefetch = prefetch;
        auto source = open(shuffle);
        for (int before = 0; before < 120; before += 7) { // An epoch has 60 batches.
          const nlohmann::json state = nlohmann::json::parse(source->state().dump());
          auto resumed = open(shuffle);
          resumed->restore(state);
          ASSERT_EQ(take(*source, 7), take(*resumed, 7)) << before;
          ASSERT_EQ(source->state(), resumed->state());
        }
      }
}

TEST_F(BatchSourceTest, PrefetchAndArrivalDoNotChangeTheOrder) {
  auto plain = open(Shuffle::Document);
  options.prefetch = true;
  auto ahead = open(Shuffle::Document);
  EXPECT_EQ(take(*plain, 100), take(*ahead, 100));

  // The same shards, one after the other, while training reads.
  options.shardwise = true;
  auto complete = open(Shuffle::Document);
  const std::string arriving = scratch.path("arriving");
  fs::create_directory(arriving);
  fs::copy(set() + "/" + shardName(0), arriving + "/" + shardName(0));
  options.paths = {arriving};
  auto streamed = open(Shuffle::Document);
  std::thread sender([&] {
    for (int s = 1; s < 4; ++s) {
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      fs::copy(set() + "/" + shardName(s), arriving + "/part");
      fs::rename(arriving + "/part", arriving + "/" + shardName(s));
    }
    fs::copy(set() + "/dataset.json", arriving + "/dataset.json");
  });
  EXPECT_EQ(take(*complete, 150), take(*streamed, 150));
  sender.join();
}

TEST_F(BatchSourceTest, ReadsShardsFromAPipe) {
  std::string all;
  for (int s = 0; s < 4; ++s)
    all += readText(set() + "/" + shardName(s));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::thread sender([&] {
    for (size_t at = 0; at < all.size(); at += 1000) {
      const std::string part = all.substr(at, 1000);
      ASSERT_EQ(write(ends[1], part.data(), part.size()), ssize_t(part.size()));
    }
    close(ends[1]);
  });
  const auto blocks = readPipe(ends[0], scratch.path("cache"));
  for (int s = 0; s < 4; ++s) {
    const auto block = blocks->block(s);
    ASSERT_TRUE(block);
    EXPECT_EQ(readText(block->shards()[0]->path()), readText(set() + "/" + shardName(s)));
  }
  EXPECT_EQ(blocks->block(4), nullptr);
  sender.join();
  close(ends[0]);
}

TEST_F(BatchSourceTest, MixturesFollowTheirWeights) {
  const std::string other = scratch.path("other");
  fs::create_directory(other);
  ShardWriter writer(other + "/" + shardName(0), 0, 65000, makeByteTokenizer()->hash());
  writer.add(std::vector<int32_t>(500, 64000));
  const ShardHeader header = writer.finish();
  writeText(other + "/dataset.json",
            nlohmann::json{{"format", "tidegate-shards"},
                           {"shards", {{{"name", shardName(0)}, {"tokens", header.tokens}, {"crc32", header.payloadCrc}}}}}
                .dump());
  options.paths = {set() + "=3", other + "=1"};
  auto source = open(Shuffle::Document);
  int64_t second = 0;
  const int64_t rows = 2000;
  const nlohmann::json start = source->state();
  for (int64_t i = 0; i < rows; ++i)
    second += source->next(1, kT).ids[0] == 64000;
  EXPECT_NEAR(double(second) / double(rows), 0.25, 0.04); // Four standard deviations.
  source->restore(start);
  auto fresh = open(Shuffle::Document);
  EXPECT_EQ(take(*source, 20), take(*fresh, 20));
  options.paths = {set() + "=0"};
  EXPECT_NE(messageOf<RuntimeError>([&] { openData(options); }).find("expected a weight above 0"), std::string::npos);
}

TEST_F(BatchSourceTest, HoldsOutWholeDocumentsAtTheEnd) {
  options.heldOut = 0.2;
  const OpenedData data = openData(options);
  ASSERT_FALSE(data.heldOut.ids.empty());
  EXPECT_EQ(data.heldOut.ids.front() % 1000, 0);
  EXPECT_EQ(data.heldOut.ids.back(), 39 * 1000 + length(39) - 1);
  EXPECT_LE(static_cast<double>(data.heldOut.ids.size()), 0.2 * double(total));
  EXPECT_GE(static_cast<double>(data.heldOut.ids.size()), 0.2 * double(total) - 101);
  const std::set<int32_t> held(data.heldOut.ids.begin(), data.heldOut.ids.end());
  for (int i = 0; i < 300; ++i)
    for (int32_t id : data.training->next(1, kT).labels)
      ASSERT_EQ(held.count(id), 0u);
}

TEST_F(BatchSourceTest, ErrorsSayWhatDoesNotFit) {
  auto source = open(Shuffle::Window);
  EXPECT_NE(messageOf<RuntimeError>([&] { source->next(1, total); }).find("a sequence of"), std::string::npos);
  auto document = open(Shuffle::Document);
  EXPECT_NE(messageOf<RuntimeError>([&] { document->restore(open(Shuffle::Window)->state()); })
                .find("expected the saved data position to have shuffle \"document\", but found \"window\""),
            std::string::npos);
  EXPECT_NE(messageOf<RuntimeError>([&] { document->restore({{"a", 1}}); }).find("expected the saved data position"),
            std::string::npos);
  options.rank = 2;
  EXPECT_NE(messageOf<RuntimeError>([&] { openData(options); }).find("expected a rank in [0, 1)"), std::string::npos);
  options.rank = 0;
  const std::string shard = set() + "/" + shardName(2);
  writeText(shard, readText(shard).substr(0, 4200));
  EXPECT_NE(messageOf<RuntimeError>([&] { openData(options); }).find("shard-00002.tgs' is damaged"), std::string::npos);
}

TEST(ByteTextTest, SameWindowsOnEveryRankAndAfterRestore) {
  ScratchDirectory scratch;
  std::string text;
  for (int i = 0; i < 3000; ++i)
    text += static_cast<char>(i % 251);
  writeText(scratch.path("t"), text);
  auto whole = makeByteText(scratch.path("t"), 3000, 7, 0, 1), right = makeByteText(scratch.path("t"), 3000, 7, 1, 2);
  for (int i = 0; i < 5; ++i) {
    const Batch all = whole->next(4, kT), part = right->next(2, kT);
    EXPECT_TRUE(std::equal(part.ids.begin(), part.ids.end(), all.ids.begin() + 2 * kT));
    for (size_t t = 0; t < all.ids.size(); ++t)
      ASSERT_EQ(all.labels[t], (all.ids[t] + 1) % 251);
  }
  auto resumed = makeByteText(scratch.path("t"), 3000, 7, 0, 1);
  resumed->restore(whole->state());
  EXPECT_EQ(take(*whole, 3), take(*resumed, 3));
}
