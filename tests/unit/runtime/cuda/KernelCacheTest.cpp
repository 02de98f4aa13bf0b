// The cache of compiled programs: found again, never wrong, whatever happens to its files.
#include "runtime/core/FileIo.h"
#include "runtime/cuda/KernelCache.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>
#include <thread>
#include <unistd.h>

using namespace tidegate::runtime::cuda;
namespace fs = std::filesystem;

namespace {

class KernelCacheTest : public testing::Test {
protected:
  void SetUp() override {
    directory = fs::temp_directory_path() / ("kernel-cache-" + std::to_string(getpid()));
    fs::remove_all(directory);
  }
  void TearDown() override { fs::remove_all(directory); }

  static std::string read(const std::string &path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  static void write(const std::string &path, const std::string &text) {
    std::ofstream(path, std::ios::binary) << text;
  }

  fs::path directory;
  const CompiledProgram program{std::string("\x7f" "ELF\0code", 9), {{"scan", 168, 0, 4096}, {"map", 32, 8, 0}}};
};

TEST_F(KernelCacheTest, FindsWhatWasStored) {
  KernelCache cache(directory / "not" / "there");
  EXPECT_FALSE(cache.find("key"));
  EXPECT_TRUE(cache.store("key", program));
  auto found = cache.find("key");
  ASSERT_TRUE(found);
  EXPECT_EQ(program.cubin, found->cubin);
  EXPECT_EQ(program.kernels, found->kernels);
  EXPECT_FALSE(cache.find("another key"));
}

TEST_F(KernelCacheTest, EveryDamageIsNoticed) {
  KernelCache cache(directory);
  ASSERT_TRUE(cache.store("key", program));
  const std::string path = cache.pathOf("key"), whole = read(path);
  for (size_t size = 0; size < whole.size(); ++size) {
    write(path, whole.substr(0, size));
    ASSERT_FALSE(cache.find("key")) << "cut to " << size;
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string flipped = whole;
    flipped[i] ^= 1 << i % 8;
    write(path, flipped);
    ASSERT_FALSE(cache.find("key")) << "bit of byte " << i;
  }
  write(path, whole);
  EXPECT_TRUE(cache.find("key"));
}

/// A file of another key under this key's name: what a collision of hashes looks like.
TEST_F(KernelCacheTest, CollisionsAreNoticed) {
  KernelCache cache(directory);
  ASSERT_TRUE(cache.store("one", program));
  fs::rename(cache.pathOf("one"), cache.pathOf("two"));
  EXPECT_FALSE(cache.find("two"));
}

TEST_F(KernelCacheTest, KeysTellEverythingApart) {
  ProgramText base{"name", "source", {{"h", "text"}}, {"A=1"}};
  auto key = [&](ProgramText text, const char *arch = "sm_80", const char *version = "13.0") {
    return KernelCache::keyOf(text, arch, version);
  };
  std::set<std::string> keys{key(base), key(base, "sm_90a"), key(base, "sm_80", "12.9")};
  for (auto change : {+[](ProgramText &t) { t.source += " "; }, +[](ProgramText &t) { t.headers[0].second = "t"; },
                      +[](ProgramText &t) { t.headers[0] = {"ht", "ext"}; }, +[](ProgramText &t) { t.defines = {}; },
                      +[](ProgramText &t) { t.defines[0] = "A=2"; }}) {
    ProgramText changed = base;
    change(changed);
    keys.insert(key(changed));
  }
  EXPECT_EQ(8u, keys.size());
}

TEST_F(KernelCacheTest, WritersSideBySide) {
  KernelCache cache(directory);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        if (!cache.store("key", program))
          ++wrong;
        auto found = cache.find("key");
        if (!found || found->cubin != program.cubin)
          ++wrong;
      }
    });
  for (auto &thread : threads)
    thread.join();
  EXPECT_EQ(0, wrong);
  EXPECT_EQ(1, std::distance(fs::directory_iterator(directory), fs::directory_iterator())) << "leftover files";
}

TEST_F(KernelCacheTest, ADirectoryThatCannotBeWrittenIsNoError) {
  write(directory, "a file, not a directory");
  EXPECT_FALSE(KernelCache(directory).store("key", program));
  EXPECT_FALSE(KernelCache("").store("key", program));
  EXPECT_FALSE(KernelCache("").find("key"));
}

TEST_F(KernelCacheTest, CompilesOnce) {
  if (std::string why = Nvrtc::whyMissing(); !why.empty())
    GTEST_SKIP() << why;
  KernelCache cache(directory);
  const ProgramText text{"f", "extern \"C\" __global__ void f(int *x) { *x = VALUE; }", {}, {"VALUE=3"}};
  auto first = cache.get(text, "sm_80");
  const std::string path = cache.pathOf(KernelCache::keyOf(text, "sm_80", Nvrtc::get().version()));
  ASSERT_TRUE(fs::exists(path));
  auto written = fs::last_write_time(path);
  auto second = cache.get(text, "sm_80");
  EXPECT_EQ(first.cubin, second.cubin);
  EXPECT_EQ(first.kernels, second.kernels);
  EXPECT_EQ(written, fs::last_write_time(path));
  write(path, "damaged");
  EXPECT_EQ(first.cubin, cache.get(text, "sm_80").cubin);
  EXPECT_NE("damaged", read(path));
}

} // namespace
