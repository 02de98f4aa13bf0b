// Products on the GPU: what is said where none can be had.
#include "runtime/core/Error.h"
#include "runtime/cuda/Blas.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

namespace {

TEST(CudaBlasDeathTest, NoLibrary) {
  GTEST_FLAG_SET(death_test_style, "threadsafe"); // it is looked for once a process
  auto say = [] {
    setenv("TIDEGATE_CUBLASLT", "/nowhere/libcublasLt.so", 1);
    std::fprintf(stderr, "%s\n", Blas::whyMissing().c_str());
    std::exit(0);
  };
  EXPECT_EXIT(say(), testing::ExitedWithCode(0),
              "CUDA's library of matrix products was not found \\(tried /nowhere/libcublasLt.so\\); install cuBLAS of "
              "CUDA 12 or 13, or name its library in TIDEGATE_CUBLASLT");
}

TEST(CudaBlas, Texts) {
  MatrixProduct p{true, false, 8, 4, 2, 3, Dtype::BF16, Dtype::BF16, Dtype::F32};
  EXPECT_EQ("f32 [8, 4] = transposed bf16 [2, 8] x bf16 [2, 4], 3 times", p.text());
}

TEST(CudaBlas, OperandsAreOfOneType) {
  using enum Dtype;
  for (auto [a, b, c] : {std::tuple(BF16, BF16, BF16), std::tuple(BF16, BF16, F32), std::tuple(F32, F32, F32)})
    EXPECT_NO_THROW(checkTypes({.m = 8, .n = 4, .k = 2, .a = a, .b = b, .c = c}));
  for (auto [a, b, c] : {std::tuple(BF16, F32, F32), std::tuple(F32, BF16, BF16), std::tuple(F32, F32, BF16),
                         std::tuple(F64, F64, F64)})
    try {
      checkTypes({.m = 8, .n = 4, .k = 2, .a = a, .b = b, .c = c});
      ADD_FAILURE() << dtypeName(a) << dtypeName(b) << dtypeName(c);
    } catch (const RuntimeError &error) {
      EXPECT_EQ(RuntimeError::Kind::InvalidArgument, error.kind());
      EXPECT_NE(std::string::npos, std::string(error.what()).find("[8, 4] = ")) << error.what();
    }
}

} // namespace
