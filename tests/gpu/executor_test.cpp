//===- executor_test.cpp - The CUDA runtime on a real GPU -------*- C++ -*-===//
// Every kind of step of a plan on the GPU against the CPU's executor in double,
// on the same inputs. Checks are collected first, so that their kernels are
// compiled side by side. Prints one line per check; exit code 1 if one fails, 77
// where there is no GPU.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/core/Executor.h"
#include "runtime/core/HostTensor.h"
#include "runtime/cuda/Executor.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <random>

using namespace tidegate;
using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;
using enum tidegate::runtime::Dtype;

namespace {

int failures = 0;

void report(const std::string &name, bool holds, const std::string &seen) {
  std::printf("%-6s %-72s %s\n", holds ? "ok" : "FAILED", name.c_str(), seen.c_str());
  std::fflush(stdout);
  failures += !holds;
}

/// Reports failure where `work` throws.
template <typename Work>
void check(const std::string &name, Work &&work) {
  try {
    work();
  } catch (const std::exception &error) {
    report(name, false, error.what());
  }
}

std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", x);
  return text;
}

/// Bytes of a tensor on the GPU. Starts one element behind an aligned address if asked for.
struct OnDevice {
  DeviceMemory memory;
  void *data;

  OnDevice(const Stream &stream, HostTensor &from, bool isShifted)
      : memory(int64_t(from.bytes().size() + 16), "a test") {
    data = static_cast<std::byte *>(memory.data()) + (isShifted ? dtypeSize(from.dtype()) : 0);
    stream.toDevice(data, from.bytes().data(), int64_t(from.bytes().size()));
    stream.synchronize();
  }
  HostTensor read(const Stream &stream, const HostTensor &like) const {
    HostTensor result(like.dtype(), like.shape());
    stream.toHost(result.bytes().data(), data, int64_t(result.bytes().size()));
    stream.synchronize();
    return result;
  }
};

/// What is to be run, and the programs that it needs.
std::vector<std::function<void(Engine &)>> checks;
std::map<std::string, ProgramText> programs; // by source

void later(std::function<void(Engine &)> run) { checks.push_back(std::move(run)); }

/// A plan whose buffers are all bound, with their values.
struct Case {
  Plan plan;
  std::vector<HostTensor> values;
  std::vector<bool> isResult;
  std::vector<KernelText> texts;
  bool isShifted = false;
  std::mt19937 random{1};

  int add(Dtype dtype, int64_t elements, bool result) {
    Buffer buffer;
    buffer.elements.constant = elements;
    buffer.elementBytes = int64_t(dtypeSize(dtype));
    buffer.binding = plan.bindings++;
    plan.buffers.push_back(buffer);
    values.emplace_back(dtype, std::vector<int64_t>{elements});
    isResult.push_back(result);
    return buffer.binding;
  }
  /// Normal values, as they are in this element type.
  int input(Dtype dtype, int64_t elements, double scale = 1) {
    int index = add(dtype, elements, false);
    HostTensor wide(F32, {elements});
    std::normal_distribution<float> normal(0, float(scale));
    for (float &x : wide.as<float>())
      x = normal(random);
    values[index] = wide.to(dtype);
    return index;
  }
  int integers(std::vector<int32_t> list) {
    int index = add(I32, int64_t(list.size()), false);
    std::ranges::copy(list, values[index].as<int32_t>().begin());
    return index;
  }
  int result(Dtype dtype, int64_t elements) { return add(dtype, elements, true); }

  template <typename What>
  void step(What what) {
    plan.steps.push_back({what, "test.tg:1:1"});
  }

  /// Results of the CPU in double.
  std::vector<HostTensor> onCpu(int64_t B, int64_t T) {
    Plan wide = plan;
    wide.elementBytes = 8;
    for (Buffer &buffer : wide.buffers) // views; what is bound follows
      buffer.elementBytes = 8;
    std::vector<HostTensor> tensors;
    for (size_t i = 0; i < values.size(); ++i) {
      tensors.push_back(values[i].dtype() == I32 ? values[i] : values[i].to(F64));
      wide.buffers[i].elementBytes = int64_t(dtypeSize(tensors[i].dtype()));
    }
    std::vector<void *> bindings;
    for (HostTensor &tensor : tensors)
      bindings.push_back(tensor.bytes().data());
    runtime::Executor(wide).run(B, T, bindings);
    return tensors;
  }

