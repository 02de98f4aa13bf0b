//===- Executor.cpp - Runs a plan on the CPU --------------------*- C++ -*-===//
#include "runtime/core/Executor.h"

#include "runtime/core/Attention.h"
#include "runtime/core/Blas.h"
#include "runtime/core/Error.h"
#include "runtime/core/HostTensor.h"
#include "runtime/core/ShortConv.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <omp.h>

using namespace tidegate::runtime;

namespace {
constexpr size_t kAlignment = 64;

std::byte *allocate(int64_t bytes) {
  auto rounded = (size_t(bytes) + kAlignment - 1) / kAlignment * kAlignment;
  auto *memory = static_cast<std::byte *>(std::aligned_alloc(kAlignment, std::max(rounded, kAlignment)));
  if (!memory)
    throw RuntimeError(RuntimeError::Kind::Io, "cannot allocate " + std::to_string(bytes) + " bytes for activations");
  return memory;
}

/// One run at one (B, T): buffers as addresses.
struct Run {
  const Plan &plan;
  int64_t B, T;
  std::vector<void *> address; // per buffer
  std::byte *scratch;
  int64_t scratchStride;
  int threads; // as many as there is scratch for
  int64_t chunk = 0; // or block, of a loop

  int64_t size(const Extent &extent) const { return extent.at(B, T, chunk); }

  template <typename T>
  T *as(int buffer) const {
    return static_cast<T *>(address[buffer]);
  }

  void operator()(const Launch &launch) const {
    const Kernel &kernel = plan.kernels[launch.kernel];
    std::vector<void *> buffers;
    for (int b : launch.buffers)
      buffers.push_back(address[b]);
    int64_t items = size(launch.items);
    int64_t parts = launch.isScan ? items : std::min(items, Plan::kParts);
    if (kernel.whole) {
      parts = kernel.whole(buffers.data(), items, B, T);
    } else {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (parts > 1)
      for (int64_t part = 0; part < parts; ++part) {
        void *own = scratch + omp_get_thread_num() * scratchStride;
        kernel.function(buffers.data(), items * part / parts, items * (part + 1) / parts, part, B, T, own);
      }
    }
    for (const Launch::Sum &sum : launch.sums)
      plan.elementBytes == 8 ? add<double>(launch, sum, parts) : add<float>(launch, sum, parts);
  }

  /// Adds the parts in their order.
  template <typename T>
  void add(const Launch &launch, const Launch::Sum &sum, int64_t parts) const {
    const T *from = as<T>(launch.buffers[sum.argument]);
    T *to = as<T>(sum.total);
#pragma omp parallel for schedule(static) if (sum.elements > 4096)
    for (int64_t i = 0; i < sum.elements; ++i) {
      T total = 0;
      for (int64_t part = 0; part < parts; ++part)
        total += from[part * sum.elements + i];
      to[i] = total;
    }
  }

  template <typename T>
  void multiply(const Product &p) const {
    int64_t m = size(p.m), n = size(p.n), k = size(p.k);
    for (int64_t i = 0; i < size(p.count); ++i)
      gemm(p.transA, p.transB, m, n, k, T(1), as<T>(p.a) + i * m * k, p.transA ? m : k, as<T>(p.b) + i * k * n,
           p.transB ? k : n, T(p.adds), as<T>(p.c) + i * m * n, n);
  }
  void operator()(const Product &p) const { plan.elementBytes == 8 ? multiply<double>(p) : multiply<float>(p); }

  void operator()(const Lookup &l) const {
    int64_t count = size(l.count), bytes = l.width * plan.elementBytes;
    const int32_t *ids = as<int32_t>(l.ids);
    const auto *table = as<std::byte>(l.table);
    auto *out = as<std::byte>(l.out);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i) {
      if (ids[i] >= 0 && ids[i] < l.rows)
        std::memcpy(out + i * bytes, table + ids[i] * bytes, bytes);
      else
        std::memset(out + i * bytes, 0, bytes);
    }
  }

