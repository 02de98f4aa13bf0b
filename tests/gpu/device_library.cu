//===- device_library.cu - runtime/device on a real GPU ---------*- C++ -*-===//
// Every primitive of the device library against a plain loop in double on the
// host: what tests/unit/device plays on the CPU, with the hardware's own matrix
// loads, products and copies. Then the rate of the products. Prints one line per
// check; exit code 1 if one fails.
//
// Build: nvcc -std=c++17 -O2 -I. --extended-lambda --expt-relaxed-constexpr
//        -gencode=arch=compute_90a,code=sm_90a tests/gpu/device_library.cu
//===----------------------------------------------------------------------===//
#include "runtime/device/memory.cuh"
#include "runtime/device/recurrence.cuh"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

using namespace tidegate::device;

static int failures = 0;

#define CUDA(call)                                                                                                     \
  if (cudaError_t status = call; status != cudaSuccess) {                                                              \
    std::printf("%s: %s\n", #call, cudaGetErrorString(status));                                                        \
    std::exit(1);                                                                                                      \
  }

/// Hands out aligned pieces of a block's shared memory.
struct Arena {
  unsigned char *next;
  __device__ unsigned char *take(size_t bytes) {
    unsigned char *place = next;
    next += (bytes + 1023) / 1024 * 1024;
    return place;
  }
  template <typename Tile>
  __device__ Tile tile() {
    return Tile{take(Tile::kBytes)};
  }
  __device__ float *floats(size_t count) { return reinterpret_cast<float *>(take(count * sizeof(float))); }
};

constexpr int kShared = 200 << 10;

template <typename Program>
__global__ __launch_bounds__(kThreads, 1) void play(Program program, float *out) {
  extern __shared__ __align__(1024) unsigned char shared[];
  program(Arena{shared}, out);
}

/// Values in managed memory.
struct Values {
  float *data;
  size_t size;

  explicit Values(size_t size) : size(size) { CUDA(cudaMallocManaged(&data, size * sizeof(float))); }
  static Values random(size_t size, unsigned seed, float scale = 1) {
    Values values(size);
    std::mt19937 generator(seed);
    std::uniform_int_distribution<int> pick(-128, 128);
    for (size_t i = 0; i < size; ++i)
      values.data[i] = scale * float(pick(generator)) / 128;
    return values;
  }
};

template <typename Program>
Values run(size_t size, Program program) {
  Values result(size);
  for (size_t i = 0; i < size; ++i)
    result.data[i] = NAN;
  CUDA(cudaFuncSetAttribute(play<Program>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
  play<<<1, kThreads, kShared>>>(program, result.data);
  CUDA(cudaGetLastError());
  CUDA(cudaDeviceSynchronize());
  return result;
}

/// Root mean square of the difference over that of what is expected.
void expect(const char *what, const float *got, const std::vector<double> &want, double bound) {
  double error = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    size += want[i] * want[i];
  }
  double relative = std::sqrt(error / size);
  bool holds = relative <= bound; // NaN does not
  failures += !holds;
  std::printf("%-44s %9.2e  %9.2e  %s\n", what, relative, bound, holds ? "ok" : "FAILED");
}

template <typename T, As asA, As asB, int m, int n, int k>
void checkProduct() {
  Values a = Values::random(m * k, 1), b = Values::random(k * n, 2);
  using A = SharedTile<T, asA == As::Stored ? m : k, asA == As::Stored ? k : m>;
  using B = SharedTile<T, asB == As::Stored ? k : n, asB == As::Stored ? n : k>;
  const float *pa = a.data, *pb = b.data;
  Values result = run(m * n, [=] __device__(Arena arena, float *out) {
    A left = arena.tile<A>();
    B right = arena.tile<B>();
    loadRows(left, pa, A::kCols, A::kRows);
    loadRows(right, pb, B::kCols, B::kRows);
    syncBlock();
    Fragment<m, n> d;
    d.fill(0);
    product<asA, asB>(d, left, right);
    storeRows(out, n, m, d);
  });
  std::vector<double> want(m * n, 0);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j)
      for (int l = 0; l < k; ++l)
        want[i * n + j] += double(pa[asA == As::Stored ? i * k + l : l * m + i]) *
                           pb[asB == As::Stored ? l * n + j : j * k + l];
  char what[96];
  std::snprintf(what, sizeof what, "product %s %d x %d x %d %s%s", sizeof(T) == 2 ? "bf16" : "f32", m, n, k,
                asA == As::Stored ? "n" : "t", asB == As::Stored ? "n" : "t");
  expect(what, result.data, want, 1e-6);
}

template <typename T, int m, int n, int k>
void checkAllForms() {
  checkProduct<T, As::Stored, As::Stored, m, n, k>();
  checkProduct<T, As::Stored, As::Transposed, m, n, k>();
  checkProduct<T, As::Transposed, As::Stored, m, n, k>();
  checkProduct<T, As::Transposed, As::Transposed, m, n, k>();
}

void checkLeftInRegisters() {
  constexpr int m = 64, n = 48, k = 80;
  Values a = Values::random(m * k, 3), b = Values::random(k * n, 4);
  const float *pa = a.data, *pb = b.data;
  Values result = run(m * n, [=] __device__(Arena arena, float *out) {
    auto left = arena.tile<SharedTile<bf16, m, k>>();
    auto right = arena.tile<SharedTile<bf16, k, n>>();
    loadRows(left, pa, k, m);
    loadRows(right, pb, n, k);
    syncBlock();
    Fragment<m, k> inRegisters;
    load(inRegisters, left);
    Fragment<m, n> d;
    d.fill(0);
    product<As::Stored>(d, inRegisters, right);
    storeRows(out, n, m, d);
  });
  std::vector<double> want(m * n, 0);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j)
      for (int l = 0; l < k; ++l)
        want[i * n + j] += double(pa[i * k + l]) * pb[l * n + j];
  expect("product bf16, left side in registers", result.data, want, 1e-6);
}

