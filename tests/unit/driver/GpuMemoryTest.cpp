//===- GpuMemoryTest.cpp ----------------------------------------*- C++ -*-===//
// Memory of the GPU: what does not fit is told before anything runs. The GPU is FakeGpu.c, whose kernels do nothing.
// That the plan counts what is allocated: tests/cli/gpu-memory.test.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "tests/unit/driver/TinyModels.h"
#include "tests/unit/runtime/TestFiles.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <dlfcn.h>

using namespace tidegate;
using namespace tidegate::test;
using runtime::RuntimeError;

namespace {

constexpr int64_t kMiB = 1 << 20;

class GpuMemory : public testing::Test {
protected:
  static void SetUpTestSuite() {
    for (const char *library : {"TIDEGATE_CUDA_DRIVER", "TIDEGATE_NVRTC", "TIDEGATE_CUBLASLT"})
      setenv(library, TIDEGATE_FAKE_GPU, 1);
    setenv("TIDEGATE_CACHE", "", 1);
  }
  void TearDown() override { unsetenv("FAKE_GPU_MIB"); }

  /// Memory that the driver says is free.
  static int64_t freeBytes() {
    static void *library = dlopen(TIDEGATE_FAKE_GPU, RTLD_NOW);
    size_t free = 0, total = 0;
    reinterpret_cast<int (*)(size_t *, size_t *)>(dlsym(library, "cuMemGetInfo_v2"))(&free, &total);
    return int64_t(free);
  }
  /// The GPU has so much free memory from now on.
  static void leave(int64_t mebibytes) {
    setenv("FAKE_GPU_MIB", "100000", 1);
    const int64_t taken = 100000 - (freeBytes() + kMiB - 1) / kMiB;
    setenv("FAKE_GPU_MIB", std::to_string(taken + mebibytes + 1).c_str(), 1);
  }
  /// What was put on streams since the last call.
  static std::string notes() {
    static void *library = dlopen(TIDEGATE_FAKE_GPU, RTLD_NOW);
    return reinterpret_cast<const char *(*)()>(dlsym(library, "fake_gpu_notes"))();
  }