  /// Every thread owns a slice of columns: no two write the same place, and each
  /// sum runs in the order of the positions.
  template <typename T>
  void scatter(const LookupGrad &l) const {
    int64_t count = size(l.count);
    const int32_t *ids = as<int32_t>(l.ids);
    const T *in = as<T>(l.in);
    T *out = as<T>(l.out);
    constexpr int64_t kSlice = 64;
    int64_t slices = (l.width + kSlice - 1) / kSlice;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t slice = 0; slice < slices; ++slice) {
      int64_t first = slice * kSlice, width = std::min(kSlice, l.width - first);
      for (int64_t row = 0; row < l.rows; ++row)
        std::memset(out + row * l.width + first, 0, width * sizeof(T));
      for (int64_t i = 0; i < count; ++i) {
        if (ids[i] < 0 || ids[i] >= l.rows)
          continue;
        T *to = out + ids[i] * l.width + first;
        const T *from = in + i * l.width + first;
        for (int64_t d = 0; d < width; ++d)
          to[d] += from[d];
      }
    }
  }
  void operator()(const LookupGrad &l) const { plan.elementBytes == 8 ? scatter<double>(l) : scatter<float>(l); }

  template <typename T>
  void convolve(const ShortConv &s) const {
    ShortConvSizes sizes{size(s.batch), size(s.tokens), s.channels, s.width};
    const T *rows = as<T>(s.rows), *with = as<T>(s.with), *edge = s.edge < 0 ? nullptr : as<T>(s.edge);
    const int32_t *positions = s.positions < 0 ? nullptr : as<int32_t>(s.positions);
    T *outEdge = s.outEdge < 0 ? nullptr : as<T>(s.outEdge);
    switch (s.kind) {
    case ShortConv::Kind::Forward:
      return shortConv(sizes, rows, with, edge, positions, as<T>(s.out), outEdge);
    case ShortConv::Kind::InputGrad:
      return shortConvInputGrad(sizes, rows, with, edge, positions, as<T>(s.out), outEdge);
    case ShortConv::Kind::WeightGrad:
      return shortConvWeightGrad(sizes, rows, with, edge, positions, as<T>(s.out));
    }
  }
  void operator()(const ShortConv &s) const { plan.elementBytes == 8 ? convolve<double>(s) : convolve<float>(s); }

  void operator()(const Positions &p) const {
    const int64_t rows = size(p.batch), tokens = size(p.tokens);
    for (int64_t b = 0; b < rows; ++b) {
      const int32_t first = p.first < 0 ? 0 : as<int32_t>(p.first)[b];
      if (p.out >= 0)
        for (int64_t t = 0; t < tokens; ++t)
          as<int32_t>(p.out)[b * tokens + t] = first + int32_t(t);
      if (p.next >= 0)
        as<int32_t>(p.next)[b] = first + int32_t(tokens);
    }
  }

  /// The address of a buffer that may be absent.
  template <typename T>
  T *orNull(int buffer) const {
    return buffer < 0 ? nullptr : as<T>(buffer);
  }
  template <typename T>
  void keepLast(const LastRows &l) const {
    const int64_t batch = size(l.batch), tokens = size(l.tokens), width = l.width;
    const int64_t kept = std::max<int64_t>(l.count - tokens, 0), own = l.count - kept; // rows of the past, and others
    const T *past = orNull<T>(l.past);
    for (int64_t b = 0; b < batch; ++b) {
      T *to = as<T>(l.out) + b * l.count * width;
      if (past)
        std::copy_n(past + (b * l.count + own) * width, kept * width, to);
      else
        std::fill_n(to, kept * width, T(0));
      std::copy_n(as<T>(l.rows) + ((b + 1) * tokens - own) * width, own * width, to + kept * width);
    }
  }
  void operator()(const LastRows &l) const { plan.elementBytes == 8 ? keepLast<double>(l) : keepLast<float>(l); }

  AttentionSizes sizesOf(const Attention &a) const {
    return {size(a.batch), size(a.tokens), a.heads, a.keyHeads, a.keyWidth, a.valueWidth, a.window};
  }
  template <typename T>
  AttentionInputs<T> inputsOf(const Attention &a) const {
    return {as<T>(a.query),     as<T>(a.key),           as<T>(a.value), orNull<int32_t>(a.positions),
            orNull<T>(a.pastKey), orNull<T>(a.pastValue)};
  }
  template <typename T>
  void attend(const Attention &a) const {
    const AttentionSizes sizes = sizesOf(a);
    attention(sizes, inputsOf<T>(a), as<T>(a.out), orNull<T>(a.lse));
    auto next = [&](int rows, int past, int out, int64_t width) {
      if (out >= 0)
        keepLast<T>({rows, past, out, a.batch, a.tokens, a.window - 1, a.keyHeads * width});
    };
    next(a.key, a.pastKey, a.nextKey, a.keyWidth);
    next(a.value, a.pastValue, a.nextValue, a.valueWidth);
  }
  void operator()(const Attention &a) const { plan.elementBytes == 8 ? attend<double>(a) : attend<float>(a); }

  template <typename T>
  void attendBack(const AttentionGrad &g) const {
    attentionGrad<T>(sizesOf(g.of), inputsOf<T>(g.of),
                     {as<T>(g.of.out), as<T>(g.of.lse), as<T>(g.outGrad), orNull<T>(g.lseGrad)},
                     {as<T>(g.queryGrad), as<T>(g.keyGrad), as<T>(g.valueGrad), orNull<T>(g.pastKeyGrad),
                      orNull<T>(g.pastValueGrad)});
  }
  void operator()(const AttentionGrad &g) const { plan.elementBytes == 8 ? attendBack<double>(g) : attendBack<float>(g); }

  void operator()(const Copy &c) const {
    const Buffer &from = plan.buffers[c.from];
    std::memcpy(address[c.to], address[c.from], size(from.elements) * from.elementBytes);
  }

  void operator()(const Repeat &r) const {
    const int64_t bytes = size(r.elements) * plan.buffers[r.to].elementBytes;
    for (int64_t i = 0; i < size(r.count); ++i)
      if (r.from < 0)
        std::memset(as<std::byte>(r.to) + i * bytes, 0, bytes);
      else
        std::memcpy(as<std::byte>(r.to) + i * bytes, address[r.from], bytes);
  }

  template <typename T>
  void sum(const SumPieces &s) const {
    const int64_t elements = size(s.elements), count = size(s.count);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < elements; ++i) {
      T total = 0;
      for (int64_t piece = 0; piece < count; ++piece)
        total += as<T>(s.from)[piece * elements + i];
      as<T>(s.to)[i] = total;
    }
  }
  void operator()(const SumPieces &s) const { plan.elementBytes == 8 ? sum<double>(s) : sum<float>(s); }

  template <typename T>
  void moveRows(const ChunkRows &c) const {
    const int64_t tokens = size(c.tokens), first = chunk * c.chunk, group = c.numHeads / c.rowHeads;
    const int64_t width = c.width, tiles = size(c.batch) * (c.isBack ? c.rowHeads : c.numHeads);
#pragma omp parallel for schedule(static)
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t head = c.isBack ? tile : tile / group; // of `rows`, in all batch rows
      for (int64_t i = 0; i < c.chunk; ++i) {
        const bool isToken = first + i < tokens;
        T *rows = as<T>(c.rows) + ((head / c.rowHeads * tokens + first + i) * c.rowHeads + head % c.rowHeads) * width;
        for (int64_t d = 0; d < width; ++d) {
          if (!c.isBack) {
            as<T>(c.heads)[(tile * c.chunk + i) * width + d] = isToken ? rows[d] : T(0);
          } else if (isToken) {
            T sum = 0;
            for (int64_t h = head * group; h < (head + 1) * group; ++h)
              sum += as<T>(c.heads)[(h * c.chunk + i) * width + d];
            rows[d] = sum;
          }
        }
      }
    }
  }
  void operator()(const ChunkRows &c) const { plan.elementBytes == 8 ? moveRows<double>(c) : moveRows<float>(c); }
};