void checkCopies() {
  constexpr int rows = 64, cols = 64, valid = 37, stride = 72, width = 40;
  bf16 *from;
  CUDA(cudaMallocManaged(&from, rows * stride * sizeof(bf16)));
  for (int i = 0; i < rows * stride; ++i)
    from[i] = {static_cast<unsigned short>(0x3f80 + i % 64)}; // 1 to 1.5
  Values result = run(rows * cols, [=] __device__(Arena arena, float *out) {
    auto tile = arena.tile<SharedTile<bf16, rows, cols>>();
    startRows(tile, from, stride, valid, width);
    commitCopies();
    waitCopies<0>();
    syncBlock();
    Fragment<rows, cols> x;
    load(x, tile);
    storeRows(out, cols, rows, x);
  });
  std::vector<double> want(rows * cols, 0);
  for (int i = 0; i < valid; ++i)
    for (int j = 0; j < width; ++j)
      want[i * cols + j] = 1 + (i * stride + j) % 64 / 128.0;
  expect("rows by asynchronous copies, tail zero", result.data, want, 0);
}

/// Cumulative log decays that fall by nothing, a little or a lot.
Values randomGates(int count, int width, unsigned seed) {
  Values gates(count * width);
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> pick(0, 1);
  for (int d = 0; d < width; ++d) {
    float sum = 0;
    for (int i = 0; i < count; ++i) {
      float kind = pick(generator);
      sum -= kind < 0.2f ? 0 : kind < 0.9f ? 0.1f * pick(generator) : 30 * pick(generator);
      gates.data[i * width + d] = sum;
    }
  }
  return gates;
}

