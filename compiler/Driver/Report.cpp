//===- Report.cpp - Stages and plans in words -------------------*- C++ -*-===//
#include "compiler/CodeGen/CPU/Jit.h"
#include "compiler/CodeGen/CUDA/Kernels.h"
#include "compiler/Driver/CpuModel.h"
#include "compiler/Driver/CudaMemory.h"
#include "compiler/Driver/CudaModel.h"
#include "compiler/Plan/PlanBuilder.h"
#include "runtime/core/Error.h"

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

using namespace tidegate;
using runtime::Plan;

namespace {
template <typename... Fns>
struct Overload : Fns... {
  using Fns::operator()...;
};
template <typename... Fns>
Overload(Fns...) -> Overload<Fns...>;

/// One step of a plan as a line: what, on which sizes, where it comes from.
std::string lineOf(const Plan &plan, const runtime::Step &step) {
  std::ostringstream line;
  auto buffer = [&](int b) { return "%" + std::to_string(b); };
  std::visit(Overload{[&](const runtime::Launch &l) {
                        line << "launch  " << plan.kernels[l.kernel].name << " over " << l.items.text() << " (";
                        for (size_t i = 0; i < l.buffers.size(); ++i)
                          line << (i ? ", " : "") << buffer(l.buffers[i]);
                        line << ")";
                        for (const auto &sum : l.sums)
                          line << " sum " << buffer(l.buffers[sum.argument]) << " -> " << buffer(sum.total);
                      },
                      [&](const runtime::Product &p) {
                        line << "product " << buffer(p.c) << (p.adds ? " += " : " = ") << buffer(p.a)
                             << (p.transA ? "^T " : " ") << buffer(p.b) << (p.transB ? "^T" : "") << "  m "
                             << p.m.text() << ", n " << p.n.text() << ", k " << p.k.text();
                        if (p.count.text() != "1")
                          line << ", " << p.count.text() << " times";
                      },
                      [&](const runtime::Lookup &l) {
                        line << "lookup  " << buffer(l.out) << " = " << buffer(l.table) << "[" << buffer(l.ids) << "]";
                      },
                      [&](const runtime::LookupGrad &l) {
                        line << "scatter " << buffer(l.out) << "[" << buffer(l.ids) << "] += " << buffer(l.in);
                      },
                      [&](const runtime::ShortConv &s) {
                        using Kind = runtime::ShortConv::Kind;
                        line << "conv    " << buffer(s.out)
                             << (s.kind == Kind::Forward     ? " = "
                                 : s.kind == Kind::InputGrad ? " = input gradient of "
                                                             : " = weight gradient of ")
                             << buffer(s.rows) << ", " << buffer(s.with) << "  width " << s.width;
                        if (s.edge >= 0)
                          line << ", from " << buffer(s.edge);
                        if (s.outEdge >= 0)
                          line << ", to " << buffer(s.outEdge);
                      },
                      [&](const runtime::Positions &p) {
                        line << "place   " << buffer(p.out >= 0 ? p.out : p.next) << " = positions of "
                             << p.tokens.text();
                        if (p.first >= 0)
                          line << " after " << buffer(p.first);
                      },
                      [&](const runtime::LastRows &l) {
                        line << "last    " << buffer(l.out) << " = last " << l.count << " rows of " << buffer(l.rows);
                        if (l.past >= 0)
                          line << " after " << buffer(l.past);
                      },
                      [&](const runtime::Attention &a) {
                        line << "attend  " << buffer(a.out) << " = " << buffer(a.query) << ", " << buffer(a.key) << ", "
                             << buffer(a.value) << "  window " << a.window << ", heads " << a.heads << " / "
                             << a.keyHeads;
                        if (a.nextKey >= 0)
                          line << ", to " << buffer(a.nextKey) << ", " << buffer(a.nextValue);
                      },
                      [&](const runtime::AttentionGrad &g) {
                        line << "attend  " << buffer(g.queryGrad) << ", " << buffer(g.keyGrad) << ", "
                             << buffer(g.valueGrad) << " = gradients of " << buffer(g.of.query) << ", "
                             << buffer(g.of.key) << ", " << buffer(g.of.value) << " by " << buffer(g.outGrad)
                             << "  window " << g.of.window << ", heads " << g.of.heads << " / " << g.of.keyHeads;
                      },
                      [&](const runtime::Copy &c) { line << "copy    " << buffer(c.to) << " = " << buffer(c.from); },
                      [&](const runtime::Repeat &r) {
                        line << "repeat  " << buffer(r.to) << " = " << r.count.text() << " times "
                             << (r.from < 0 ? "zeros" : buffer(r.from));
                      },
                      [&](const runtime::SumPieces &s) {
                        line << "sum     " << buffer(s.to) << " = " << s.count.text() << " pieces of " << buffer(s.from);
                      },
                      [&](const runtime::ChunkRows &c) {
                        line << "rows    " << buffer(c.isBack ? c.rows : c.heads) << " = "
                             << buffer(c.isBack ? c.heads : c.rows) << "  chunk " << c.chunk << ", heads " << c.rowHeads
                             << " / " << c.numHeads;
                      }},
             step.what);
  if (step.loop >= 0) {
    const runtime::Loop &loop = plan.loops[step.loop];
    const std::string chunk = std::to_string(loop.chunk);
    line << (loop.blocks   ? "  in each of " + std::to_string(loop.blocks) + " blocks of rows"
             : loop.isLast ? "  in the last chunk of " + chunk
                           : "  in each chunk of " + chunk + " but the last" + (loop.isReverse ? ", backwards" : ""));
  }
  if (!step.where.empty())
    line << "  // " << step.where;
  return line.str();
}

std::string textOf(const Plan &plan) {
  std::ostringstream text;
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    const runtime::Buffer &b = plan.buffers[i];
    text << "%" << i << ": " << b.elements.text() << " x " << b.elementBytes << " bytes";
    if (b.isBound())
      text << ", binding " << b.binding;
    else if (b.isView())
      text << ", in %" << b.view.of << " at piece " << (b.view.perChunk ? "n + " : b.view.fromEnd ? "N + " : "")
           << b.view.shift;
    else
      text << ", steps " << b.first << ".." << b.last;
    text << "\n";
  }
  for (size_t i = 0; i < plan.steps.size(); ++i)
    text << i << ": " << lineOf(plan, plan.steps[i]) << "\n";
  return text.str();
}

