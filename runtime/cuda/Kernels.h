//===- Kernels.h - Programs compiled and loaded once ------------*- C++ -*-===//
// Programs are compiled on several threads, equal ones once, and come from the
// cache on disk where it has them. Modules are loaded when a kernel of theirs is
// first asked for.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/cuda/Driver.h"
#include "runtime/cuda/KernelCache.h"

#include <map>
#include <memory>
#include <span>

namespace tidegate::runtime::cuda {

/// Compiles those of `programs` that are equal only once, on all cores. Result i is of program i. Needs no GPU.
/// Errors: those of Nvrtc::compile, of the first program in order that has one.
std::vector<std::shared_ptr<const CompiledProgram>>
compileAll(std::span<const ProgramText *const> programs, const std::string &architecture, const KernelCache &cache);

class Kernels {
public:
  explicit Kernels(KernelCache cache = KernelCache(KernelCache::defaultDirectory())) : cache(std::move(cache)) {}

  /// Compiles what is not there yet for the GPU's architecture.
  void compile(std::span<const ProgramText *const> programs);

  /// The kernel of a program; compiles it if need be. Stays valid as long as this object.
  const Function &function(const ProgramText &program, const std::string &kernel);

  /// Registers, spills and shared memory of a kernel.
  KernelUse use(const ProgramText &program, const std::string &kernel);

private:
  struct Loaded {
    std::shared_ptr<const CompiledProgram> compiled;
    std::unique_ptr<Module> module; ///< null: not needed yet
    std::map<std::string, Function> functions;
  };
  Loaded &loaded(const ProgramText &program);

  KernelCache cache;
  std::map<std::string, Loaded> programs; // by KernelCache::keyOf
};

} // namespace tidegate::runtime::cuda
