// Several programs at once: equal ones are compiled once, errors come in order.
#include "runtime/core/Error.h"
#include "runtime/cuda/Kernels.h"
#include "runtime/cuda/Program.h"

#include <gtest/gtest.h>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

namespace {

#define NEEDS_NVRTC                                                                                                    \
  if (std::string why = Nvrtc::whyMissing(); !why.empty())                                                             \
  GTEST_SKIP() << why

ProgramText program(const std::string &name) {
  return {name, "extern \"C\" __global__ void " + name + "(float *x) { *x = 1; }", {}, {}};
}

TEST(CompileAll, EqualProgramsOnce) {
  NEEDS_NVRTC;
  const ProgramText first = program("first"), second = program("second"), again = program("first");
  const ProgramText *const programs[] = {&first, &second, &again};
  auto compiled = compileAll(programs, "sm_80", KernelCache(""));
  ASSERT_EQ(3u, compiled.size());
  EXPECT_EQ("first", compiled[0]->kernels.at(0).kernel);
  EXPECT_EQ("second", compiled[1]->kernels.at(0).kernel);
  EXPECT_EQ(compiled[0], compiled[2]);
}

TEST(CompileAll, TheFirstErrorIsTold) {
  NEEDS_NVRTC;
  const ProgramText good = program("good"), bad{"bad", "one", {}, {}}, worse{"worse", "two", {}, {}};
  const ProgramText *const programs[] = {&good, &bad, &worse};
  try {
    compileAll(programs, "sm_80", KernelCache(""));
    FAIL() << "expected an error";
  } catch (const RuntimeError &error) {
    EXPECT_NE(std::string::npos, std::string(error.what()).find("'bad' does not compile")) << error.what();
  }
}

TEST(KernelText, Blocks) {
  KernelText text;
  EXPECT_EQ(7, text.blocks(7));
  text.itemsPerBlock = 4;
  EXPECT_EQ(0, text.blocks(0));
  EXPECT_EQ(1, text.blocks(4));
  EXPECT_EQ(2, text.blocks(5));
  EXPECT_EQ(int64_t(1) << 30, text.blocks(int64_t(1) << 32));
  text.maxBlocks = 64;
  EXPECT_EQ(64, text.blocks(257));
}

} // namespace