/// The buffers of numbers that a step computes with in the plan's precision; kernels have their own.
std::vector<int> numbersOf(const Step &step) {
  struct Visitor {
    using Buffers = std::vector<int>;
    Buffers operator()(const Product &p) { return {p.a, p.b, p.c}; }
    Buffers operator()(const Lookup &l) { return {l.table, l.out}; }
    Buffers operator()(const LookupGrad &l) { return {l.in, l.out}; }
    Buffers operator()(const ShortConv &s) { return {s.rows, s.with, s.edge, s.out, s.outEdge}; }
    Buffers operator()(const LastRows &l) { return {l.rows, l.past, l.out}; }
    Buffers operator()(const Attention &a) {
      return {a.query, a.key, a.value, a.pastKey, a.pastValue, a.out, a.lse, a.nextKey, a.nextValue};
    }
    Buffers operator()(const AttentionGrad &g) {
      Buffers all = (*this)(g.of);
      all.insert(all.end(), {g.outGrad, g.lseGrad, g.queryGrad, g.keyGrad, g.valueGrad});
      all.insert(all.end(), {g.pastKeyGrad, g.pastValueGrad});
      return all;
    }
    Buffers operator()(const SumPieces &s) { return {s.from, s.to}; }
    Buffers operator()(const ChunkRows &c) { return {c.rows, c.heads}; }
    Buffers operator()(const Launch &) { return {}; }
    Buffers operator()(const Positions &) { return {}; }
    Buffers operator()(const Copy &) { return {}; }
    Buffers operator()(const Repeat &) { return {}; }
  };
  return std::visit(Visitor(), step.what);
}

