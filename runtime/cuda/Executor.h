//===- Executor.h - Runs plans on the GPU -----------------------*- C++ -*-===//
// The steps of a plan mean what they mean to the CPU's executor
// (runtime/core/Executor.h); floats are bf16 or f32, buffer by buffer.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/Plan.h"
#include "runtime/cuda/Blas.h"
#include "runtime/cuda/Builtins.h"
#include "runtime/cuda/Kernels.h"
#include "runtime/cuda/Program.h"

#include <mutex>
#include <optional>
#include <span>

namespace tidegate::runtime::cuda {

/// What the plans of a process share. They run one after the other on one stream, so one arena serves them all;
/// threads take turns with `mutex`.
class Engine {
public:
  explicit Engine(KernelCache cache = KernelCache(KernelCache::defaultDirectory()));

  /// Memory for activations, at least `bytes`; where it grows, it moves and its content is lost. `what` needs it
  /// appears in messages. Errors: RuntimeError Device with bytes needed and free.
  std::byte *reserve(int64_t bytes, const std::string &what);
  int64_t arenaBytes() const { return arena.bytes(); }
  /// Gives that memory back.
  void release();

  Stream stream;
  Kernels kernels;
  Blas blas;
  Builtins builtins;
  std::recursive_mutex mutex;

private:
  DeviceMemory arena;
};

/// Where things lie in the arena in a run at one (B, T): buffers, then the workspace of built-in kernels.
struct Arena {
  Layout layout;
  int64_t workspace = 0; ///< offset
  int64_t bytes = 0;     ///< of all
};
/// Needs no GPU.
Arena arenaOf(const Plan &plan, int64_t B, int64_t T);

/// Runs one plan. With TIDEGATE_POISON in the environment the arena is filled with NaN before each run, so that a read
/// before a write shows. With TIDEGATE_SYNC every step is waited for, so that an error of a kernel names its step, its
/// launch and its place in the program; otherwise it shows later, and the step that it shows at is only the last that
/// it can be of.
class CudaExecutor {
public:
  /// `texts` has the plan's kernels by name; they are compiled here. `engine` must outlive the executor.
  /// Errors: RuntimeError InvalidArgument for element types that the GPU has no kernels for; those of Nvrtc::compile.
  CudaExecutor(Engine &engine, Plan plan, std::vector<KernelText> texts);
  ~CudaExecutor();

  /// Puts every step for this (B, T) on the engine's stream and returns. `bindings` has one device address per binding
  /// of the plan. What was run before with the same arguments is launched as one graph. Errors: RuntimeError Device
  /// with step, source position and sizes; errors of the work itself show when the stream is waited for.
  void run(int64_t B, int64_t T, std::span<void *const> bindings);

  /// The same, never as a graph: to record a graph of several runs. prepare() must have been called for this (B, T)
  /// before recording, and no larger run in between.
  void enqueue(int64_t B, int64_t T, std::span<void *const> bindings);
  /// Makes room for this (B, T).
  void prepare(int64_t B, int64_t T);

  const Plan &plan() const { return thePlan; }
  /// The text of kernel i of the plan.
  const KernelText &text(size_t kernel) const { return texts[kernel]; }
  /// Bytes of the arena at this (B, T).
  int64_t arenaBytes(int64_t B, int64_t T);

  /// Whether repeated runs become graphs.
  bool usesGraphs = true;
  /// Called after a run with each turn, B, T and its seconds on the GPU; for profiles. No graphs then.
  std::function<void(const Turn &, int64_t, int64_t, double)> onStep;

private:
  struct Run;
  struct Replay;

  const Arena &place(int64_t B, int64_t T);
  std::byte *reserve(int64_t B, int64_t T);
  Run start(int64_t B, int64_t T, std::span<void *const> bindings);
  void step(const Run &run, size_t number);
  std::string describe(const Step &step, int64_t B, int64_t T, int64_t n) const;
  void profile(int64_t B, int64_t T, std::span<void *const> bindings);

  Engine &engine;
  Plan thePlan;
  std::vector<KernelText> texts;           // as the plan's kernels
  std::vector<const Function *> functions; // as the plan's kernels
  std::map<std::pair<int64_t, int64_t>, Arena> places;
  std::vector<Replay> replays; // the oldest first
  bool poison = false, isSynchronous = false;
};

/// "kernel 'gla_forward' over 512 items", "product f32 [...] = ...": a step in messages.
/// In round n of its loop.
std::string stepText(const Plan &plan, const Step &step, int64_t B, int64_t T, int64_t n = 0);

} // namespace tidegate::runtime::cuda
