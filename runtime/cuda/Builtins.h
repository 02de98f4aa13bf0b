//===- Builtins.h - The steps of a plan that are not generated --*- C++ -*-===//
// Lookups, short convolutions, positions, attention and their gradients run as
// hand-written kernels of runtime/device. A kernel is one instance of a template,
// for the element types and widths of a step; it is compiled when it is first
// needed. Launches allocate nothing and wait for nothing.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/HostTensor.h"
#include "runtime/core/Plan.h"
#include "runtime/cuda/Kernels.h"

#include <cstring>
#include <map>
#include <span>

namespace tidegate::runtime::cuda {

/// Where the buffers of a plan lie in one run. Floats are bf16 or f32, by the bytes of a buffer's elements. Addresses,
/// those of the workspace too, are multiples of 16.
struct Frame {
  const Plan &plan;
  int64_t B, T;
  std::span<void *const> addresses; ///< per buffer; empty: all null, to learn of kernels and sizes
  void *workspace = nullptr;        ///< builtinWorkspace(plan, B, T) bytes
  int64_t chunk = 0;                ///< or block, at which a loop is
};

/// One instance of a kernel of runtime/device.
struct BuiltinKernel {
  std::string name;      ///< of the function: "short_conv"
  std::string header;    ///< that defines it: "short_conv.cuh"
  std::string arguments; ///< its structure of arguments.cuh
  std::string call;      ///< "shortConvBlock<bf16, ...>(a, blockIdx.x)"
  int blocks = 1;        ///< of a multiprocessor that registers must allow

  ProgramText program() const;
};

/// One launch; `argument` is the structure of arguments.cuh.
struct BuiltinLaunch {
  BuiltinKernel kernel;
  LaunchShape shape;
  std::vector<std::byte> argument;
};

/// The launches that make a step, in order; none for kernels of the plan, products and copies. Needs no GPU.
/// Errors: RuntimeError InvalidArgument for sizes that no kernel has, with the sizes.
std::vector<BuiltinLaunch> builtinLaunches(const Step &step, const Frame &frame);

/// Bytes that the steps of a plan need beside its buffers, one step at a time.
int64_t builtinWorkspace(const Plan &plan, int64_t B, int64_t T);

/// A device array.
struct DeviceArray {
  void *address;
  Dtype dtype; ///< BF16 or F32
};

/// total[i] = sum over p of parts[p, i], in a fixed order; parts are f32, `count` x `elements`.
BuiltinLaunch sumOfParts(const void *parts, DeviceArray total, int64_t count, int64_t elements);
/// to = from, rounded to nearest even.
BuiltinLaunch castOf(DeviceArray from, DeviceArray to, int64_t count);
/// to[i] = value.
BuiltinLaunch fillOf(DeviceArray to, int64_t count, float value);

/// The programs that running a plan needs beside its own kernels, each once.
std::vector<ProgramText> builtinPrograms(const Plan &plan);

/// Launches on a GPU. A kernel that is not compiled yet is compiled at its first launch.
class Builtins {
public:
  explicit Builtins(Kernels &kernels) : kernels(kernels) {}

  void run(const Step &step, const Frame &frame, const Stream &stream);
  void run(const BuiltinLaunch &launch, const Stream &stream);
  void sum(const Stream &stream, const void *parts, void *total, Dtype dtype, int64_t count, int64_t elements) {
    run(sumOfParts(parts, {total, dtype}, count, elements), stream);
  }

private:
  Kernels &kernels;
  std::map<std::string, const Function *> functions; // by header and call
};

} // namespace tidegate::runtime::cuda