std::string textOf(mlir::ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream os(text);
  module.print(os);
  os << "\n";
  return text;
}

/// The plan of @loss_and_grads on the CPU; its kernels are written, not compiled.
Plan planOnCpu(Compilation &compilation, LoadedProgram &program, cpu::KernelModule &kernels) {
  auto module = buildPart(compilation, program, ModelPart::Train);
  auto plan = buildPlan(module->lookupSymbol<mlir::func::FuncOp>("loss_and_grads"), kernels);
  if (failed(plan))
    compilation.fail();
  return std::move(*plan);
}

/// The training step's plan, without compiling its kernels.
class PlannedStep {
public:
  PlannedStep(Compilation &compilation, LoadedProgram &program)
      : target(compilation.options.target), flat(program.parameters()) {
    if (target == Target::Cuda) {
      checkForCuda(compilation.options);
      plans = planForCuda(
                  compilation, [&] { return buildPart(compilation, program, ModelPart::Train); },
                  entriesOf(ModelPart::Train))
                  .plans;
      return;
    }
    cpu::KernelModule kernels(&compilation.context);
    plans.push_back(planOnCpu(compilation, program, kernels));
  }

  /// Of @loss_and_grads.
  const Plan &plan() const { return plans.front(); }

  /// Memory by class, in the order it is reported.
  MemoryTable memory(int64_t B, int64_t T, int64_t microBatches) const {
    if (target == Target::Cuda) {
      const int64_t arena = trainingArena(flat, B, T, [&](size_t i, int64_t b, int64_t t) {
        return runtime::cuda::arenaOf(plans[i], b, t).bytes;
      });
      return cudaMemory(flat, {B * T, arena, microBatches > 1});
    }
    const int64_t weights = flat.rows * FlatWeights::kRow * plan().elementBytes;
    return {{"weights", weights},
            {"gradients", microBatches > 1 ? 2 * weights : weights}, // the sum, and what is added to it
            {"moments", 2 * weights},
            {"activations", layoutOf(plan(), B, T).bytes},
            {"tokens", 2 * B * T * microBatches * int64_t(sizeof(int32_t))}};
  }

private:
  Target target;
  FlatWeights flat;
  std::vector<Plan> plans; ///< On the GPU of every entry of the part.
};

