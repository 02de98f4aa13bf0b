//===- CpuProgram.cpp - Entry points of a module, ready to run --*- C++ -*-===//
#include "compiler/Plan/CpuProgram.h"
#include "compiler/Plan/PlanBuilder.h"

using namespace mlir;
using namespace tidegate;

namespace {
class CpuSink : public KernelSink {
public:
  explicit CpuSink(cpu::KernelModule &kernels) : kernels(kernels) {}

  FailureOr<runtime::Kernel> add(Operation *op) override {
    auto kernel = kernels.add(op);
    if (failed(kernel))
      return failure();
    return runtime::Kernel{kernel->name, nullptr, kernel->scratchBytes};
  }
  int64_t sumParts() const override { return runtime::Plan::kParts; }
  bool splitsSteps() const override { return false; }

private:
  cpu::KernelModule &kernels;
};
} // namespace

FailureOr<runtime::Plan> tidegate::buildPlan(func::FuncOp entry, cpu::KernelModule &kernels) {
  CpuSink sink(kernels);
  return buildPlan(entry, sink);
}

FailureOr<std::unique_ptr<CpuProgram>> CpuProgram::compile(ModuleOp module, ArrayRef<StringRef> entries,
                                                           unsigned threads) {
  cpu::KernelModule kernels(module.getContext());
  SmallVector<runtime::Plan> plans;
  for (StringRef name : entries) {
    auto entry = module.lookupSymbol<func::FuncOp>(name);
    if (!entry)
      return module.emitError("has no entry point '") << name << "'";
    auto plan = buildPlan(entry, kernels);
    if (failed(plan))
      return failure();
    plans.push_back(std::move(*plan));
  }
  auto program = std::make_unique<CpuProgram>();
  auto jit = cpu::Jit::compile(kernels.module(), std::min(threads, std::max(1u, kernels.size())));
  if (failed(jit))
    return failure();
  program->jit = std::move(*jit);
  for (auto [name, plan] : llvm::zip(entries, plans)) {
    for (runtime::Kernel &kernel : plan.kernels) {
      kernel.function = program->jit->lookup(kernel.name);
      if (!kernel.function)
        return module.emitError("kernel '") << kernel.name << "' was not compiled";
    }
    program->executors[name] = std::make_unique<runtime::Executor>(std::move(plan));
  }
  return program;
}
