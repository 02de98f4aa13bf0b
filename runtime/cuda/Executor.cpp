//===- Executor.cpp - Runs plans on the GPU ---------------------*- C++ -*-===//
#include "runtime/cuda/Executor.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <cstdlib>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

namespace {

constexpr int64_t kAlignment = 256;
constexpr size_t kReplays = 16; ///< graphs kept for each plan

int64_t alignUp(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

Dtype floatTypeOf(const Buffer &buffer) { return buffer.elementBytes == 2 ? Dtype::BF16 : Dtype::F32; }

/// In round n of its loop.
MatrixProduct productOf(const Plan &plan, const Product &p, int64_t B, int64_t T, int64_t n) {
  auto type = [&](int buffer) { return floatTypeOf(plan.buffers[buffer]); };
  return {p.transA,  p.transB,  p.m.at(B, T, n), p.n.at(B, T, n), p.k.at(B, T, n), p.count.at(B, T, n),
          type(p.a), type(p.b), type(p.c),       p.adds};
}

std::string sizesText(int64_t B, int64_t T) { return std::to_string(B) + " x " + std::to_string(T) + " tokens"; }

} // namespace

std::string cuda::stepText(const Plan &plan, const Step &step, int64_t B, int64_t T, int64_t n) {
  struct Text {
    const Plan &plan;
    int64_t B, T, n;
    std::string operator()(const Launch &l) const {
      return "kernel '" + plan.kernels[l.kernel].name + "' over " + std::to_string(l.items.at(B, T, n)) + " items";
    }
    std::string operator()(const Product &p) const { return "product " + productOf(plan, p, B, T, n).text(); }
    std::string operator()(const Lookup &) const { return "lookup"; }
    std::string operator()(const LookupGrad &) const { return "gradient of a lookup"; }
    std::string operator()(const ShortConv &s) const {
      return s.kind == ShortConv::Kind::Forward     ? "short convolution"
             : s.kind == ShortConv::Kind::InputGrad ? "input gradient of a short convolution"
                                                    : "weight gradient of a short convolution";
    }
    std::string operator()(const Positions &) const { return "positions"; }
    std::string operator()(const LastRows &) const { return "last rows"; }
    std::string operator()(const Attention &) const { return "attention"; }
    std::string operator()(const AttentionGrad &) const { return "gradient of attention"; }
    std::string operator()(const Copy &) const { return "copy"; }
    std::string operator()(const Repeat &) const { return "repeat"; }
    std::string operator()(const SumPieces &) const { return "sum"; }
    std::string operator()(const ChunkRows &) const { return "rows of a chunk"; }
  };
  return std::visit(Text{plan, B, T, n}, step.what);
}

Arena cuda::arenaOf(const Plan &plan, int64_t B, int64_t T) {
  Arena arena;
  arena.layout = layoutOf(plan, B, T);
  arena.workspace = alignUp(arena.layout.bytes);
  arena.bytes = arena.workspace + builtinWorkspace(plan, B, T);
  return arena;
}

//===----------------------------------------------------------------------===//
// What plans share
//===----------------------------------------------------------------------===//

Engine::Engine(KernelCache cache) : kernels(std::move(cache)), builtins(kernels) {}

std::byte *Engine::reserve(int64_t bytes, const std::string &what) {
  if (bytes > arena.bytes()) {
    release(); // first, so that both are never there at once
    arena = DeviceMemory(bytes, what);
  }
  return static_cast<std::byte *>(arena.data());
}

void Engine::release() {
  stream.synchronize();
  arena = {};
}

//===----------------------------------------------------------------------===//
// One run at one (B, T)
//===----------------------------------------------------------------------===//

/// Buffers as addresses; puts steps on the stream.
struct CudaExecutor::Run {
  CudaExecutor &executor;
  int64_t B, T;
  std::vector<void *> address; // per buffer
  void *workspace;
  int64_t chunk = 0; // or block, of a loop

  int64_t size(const Extent &extent) const { return extent.at(B, T, chunk); }
  const Plan &plan() const { return executor.thePlan; }
  const Stream &stream() const { return executor.engine.stream; }

  void operator()(const Step &step) const {
    if (auto *launch = std::get_if<Launch>(&step.what))
      this->launch(*launch);
    else if (auto *product = std::get_if<Product>(&step.what))
      multiply(*product);
    else if (auto *copy = std::get_if<Copy>(&step.what))
      this->copy(*copy);
    else if (auto *repeat = std::get_if<Repeat>(&step.what))
      this->repeat(*repeat);
    else
      executor.engine.builtins.run(step, {plan(), B, T, address, workspace, chunk}, stream());
  }