/// A step of other options.
PlannedStep planWith(const ProgramSource &source, CompileOptions options, int64_t recomputedLayers) {
  options.recomputedLayers = recomputedLayers;
  Compilation compilation(options);
  LoadedProgram program(source);
  return PlannedStep(compilation, program);
}

/// Layers that can be run again: calls in the model.
int64_t layersOf(Compilation &compilation, LoadedProgram &program) {
  auto module = compilation.generate(program);
  auto calls = module->lookupSymbol<mlir::func::FuncOp>("model").getOps<mlir::func::CallOp>();
  return std::distance(calls.begin(), calls.end());
}

} // namespace

std::vector<std::pair<std::string, std::string>> tidegate::stages() {
  return {{"graph", "the model as the front end generates it"},
          {"rec", "recurrences in token form, simplified"},
          {"chunk", "recurrences in the form that runs"},
          {"grad", "loss, gradients and optimiser beside the model"},
          {"fused", "row-wise ops fused into maps"},
          {"tile", "chunk scans as statements of a block of threads, for the GPU"},
          {"cuda", "the training step's kernels in CUDA C++"},
          {"plan", "the training step: buffers, launches, products"},
          {"llvm", "the training step's kernels after optimisation"}};
}

std::string tidegate::emitStage(const ProgramSource &source, const std::string &stage, const CompileOptions &options) {
  CompileOptions chosen = options;
  if (stage == "tile" || stage == "cuda")
    chosen.target = Target::Cuda;
  Compilation compilation(chosen);
  LoadedProgram program(source);
  if (stage == "fused")
    return textOf(*buildPart(compilation, program, ModelPart::Train));
  if (stage == "tile") {
    auto module = buildPart(compilation, program, ModelPart::Train);
    compilation.toTiles(*module);
    return textOf(*module);
  }
  if (stage == "cuda") {
    const PlannedKernels planned = planKernels(
        compilation, [&] { return buildPart(compilation, program, ModelPart::Train); }, {"loss_and_grads"});
    std::string text;
    for (const cuda::KernelSource &kernel : planned.kernels.kernels())
      text += kernel.text + "\n";
    return text;
  }
  if (stage == "plan")
    return textOf(PlannedStep(compilation, program).plan());
  if (stage == "llvm") {
    cpu::KernelModule kernels(&compilation.context);
    planOnCpu(compilation, program, kernels);
    auto text = cpu::Jit::print(kernels.module());
    if (failed(text))
      compilation.fail();
    return *text;
  }
  auto module = compilation.generate(program);
  if (stage == "rec")
    compilation.simplify(*module);
  if (stage == "chunk" || stage == "grad")
    compilation.lowerRecurrences(*module);
  if (stage == "grad")
    compilation.buildTraining(*module);
  return textOf(*module);
}

int64_t tidegate::layersToRecompute(const ProgramSource &source, int64_t B, int64_t T, const CompileOptions &options,
                                    int64_t microBatches, int64_t bytes) {
  auto peak = [&](int64_t layers) {
    return totalOf(planWith(source, options, layers).memory(B, T, microBatches));
  };
  if (peak(0) <= bytes)
    return 0;
  Compilation compilation(options);
  LoadedProgram program(source);
  int64_t tooFew = 0, enough = layersOf(compilation, program);
  if (const int64_t least = peak(enough); least > bytes)
    throw runtime::RuntimeError(runtime::RuntimeError::Kind::InvalidArgument,
                                "expected a training step that fits in " + std::to_string(bytes) +
                                    " bytes, but it needs " + std::to_string(least) + " with all " +
                                    std::to_string(enough) + " layers run again; use smaller micro-batches");
  while (tooFew + 1 < enough) {
    const int64_t middle = tooFew + (enough - tooFew) / 2;
    (peak(middle) <= bytes ? enough : tooFew) = middle;
  }
  return enough;
}

