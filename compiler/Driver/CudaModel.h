//===- CudaModel.h - A compiled model on the GPU ----------------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CUDA/Kernels.h"
#include "compiler/Driver/Pipeline.h"
#include "runtime/cuda/Executor.h"
#include "runtime/train/Model.h"

namespace tidegate {

/// Errors: RuntimeError InvalidArgument for what runs on the CPU alone: precision f64, recurrences in token form.
void checkForCuda(const CompileOptions &options);

/// Errors: RuntimeError Device where there is no GPU, driver or CUDA library, with what is missing; Device where the
/// GPU's free memory does not hold the model; those of checkForCuda.
std::unique_ptr<train::Model> compileCudaModel(const ProgramSource &source, const CompileOptions &options);

/// Makes a fused module for the options of a compilation.
using BuildModule = llvm::function_ref<mlir::OwningOpRef<mlir::ModuleOp>()>;

/// Functions of a module as plans, and their kernels.
struct PlannedKernels {
  std::vector<runtime::Plan> plans; ///< One per entry.
  cuda::KernelSet kernels;
};

/// Plans `entries` of the module that `build` makes. While a block's shared memory does not hold their kernels `build`
/// is called again: unless the options say how large chunks are, with smaller ones; then with scans that are cut, in
/// chunks from the largest again. Needs no GPU. Errors are diagnostics of `compilation`.
PlannedKernels planKernels(Compilation &compilation, BuildModule build, llvm::ArrayRef<llvm::StringRef> entries);

/// Functions of a module as plans, and the text of their kernels.
struct CudaPlans {
  std::vector<runtime::Plan> plans; ///< One per entry.
  std::vector<runtime::cuda::KernelText> kernels;
  std::vector<cuda::KernelOrigin> origins; ///< One per kernel.
};

/// planKernels, with kernels as NVRTC takes them.
CudaPlans planForCuda(Compilation &compilation, BuildModule build, llvm::ArrayRef<llvm::StringRef> entries);

/// Functions of a fused module, ready to run on the GPU.
class CudaProgram {
public:
  /// Compiles the kernels of planForCuda. One that NVRTC refuses is a CompileError at the statements it was made of.
  CudaProgram(Compilation &compilation, runtime::cuda::Engine &engine, BuildModule build,
              llvm::ArrayRef<llvm::StringRef> entries);

  runtime::cuda::CudaExecutor &entry(llvm::StringRef name) { return *executors.find(name)->second; }

  /// A binding of a caller's. Without memory it is zeros to read, or a result that nobody wants.
  struct Argument {
    void *data = nullptr;
    bool isOnGpu = false;
  };
  /// Runs an entry in order with the caller's stream (a CUstream). The first `numInputs` arguments are read, the others
  /// written: where they lie on the GPU, else by copies that are waited for. Errors: those of expectFree, before
  /// anything is copied or launched.
  void run(llvm::StringRef name, int64_t B, int64_t T, std::span<const Argument> arguments, size_t numInputs,
           void *stream);

private:
  runtime::cuda::Engine &engine;
  llvm::StringMap<std::unique_ptr<runtime::cuda::CudaExecutor>> executors;
};

/// The one GPU of the process. Errors: RuntimeError Device.
runtime::cuda::Engine &cudaEngine();

/// The compiled functions of a training step of a model on the GPU; null for one on the CPU.
CudaProgram *cudaTraining(train::Model &model);

} // namespace tidegate