  void launch(const Launch &launch) const {
    const KernelText &text = executor.texts[launch.kernel];
    long long sizes[] = {size(launch.items), B, T};
    std::vector<void *> buffers;
    for (int b : launch.buffers)
      buffers.push_back(address[b]);
    std::vector<void *> arguments;
    for (void *&buffer : buffers)
      arguments.push_back(&buffer);
    for (long long &size : sizes)
      arguments.push_back(&size);
    const int64_t blocks = text.blocks(sizes[0]);
    executor.functions[launch.kernel]->launchRaw(
        stream(), {.blocks = blocks, .threads = text.threads, .sharedBytes = text.sharedBytes}, arguments.data());
    for (const Launch::Sum &sum : launch.sums)
      add(sum, launch.buffers[sum.argument], blocks);
  }

  void add(const Launch::Sum &sum, int parts, int64_t count) const {
    const Buffer &buffer = plan().buffers[parts];
    if (const int64_t room = buffer.elements.at(B, T); count * sum.elements > room)
      throw RuntimeError(RuntimeError::Kind::Internal,
                         std::to_string(count) + " parts of " + std::to_string(sum.elements) +
                             " elements do not fit into a buffer of " + std::to_string(room));
    executor.engine.builtins.sum(stream(), address[parts], address[sum.total], floatTypeOf(plan().buffers[sum.total]),
                                 count, sum.elements);
  }

  void multiply(const Product &p) const {
    executor.engine.blas.multiply(stream(), productOf(plan(), p, B, T, chunk), address[p.a], address[p.b],
                                  address[p.c]);
  }

  void copy(const Copy &c) const {
    const Buffer &from = plan().buffers[c.from];
    stream().onDevice(address[c.to], address[c.from], size(from.elements) * from.elementBytes);
  }

  void repeat(const Repeat &r) const {
    const int64_t bytes = size(r.elements) * plan().buffers[r.to].elementBytes, count = size(r.count);
    if (r.from < 0)
      return stream().fill(address[r.to], 0, count * bytes);
    for (int64_t i = 0; i < count; ++i)
      stream().onDevice(static_cast<std::byte *>(address[r.to]) + i * bytes, address[r.from], bytes);
  }

  void moveTo(int64_t n) {
    if (n != chunk)
      placeViews(plan(), chunk = n, B, T, address);
  }
};

/// A run that may come again.
struct CudaExecutor::Replay {
  int64_t B, T;
  std::vector<void *> bindings;
  std::byte *arena;
  std::optional<Graph> graph; ///< from the second run on

  bool isFor(int64_t otherB, int64_t otherT, std::span<void *const> others, const std::byte *otherArena) const {
    return B == otherB && T == otherT && arena == otherArena && std::ranges::equal(bindings, others);
  }
};

CudaExecutor::CudaExecutor(Engine &engine, Plan plan, std::vector<KernelText> given)
    : engine(engine), thePlan(std::move(plan)), poison(std::getenv("TIDEGATE_POISON") != nullptr),
      isSynchronous(std::getenv("TIDEGATE_SYNC") != nullptr) {
  for (const Buffer &buffer : thePlan.buffers)
    if (buffer.elementBytes != 2 && buffer.elementBytes != 4)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "expected f32 or bf16 on the GPU, but a buffer of the plan has elements of " +
                             std::to_string(buffer.elementBytes) + " bytes; f64 is computed with --device cpu");
  std::vector<const ProgramText *> programs;
  for (const Kernel &kernel : thePlan.kernels) {
    auto it = std::ranges::find(given, kernel.name, &KernelText::name);
    if (it == given.end())
      throw RuntimeError(RuntimeError::Kind::Internal, "the plan's kernel '" + kernel.name + "' has no text");
    texts.push_back(*it);
  }
  for (const KernelText &text : texts)
    programs.push_back(&text.program);
  const std::vector<ProgramText> builtins = builtinPrograms(thePlan);
  for (const ProgramText &program : builtins)
    programs.push_back(&program);
  const std::lock_guard turn(engine.mutex);
  try {
    engine.kernels.compile(programs);
  } catch (const ProgramError &error) {
    for (const Step &step : thePlan.steps)
      for (const BuiltinLaunch &launch : builtinLaunches(step, {thePlan, 1, 1, {}}))
        if (launch.kernel.name == error.program)
          throw RuntimeError(error.kind(), stepText(thePlan, step, 1, 1) +
                                               (step.where.empty() ? "" : ", of " + step.where) + ": " + error.what());
    throw;
  }
  for (const KernelText &text : texts)
    functions.push_back(&engine.kernels.function(text.program, text.name));
}

