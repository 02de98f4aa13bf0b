// What the executor on the GPU says of a plan's steps; running them needs a GPU (tests/gpu).
#include "runtime/cuda/Executor.h"

#include <gtest/gtest.h>

using namespace tidegate;
using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

namespace {

TEST(CudaExecutor, StepsInMessages) {
  Plan plan;
  plan.kernels.push_back({.name = "gla_forward"});
  for (int64_t bytes : {2, 2, 4})
    plan.buffers.push_back({.elementBytes = bytes});
  Launch launch;
  launch.items = {.constant = 8, .batch = 1, .tokens = 0, .chunks = {64}};
  EXPECT_EQ("kernel 'gla_forward' over 96 items", stepText(plan, {launch, ""}, 4, 129));
  Product product{false, true, {.batch = 1, .tokens = 1}, {.constant = 16}, {.constant = 32}, {}, 0, 1, 2};
  EXPECT_EQ("product f32 [516, 16] = bf16 [516, 32] x transposed bf16 [16, 32]", stepText(plan, {product, ""}, 4, 129));
  product.m = {};
  product.m.blocks = {8}; // 516 rows: 7 blocks of 80 and nothing, the last of 36
  product.adds = true;
  EXPECT_EQ("product f32 [80, 16] += bf16 [80, 32] x transposed bf16 [16, 32]", stepText(plan, {product, ""}, 4, 129));
  EXPECT_EQ("product f32 [36, 16] += bf16 [36, 32] x transposed bf16 [16, 32]",
            stepText(plan, {product, ""}, 4, 129, /*n=*/6));
  ShortConv conv;
  conv.kind = ShortConv::Kind::WeightGrad;
  EXPECT_EQ("weight gradient of a short convolution", stepText(plan, {conv, ""}, 4, 129));
  EXPECT_EQ("copy", stepText(plan, {Copy{}, ""}, 4, 129));
}

/// The arena holds the buffers, from the next multiple of 256 on the workspace of the built-in kernels.
TEST(CudaExecutor, ArenaOfAPlan) {
  Plan plan;
  plan.buffers = {{.elements = {.batch = 1, .tokens = 1}, .first = 0, .last = 1},
                  {.elements = {.constant = 100}, .binding = 0}};
  plan.steps = {{Copy{}, ""}, {Copy{}, ""}};
  EXPECT_EQ(4 * 3 * 50 + 40, arenaOf(plan, 3, 50).layout.bytes); // of 64 bytes
  EXPECT_EQ(768, arenaOf(plan, 3, 50).workspace);
  EXPECT_EQ(768, arenaOf(plan, 3, 50).bytes);
  plan.buffers = {{.elements = {.constant = 8}, .binding = 0},
                  {.elementBytes = 4, .binding = 1},
                  {.elements = {.constant = 8}, .binding = 2}};
  runtime::LookupGrad gradient{0, 1, 2, {.batch = 1}, 2, 4};
  plan.steps = {{gradient, ""}};
  EXPECT_EQ(builtinWorkspace(plan, 7, 1), arenaOf(plan, 7, 1).bytes);
  EXPECT_GT(arenaOf(plan, 7, 1).bytes, 0);
}

TEST(CudaExecutor, ProgramsBesideThePlansKernels) {
  Plan plan;
  for (int64_t bytes : {4, 4, 2, 4})
    plan.buffers.push_back({.elementBytes = bytes});
  plan.kernels.push_back({.name = "norm"});
  Launch launch;
  launch.sums = {{0, 1, 8}, {0, 3, 16}, {0, 2, 8}}; // two totals in f32, one in bf16
  plan.steps = {{launch, ""}, {launch, ""}, {runtime::Positions{}, ""}, {Copy{}, ""}};
  std::vector<std::string> names;
  for (const ProgramText &program : builtinPrograms(plan))
    names.push_back(program.name);
  EXPECT_EQ((std::vector<std::string>{"positions", "sum_parts", "sum_parts"}), names);
}

} // namespace
