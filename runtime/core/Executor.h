//===- Executor.h - Runs a plan on the CPU ----------------------*- C++ -*-===//
#pragma once

#include "runtime/core/Plan.h"

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <utility>

namespace tidegate::runtime {

/// Owns the arena of one plan and runs it. Results do not depend on the number
/// of threads. With TIDEGATE_POISON in the environment, arena and scratch are
/// filled with NaN before each run, so that a read before a write shows.
class Executor {
public:
  explicit Executor(Plan plan);
  ~Executor();

  /// Runs every step for this (B, T). `bindings` has one pointer per binding of
  /// the plan. Memory for a (B, T) is laid out once.
  /// Errors: RuntimeError if the arena cannot be had.
  void run(int64_t B, int64_t T, std::span<void *const> bindings);

  const Plan &plan() const { return thePlan; }
  /// Bytes of the arena at this (B, T).
  int64_t arenaBytes(int64_t B, int64_t T);
  /// Called after each turn of a step with B, T and seconds; for profiles.
  std::function<void(const Turn &, int64_t, int64_t, double)> onStep;

private:
  const Layout &layout(int64_t B, int64_t T);
  void reserve(int64_t bytes);

  Plan thePlan;
  std::map<std::pair<int64_t, int64_t>, Layout> layouts;
  std::byte *arena = nullptr;
  int64_t arenaSize = 0;
  std::byte *scratch = nullptr; // one piece per thread
  int64_t scratchStride = 0;
  int threads = 1;
  bool poison = false;
};

} // namespace tidegate::runtime
