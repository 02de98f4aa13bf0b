// The driver: what is said where there is none, and what needs no GPU.
#include "runtime/core/Error.h"
#include "runtime/cuda/Driver.h"
#include "runtime/cuda/SharedLibrary.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

namespace {

/// The library is looked for once a process: each of these runs in its own.
class DriverDeathTest : public testing::Test {
protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  [[noreturn]] static void say(const std::string &text) {
    std::fprintf(stderr, "%s\n", text.c_str());
    std::exit(0);
  }
};

TEST_F(DriverDeathTest, NoLibrary) {
  EXPECT_EXIT((setenv("TIDEGATE_CUDA_DRIVER", "/nowhere/libcuda.so", 1), say(Device::whyMissing())),
              testing::ExitedWithCode(0),
              "NVIDIA's driver was not found \\(tried /nowhere/libcuda.so\\); install the driver of the GPU, or use "
              "--device cpu, or name its library in TIDEGATE_CUDA_DRIVER");
}

TEST_F(DriverDeathTest, AnotherLibrary) {
  EXPECT_EXIT((setenv("TIDEGATE_CUDA_DRIVER", "libz.so.1", 1), say(Device::whyMissing())), testing::ExitedWithCode(0),
              "NVIDIA's driver has no function 'cuGetErrorName'");
}

TEST_F(DriverDeathTest, UseWithoutAGpuIsADeviceError) {
  auto use = [] {
    setenv("TIDEGATE_CUDA_DRIVER", "/nowhere/libcuda.so", 1);
    try {
      DeviceMemory memory(64, "parameters");
    } catch (const RuntimeError &error) {
      say(error.kind() == RuntimeError::Kind::Device ? error.what() : "another kind");
    }
    say("no error");
  };
  EXPECT_EXIT(use(), testing::ExitedWithCode(0), "NVIDIA's driver was not found");
}

TEST(Driver, Architectures) {
  EXPECT_EQ("sm_80", architectureOf(8, 0));
  EXPECT_EQ("sm_89", architectureOf(8, 9));
  EXPECT_EQ("sm_90a", architectureOf(9, 0));
  EXPECT_EQ("sm_100a", architectureOf(10, 0));
}

TEST(Driver, EmptyMemoryNeedsNoGpu) {
  DeviceMemory none(0, "nothing"), moved = std::move(none);
  EXPECT_EQ(nullptr, moved.data());
  EXPECT_EQ(0, moved.bytes());
}

TEST(Driver, Bytes) { EXPECT_EQ("1.50 MiB", bytesText(3 << 19)); }

TEST(SharedLibrary, TheToolkitsFolderIsSearched) {
  const std::string home = std::getenv("CUDA_HOME") ? std::getenv("CUDA_HOME") : "/usr/local/cuda";
  EXPECT_EQ((std::vector<std::string>{"libx.so.13", "libx.so.12", "libx.so", home + "/lib64/libx.so.13",
                                      home + "/lib64/libx.so.12"}),
            toolkitNames("libx.so", {13, 12}));
}

} // namespace
