//===- builtins.cu - Rates of the built-in kernels on a GPU -----*- C++ -*-===//
// Times what runtime/device has for the steps of a plan that are not generated, at
// the sizes of a 350M model: attention forward and backward, short convolutions,
// the gradient of a lookup. Whether they are right, executor_test.cpp says.
//
// Build: nvcc -std=c++17 -O2 -I. --extended-lambda --expt-relaxed-constexpr
//        -gencode=arch=compute_90a,code=sm_90a tests/gpu/builtins.cu
//===----------------------------------------------------------------------===//
#include "runtime/device/attention_grad.cuh"
#include "runtime/device/elements.cuh"
#include "runtime/device/lookup.cuh"
#include "runtime/device/short_conv.cuh"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

using namespace tidegate::device;

#define CUDA(call)                                                                                                     \
  if (cudaError_t status = call; status != cudaSuccess) {                                                              \
    std::printf("%s: %s\n", #call, cudaGetErrorString(status));                                                        \
    std::exit(1);                                                                                                      \
  }

template <int blocks, typename Program>
__global__ __launch_bounds__(kThreads, blocks) void play(Program program) {
  extern __shared__ __align__(1024) unsigned char shared[];
  program(shared);
}

template <int blocks, typename Program>
void launch(dim3 grid, int sharedBytes, Program program) {
  CUDA(cudaFuncSetAttribute(play<blocks, Program>, cudaFuncAttributeMaxDynamicSharedMemorySize, sharedBytes));
  play<blocks><<<grid, kThreads, sharedBytes>>>(program);
  CUDA(cudaGetLastError());
}

/// Median of ten.
template <typename Work>
double seconds(Work work) {
  std::vector<float> times;
  cudaEvent_t start, stop;
  CUDA(cudaEventCreate(&start));
  CUDA(cudaEventCreate(&stop));
  for (int i = 0; i < 12; ++i) {
    CUDA(cudaEventRecord(start));
    work();
    CUDA(cudaEventRecord(stop));
    CUDA(cudaEventSynchronize(stop));
    float milliseconds;
    CUDA(cudaEventElapsedTime(&milliseconds, start, stop));
    if (i >= 2)
      times.push_back(milliseconds * 1e-3f);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

/// Random bfloat16 of about `size`.
bf16 *random(long long count, float size = 1) {
  std::mt19937 generator(1);
  std::vector<unsigned short> values(count);
  for (auto &x : values) {
    float value = (static_cast<int>(generator() % 2001) - 1000) * 1e-3f * size;
    unsigned bits;
    memcpy(&bits, &value, 4);
    x = static_cast<unsigned short>(bits >> 16);
  }
  bf16 *device;
  CUDA(cudaMalloc(&device, count * 2));
  CUDA(cudaMemcpy(device, values.data(), count * 2, cudaMemcpyHostToDevice));
  return device;
}
template <typename T>
T *memory(long long count) {
  T *device;
  CUDA(cudaMalloc(&device, count * sizeof(T)));
  CUDA(cudaMemset(device, 0, count * sizeof(T)));
  return device;
}

template <int width>
void attentionRate(long long batch, long long tokens, long long heads, long long window) {
  const long long count = batch * tokens * heads * width, padded = (tokens + 63) / 64 * 64;
  AttentionArguments a{random(count, 0.25f), random(count), random(count), nullptr, nullptr, nullptr, memory<bf16>(count),
                       memory<float>(batch * tokens * heads), batch, tokens, heads, heads, width, width, window};
  AttentionGradArguments g{a, random(count), nullptr, memory<bf16>(count), memory<bf16>(count), memory<bf16>(count),
                           nullptr, nullptr, memory<float>(batch * heads * padded), memory<float>(batch * heads * padded),
                           memory<int>(batch * padded), memory<int>(batch * padded / 32), padded};
  double pairs = 0;
  for (long long t = 0; t < tokens; ++t)
    pairs += double(std::min(t + 1, window)) * batch * heads;
  const int own = attentionShape(2, width).own;
  const double forward = seconds([&] {
    launch<2>(dim3((tokens + own - 1) / own, heads, batch), attentionShared(2, width, width),
              [a] __device__(unsigned char *shared) {
                attentionBlock<bf16, bf16, bf16, bf16, bf16, bf16, float, width, width>(a, blockIdx.x, blockIdx.y,
                                                                                       blockIdx.z, shared);
              });
  });
  const double base = seconds([&] {
    launch<1>(dim3(batch * padded / 64), 0, [g] __device__(unsigned char *) {
      attentionBaseBlock<bf16, bf16, float, float, width>(g, blockIdx.x);
    });
  });
  const double byQueries = seconds([&] {
    launch<2>(dim3(padded / 64, heads, batch), queryGradShared(2, width, width), [g] __device__(unsigned char *shared) {
      attentionQueryGradBlock<bf16, bf16, bf16, bf16, bf16, bf16, bf16, width, width>(g, blockIdx.x, blockIdx.y,
                                                                                     blockIdx.z, shared);
    });
  });
  const double byKeys = seconds([&] {
    launch<2>(dim3(padded / 64, heads, batch), keyGradShared(2, width, width), [g] __device__(unsigned char *shared) {
      attentionKeyGradBlock<bf16, bf16, bf16, bf16, bf16, bf16, bf16, bf16, bf16, bf16, width, width, true, true>(
          g, blockIdx.x, blockIdx.y, blockIdx.z, shared);
    });
  });
  const double unit = 2 * pairs * width * 1e-12; // of one product over the pairs
  std::printf("attention %lld x %lld, %lld heads of %d, window %lld\n", batch, tokens, heads, width, window);
  std::printf("  forward   %8.3f ms  %6.1f TFLOP/s\n", forward * 1e3, 2 * unit / forward);
  std::printf("  base      %8.3f ms\n", base * 1e3);
  std::printf("  by query  %8.3f ms  %6.1f TFLOP/s\n", byQueries * 1e3, 3 * unit / byQueries);
  std::printf("  by key    %8.3f ms  %6.1f TFLOP/s\n", byKeys * 1e3, 4 * unit / byKeys);
  std::printf("  backward  %8.3f ms  %6.1f TFLOP/s of five products\n", (base + byQueries + byKeys) * 1e3,
              5 * unit / (base + byQueries + byKeys));
}

void convolutionRate(long long batch, long long tokens, long long channels) {
  constexpr int taps = 4, unit = 8;
  const long long count = batch * tokens * channels, parts = batch * ((tokens + kWeightTokens - 1) / kWeightTokens);
  ShortConvArguments a{random(count), memory<float>(channels * taps), nullptr, nullptr, memory<bf16>(count), nullptr,
                       memory<float>(parts * channels * taps), batch, tokens, channels};
  const long long blocks = (batch * ((tokens + kConvRun - 1) / kConvRun) * channels / unit + kThreads - 1) / kThreads;
  const double forward = seconds([&] {
    launch<1>(dim3(blocks), 0, [a] __device__(unsigned char *) {
      shortConvBlock<bf16, float, bf16, bf16, taps, unit>(a, blockIdx.x);
    });
  });
  const double input = seconds([&] {
    launch<1>(dim3(blocks), 0, [a] __device__(unsigned char *) {
      shortConvInputGradBlock<bf16, float, bf16, bf16, bf16, taps, unit>(a, blockIdx.x);
    });
  });
  ShortConvArguments w = a;
  w.with = random(count);
  const double weight = seconds([&] {
    launch<1>(dim3(parts * ((channels + 32 * unit - 1) / (32 * unit))), kThreads * taps * unit * 4,
              [w] __device__(unsigned char *shared) {
                shortConvWeightGradBlock<bf16, bf16, bf16, taps, unit>(w, blockIdx.x,
                                                                       reinterpret_cast<float *>(shared));
              });
  });
  const double bytes = 4.0 * count * 1e-9;
  std::printf("short convolution %lld x %lld x %lld\n", batch, tokens, channels);
  std::printf("  forward   %8.3f ms  %6.0f GB/s\n", forward * 1e3, bytes / forward);
  std::printf("  by input  %8.3f ms  %6.0f GB/s\n", input * 1e3, bytes / input);
  std::printf("  by weight %8.3f ms  %6.0f GB/s\n", weight * 1e3, bytes / weight);
}

void lookupGradRate(long long count, long long rows, long long width) {
  constexpr int unit = 8;
  std::mt19937 generator(1);
  std::vector<int> ids(count);
  for (int &id : ids) { // a few ids often, as in text
    const double u = (generator() % 100000 + 1) * 1e-5;
    id = static_cast<int>(std::min<double>(rows - 1, 10 / u - 10));
  }
  int *onDevice = memory<int>(count);
  CUDA(cudaMemcpy(onDevice, ids.data(), count * 4, cudaMemcpyHostToDevice));
  const long long blocks = (count + kSortRows - 1) / kSortRows, pieces = (count + kPieceRows - 1) / kPieceRows;
  int *keys[2] = {memory<int>(count), memory<int>(count)}, *order[2] = {memory<int>(count), memory<int>(count)};
  int *counts = memory<int>(blocks * kDigits);
  RunArguments run{random(count * width), nullptr, nullptr, memory<int>(rows + 1), memory<float>(pieces * 2 * width),
                   memory<float>(rows * width), count, rows, width};
  const double sort = seconds([&] {
    int pass = 0;
    for (int shift = 0; pass == 0 || rows >> shift; shift += kDigitBits, ++pass) {
      const int from = pass % 2, to = 1 - from;
      SortArguments s{pass ? keys[from] : onDevice, pass ? order[from] : nullptr, keys[to], order[to], counts, count,
                      rows, shift};
      launch<1>(dim3(blocks), kCounterBytes, [s] __device__(unsigned char *shared) {
        digitCountsBlock(s, blockIdx.x, {reinterpret_cast<unsigned short *>(shared)});
      });
      launch<1>(dim3(blocks), kCounterBytes + kDigits * 4, [s] __device__(unsigned char *shared) {
        digitPlacesBlock(s, blockIdx.x, {reinterpret_cast<unsigned short *>(shared)},
                         reinterpret_cast<int *>(shared + kCounterBytes));
      });
    }
    run.keys = keys[pass % 2], run.order = order[pass % 2];
  });
  const RunArguments r = run;
  const double sums = seconds([&] {
    launch<1>(dim3((rows + kThreads) / kThreads), 0,
              [r] __device__(unsigned char *) { runStartsBlock(r, blockIdx.x); });
    launch<1>(dim3(pieces, (width + kThreads * unit - 1) / (kThreads * unit)), kPieceBytes,
              [r] __device__(unsigned char *shared) {
                runSumsBlock<bf16, float, unit>(r, blockIdx.x, blockIdx.y, reinterpret_cast<int *>(shared));
              });
    launch<1>(dim3((rows + kWarps - 1) / kWarps), 0,
              [r] __device__(unsigned char *) { runTotalsBlock<float, unit>(r, blockIdx.x); });
  });
  std::printf("gradient of a lookup, %lld ids of %lld, width %lld\n", count, rows, width);
  std::printf("  sort      %8.3f ms\n  sums      %8.3f ms  %6.0f GB/s\n", sort * 1e3, sums * 1e3,
              (2.0 * count + 4.0 * rows) * width * 1e-9 / sums);
}

int main() {
  attentionRate<64>(4, 8000, 16, 2048);
  attentionRate<64>(4, 8000, 16, 8000);
  attentionRate<128>(4, 8000, 8, 2048);
  attentionRate<256>(4, 8000, 4, 2048);
  convolutionRate(4, 8000, 1024);
  convolutionRate(4, 8000, 512);
  lookupGradRate(32000, 32000, 1024);
  lookupGradRate(256000, 32000, 1024);
  std::printf("done\n");
}