  /// Results of the GPU after `runs` runs, the last of them as a graph if there are two or more.
  std::vector<HostTensor> onGpu(Engine &engine, int64_t B, int64_t T, int runs = 1) {
    std::vector<OnDevice> arrays;
    std::vector<void *> bindings;
    for (HostTensor &value : values)
      bindings.push_back(arrays.emplace_back(engine.stream, value, isShifted && value.dtype() != I32).data);
    CudaExecutor executor(engine, plan, texts);
    for (int i = 0; i < runs; ++i)
      executor.run(B, T, bindings);
    std::vector<HostTensor> results;
    for (size_t i = 0; i < values.size(); ++i)
      results.push_back(arrays[i].read(engine.stream, values[i]));
    return results;
  }

  /// Compares each result, by its largest difference over its largest value. `bound` is for f32; bf16 results may be
  /// off by one rounding, and by `bound16` where bf16 operands are rounded on the way.
  void compare(const std::string &name, double bound, double bound16 = 0x1p-8, int64_t tokens = 1) {
    check(name, [&] {
      for (const ProgramText &program : builtinPrograms(plan))
        programs.try_emplace(program.source, program);
    });
    for (const KernelText &text : texts)
      programs.try_emplace(text.program.source, text.program);
    later([test = *this, name, bound, bound16, tokens](Engine &engine) mutable {
      check(name, [&] { test.compareNow(engine, name, bound, bound16, tokens); });
    });
  }

private:
  void compareNow(Engine &engine, const std::string &name, double bound, double bound16, int64_t tokens) {
    auto expected = onCpu(1, tokens), seen = onGpu(engine, 1, tokens);
    double worst = 0;
    bool holds = true;
    for (size_t i = 0; i < values.size(); ++i) {
      if (!isResult[i])
        continue;
      if (values[i].dtype() == I32) {
        holds &= std::ranges::equal(expected[i].as<int32_t>(), seen[i].as<int32_t>());
        continue;
      }
      HostTensor wide = seen[i].to(F64);
      double largest = 1e-30, difference = 0;
      for (int64_t e = 0; e < wide.elements(); ++e) {
        double want = expected[i].as<double>()[e], got = wide.as<double>()[e];
        largest = std::max(largest, std::abs(want));
        difference = std::isfinite(got) ? std::max(difference, std::abs(want - got)) : INFINITY;
      }
      worst = std::max(worst, difference / largest);
      holds &= difference <= largest * (values[i].dtype() == BF16 ? bound16 : bound);
    }
    report(name, holds, number(worst));
  }
};

Extent constant(int64_t n) { return {.constant = n, .batch = 0, .tokens = 0, .chunks = {}}; }

