//===- Bench.cpp - Measured times of a training step ------------*- C++ -*-===//
#include "compiler/Driver/CpuModel.h"
#include "compiler/Driver/CudaModel.h"
#include "runtime/core/Blas.h"
#include "runtime/core/Random.h"
#include "runtime/train/Init.h"

#include <algorithm>
#include <chrono>
#include <map>

using namespace tidegate;

namespace {
using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

/// The best of a few large square products.
template <typename Real>
double productRate(int64_t n) {
  std::vector<Real> a(n * n, Real(1)), b(n * n, Real(1)), c(n * n);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    auto start = Clock::now();
    runtime::gemm(false, true, n, n, n, Real(1), a.data(), n, b.data(), n, Real(0), c.data(), n);
    best = std::max(best, 2.0 * n * n * n / since(start));
  }
  return best;
}

/// One large product on the GPU, of numbers that are not zeros.
double cudaProductRate(Precision precision) {
  using namespace runtime::cuda;
  int64_t n = precision == Precision::BF16 ? 8192 : 4096;
  const int64_t bytes = precision == Precision::BF16 ? 2 : 4;
  const runtime::Dtype dtype = precision == Precision::BF16 ? runtime::Dtype::BF16 : runtime::Dtype::F32;
  Engine &engine = cudaEngine();
  const std::lock_guard turn(engine.mutex);
  // The matrices lie where activations do: models need no room beside them.
  const int64_t before = engine.arenaBytes(), room = Device::get().memory().free + before;
  while (n > 256 && 3 * n * n * bytes > room)
    n /= 2;
  std::byte *const a = engine.reserve(3 * n * n * bytes, "a product"), *const b = a + n * n * bytes,
                  *const c = b + n * n * bytes;
  std::vector<uint16_t> numbers(std::min<int64_t>(n * n * bytes / 2, 1 << 20)); // again and again
  runtime::RandomStream random(1, "product");
  for (size_t i = 0; i < numbers.size(); ++i) // halves of floats and bfloat16 numbers between 1/2 and 2
    numbers[i] = uint16_t(0x3f00 + random.below(0x100, i));
  const int64_t piece = int64_t(numbers.size()) * 2; // a power of two, as the matrices are
  for (std::byte *to = a; to < c; to += piece)
    engine.stream.toDevice(to, numbers.data(), piece);
  double best = 0;
  for (int i = 0; i < 10; ++i) {
    Event begin, end;
    begin.record(engine.stream);
    engine.blas.multiply(engine.stream, {false, false, n, n, n, 1, dtype, dtype, dtype}, a, b, c);
    end.record(engine.stream);
    end.synchronize();
    best = std::max(best, 2.0 * n * n * n / Event::seconds(begin, end));
  }
  if (engine.arenaBytes() > before)
    engine.release();
  return best;
}

/// A line of the report for one turn of a step of the plan.
BenchReport::Row rowOf(const runtime::Plan &plan, const runtime::Turn &turn, int64_t B, int64_t T) {
  const runtime::Step &step = plan.steps[turn.step];
  BenchReport::Row row;
  row.where = step.where;
  if (auto *p = std::get_if<runtime::Product>(&step.what)) {
    const auto size = [&](const runtime::Extent &extent) { return extent.at(B, T, turn.n); };
    const int64_t m = size(p->m), n = size(p->n), k = size(p->k), count = size(p->count);
    row.what = "product " + (count > 1 ? std::to_string(count) + " x " : "") + std::to_string(m) + " x " +
               std::to_string(n) + " x " + std::to_string(k);
    row.flops = p->flops(B, T, turn.n);
  } else if (auto *l = std::get_if<runtime::Launch>(&step.what)) {
    row.what = plan.kernels[l->kernel].name;
    row.flops = l->flopsPerToken * double(B) * double(T);
  } else if (auto *a = std::get_if<runtime::Attention>(&step.what)) {
    row.what = "attention";
    row.flops = a->flops(B, T);
  } else if (auto *g = std::get_if<runtime::AttentionGrad>(&step.what)) {
    row.what = "attention_grad";
    row.flops = g->flops(B, T);
  } else {
    row.what = std::holds_alternative<runtime::Copy>(step.what)        ? "copy"
               : std::holds_alternative<runtime::Repeat>(step.what)    ? "repeat"
               : std::holds_alternative<runtime::SumPieces>(step.what) ? "sum"
               : std::holds_alternative<runtime::ChunkRows>(step.what) ? "chunk_rows"
               : std::holds_alternative<runtime::Lookup>(step.what)    ? "lookup"
               : std::holds_alternative<runtime::ShortConv>(step.what) ? "short_conv"
               : std::holds_alternative<runtime::Positions>(step.what) ? "positions"
               : std::holds_alternative<runtime::LastRows>(step.what)  ? "last_rows"
                                                                       : "lookup_grad";
  }
  return row;
}
} // namespace

