//===- ScanForms.cpp - Token form against chunk form ------------*- C++ -*-===//
// Times the bare recurrences of gated linear attention and of the gated delta
// rule in both forms on one CPU core, forward and backward: processor time, the
// best of several, so that other work beside disturbs little.
// usage: scan-forms [TOKENS [HEADS [REPEATS [CHUNK]]]] (default 2048, 8, 9 and the
// compiler's choice; keys and values are 64 wide)
//===----------------------------------------------------------------------===//
#include "compiler/Driver/Driver.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <map>
#include <memory>
#include <omp.h>
#include <random>

using namespace tidegate;

namespace {

constexpr int64_t kWidth = 64;

const char *const kProgram = R"(
fn gla(q: [T, H, K], k: [T, H, K], v: [T, H, V], a: [T, H, K]) -> [T, H, V] {
  scan over t, h in H {
    state S: [K, V] = 0
    S = diag(exp(a[t, h])) . S + outer(k[t, h], v[t, h])
    o[t, h] = q[t, h] . S / sqrt(K)
  }
  return o
}

fn gated_delta(q: [T, H, K], k: [T, H, K], v: [T, H, V], g: [T, H], beta: [T, H]) -> [T, H, V] {
  scan over t, h in H {
    state S: [K, V] = 0
    S = exp(g[t, h]) * S
    S = S + beta[t, h] * outer(k[t, h], v[t, h] - k[t, h] . S)
    o[t, h] = q[t, h] . S / sqrt(K)
  }
  return o
}
)";

/// Floats that begin at a cache line, as an arena's do.
class Tensor {
public:
  Tensor(std::vector<int64_t> shape, float low, float high, unsigned seed) : shape(std::move(shape)) {
    int64_t count = 1;
    for (int64_t size : this->shape)
      count *= size;
    memory.reset(static_cast<float *>(std::aligned_alloc(kLine, (count * sizeof(float) + kLine - 1) / kLine * kLine)));
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> pick(low, high);
    std::generate_n(memory.get(), count, [&] { return pick(generator); });
  }
  TensorView view() const { return {runtime::Dtype::F32, shape, memory.get()}; }

private:
  static constexpr size_t kLine = 64;
  struct Free {
    void operator()(float *memory) const { std::free(memory); }
  };
  std::vector<int64_t> shape;
  std::unique_ptr<float[], Free> memory;
};
using Tensors = std::map<std::string, Tensor>;

EntryProgram::Views viewsOf(const Tensors &tensors) {
  EntryProgram::Views views;
  for (const auto &[name, tensor] : tensors)
    views.emplace(name, tensor.view());
  return views;
}

double processorSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

/// Best of `repeats`, after one run that touches all memory.
template <typename Work>
double seconds(int repeats, Work work) {
  work();
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repeats; ++i) {
    double start = processorSeconds();
    work();
    best = std::min(best, processorSeconds() - start);
  }
  return best;
}

void compare(const char *entry, int64_t T, int64_t H, int repeats, int chunk) {
  const std::vector<int64_t> perChannel{1, T, H, kWidth}, perHead{1, T, H};
  Tensors inputs, gradients, outputs, cotangents;
  auto input = [&](const char *name, const std::vector<int64_t> &shape, float low, float high) {
    inputs.emplace(name, Tensor(shape, low, high, inputs.size() + 1));
    gradients.emplace(name, Tensor(shape, 0, 0, 0));
  };
  input("q", perChannel, -1, 1);
  input("k", perChannel, -0.2f, 0.2f); // about unit length
  input("v", perChannel, -1, 1);
  if (std::string(entry) == "gla") {
    input("a", perChannel, -0.2f, 0);
  } else {
    input("g", perHead, -0.2f, 0);
    input("beta", perHead, 0, 1);
  }
  outputs.emplace("o", Tensor(perChannel, 0, 0, 0));
  cotangents.emplace("o", Tensor(perChannel, -1, 1, 7));
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto &[name, tensor] : inputs)
    shapes[name] = tensor.view().shape;
  const ProgramSource source{"scans.tg", {}, {{"scans.tg", kProgram}}};

  double forward[2], both[2];
  for (ScanForm form : {ScanForm::Token, ScanForm::Chunk}) {
    CompileOptions options;
    options.form = form;
    options.chunk = chunk;
    auto program = compileEntry(source, entry, options, shapes);
    forward[int(form)] = seconds(repeats, [&] { program->runOn(viewsOf(inputs), viewsOf(outputs)); });
    both[int(form)] = seconds(repeats, [&] { program->vjpOn(viewsOf(inputs), viewsOf(cotangents), viewsOf(gradients)); });
  }
  auto row = [&](const char *what, const double (&time)[2]) {
    std::printf("%-12s %-21s %9.2f ms %9.2f ms %6.1fx\n", entry, what, 1e3 * time[0], 1e3 * time[1],
                time[0] / time[1]);
  };
  row("forward", forward);
  row("forward and backward", both);
}

} // namespace

int main(int argc, char **argv) {
  const int64_t T = argc > 1 ? std::atoll(argv[1]) : 2048, H = argc > 2 ? std::atoll(argv[2]) : 8;
  const int repeats = argc > 3 ? std::atoi(argv[3]) : 9, chunk = argc > 4 ? std::atoi(argv[4]) : 0;
  if (argc > 5 || T < 1 || H < 1 || repeats < 1) {
    std::fprintf(stderr, "usage: scan-forms [TOKENS [HEADS [REPEATS [CHUNK]]]]\n");
    return 2;
  }
  omp_set_num_threads(1);
  std::printf("T = %lld, H = %lld, K = V = %lld, f32, processor time\n%-34s %12s %12s\n", (long long)T, (long long)H,
              (long long)kWidth, "", "token form", "chunk form");
  compare("gla", T, H, repeats, chunk);
  compare("gated_delta", T, H, repeats, chunk);
}