std::string typesText(std::initializer_list<Dtype> types) {
  std::string text;
  for (Dtype type : types)
    text += (text.empty() ? "" : " ") + std::string(dtypeName(type));
  return text;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

void products() {
  struct Sizes {
    int64_t m, n, k, count;
  };
  for (auto [a, b, c] : {std::tuple(F32, F32, F32), std::tuple(BF16, BF16, F32), std::tuple(BF16, BF16, BF16)})
    for (bool transA : {false, true})
      for (bool transB : {false, true})
        for (bool isShifted : {false, true})
          for (Sizes s : {Sizes{1, 1, 1, 1},
                          {7, 5, 3, 1},
                          {64, 64, 64, 1},
                          {129, 65, 257, 1},
                          {1, 300, 17, 1},
                          {300, 1, 33, 1},
                          {512, 768, 1000, 1},
                          {64, 96, 128, 5},
                          {17, 19, 23, 3},
                          {8, 8, 4099, 2}}) {
            Case test;
            test.isShifted = isShifted;
            Product p{transA, transB, constant(s.m), constant(s.n), constant(s.k), constant(s.count), 0, 0, 0};
            p.a = test.input(a, s.m * s.k * s.count);
            p.b = test.input(b, s.k * s.n * s.count);
            p.c = test.result(c, s.m * s.n * s.count);
            test.step(p);
            MatrixProduct text{transA, transB, s.m, s.n, s.k, s.count, a, b, c};
            // Sums of k terms in f32: about sqrt(k) roundings of 2^-24. TF32 would show 2^-11.
            test.compare(text.text() + (isShifted ? ", odd addresses" : ""),
                         0x1p-22 * std::max(4.0, std::sqrt(double(s.k))));
          }
}

void productsRepeat(Engine &engine) {
  check("one product, 5 times: the same bits", [&] {
    Case test;
    const int64_t m = 1024, n = 768, k = 32000;
    Product p{true, false, constant(m), constant(n), constant(k), constant(1), 0, 0, 0};
    p.a = test.input(BF16, m * k);
    p.b = test.input(BF16, k * n);
    p.c = test.result(F32, m * n);
    test.step(p);
    auto first = test.onGpu(engine, 1, 1);
    bool holds = true;
    for (int i = 0; i < 4; ++i)
      holds &= std::ranges::equal(first[p.c].bytes(), test.onGpu(engine, 1, 1)[p.c].bytes());
    report("one product, 5 times: the same bits", holds, "");
  });
  check("mixed operands are refused", [&] {
    Case test;
    Product p{false, false, constant(8), constant(8), constant(8), constant(1), 0, 0, 0};
    p.a = test.input(BF16, 64);
    p.b = test.input(F32, 64);
    p.c = test.result(F32, 64);
    test.step(p);
    try {
      test.onGpu(engine, 1, 1);
      report("mixed operands are refused", false, "no error");
    } catch (const RuntimeError &error) {
      const std::string text = error.what();
      report("mixed operands are refused",
             text.find("bf16 [8, 8] x f32 [8, 8]") != text.npos && text.find("test.tg:1:1") != text.npos, text);
    }
  });
}

//===----------------------------------------------------------------------===//
// Built-in steps
//===----------------------------------------------------------------------===//

std::vector<int32_t> someIds(int64_t count, int64_t rows, int from = -1) {
  std::mt19937 random{7};
  std::vector<int32_t> ids(count);
  for (int32_t &id : ids) // one in three the same, a few outside the table
    id = random() % 3 ? int32_t(random() % uint32_t(rows - from + 1)) + from : int32_t(rows / 2);
  return ids;
}

/// Rows in blocks, the last of which is shorter: pieces of rows are written, and a sum grows block by block.
void rowBlocks() {
  for (auto [type, sum] : {std::pair(F32, F32), std::pair(BF16, F32)})
    for (int64_t tokens : {5, 300, 4000}) {
      const int64_t in = 64, out = 96;
      Case test;
      Extent block;
      block.blocks = {8};
      const int x = test.input(type, tokens * in), w = test.input(type, out * in), y = test.result(type, tokens * out);
      const int dw = test.result(sum, out * in);
      auto piece = [&](int of, int64_t width) {
        Buffer buffer{.elements = block * constant(width), .elementBytes = int64_t(dtypeSize(type))};
        buffer.view = {.of = of, .stride = buffer.elements, .perChunk = true};
        test.plan.buffers.push_back(buffer);
        return int(test.plan.buffers.size() - 1);
      };
      const int xn = piece(x, in), yn = piece(y, out);
      test.step(Repeat{-1, dw, constant(1), constant(out * in)});
      test.plan.loops.push_back({.blocks = 8});
      test.step(Product{false, true, block, constant(out), constant(in), constant(1), xn, w, yn});
      test.plan.steps.back().loop = 0;
      test.step(Product{true, false, constant(out), constant(in), block, constant(1), yn, xn, dw, /*adds=*/true});
      test.plan.steps.back().loop = 0;
      // The sum's terms are products that were rounded to bf16 on the way.
      test.compare("blocks of " + std::to_string(tokens) + " rows, " + typesText({type, sum}),
                   type == BF16 ? 0x1p-7 : 0x1p-18, 0x1p-7, tokens);
    }
}

void lookups() {
  for (Dtype table : {F32, BF16})
    for (Dtype out : {F32, BF16})
      for (auto [count, rows, width] :
           {std::tuple<int64_t, int64_t, int64_t>(1, 5, 1), {1000, 259, 96}, {77, 300, 33}, {5000, 32000, 128}}) {
        const std::string sizes = std::to_string(count) + " of " + std::to_string(rows) + " x " + std::to_string(width);
        {
          Case test;
          Lookup step;
          step.table = test.input(table, rows * width);
          step.ids = test.integers(someIds(count, rows));
          step.out = test.result(out, count * width);
          step.count = constant(count), step.rows = rows, step.width = width;
          test.step(step);
          test.compare("lookup, " + typesText({table, out}) + ", " + sizes, 0);
        }
        Case test;
        LookupGrad step;
        step.in = test.input(table, count * width);
        step.ids = test.integers(someIds(count, rows));
        step.out = test.result(out, rows * width);
        step.count = constant(count), step.rows = rows, step.width = width;
        test.step(step);
        test.compare("gradient of a lookup, " + typesText({table, out}) + ", " + sizes, 1e-5);
      }
}

/// Places in documents of a few lengths.
std::vector<int32_t> somePositions(int64_t B, int64_t T) {
  std::mt19937 random{3};
  std::vector<int32_t> positions;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0, at = b; t < T; ++t, ++at) {
      if (random() % 13 == 0)
        at = 0;
      positions.push_back(int32_t(at));
    }
  return positions;
}

