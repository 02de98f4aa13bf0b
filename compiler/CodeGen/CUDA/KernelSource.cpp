//===- KernelSource.cpp - One generated CUDA kernel -------------*- C++ -*-===//
#include "compiler/CodeGen/CUDA/KernelSource.h"

#include "llvm/Support/raw_ostream.h"

using namespace tidegate;
using namespace tidegate::cuda;

std::string cuda::storageType(mlir::Type element) {
  return element.isInteger(32) ? "int" : element.isBF16() ? "bf16" : "float";
}

std::string cuda::wrapKernel(const KernelSource &kernel, llvm::ArrayRef<std::string> includes,
                             llvm::ArrayRef<std::string> parameterTypes, llvm::StringRef body, llvm::StringRef origin,
                             bool isFast) {
  std::string text;
  llvm::raw_string_ostream os(text);
  if (!origin.empty())
    os << "// " << origin << "\n";
  os << "#define TIDEGATE_WARPS " << kernel.threads / 32 << "\n";
  if (isFast)
    os << "#define TIDEGATE_FAST_DIVIDE\n";
  for (const std::string &include : includes)
    os << "#include \"runtime/device/" << include << "\"\n";
  os << "\nusing namespace tidegate::device;\n\n"
     << "TIDEGATE_DEVICE void " << kernel.name << "_body(Grid grid";
  for (auto [i, type] : llvm::enumerate(parameterTypes))
    os << ", " << type << "b" << i;
  os << ", long long items, long long B, long long T) {\n" << body << "}\n\n";

  auto call = [&](auto argument, llvm::StringRef grid) {
    os << kernel.name << "_body(" << grid;
    for (size_t i = 0; i < parameterTypes.size(); ++i)
      os << ", " << argument(i);
    os << ", items, B, T)";
  };
  os << "#ifdef TIDEGATE_SOFTWARE_WARP\n"
     << "extern \"C\" void " << kernel.name
     << "(void *const *buffers, long long items, long long B, long long T, long long blocks) {\n"
     << "  playGrid(blocks, " << kernel.threads << ", " << kernel.sharedBytes << ", [&](Grid grid) { ";
  call([&](size_t i) { return "(" + parameterTypes[i] + ")buffers[" + std::to_string(i) + "]"; }, "grid");
  os << "; });\n}\n#else\n"
     << "extern \"C\" __global__ void __launch_bounds__(" << kernel.threads << ") " << kernel.name << "(";
  for (auto [i, type] : llvm::enumerate(parameterTypes))
    os << type << "b" << i << ", ";
  os << "long long items, long long B, long long T) {\n"
     << "  extern __shared__ __align__(1024) unsigned char shared[];\n  ";
  call([&](size_t i) { return "b" + std::to_string(i); }, "Grid{blockIdx.x, gridDim.x, shared}");
  os << ";\n}\n#endif\n";
  return text;
}
