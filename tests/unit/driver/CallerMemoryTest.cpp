// Programs for the GPU on the caller's memory: what is copied, what is waited for, and in which order with the caller's
// stream. The GPU is FakeGpu.c, so programs are of copies alone.
#include "compiler/Driver/Driver.h"
#include "runtime/core/Error.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <dlfcn.h>

using namespace tidegate;
using runtime::RuntimeError;

namespace {

constexpr auto kProgram = "fn both(x: [T, n], y: [T, n]) -> [T, n], [T, n] { return y, x }\n";

class CallerMemory : public testing::Test {
protected:
  static void SetUpTestSuite() {
    for (const char *library : {"TIDEGATE_CUDA_DRIVER", "TIDEGATE_NVRTC", "TIDEGATE_CUBLASLT"})
      setenv(library, TIDEGATE_FAKE_GPU, 1);
  }

  std::unique_ptr<EntryProgram> compiled(Target target, bool documents = false) {
    CompileOptions options;
    options.target = target;
    options.documents = documents;
    return compileEntry({"program.tg", {}, {{"program.tg", kProgram}}}, "both", options,
                        {{"x", {1, 2, 3}}, {"y", {1, 2, 3}}});
  }

  static TensorView view(std::vector<float> &values, bool isOnGpu) {
    return {runtime::Dtype::F32, {1, 2, 3}, values.data(), isOnGpu};
  }
  EntryProgram::Views inputs(bool isOnGpu) { return {{"x", view(x, isOnGpu)}, {"y", view(y, isOnGpu)}}; }
  EntryProgram::Views outputs(bool isOnGpu) { return {{"y", view(a, isOnGpu)}, {"x", view(b, isOnGpu)}}; }

  /// What was put on streams since the last call.
  static std::string notes() {
    static void *library = dlopen(TIDEGATE_FAKE_GPU, RTLD_NOW);
    return reinterpret_cast<const char *(*)()>(dlsym(library, "fake_gpu_notes"))();
  }

  void *const stream = reinterpret_cast<void *>(7);
  std::vector<float> x{1, 2, 3, 4, 5, 6}, y{7, 8, 9, 10, 11, 12}, a = std::vector<float>(6), b = a;
};

TEST_F(CallerMemory, OfTheGpuIsUsedWhereItLiesInOrderWithTheCallersStream) {
  auto entry = compiled(Target::Cuda);
  entry->runOn(inputs(true), outputs(true), stream);
  EXPECT_EQ(y, a);
  EXPECT_EQ(x, b);
  notes(); // The first call made room.
  entry->runOn(inputs(true), outputs(true), stream);
  EXPECT_EQ("caller 7 records; we wait; copy 24; copy 24; we record; caller 7 waits; ", notes());
}

TEST_F(CallerMemory, OfTheHostIsCopiedAndWaitedFor) {
  auto entry = compiled(Target::Cuda);
  auto mixed = inputs(true);
  mixed["y"] = view(y, false);
  entry->runOn(mixed, outputs(true), nullptr);
  EXPECT_EQ(y, a);
  notes();
  entry->runOn(mixed, outputs(true), nullptr);
  EXPECT_EQ("caller 0 records; we wait; allocate; to-gpu 24; copy 24; copy 24; we record; caller 0 waits; synchronize; "
            "free; ",
            notes());
  entry->runOn(inputs(false), outputs(false));
  EXPECT_EQ(y, a);
  EXPECT_EQ(x, b);
}

TEST_F(CallerMemory, CotangentsThatAreMissingAreZero) {
  auto entry = compiled(Target::Cuda);
  std::vector<float> seed{1, 1, 2, 2, 3, 3}, dx(6, 9), dy(6, 9);
  entry->vjpOn(inputs(true), {{"y", view(seed, true)}}, {{"x", view(dx, true)}, {"y", view(dy, true)}}, stream);
  EXPECT_EQ(std::vector<float>(6, 0), dx);
  EXPECT_EQ(seed, dy);
  dx.assign(6, 9);
  entry->vjpOn(inputs(true), {{"x", view(seed, true)}}, {{"x", view(dx, true)}}, stream); // Nobody wants dy.
  EXPECT_EQ(seed, dx);
}

TEST_F(CallerMemory, OfTheGpuIsRefusedByAProgramForTheCpu) {
  auto entry = compiled(Target::Cpu);
  try {
    entry->runOn(inputs(true), outputs(false));
    FAIL() << "expected an error";
  } catch (const RuntimeError &error) {
    EXPECT_EQ(RuntimeError::Kind::InvalidArgument, error.kind());
    EXPECT_NE(std::string::npos, std::string(error.what()).find("input 'x' in host memory, since the program is "
                                                                "compiled for the CPU"));
  }
}

} // namespace

// What a caller has in bfloat16 is taken and returned so where it is rows of many numbers, in programs of that precision.
TEST(CallerMemoryTest, RowsInHalf) {
  constexpr const char *text = "fn f(x: [T, n], b: [T, m]) -> [T, n], [T, m] { return 2 * x, 2 * b }";
  auto typesOf = [&](Precision precision, const std::set<std::string> &half) {
    CompileOptions options;
    options.target = Target::Cuda;
    options.precision = precision;
    auto entry = compileEntry({"program.tg", {}, {{"program.tg", text}}}, "f", options,
                              {{"x", {1, 5, 64}}, {"b", {1, 5, 4}}}, {}, half);
    std::vector<runtime::Dtype> types;
    for (const auto *specs : {&entry->inputs(), &entry->outputs()})
      for (const ValueSpec &spec : *specs)
        types.push_back(spec.dtype);
    return types;
  };
  using enum runtime::Dtype;
  EXPECT_EQ(typesOf(Precision::BF16, {"x", "b"}), (std::vector{BF16, F32, BF16, F32}));
  EXPECT_EQ(typesOf(Precision::BF16, {}), (std::vector{F32, F32, F32, F32}));
  EXPECT_EQ(typesOf(Precision::F32, {"x", "b"}), (std::vector{F32, F32, F32, F32}));
}