void shortConvs() {
  using Kind = runtime::ShortConv::Kind;
  struct Sizes {
    int64_t B, T, C, W;
  };
  for (Dtype type : {F32, BF16})
    for (Kind kind : {Kind::Forward, Kind::InputGrad, Kind::WeightGrad})
      for (bool hasEdge : {false, true})
        for (bool hasPositions : {false, true})
          for (Sizes s : {Sizes{1, 1, 1, 4},
                          {2, 2, 33, 4},
                          {3, 100, 96, 4},
                          {1, 1000, 257, 3},
                          {2, 4321, 64, 4},
                          {2, 50, 40, 2}}) {
            Case test;
            runtime::ShortConv step;
            step.kind = kind;
            step.batch = constant(s.B), step.tokens = constant(s.T), step.channels = s.C, step.width = s.W;
            const int64_t rows = s.B * s.T * s.C, weights = s.C * s.W, edge = s.B * (s.W - 1) * s.C;
            step.rows = test.input(type, rows);
            step.with = test.input(type, kind == Kind::WeightGrad ? rows : weights);
            if (hasEdge)
              step.edge = test.input(type, edge);
            if (hasPositions)
              step.positions = test.integers(somePositions(s.B, s.T));
            step.out = test.result(type, kind == Kind::WeightGrad ? weights : rows);
            if (hasEdge && kind != Kind::WeightGrad)
              step.outEdge = test.result(type, edge);
            test.step(step);
            test.compare(stepText(test.plan, test.plan.steps[0], 1, 1) + ", " + typesText({type}) + ", " +
                             std::to_string(s.B) + " x " + std::to_string(s.T) + " x " + std::to_string(s.C) + ", " +
                             std::to_string(s.W) + " taps" + (hasEdge ? ", edges" : "") +
                             (hasPositions ? ", documents" : ""),
                         1e-5);
          }
}

void positions() {
  for (bool hasFirst : {false, true})
    for (int64_t T : {1, 17, 5000}) {
      Case test;
      runtime::Positions step;
      step.batch = constant(3), step.tokens = constant(T);
      if (hasFirst)
        step.first = test.integers({5, 0, 1000});
      step.out = test.add(I32, 3 * T, true);
      step.next = test.add(I32, 3, true);
      test.step(step);
      test.compare("positions, 3 x " + std::to_string(T) + (hasFirst ? ", continued" : ""), 0);
    }
}

void lastRows() {
  for (Dtype type : {F32, BF16})
    for (bool hasPast : {false, true})
      for (auto [T, count] : {std::pair{1, 1}, {1, 3}, {17, 1}, {5, 64}}) {
        Case test;
        runtime::LastRows step;
        step.batch = constant(3), step.tokens = constant(T);
        step.count = count, step.width = 40;
        step.rows = test.input(type, 3 * T * 40);
        if (hasPast)
          step.past = test.input(F32, 3 * count * 40);
        step.out = test.result(F32, 3 * count * 40);
        test.step(step);
        test.compare("last " + std::to_string(count) + " rows of 3 x " + std::to_string(T) + ", " + typesText({type}) +
                         (hasPast ? ", continued" : ""),
                     0);
      }
}

