//===- HttpTest.cpp ---------------------------------------------*- C++ -*-===//
// A server that fails one request in five gives the tokens of the local files.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/data/BatchSource.h"
#include "runtime/data/Http.h"
#include "runtime/data/Prepare.h"
#include "tests/unit/runtime/TestFiles.h"

#include <csignal>
#include <cstdio>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace tidegate::data;
using namespace tidegate::test;
using tidegate::runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

/// The server of Inputs/flaky_server.py, as long as the object lives.
class FlakyServer {
public:
  explicit FlakyServer(const std::string &directory) {
    int ends[2];
    if (pipe(ends) != 0)
      throw std::runtime_error("no pipe");
    child = fork();
    if (child == 0) {
      dup2(ends[1], STDOUT_FILENO);
      close(ends[0]);
      close(ends[1]);
      execlp("python3", "python3", TIDEGATE_SOURCE_DIR "/tests/unit/runtime/data/Inputs/flaky_server.py",
             directory.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    if (fscanf(out, "%d", &port) != 1)
      port = 0;
    fclose(out);
  }
  ~FlakyServer() {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  std::string address(const std::string &path) const { return "http://127.0.0.1:" + std::to_string(port) + path; }

private:
  pid_t child;
  int port = 0;
};

Waiting quick() {
  Waiting waiting;
  waiting.pollSeconds = 0.01;
  waiting.firstPause = 0.001;
  return waiting;
}

/// A data set of some 20 small shards.
void makeSet(const ScratchDirectory &scratch) {
  std::string text;
  for (int i = 0; i < 20000; ++i)
    text += "line " + std::to_string(i * 31 % 7919) + "\n";
  writeText(scratch.path("text"), text);
  PrepareOptions options;
  options.inputs = {scratch.path("text")};
  options.out = scratch.path("set");
  options.shardBytes = 12000;
  prepare(options, *makeByteTokenizer());
}

std::vector<int32_t> take(BatchSource &source, int n) {
  std::vector<int32_t> all;
  for (int i = 0; i < n; ++i) {
    const Batch batch = source.next(4, 64);
    all.insert(all.end(), batch.ids.begin(), batch.ids.end());
    all.insert(all.end(), batch.labels.begin(), batch.labels.end());
  }
  return all;
}

} // namespace

TEST(HttpTest, AFlakyServerGivesTheTokensOfLocalFiles) {
  ScratchDirectory scratch;
  makeSet(scratch);
  const FlakyServer server(scratch.path("set"));
  DataOptions options;
  options.cache = scratch.path("cache");
  options.shardwise = true;
  options.paths = {scratch.path("set")};
  auto local = openData(options).training;
  const std::vector<int32_t> expected = take(*local, 1500); // More than an epoch.
  for (const char *path : {"/files", "/datasets/some-text/resolve/main/"}) {
    options.paths = {server.address(path)};
    auto remote = openData(options).training;
    EXPECT_TRUE(take(*remote, 1500) == expected) << path;
  }
  std::string failures;
  ASSERT_TRUE(http::download(server.address("/failures"), scratch.path("n"), quick()));
  EXPECT_GT(std::stoi(readText(scratch.path("n"))), 10);
}

TEST(HttpTest, ADownloadGoesOnWhereItWas) {
  ScratchDirectory scratch;
  std::string content;
  for (int i = 0; i < 300000; ++i)
    content += std::to_string(i);
  fs::create_directory(scratch.path("set"));
  writeText(scratch.path("set/f"), content);
  const FlakyServer server(scratch.path("set"));
  for (size_t have : {size_t(0), size_t(1), content.size() / 2, content.size()}) {
    if (have)
      writeText(scratch.path("copy.part"), content.substr(0, have));
    ASSERT_TRUE(http::download(server.address("/f"), scratch.path("copy"), quick()));
    EXPECT_TRUE(readText(scratch.path("copy")) == content) << have;
    EXPECT_FALSE(fs::exists(scratch.path("copy.part")));
  }
  EXPECT_FALSE(http::download(server.address("/missing"), scratch.path("missing"), quick()));
  EXPECT_FALSE(fs::exists(scratch.path("missing")));
}

TEST(HttpTest, DamagedCacheIsFetchedAgain) {
  ScratchDirectory scratch;
  makeSet(scratch);
  const FlakyServer server(scratch.path("set"));
  openRemote(server.address("/"), scratch.path("cache"), quick())->block(3);
  fs::path cached;
  for (const auto &entry : fs::recursive_directory_iterator(scratch.path("cache")))
    if (entry.path().filename() == "shard-00002.tgs")
      cached = entry.path();
  ASSERT_FALSE(cached.empty());
  std::string bytes = readText(cached);
  bytes[4200] ^= 1;
  writeText(cached, bytes);
  const auto blocks = openRemote(server.address("/"), scratch.path("cache"), quick());
  EXPECT_TRUE(readText(blocks->block(2)->shards()[0]->path()) == readText(scratch.path("set/shard-00002.tgs")));
}

TEST(HttpTest, HopelessAddressesAreErrors) {
  ScratchDirectory scratch;
  Waiting waiting = quick();
  waiting.retries = 2;
  auto message = [&](const std::string &url) {
    return messageOf<RuntimeError>([&] { http::download(url, scratch.path("f"), waiting); });
  };
  EXPECT_NE(message("http://127.0.0.1:1/f").find("after 3 attempts: cannot connect to 127.0.0.1:1"), std::string::npos);
  EXPECT_NE(message("http:///f").find("expected an http address"), std::string::npos);
  EXPECT_NE(message("http://a b/").find("expected an http address"), std::string::npos);
}