CudaExecutor::~CudaExecutor() = default;

const Arena &CudaExecutor::place(int64_t B, int64_t T) {
  auto [it, isNew] = places.try_emplace({B, T});
  if (isNew)
    it->second = arenaOf(thePlan, B, T);
  return it->second;
}

int64_t CudaExecutor::arenaBytes(int64_t B, int64_t T) { return place(B, T).bytes; }

std::byte *CudaExecutor::reserve(int64_t B, int64_t T) {
  return engine.reserve(place(B, T).bytes, "a plan of " + sizesText(B, T));
}

void CudaExecutor::prepare(int64_t B, int64_t T) {
  const std::lock_guard turn(engine.mutex);
  reserve(B, T);
}

CudaExecutor::Run CudaExecutor::start(int64_t B, int64_t T, std::span<void *const> bindings) {
  const Arena &own = place(B, T);
  std::byte *arena = reserve(B, T);
  if (poison) // every byte 0xff: NaN in both float types
    engine.stream.fill(arena, 0xff, own.bytes);
  Run run{*this, B, T, addressesOf(thePlan, own.layout, arena, bindings), arena + own.workspace};
  placeViews(thePlan, 0, B, T, run.address);
  return run;
}

void CudaExecutor::step(const Run &run, size_t number) {
  const Step &step = thePlan.steps[number];
  try {
    run(step);
    if (isSynchronous)
      engine.stream.synchronize();
  } catch (const RuntimeError &error) {
    // Unless each step is waited for, the error may be of a kernel that ran before.
    const std::string earlier = isSynchronous ? "" : engine.stream.failure();
    throw RuntimeError(error.kind(), "step " + std::to_string(number) + " at " + sizesText(run.B, run.T) + ", " +
                                         describe(step, run.B, run.T, run.chunk) +
                                         (step.where.empty() ? "" : ", of " + step.where) +
                                         (earlier.empty() ? ": " + std::string(error.what())
                                                          : ", or a step before it: " + earlier));
  }
}

/// A step in messages, launches with their shape.
std::string CudaExecutor::describe(const Step &step, int64_t B, int64_t T, int64_t n) const {
  std::string what = stepText(thePlan, step, B, T, n);
  if (auto *launch = std::get_if<Launch>(&step.what)) {
    const KernelText &text = texts[launch->kernel];
    what += " in " + std::to_string(text.blocks(launch->items.at(B, T))) + " blocks of " +
            std::to_string(text.threads) + " threads";
  }
  return what;
}

void CudaExecutor::enqueue(int64_t B, int64_t T, std::span<void *const> bindings) {
  const std::lock_guard turn(engine.mutex);
  Run run = start(B, T, bindings);
  for (const Turn &next : thePlan.turns(B, T)) {
    run.moveTo(next.n);
    step(run, next.step);
  }
}

void CudaExecutor::profile(int64_t B, int64_t T, std::span<void *const> bindings) {
  Run run = start(B, T, bindings);
  const std::vector<Turn> turns = thePlan.turns(B, T);
  std::vector<Event> events(turns.size() + 1);
  events[0].record(engine.stream);
  for (size_t i = 0; i < turns.size(); ++i) {
    run.moveTo(turns[i].n);
    step(run, turns[i].step);
    events[i + 1].record(engine.stream);
  }
  engine.stream.synchronize();
  for (size_t i = 0; i < turns.size(); ++i)
    onStep(turns[i], B, T, Event::seconds(events[i], events[i + 1]));
}

void CudaExecutor::run(int64_t B, int64_t T, std::span<void *const> bindings) {
  if (int64_t(bindings.size()) != thePlan.bindings)
    throw RuntimeError(RuntimeError::Kind::Internal, "expected " + std::to_string(thePlan.bindings) +
                                                         " arrays for a plan, but got " +
                                                         std::to_string(bindings.size()));
  const std::lock_guard turn(engine.mutex);
  if (onStep)
    return profile(B, T, bindings);
  if (!usesGraphs || isSynchronous)
    return enqueue(B, T, bindings);
  std::byte *arena = reserve(B, T);
  auto it = std::ranges::find_if(replays, [&](const Replay &r) { return r.isFor(B, T, bindings, arena); });
  if (it == replays.end()) {
    // The first time as it is: this loads what is loaded on first use.
    enqueue(B, T, bindings);
    if (replays.size() == kReplays)
      replays.erase(replays.begin());
    replays.push_back({B, T, {bindings.begin(), bindings.end()}, arena, {}});
    return;
  }
  if (!it->graph)
    it->graph.emplace(engine.stream, [&] { enqueue(B, T, bindings); });
  it->graph->launch(engine.stream);
}