void chunkRows() {
  struct Sizes {
    int64_t B, T, H, G, C, W;
  };
  for (Dtype type : {F32, BF16})
    for (bool isBack : {false, true})
      for (const Sizes &s : {Sizes{2, 50, 4, 4, 64, 256}, {1, 8, 6, 2, 8, 1}, {3, 5, 4, 1, 16, 10}}) {
        Case test;
        const int64_t rows = s.B * s.T * s.G * s.W, heads = s.B * s.H * s.C * s.W;
        ChunkRows step{isBack, isBack ? test.result(type, rows) : test.input(type, rows), 0, constant(s.B), constant(s.T),
                       s.H, s.G, s.C, s.W};
        step.heads = isBack ? test.input(type, heads) : test.result(type, heads);
        test.step(step);
        test.compare(stepText(test.plan, test.plan.steps[0], 1, 1) + (isBack ? " back, " : ", ") + typesText({type}) + ", " +
                         std::to_string(s.T) + " of " + std::to_string(s.C) + " tokens, heads " + std::to_string(s.G) +
                         " / " + std::to_string(s.H) + " of " + std::to_string(s.W),
                     1e-6);
      }
}

void repeats() {
  for (bool hasFrom : {false, true}) {
    Case test;
    const int from = hasFrom ? test.input(F32, 70) : -1;
    test.step(Repeat{from, test.result(F32, 3 * 70), constant(3), constant(70)});
    test.compare(hasFrom ? "repeat" : "zeros", 0);
  }
  Case test;
  const int from = test.input(F32, 5 * 3000);
  test.step(SumPieces{from, test.result(F32, 3000), constant(5), constant(3000)});
  test.compare("sum of pieces", 1e-6);
}

void attention() {
  struct Sizes {
    int64_t B, T, H, G, K, V, W;
  };
  for (Dtype type : {F32, BF16})
    for (bool hasPast : {false, true})
      for (bool hasPositions : {false, true})
        for (Sizes s : {Sizes{1, 1, 1, 1, 16, 16, 1},
                        {2, 65, 4, 2, 32, 48, 16},
                        {1, 300, 2, 2, 64, 64, 128},
                        {2, 200, 3, 1, 80, 32, 1000},
                        {1, 777, 2, 1, 128, 128, 256}}) {
          Case test;
          Attention step;
          step.batch = constant(s.B), step.tokens = constant(s.T);
          step.heads = s.H, step.keyHeads = s.G, step.keyWidth = s.K, step.valueWidth = s.V, step.window = s.W;
          const int64_t queries = s.B * s.T * s.H * s.K, keys = s.B * s.T * s.G * s.K, values = s.B * s.T * s.G * s.V,
                        results = s.B * s.T * s.H * s.V, past = s.B * (s.W - 1) * s.G;
          step.query = test.input(type, queries, 1 / std::sqrt(double(s.K)));
          step.key = test.input(type, keys);
          step.value = test.input(type, values);
          if (hasPositions)
            step.positions = test.integers(somePositions(s.B, s.T));
          if (hasPast && s.W > 1) {
            step.pastKey = test.input(type, past * s.K);
            step.pastValue = test.input(type, past * s.V);
            step.nextKey = test.result(type, past * s.K);
            step.nextValue = test.result(type, past * s.V);
          }
          step.out = test.result(type, results);
          step.lse = test.result(F32, s.B * s.T * s.H);
          test.step(step);
          AttentionGrad grad{.of = step};
          grad.of.nextKey = grad.of.nextValue = -1;
          grad.outGrad = test.input(type, results);
          grad.lseGrad = test.input(F32, s.B * s.T * s.H);
          grad.queryGrad = test.result(type, queries);
          grad.keyGrad = test.result(type, keys);
          grad.valueGrad = test.result(type, values);
          if (step.pastKey >= 0) {
            grad.pastKeyGrad = test.result(type, past * s.K);
            grad.pastValueGrad = test.result(type, past * s.V);
          }
          test.step(grad);
          // bf16: probabilities and slopes are rounded to bf16 between the products.
          test.compare("attention and gradient, " + typesText({type}) + ", " + std::to_string(s.B) + " x " +
                           std::to_string(s.T) + ", " + std::to_string(s.H) + "/" + std::to_string(s.G) + " heads of " +
                           std::to_string(s.K) + "/" + std::to_string(s.V) + ", window " + std::to_string(s.W) +
                           (step.pastKey >= 0 ? ", past" : "") + (hasPositions ? ", documents" : ""),
                       type == F32 ? 2e-5 : 1e-2, 2e-2);
        }
}