template <typename T>
void checkDecay(double bound) {
  using Read = Places<2>;
  using Add = Places<1>;
  constexpr int n = 64, width = 64;
  Values q = Values::random(n * width, 8), k = Values::random(n * width, 9), p = Values::random(n * n, 10),
         g = randomGates(n, width, 7);
  const float *pq = q.data, *pk = k.data, *pp = p.data, *pg = g.data;
  Values result = run(n * n + 2 * n * width, [=] __device__(Arena arena, float *out) {
    auto tileQ = arena.tile<SharedTile<T, n, width>>(), tileK = arena.tile<SharedTile<T, n, width>>();
    auto tileP = arena.tile<SharedTile<T, n, n>>();
    auto tileG = arena.tile<SharedTile<float, n, width>>();
    loadRows(tileQ, pq, width, n);
    loadRows(tileK, pk, width, n);
    loadRows(tileP, pp, n, n);
    loadRows(tileG, pg, width, n);
    syncBlock();
    Fragment<n, n> scores;
    decayScores<Read, Add>(scores, tileQ, tileK, tileG, tileG);
    storeRows(out, n, n, scores);
    Fragment<n, width> mixed, back;
    mixed.fill(0);
    decayMix<Read, Add>(mixed, tileP, tileK, tileG, tileG);
    storeRows(out + n * n, width, n, mixed);
    back.fill(0);
    decayMixTransposed<Read, Add>(back, tileP, tileQ, tileG, tileG);
    storeRows(out + n * n + n * width, width, n, back);
  });
  std::vector<double> scores(n * n, 0), mixed(n * width, 0), back(n * width, 0);
  for (int j = 0; j < n; ++j)
    for (int m = 0; m <= j; ++m)
      for (int d = 0; d < width; ++d) {
        double decay = std::exp(double(pg[j * width + d]) - double(pg[m * width + d]));
        scores[j * n + m] += decay * pq[j * width + d] * pk[m * width + d];
        mixed[j * width + d] += decay * pp[j * n + m] * pk[m * width + d];
        back[m * width + d] += decay * pp[j * n + m] * pq[j * width + d];
      }
  const char *type = sizeof(T) == 2 ? "bf16" : "f32";
  char what[64];
  std::snprintf(what, sizeof what, "decay_scores %s", type);
  expect(what, result.data, scores, bound);
  std::snprintf(what, sizeof what, "decay_mix %s", type);
  expect(what, result.data + n * n, mixed, bound);
  std::snprintf(what, sizeof what, "decay_mix transposed %s", type);
  expect(what, result.data + n * n + n * width, back, bound);
}

void checkSums() {
  constexpr int n = 64, cols = 80;
  Values x = Values::random(n * cols, 11);
  const float *px = x.data;
  for (bool reverse : {false, true})
    for (bool exclusive : {false, true}) {
      Running running{reverse, exclusive};
      Values result = run(n * cols + n, [=] __device__(Arena arena, float *out) {
        auto tile = arena.tile<SharedTile<float, n, cols>>();
        float *partial = arena.floats(16 * cols), *vector = arena.floats(n);
        loadRows(tile, px, cols, n);
        for (int i = threadIndex(); i < n; i += kThreads)
          vector[i] = px[i * cols];
        syncBlock();
        cumsum(tile, running, partial);
        cumsum<n>(vector, running);
        for (int i = threadIndex(); i < n * cols; i += kThreads)
          out[i] = *tile.at(i / cols, i % cols);
        for (int i = threadIndex(); i < n; i += kThreads)
          out[n * cols + i] = vector[i];
      });
      std::vector<double> want(n * cols + n, 0);
      for (int i = 0; i < n; ++i)
        for (int d = 0; d < cols; ++d) {
          for (int j = 0; j < n; ++j)
            if ((reverse ? j > i : j < i) || (j == i && !exclusive))
              want[i * cols + d] += px[j * cols + d];
          if (d == 0)
            want[n * cols + i] = want[i * cols];
        }
      char what[64];
      std::snprintf(what, sizeof what, "cumsum%s%s", reverse ? " reverse" : "", exclusive ? " exclusive" : "");
      expect(what, result.data, want, 1e-6);
    }
}

void checkInverse() {
  constexpr int n = 64;
  Values m = Values::random(n * n, 12, 0.3f);
  const float *pm = m.data;
  Values result = run(n * n, [=] __device__(Arena arena, float *out) {
    auto t = arena.tile<SharedTile<float, n, n>>(), given = arena.tile<SharedTile<float, n, n>>();
    loadRows(given, pm, n, n);
    syncBlock();
    invertUnitLower(t, given);
    for (int i = threadIndex(); i < n * n; i += kThreads)
      out[i] = *t.at(i / n, i % n);
  });
  std::vector<double> want(n * n, 0);
  for (int j = 0; j < n; ++j)
    for (int i = j; i < n; ++i) {
      double sum = i == j;
      for (int k = j; k < i; ++k)
        sum += double(pm[i * n + k]) * want[k * n + j];
      want[i * n + j] = sum;
    }
  expect("inverse of a unit lower triangle", result.data, want, 1e-5);
}