PlanReport tidegate::planModel(const ProgramSource &source, int64_t B, int64_t T, const CompileOptions &options,
                               int64_t microBatches) {
  Compilation compilation(options);
  LoadedProgram program(source);
  const PlannedStep planned(compilation, program);
  const Plan &plan = planned.plan();

  PlanReport report;
  report.layers = layersOf(compilation, program);
  report.classBytes = planned.memory(B, T, microBatches);
  report.peakBytes = totalOf(report.classBytes);
  report.memory = memoryText(report.classBytes);
  report.flops = plan.flops(B, T) * double(microBatches);
  report.steps = plan.steps.size();

  nlohmann::json json{{"batch", B},
                      {"seq", T},
                      {"micro_batches", microBatches},
                      {"layers", report.layers},
                      {"recomputed_layers", std::min(options.recomputedLayers, report.layers)},
                      {"peak_bytes", report.peakBytes},
                      {"flops", report.flops},
                      {"steps", report.steps},
                      {"bytes", nlohmann::json::object()},
                      {"table", nlohmann::json::array()}};
  for (const auto &[name, bytes] : report.classBytes)
    json["bytes"][name] = bytes;
  std::ostringstream table;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    std::string line = lineOf(plan, plan.steps[i]);
    table << i << ": " << line << "\n";
    json["table"].push_back(line);
  }
  report.table = table.str();
  report.json = json.dump();
  return report;
}

/// What of a step with fewer rows, shorter ones, or layers run again needs at most `free` bytes, in words.
static std::string whatFits(const ProgramSource &source, int64_t B, int64_t T, const CompileOptions &options,
                            int64_t microBatches, int64_t layers, int64_t free) {
  std::string fits;
  auto consider = [&](const std::string &option, int64_t bytes) {
    if (bytes <= free)
      fits += (fits.empty() ? "" : ", ") + option + " (" + runtime::cuda::bytesText(bytes) + ")";
    return bytes <= free;
  };
  auto shorter = [&](const PlannedStep &step, const std::string &also) {
    for (int64_t b = B / 2; b > 0; b /= 2)
      if (consider(also + "--batch " + std::to_string(b), totalOf(step.memory(b, T, microBatches))))
        break;
    for (int64_t t = T / 2; t > 0; t /= 2)
      if (consider(also + "--seq " + std::to_string(t), totalOf(step.memory(B, t, microBatches))))
        break;
  };
  shorter(planWith(source, options, options.recomputedLayers), "");
  if (options.recomputedLayers < layers) {
    const PlannedStep again = planWith(source, options, CompileOptions::kAllLayers);
    const std::string option = "--activations block";
    if (!consider(option, totalOf(again.memory(B, T, microBatches))) && fits.empty())
      shorter(again, option + " ");
  }
  return fits;
}

void tidegate::expectRoom(const ProgramSource &source, int64_t B, int64_t T, const CompileOptions &options,
                          int64_t microBatches, const PlanReport &planned) {
  if (options.target != Target::Cuda)
    return;
  const int64_t free = runtime::cuda::Device::get().memory().free;
  if (planned.peakBytes <= free)
    return;
  const std::string fits = whatFits(source, B, T, options, microBatches, planned.layers, free);
  expectFree("a training step of " + std::to_string(B) + " x " + std::to_string(T) + " tokens", planned.classBytes, 0,
             fits.empty() ? "no smaller batch or length fits either: use a smaller model, or free memory that other "
                            "processes hold"
                          : "what fits: " + fits);
}