//===----------------------------------------------------------------------===//
// Generated kernels, sums, graphs
//===----------------------------------------------------------------------===//

/// out[i] = 2 x[i]; the sum of squares in parts. The kernel as the compiler would write it, and its meaning.
const char *const kSquares = R"(
extern "C" __global__ void squares(const void *buffer0, void *buffer1, void *buffer2, long long items, long long B,
                                   long long T) {
  extern __shared__ float sums[];
  float sum = 0;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < items; i += (long long)gridDim.x * blockDim.x) {
    float x = ((const float *)buffer0)[i];
    ((float *)buffer1)[i] = 2 * x;
    sum += x * x;
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    sum = 0;
    for (int i = 0; i < blockDim.x; ++i)
      sum += sums[i];
    ((float *)buffer2)[blockIdx.x] = sum;
  }
}
)";

void squares(void *const *buffers, int64_t begin, int64_t end, int64_t part, int64_t, int64_t, void *) {
  const auto *x = static_cast<const double *>(buffers[0]);
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) {
    static_cast<double *>(buffers[1])[i] = 2 * x[i];
    sum += x[i] * x[i];
  }
  static_cast<double *>(buffers[2])[part] = sum;
}

/// The squares of `elements` values; 100000 bytes of shared memory ask for more than a kernel has by itself.
Case squaresCase(int64_t elements, Dtype total) {
  Case test;
  test.texts.push_back({.program = {"squares", kSquares, {}, {}},
                        .name = "squares",
                        .threads = 128,
                        .sharedBytes = 100000,
                        .itemsPerBlock = 128,
                        .maxBlocks = Plan::kParts});
  test.plan.kernels.push_back({"squares", squares, 0});
  Launch launch;
  launch.buffers = {test.input(F32, elements), test.result(F32, elements), test.add(F32, Plan::kParts, false)};
  launch.items = constant(elements);
  launch.sums.push_back({2, test.result(total, 1), 1});
  test.step(launch);
  return test;
}

void launches() {
  for (int64_t elements : {1, 127, 1000, 3000000})
    for (Dtype total : {F32, BF16})
      squaresCase(elements, total)
          .compare("kernel with a sum into " + typesText({total}) + ", " + std::to_string(elements), 1e-5);
  Case test;
  Copy copy;
  copy.from = test.input(BF16, 1001);
  copy.to = test.result(BF16, 1001);
  test.step(copy);
  test.compare("copy", 0, 0);
}

void sums(Engine &engine) {
  for (auto [parts, elements] : {std::pair<int64_t, int64_t>(1, 1), {64, 1000}, {63, 100001}}) {
    const std::string name = "sum of " + std::to_string(parts) + " x " + std::to_string(elements);
    check(name, [&] {
      HostTensor from(F32, {parts * elements}), to(F32, {elements});
      std::mt19937 random{1};
      for (float &x : from.as<float>())
        x = std::normal_distribution<float>()(random);
      OnDevice source(engine.stream, from, false), total(engine.stream, to, false);
      engine.builtins.sum(engine.stream, source.data, total.data, F32, parts, elements);
      HostTensor seen = total.read(engine.stream, to);
      double worst = 0;
      for (int64_t e = 0; e < elements; ++e) {
        double sum = 0;
        for (int64_t p = 0; p < parts; ++p)
          sum += from.as<float>()[p * elements + e];
        worst = std::max(worst, std::abs(sum - seen.as<float>()[e]));
      }
      report(name, worst < 1e-5, number(worst));
    });
  }
  check("too much shared memory is told", [&] {
    Case test = squaresCase(10, F32);
    test.texts[0].sharedBytes = 1 << 20;
    try {
      test.onGpu(engine, 1, 1);
      report("too much shared memory is told", false, "no error");
    } catch (const RuntimeError &error) {
      const std::string text = error.what();
      report("too much shared memory is told", text.find("1048576 bytes of shared memory") != text.npos, text);
    }
  });
}

