//===- FileIoTest.cpp -------------------------------------------*- C++ -*-===//
// A failed write leaves what was there, and nothing else.
//===----------------------------------------------------------------------===//
#include "runtime/core/FileIo.h"
#include "runtime/core/Error.h"
#include "runtime/core/Suggest.h"
#include "tests/unit/runtime/TestFiles.h"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

using namespace tidegate::runtime;
using namespace tidegate::test;

namespace {

/// A limit on file sizes while it lives: writes fail as on a full disk.
struct SizeLimit {
  explicit SizeLimit(rlim_t bytes) {
    handler = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    rlimit limit{bytes, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
  }
  rlimit before;
  void (*handler)(int);
};

/// Drops root for file access while it lives; for root no directory is read-only.
struct Unprivileged {
  Unprivileged() : user(geteuid()) {
    if (user == 0)
      dropped = seteuid(65534) == 0;
  }
  ~Unprivileged() {
    if (dropped && seteuid(user) != 0)
      std::abort();
  }
  uid_t user;
  bool dropped = false;
};

} // namespace

TEST(FileIoTest, WritesAndChecksums) {
  ScratchDirectory scratch;
  FileDigest digest = writeFileAtomically(scratch.path("f"), [](FileWriter &w) { w.write("1234"), w.write("56789"); });
  EXPECT_EQ(digest.bytes, 9u);
  EXPECT_EQ(digest.crc, 0xcbf43926u); // The check value of CRC-32.
  MappedFile file(scratch.path("f"));
  EXPECT_EQ(file.text(), "123456789");
  EXPECT_EQ(crc32(file.bytes()), digest.crc);
}

TEST(FileIoTest, AFullDiskKeepsTheOldFile) {
  ScratchDirectory scratch;
  writeText(scratch.path("f"), "old");
  std::string message;
  {
    SizeLimit limit(1000);
    message = messageOf<RuntimeError>(
        [&] { writeFileAtomically(scratch.path("f"), [](FileWriter &w) { w.write(std::string(5000, 'x')); }); });
  }
  EXPECT_NE(message.find("cannot write"), std::string::npos) << message;
  EXPECT_EQ(readText(scratch.path("f")), "old");
  EXPECT_EQ(listing(scratch.path()), std::set<std::string>{"f"});
}

TEST(FileIoTest, AReadOnlyDirectoryIsSaidBeforeAnyWork) {
  ScratchDirectory scratch;
  std::filesystem::permissions(scratch.path(), std::filesystem::perms(0555));
  Unprivileged nobody;
  if (nobody.user == 0 && !nobody.dropped)
    GTEST_SKIP() << "cannot drop root's privileges here";
  std::string message = messageOf<RuntimeError>([&] { makeWritableDirectory(scratch.path()); });
  EXPECT_NE(message.find("Permission denied"), std::string::npos) << message;
  EXPECT_NE(messageOf<RuntimeError>([&] { makeWritableDirectory(scratch.path("sub")); }), "");
}

TEST(FileIoTest, AFileIsNoDirectory) {
  ScratchDirectory scratch;
  writeText(scratch.path("f"), "text");
  EXPECT_NE(messageOf<RuntimeError>([&] { makeWritableDirectory(scratch.path("f")); }), "");
  EXPECT_NE(messageOf<RuntimeError>([&] { makeWritableDirectory(scratch.path("f/out")); }), "");
  EXPECT_NE(messageOf<RuntimeError>([&] { writeFileAtomically(scratch.path(), [](FileWriter &) {}); }), "");
}

TEST(SuggestTest, FindsSlipsAndNothingElse) {
  EXPECT_EQ(editDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(editDistance("stpes", "steps"), 1u);
  std::vector<std::string> valid = {"steps", "batch", "seed"};
  EXPECT_EQ(didYouMean("stpes", valid), "; did you mean 'steps'?");
  EXPECT_EQ(didYouMean("resume", valid), "");
}