/// Has an executor report its steps; null: no longer.
template <typename Executor>
static void watch(Executor &executor, const std::string &entry, std::function<void(const StepPart &)> sink) {
  if (!sink) {
    executor.onStep = nullptr;
    return;
  }
  executor.onStep = [&executor, entry, sink = std::move(sink)](const runtime::Turn &turn, int64_t B, int64_t T,
                                                               double seconds) {
    const BenchReport::Row row = rowOf(executor.plan(), turn, B, T);
    sink({entry, row.what, row.where, seconds});
  };
}

void tidegate::watchTraining(train::Model &model, std::function<void(const StepPart &)> sink) {
  CudaProgram *cuda = cudaTraining(model);
  for (llvm::StringRef entry : entriesOf(ModelPart::Train))
    if (cuda)
      watch(cuda->entry(entry), entry.str(), sink);
    else
      watch(cpuTraining(model).entry(entry), entry.str(), sink);
}

double tidegate::measureProductRate(const CompileOptions &options) {
  if (options.target == Target::Cuda)
    return cudaProductRate(options.precision);
  constexpr int64_t n = 1024; // A few hundredths of a second each.
  return options.precision == Precision::F64 ? productRate<double>(n) : productRate<float>(n);
}

BenchReport tidegate::benchModel(const ProgramSource &source, int64_t B, int64_t T, int repeats,
                                 const CompileOptions &options) {
  BenchReport report;
  const bool isCuda = options.target == Target::Cuda;
  if (isCuda) {
    const PlanReport planned = planModel(source, B, T, options);
    expectRoom(source, B, T, options, 1, planned);
    report.device.plan = planned.peakBytes;
  }
  auto start = Clock::now();
  auto model = compileModel(source, options);
  runtime::cuda::CudaExecutor *cuda = isCuda ? &cudaTraining(*model)->entry("loss_and_grads") : nullptr;
  runtime::Executor *cpu = isCuda ? nullptr : &cpuTraining(*model).entry("loss_and_grads");
  const runtime::Plan &plan = isCuda ? cuda->plan() : cpu->plan();
  report.compileSeconds = since(start);
  train::initialiseParameters(*model, 1);
  runtime::RandomStream random(1, "bench");
  std::vector<int32_t> ids(B * T), labels(B * T);
  for (int64_t i = 0; i < B * T; ++i) {
    ids[i] = int32_t(random.below(model->vocab(), 2 * i));
    labels[i] = int32_t(random.below(model->vocab(), 2 * i + 1));
  }
  train::StepConfig config;
  config.lr = 1e-4;
  model->trainStep({ids, labels, B, T}, config); // warm up: memory, code, threads

  std::map<std::string, BenchReport::Row> rows;
  auto onStep = [&](const runtime::Turn &turn, int64_t, int64_t, double seconds) {
    auto row = rowOf(plan, turn, B, T);
    auto &sum = rows.try_emplace(row.what, BenchReport::Row{row.what, row.where, 0, 0, 0}).first->second;
    ++sum.calls;
    sum.seconds += seconds;
    sum.flops += row.flops;
  };
  int64_t step = 1;
  auto run = [&] {
    config.step = ++step;
    start = Clock::now();
    model->trainStep({ids, labels, B, T}, config);
    const double seconds = since(start);
    if (isCuda)
      report.device.driver = std::max(report.device.driver, runtime::cuda::Device::get().taken());
    return seconds;
  };
  std::vector<double> steps;
  if (isCuda) { // whole steps as they are trained, then as many with events between their parts
    run();
    for (int i = 0; i < repeats; ++i)
      steps.push_back(run());
    cuda->onStep = onStep;
    for (int i = 0; i < repeats; ++i)
      run();
    cuda->onStep = nullptr;
  } else {
    cpu->onStep = onStep;
    for (int i = 0; i < repeats; ++i)
      steps.push_back(run());
    cpu->onStep = nullptr;
  }
  if (isCuda) {
    const auto &before = runtime::cuda::Device::get().atStart;
    report.device.before = before.total - before.free;
  }
  report.stepSeconds = median(steps);
  report.flops = plan.flops(B, T);
  report.productsPerSecond = isCuda                                   ? cudaProductRate(options.precision)
                             : options.precision == Precision::F64 ? productRate<double>(2048)
                                                                      : productRate<float>(2048);
  for (auto &[name, row] : rows) {
    row.calls /= repeats;
    row.seconds /= repeats;
    row.flops /= repeats;
    report.rows.push_back(row);
  }
  std::sort(report.rows.begin(), report.rows.end(),
            [](const auto &a, const auto &b) { return a.seconds > b.seconds; });
  return report;
}