/// A plan with an arena: a product of a looked-up table, squared.
Case chain() {
  Case test = squaresCase(512 * 96, F32);
  const int rows = std::get<Launch>(test.plan.steps[0].what).buffers[0];
  test.plan.steps.clear();
  Lookup lookup;
  lookup.table = test.input(F32, 100 * 96);
  lookup.ids = test.integers(someIds(512, 100));
  lookup.count = constant(512), lookup.rows = 100, lookup.width = 96;
  // The rows looked up, and their product with a matrix, live in the arena.
  Buffer inside;
  inside.elements = constant(512 * 96);
  inside.first = 0, inside.last = 1;
  lookup.out = int(test.plan.buffers.size());
  test.plan.buffers.push_back(inside);
  Product product{false, false, constant(512), constant(96), constant(96), constant(1), lookup.out, 0, rows};
  product.b = int(test.plan.buffers.size());
  Buffer weights;
  weights.elements = constant(96 * 96);
  weights.binding = test.plan.bindings++;
  test.plan.buffers.push_back(weights);
  HostTensor values(F32, {96 * 96});
  for (int64_t i = 0; i < values.elements(); ++i)
    values.as<float>()[i] = float(i % 7) - 3;
  test.values.push_back(values);
  test.isResult.push_back(false);
  test.step(lookup);
  test.step(product);
  Launch launch;
  launch.buffers = {rows, 1, 2};
  launch.items = constant(512 * 96);
  launch.sums.push_back({2, 3, 1});
  test.step(launch);
  return test;
}

void graphs(Engine &engine) {
  const auto results = [](const Case &test, const std::vector<HostTensor> &from) {
    std::vector<std::byte> bytes;
    for (size_t i = 0; i < from.size(); ++i)
      if (test.isResult[i])
        bytes.insert(bytes.end(), from[i].bytes().begin(), from[i].bytes().end());
    return bytes;
  };
  check("graph = plain run", [&] {
    Case test = chain();
    auto plain = results(test, test.onGpu(engine, 1, 1, 1));
    auto second = results(test, test.onGpu(engine, 1, 1, 2)), fifth = results(test, test.onGpu(engine, 1, 1, 5));
    report("graph = plain run, bit for bit", plain == second && plain == fifth,
           std::to_string(plain.size()) + " bytes");
  });
  check("a graph sees new values, and a grown arena", [&] {
    Case test = chain();
    std::vector<OnDevice> arrays;
    std::vector<void *> bindings;
    for (HostTensor &value : test.values)
      bindings.push_back(arrays.emplace_back(engine.stream, value, false).data);
    CudaExecutor executor(engine, test.plan, test.texts);
    for (int i = 0; i < 3; ++i)
      executor.run(1, 1, bindings);
    HostTensor before = arrays[3].read(engine.stream, test.values[3]);
    engine.reserve(engine.arenaBytes() + (1 << 20), "a test");
    const HostTensor zeros(test.values[4].dtype(), test.values[4].shape()); // the table
    engine.stream.toDevice(bindings[4], zeros.bytes().data(), int64_t(zeros.bytes().size()));
    for (int i = 0; i < 3; ++i)
      executor.run(1, 1, bindings);
    HostTensor after = arrays[3].read(engine.stream, test.values[3]);
    report("a graph sees new values, and a grown arena", before.as<float>()[0] > 0 && after.as<float>()[0] == 0,
           number(before.as<float>()[0]) + " -> " + number(after.as<float>()[0]));
  });
  check("every step is timed", [&] {
    Case test = chain();
    std::vector<OnDevice> arrays;
    std::vector<void *> bindings;
    for (HostTensor &value : test.values)
      bindings.push_back(arrays.emplace_back(engine.stream, value, false).data);
    CudaExecutor executor(engine, test.plan, test.texts);
    std::vector<double> seconds;
    executor.onStep = [&](const Turn &, int64_t, int64_t, double time) { seconds.push_back(time); };
    executor.run(1, 1, bindings);
    report("every step is timed", seconds.size() == 3 && std::ranges::min(seconds) > 0,
           number(std::ranges::max(seconds) * 1e6) + " us at most");
  });
}