/// One event per token; with 32 of them the matrix is one panel wide.
template <bool transposed, int n, int width>
void checkSolve() {
  using Add = Places<0>;
  Values x = Values::random(n * width, 13), p = Values::random(n * n, 14, 0.3f), g = randomGates(n, width, 15);
  const float *px = x.data, *pp = p.data, *pg = g.data;
  Values result = run(n * width, [=] __device__(Arena arena, float *out) {
    auto y = arena.tile<SharedTile<float, n, width>>(), gates = arena.tile<SharedTile<float, n, width>>();
    auto matrix = arena.tile<SharedTile<float, n, n>>();
    float *const work = arena.floats(kSolveWork<width>);
    loadRows(y, px, width, n);
    loadRows(gates, pg, width, n);
    loadRows(matrix, pp, n, n);
    syncBlock();
    decaySolve<transposed, Add, Add, n>(y, matrix, NoFactor(), Gates<n, width>{gates, gates}, work);
    for (int i = threadIndex(); i < n * width; i += kThreads)
      out[i] = *y.at(i / width, i % width);
  });
  std::vector<double> want(n * width);
  for (int d = 0; d < width; ++d)
    for (int i = 0; i < n; ++i) {
      const int target = transposed ? n - 1 - i : i;
      double sum = px[target * width + d];
      for (int source = transposed ? target + 1 : 0; source < (transposed ? n : target); ++source) {
        const int later = transposed ? source : target, earlier = transposed ? target : source;
        sum += pp[later * n + earlier] * want[source * width + d] *
               std::exp(double(pg[later * width + d]) - double(pg[earlier * width + d]));
      }
      want[target * width + d] = sum;
    }
  char what[64];
  std::snprintf(what, sizeof what, "solve under decay, %d x %d%s", n, width, transposed ? ", transposed" : "");
  expect(what, result.data, want, 1e-5);
}

//===----------------------------------------------------------------------===//
// Rates
//===----------------------------------------------------------------------===//

template <int m, int n, int k>
__global__ __launch_bounds__(kThreads) void productRate(float *out, int times) {
  extern __shared__ __align__(1024) unsigned char shared[];
  Arena arena{shared};
  auto a = arena.tile<SharedTile<bf16, m, k>>();
  auto b = arena.tile<SharedTile<bf16, k, n>>();
  for (int i = threadIndex(); i < m * k; i += kThreads)
    a.set(i / k, i % k, 1);
  for (int i = threadIndex(); i < k * n; i += kThreads)
    b.set(i / n, i % n, 1);
  syncBlock();
  Fragment<m, n> d;
  d.fill(0);
  for (int t = 0; t < times; ++t)
    product<As::Stored, As::Stored>(d, a, b);
  if (d.v[0][0][0] < 0)
    storeRows(out, n, m, d);
}

template <typename Launch>
double seconds(Launch launch) {
  cudaEvent_t start, stop;
  CUDA(cudaEventCreate(&start));
  CUDA(cudaEventCreate(&stop));
  launch();
  CUDA(cudaEventRecord(start));
  launch();
  CUDA(cudaEventRecord(stop));
  CUDA(cudaEventSynchronize(stop));
  float milliseconds = 0;
  CUDA(cudaEventElapsedTime(&milliseconds, start, stop));
  return milliseconds * 1e-3;
}

template <int m, int n, int k>
void rate() {
  constexpr int bytes = (m * k + k * n) * 2 + 2048, times = 2000;
  int multiprocessors, resident;
  CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0));
  CUDA(cudaFuncSetAttribute(productRate<m, n, k>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, productRate<m, n, k>, kThreads, bytes));
  int blocks = multiprocessors * resident;
  double time = seconds([&] { productRate<m, n, k><<<blocks, kThreads, bytes>>>(nullptr, times); });
  std::printf("product %3d x %3d x %3d: %6.1f TFLOP/s, %d blocks per multiprocessor\n", m, n, k,
              2.0 * m * n * k * times * blocks / time * 1e-12, resident);
}

int main() {
  std::printf("%-44s %9s  %9s\n", "check", "error", "bound");
  checkAllForms<bf16, 64, 64, 64>();
  checkAllForms<bf16, 16, 64, 32>();
  checkAllForms<bf16, 48, 80, 96>();
  checkAllForms<bf16, 128, 64, 64>();
  checkAllForms<bf16, 80, 16, 64>();
  checkAllForms<float, 64, 48, 32>();
  checkLeftInRegisters();
  checkCopies();
  checkSums();
  checkDecay<float>(1e-5);
  checkDecay<bf16>(4e-3);
  checkInverse();
  checkSolve<false, 32, 64>();
  checkSolve<true, 32, 64>();
  checkSolve<false, 64, 32>();
  checkSolve<true, 64, 32>();
  rate<64, 64, 64>();
  rate<64, 128, 64>();
  rate<64, 256, 64>();
  rate<128, 128, 64>();
  std::printf("%s\n", failures ? "FAILED" : "all checks hold");
  return failures != 0;
}
