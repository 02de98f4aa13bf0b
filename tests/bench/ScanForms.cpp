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
#include <omp.h>
#include <random>

using namespace tidegate;
using runtime::HostTensor;

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

HostTensor random(std::vector<int64_t> shape, float low, float high, unsigned seed) {
  HostTensor tensor(runtime::Dtype::F32, std::move(shape));
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> pick(low, high);
  for (float &x : tensor.as<float>())
    x = pick(generator);
  return tensor;
}

EntryProgram::Views viewsOf(EntryProgram::Tensors &tensors) {
  EntryProgram::Views views;
  for (auto &[name, tensor] : tensors)
    views.emplace(name, TensorView{tensor.dtype(), tensor.shape(), tensor.bytes().data()});
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
  EntryProgram::Tensors inputs;
  inputs["q"] = random({1, T, H, kWidth}, -1, 1, 1);
  inputs["k"] = random({1, T, H, kWidth}, -0.2f, 0.2f, 2); // about unit length
  inputs["v"] = random({1, T, H, kWidth}, -1, 1, 3);
  inputs["a"] = random({1, T, H, kWidth}, -0.2f, 0, 4);
  inputs["g"] = random({1, T, H}, -0.2f, 0, 5);
  inputs["beta"] = random({1, T, H}, 0, 1, 6);
  std::erase_if(inputs, [&](auto &item) {
    return std::string(entry) == "gla" ? item.first == "g" || item.first == "beta" : item.first == "a";
  });
  EntryProgram::Tensors outputs = {{"o", random({1, T, H, kWidth}, 0, 0, 0)}}, gradients = inputs;
  EntryProgram::Tensors cotangents = {{"o", random({1, T, H, kWidth}, -1, 1, 7)}};
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto &[name, tensor] : inputs)
    shapes[name] = tensor.shape();
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