void memory(Engine &engine) {
  check("too much memory is told before anything runs", [&] {
    Case test;
    Buffer inside;
    inside.elements = constant(int64_t(1) << 40);
    inside.first = inside.last = 0;
    test.plan.buffers.push_back(inside);
    try {
      CudaExecutor(engine, test.plan, {}).run(4, 8000, {});
      report("too much memory is told before anything runs", false, "no error");
    } catch (const RuntimeError &error) {
      const std::string text = error.what();
      report("too much memory is told before anything runs",
             text.find("a plan of 4 x 8000 tokens needs 4194304.00 MiB, but ") != text.npos, text);
    }
  });
  check("pinned copies", [&] {
    PinnedMemory host(1 << 20, "a test");
    DeviceMemory device(1 << 20, "a test");
    std::memset(host.data(), 7, 1 << 20);
    Event done;
    engine.stream.toDevice(device.data(), host.data(), 1 << 20);
    engine.stream.fill(device.data(), 9, 1 << 10);
    engine.stream.toHost(host.data(), device.data(), 1 << 20);
    done.record(engine.stream);
    done.synchronize();
    const auto *bytes = static_cast<const unsigned char *>(host.data());
    report("pinned copies", done.isDone() && bytes[0] == 9 && bytes[1 << 10] == 7 && bytes[(1 << 20) - 1] == 7, "");
  });
}

/// Rates of the products of a large model, for the record.
void rates(Engine &engine) {
  struct Sizes {
    bool transA, transB;
    int64_t m, n, k;
  };
  for (Sizes s : {Sizes{false, true, 32000, 1024, 1024},
                  {false, true, 32000, 2816, 1024},
                  {false, false, 32000, 1024, 2816},
                  {true, false, 1024, 2816, 32000},
                  {true, false, 1024, 1024, 32000},
                  {false, true, 8192, 8192, 8192}})
    for (Dtype c : {BF16, F32}) {
      MatrixProduct p{s.transA, s.transB, s.m, s.n, s.k, 1, BF16, BF16, c};
      check(p.text(), [&] {
        DeviceMemory a(s.m * s.k * 2, "a test"), b(s.n * s.k * 2, "a test"), to(s.m * s.n * 4, "a test");
        engine.stream.fill(a.data(), 0x3c, a.bytes()); // a small number
        engine.stream.fill(b.data(), 0x3c, b.bytes());
        Event begin, end;
        constexpr int kRepeats = 20;
        engine.blas.multiply(engine.stream, p, a.data(), b.data(), to.data());
        begin.record(engine.stream);
        for (int i = 0; i < kRepeats; ++i)
          engine.blas.multiply(engine.stream, p, a.data(), b.data(), to.data());
        end.record(engine.stream);
        end.synchronize();
        double seconds = Event::seconds(begin, end) / kRepeats;
        std::printf("rate   %-72s %.0f TFLOP/s, %.1f us\n", p.text().c_str(),
                    2e-12 * double(s.m) * double(s.n) * double(s.k) / seconds, seconds * 1e6);
      });
    }
}

} // namespace

int main() {
  for (const std::string &why : {Device::whyMissing(), Nvrtc::whyMissing(), Blas::whyMissing()})
    if (!why.empty()) {
      std::printf("nothing was checked: %s\n", why.c_str());
      return 77;
    }
  try {
    const Device &device = Device::get();
    std::printf("%s, %s, %d multiprocessors, driver for CUDA %s, NVRTC %s, cuBLASLt %s, %s of %s free\n",
                device.name.c_str(), device.architecture.c_str(), device.multiprocessors, device.driverVersion.c_str(),
                Nvrtc::get().version().c_str(), Blas::version().c_str(), bytesText(device.memory().free).c_str(),
                bytesText(device.memory().total).c_str());
    Engine engine;
    products();
    positions();
    lastRows();
    chunkRows();
    repeats();
    rowBlocks();
    lookups();
    shortConvs();
    attention();
    launches();
    later(productsRepeat);
    later(sums);
    later(graphs);
    later(memory);
    later(rates);

    std::vector<const ProgramText *> texts;
    for (const auto &[source, program] : programs)
      texts.push_back(&program);
    const auto start = std::chrono::steady_clock::now();
    engine.kernels.compile(texts);
    std::printf("%zu programs compiled or found in %.1f s\n", texts.size(),
                std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    for (const auto &run : checks)
      run(engine);
  } catch (const std::exception &error) {
    std::printf("FAILED %s\n", error.what());
    return 1;
  }
  std::printf("%d checks failed\n", failures);
  return failures ? 1 : 0;
}
