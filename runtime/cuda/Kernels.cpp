//===- Kernels.cpp - Programs compiled and loaded once ----------*- C++ -*-===//
#include "runtime/cuda/Kernels.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <unordered_map>

using namespace tidegate::runtime;
using namespace tidegate::runtime::cuda;

std::vector<std::shared_ptr<const CompiledProgram>> cuda::compileAll(std::span<const ProgramText *const> programs,
                                                                     const std::string &architecture,
                                                                     const KernelCache &cache) {
  const std::string version = Nvrtc::get().version();
  std::unordered_map<std::string, size_t> jobOf;
  std::vector<size_t> jobs; // per program
  std::vector<const ProgramText *> work;
  for (const ProgramText *program : programs) {
    auto [it, isNew] = jobOf.try_emplace(KernelCache::keyOf(*program, architecture, version), work.size());
    if (isNew)
      work.push_back(program);
    jobs.push_back(it->second);
  }

  std::vector<std::shared_ptr<const CompiledProgram>> results(work.size());
  std::vector<std::exception_ptr> errors(work.size());
  std::atomic<size_t> next = 0;
  auto worker = [&] {
    for (size_t i = next++; i < work.size(); i = next++)
      try {
        results[i] = std::make_shared<const CompiledProgram>(cache.get(*work[i], architecture));
      } catch (...) {
        errors[i] = std::current_exception();
      }
  };
  const size_t threads = std::min<size_t>(std::max(1u, std::thread::hardware_concurrency()), work.size());
  {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < threads; ++i)
      others.emplace_back(worker);
    worker();
  }
  for (const std::exception_ptr &error : errors)
    if (error)
      std::rethrow_exception(error);

  std::vector<std::shared_ptr<const CompiledProgram>> perProgram;
  for (size_t job : jobs)
    perProgram.push_back(results[job]);
  return perProgram;
}

void Kernels::compile(std::span<const ProgramText *const> wanted) {
  const std::string &architecture = Device::get().architecture, version = Nvrtc::get().version();
  std::vector<const ProgramText *> missing;
  std::vector<std::string> keys;
  for (const ProgramText *program : wanted) {
    std::string key = KernelCache::keyOf(*program, architecture, version);
    if (programs.contains(key))
      continue;
    missing.push_back(program);
    keys.push_back(std::move(key));
  }
  auto compiled = compileAll(missing, architecture, cache);
  for (size_t i = 0; i < missing.size(); ++i)
    programs.try_emplace(keys[i]).first->second.compiled = compiled[i];
}

Kernels::Loaded &Kernels::loaded(const ProgramText &program) {
  const ProgramText *const one[] = {&program};
  compile(one);
  return programs.at(KernelCache::keyOf(program, Device::get().architecture, Nvrtc::get().version()));
}

const Function &Kernels::function(const ProgramText &program, const std::string &kernel) {
  Loaded &own = loaded(program);
  if (auto it = own.functions.find(kernel); it != own.functions.end())
    return it->second;
  if (!own.module)
    own.module = std::make_unique<Module>(own.compiled->cubin, program.name);
  return own.functions.emplace(kernel, own.module->function(kernel)).first->second;
}

KernelUse Kernels::use(const ProgramText &program, const std::string &kernel) {
  for (const KernelUse &use : loaded(program).compiled->kernels)
    if (use.kernel == kernel)
      return use;
  throw RuntimeError(RuntimeError::Kind::Internal, "'" + program.name + "' has no kernel '" + kernel + "'");
}