  static CompileOptions onGpu(Precision precision = Precision::BF16) {
    CompileOptions options;
    options.target = Target::Cuda;
    options.precision = precision;
    return options;
  }
  static std::string deviceError(const std::function<void()> &action) {
    try {
      action();
    } catch (const RuntimeError &error) {
      EXPECT_EQ(RuntimeError::Kind::Device, error.kind()) << error.what();
      return error.what();
    }
    return "no error";
  }
  static bool contains(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
  }
};

TEST_F(GpuMemory, MicroBatchesOnTheGpuShareTokens) {
  const PlanReport one = planModel(tinyGla(), 4, 64, onGpu()), two = planModel(tinyGla(), 4, 64, onGpu(), 2);
  const auto bytes = [](const PlanReport &report, const std::string &name) {
    for (const auto &[own, size] : report.classBytes)
      if (own == name)
        return size;
    return int64_t(-1);
  };
  EXPECT_EQ(3 * 4 * 64 * 4, bytes(one, "tokens"));
  EXPECT_EQ(bytes(one, "tokens"), bytes(two, "tokens"));
  EXPECT_EQ(2 * bytes(one, "gradients"), bytes(two, "gradients"));
  EXPECT_EQ(64 * kMiB, bytes(one, "products"));
}

TEST_F(GpuMemory, AStepThatDoesNotFitSaysWhatDoes) {
  const ProgramSource source = tinyGla("4");
  const PlanReport planned = planModel(source, 64, 512, onGpu());
  leave(planned.peakBytes / kMiB + 1);
  EXPECT_NO_THROW(expectRoom(source, 64, 512, onGpu(), 1, planned));
  leave(planned.peakBytes / kMiB * 3 / 4);
  const std::string text = deviceError([&] { expectRoom(source, 64, 512, onGpu(), 1, planned); });
  EXPECT_TRUE(contains(text, "a training step of 64 x 512 tokens needs ")) << text;
  EXPECT_TRUE(contains(text, " of memory on Fake, but ")) << text;
  EXPECT_TRUE(contains(text, planned.memory)) << text;
  EXPECT_TRUE(contains(text, "what fits: --batch 32 (")) << text;
  EXPECT_TRUE(contains(text, "--seq 256 (")) << text;
  EXPECT_TRUE(contains(text, "--activations block (")) << text;
  EXPECT_TRUE(contains(deviceError([&] { benchModel(source, 64, 512, 1, onGpu()); }), planned.memory));
  leave(10);
  EXPECT_TRUE(contains(deviceError([&] { expectRoom(source, 64, 512, onGpu(), 1, planned); }), "use a smaller model"));
  EXPECT_NO_THROW(expectRoom(source, 64, 512, {}, 1, planned)) << "the CPU's memory is not the GPU's";
}

TEST_F(GpuMemory, WhatRunsOnTheCpuAloneHasNoPlan) {
  CompileOptions token = onGpu();
  token.form = ScanForm::Token;
  for (const CompileOptions &options : {token, onGpu(Precision::F64)})
    EXPECT_TRUE(contains(messageOf<RuntimeError>([&] { planModel(tinyGla(), 1, 4, options); }), "runs on the CPU"));
}

TEST_F(GpuMemory, AModelThatDoesNotFitIsNotBegun) {
  leave(50);
  notes();
  const std::string text = deviceError([] { compileModel(tinyGla(), onGpu()); });
  EXPECT_TRUE(contains(text, "a model needs ")) << text;
  EXPECT_FALSE(contains(notes(), "allocate"));
}

TEST_F(GpuMemory, ARunThatDoesNotFitIsNotBegunAndASmallerOneIs) {
  leave(1000);
  auto model = initialised(tinyGla(), onGpu());
  const RandomTokens few(2, 64, 40), many(64, 16384, 40);
  model->trainStep(few.all(), {});
  leave(200);
  notes();
  const std::string step = deviceError([&] { model->trainStep(many.all(), {}); }),
                    gradients = deviceError([&] { model->lossAndGradients(many.all()); }),
                    loss = deviceError([&] { model->evalLoss(many.all()); }),
                    scores = deviceError([&] { model->scores(many.all()); }),
                    logits = deviceError([&] { model->logits(many.ids, many.B, many.T); });
  EXPECT_TRUE(contains(step, "a training step of 64 x 16384 tokens needs ")) << step;
  EXPECT_TRUE(contains(step, "more than this process holds")) << step;
  EXPECT_TRUE(contains(step, "  activations ")) << step;
  EXPECT_TRUE(contains(step, "use fewer rows or tokens at a time")) << step;
  EXPECT_TRUE(contains(gradients, "a training step of 64 x 16384 tokens needs ")) << gradients;
  EXPECT_TRUE(contains(loss, "a loss of 64 x 16384 tokens needs ")) << loss;
  EXPECT_TRUE(contains(scores, "scores of 64 x 16384 tokens needs ")) << scores;
  EXPECT_TRUE(contains(scores, "  result                   8.00 MiB")) << scores;
  EXPECT_TRUE(contains(logits, "logits of 64 x 16384 tokens needs ")) << logits;
  EXPECT_TRUE(contains(logits, "  result ")) << logits;
  EXPECT_EQ("", notes()) << "nothing was allocated, copied or launched";
  EXPECT_NO_THROW(model->trainStep(few.all(), {}));
  EXPECT_NO_THROW(model->scores(few.all()));
  EXPECT_NO_THROW(model->logits(few.ids, few.B, few.T));
}

TEST_F(GpuMemory, DecodingThatDoesNotFitIsNotBegun) {
  leave(1000);
  auto model = initialised(tinyGla(), onGpu());
  const RandomTokens few(2, 4, 40), many(2, 1 << 18, 40);
  auto decoder = model->decoder(few.B);
  decoder->feed(few.ids, few.T);
  leave(100);
  notes();
  const std::string rows = deviceError([&] { model->decoder(1 << 20); }),
                    prompt = deviceError([&] { decoder->feed(many.ids, many.T); });
  EXPECT_TRUE(contains(rows, "decoding of 1048576 x 1 tokens needs ")) << rows;
  EXPECT_TRUE(contains(rows, "  states ")) << rows;
  EXPECT_TRUE(contains(prompt, "decoding of 2 x 262144 tokens needs ")) << prompt;
  EXPECT_TRUE(contains(prompt, "more than this process holds")) << prompt;
  EXPECT_EQ("", notes()) << "nothing was allocated, copied or launched";
  EXPECT_NO_THROW(decoder->feed(few.ids, few.T));
}

// States and weights stay where they are; of the logits those of the last token come back.
TEST_F(GpuMemory, DecodingBringsBackTheLogitsOfTheLastToken) {
  leave(1000);
  auto model = initialised(tinyGla(), onGpu());
  const RandomTokens tokens(2, 4, 40);
  auto decoder = model->decoder(tokens.B);
  decoder->feed(tokens.ids, tokens.T);
  for (int64_t T : {4, 1, 1, 1}) {
    notes();
    decoder->feed(std::span(tokens.ids).first(tokens.B * T), T);
    const std::string text = notes(), back = "to-host " + std::to_string(2 * 40 * 4) + "; ",
                      there = "to-gpu " + std::to_string(2 * T * 4) + "; ";
    EXPECT_TRUE(contains(text, back)) << text;
    EXPECT_EQ(text.find("to-host"), text.rfind("to-host")) << text;
    EXPECT_TRUE(contains(text, there)) << text;
    EXPECT_EQ(text.find("to-gpu"), text.rfind("to-gpu")) << text;
    EXPECT_FALSE(contains(text, "allocate")) << text;
  }
}

// Behind a single id its position begins where kernels read it.
TEST_F(GpuMemory, OneTokenWithItsPositionIsDecoded) {
  leave(1000);
  CompileOptions options = onGpu();
  options.documents = true;
  auto model = initialised(tinyGla(), options);
  auto decoder = model->decoder(1);
  for (int32_t position : {0, 1, 0}) {
    const int32_t id[] = {7}, at[] = {position};
    EXPECT_NO_THROW(decoder->feed(id, 1, at));
  }
}

// Such a chunk cannot be fed in pieces: a copy of the model on the CPU decodes.
TEST_F(GpuMemory, WhatReadsOtherRowsOfItsChunkIsDecodedOnTheHost) {
  const ProgramSource source{"program.tg", {}, {{"program.tg", R"(
fn mixed(x: [T, 2, 8]) -> [T, 2, 8] {
  scan over chunks c of 4, h in 2 {
    state W: [8, 8] = 0
    o[c, h] = matmul(matmul(x[c, h], x[c, h]), transpose(x[c, h])) + matmul(x[c, h], W)
    W = W + matmul(transpose(x[c, h]), transpose(x[c, h]))
  }
  return o
}
model Mixed(ids: [T] int) -> [T, 40] {
  return linear(flatten(mixed(heads(embedding(ids, 40, 16) as embeddings, 2))), 40) as head
}
)"}}};
  leave(1000);
  auto onHost = initialised(source, {}), model = initialised(source, onGpu());
  auto want = onHost->decoder(1), have = model->decoder(1);
  const RandomTokens tokens(1, 6, 40);
  for (int32_t id : tokens.ids) {
    runtime::HostTensor a = have->feed(std::span(&id, 1), 1), b = want->feed(std::span(&id, 1), 1);
    for (int64_t v = 0; v < 40; ++v)
      EXPECT_EQ(a.view().get(v), b.view().get(v));
    EXPECT_NE(0, b.view().get(0));
  }
}

TEST_F(GpuMemory, AnEntryThatDoesNotFitIsNotBegun) {
  const auto kProgram = "fn both(x: [T, n], y: [T, n]) -> [T, n], [T, n] { return y + x, x }\n";
  auto entry = compileEntry({"program.tg", {}, {{"program.tg", kProgram}}}, "both", onGpu(Precision::F32),
                            {{"x", {1, 2, 64}}, {"y", {1, 2, 64}}});
  auto tensors = [](int64_t T) {
    const runtime::HostTensor x(runtime::Dtype::F32, {1, T, 64});
    return EntryProgram::Tensors{{"x", x}, {"y", x}};
  };
  leave(1000);
  entry->run(tensors(2));
  leave(10);
  notes();
  const std::string text = deviceError([&] { entry->run(tensors(20000)); });
  EXPECT_TRUE(contains(text, "'both' of 1 x 20000 tokens needs 19.53 MiB of memory on Fake")) << text;
  EXPECT_TRUE(contains(text, "  arguments               19.53 MiB")) << text;
  EXPECT_EQ("", notes());
  EXPECT_NO_THROW(entry->run(tensors(2)));
}

} // namespace