/// A step with what lies in bfloat16, in plans for a GPU, as floats: read before it and written back behind it.
void runWidened(Run &run, const Step &step) {
  std::map<int, HostTensor> wide;
  const std::vector<void *> address = run.address;
  for (int b : numbersOf(step))
    if (b >= 0 && run.plan.buffers[b].elementBytes == 2 && !wide.contains(b)) {
      const int64_t elements = run.size(run.plan.buffers[b].elements);
      HostTensor half(Dtype::BF16, {elements});
      std::memcpy(half.bytes().data(), address[b], elements * 2);
      run.address[b] = wide.emplace(b, half.to(Dtype::F32)).first->second.view().data;
    }
  std::visit(run, step.what);
  for (auto &[b, values] : wide) {
    const HostTensor half = values.to(Dtype::BF16);
    std::memcpy(address[b], half.bytes().data(), half.bytes().size());
  }
  run.address = address;
}
} // namespace

Executor::Executor(Plan plan) : thePlan(std::move(plan)) {
  int64_t bytes = 0;
  for (const Kernel &kernel : thePlan.kernels)
    bytes = std::max(bytes, kernel.scratchBytes);
  // Whole pages apart, so that threads never share one.
  scratchStride = (bytes + 4095) / 4096 * 4096 + 4096;
  threads = omp_get_max_threads();
  scratch = allocate(scratchStride * threads);
  poison = std::getenv("TIDEGATE_POISON") != nullptr;
}

Executor::~Executor() {
  std::free(arena);
  std::free(scratch);
}

const Layout &Executor::layout(int64_t B, int64_t T) {
  auto [it, isNew] = layouts.try_emplace({B, T});
  if (isNew)
    it->second = layoutOf(thePlan, B, T);
  return it->second;
}

int64_t Executor::arenaBytes(int64_t B, int64_t T) { return layout(B, T).bytes; }

void Executor::reserve(int64_t bytes) {
  if (bytes <= arenaSize)
    return;
  std::free(arena);
  arena = nullptr;
  arenaSize = 0;
  arena = allocate(bytes);
  arenaSize = bytes;
}

void Executor::run(int64_t B, int64_t T, std::span<void *const> bindings) {
  const Layout &place = layout(B, T);
  reserve(place.bytes);
  if (poison) { // every byte 0xff: NaN in both float types
    std::memset(arena, 0xff, place.bytes);
    std::memset(scratch, 0xff, scratchStride * threads);
  }
  Run run{thePlan, B, T, addressesOf(thePlan, place, arena, bindings), scratch, scratchStride, threads};
  placeViews(thePlan, 0, B, T, run.address);
  for (const Turn &turn : thePlan.turns(B, T)) {
    auto start = std::chrono::steady_clock::now();
    if (turn.n != run.chunk)
      placeViews(thePlan, run.chunk = turn.n, B, T, run.address);
    runWidened(run, thePlan.steps[turn.step]);
    if (onStep)
      onStep(turn, B, T, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
}
