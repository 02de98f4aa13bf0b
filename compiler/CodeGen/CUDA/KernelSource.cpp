//===- KernelSource.cpp - One generated CUDA kernel -------------*- C++ -*-===//
#include "compiler/CodeGen/CUDA/KernelSource.h"

#include "ir/SourcePlace.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/raw_ostream.h"

using namespace tidegate;
using namespace tidegate::cuda;

std::string cuda::storageType(mlir::Type element) {
  return element.isInteger(32) ? "int" : element.isBF16() ? "bf16" : "float";
}

/// The positions of an op and of those in it.
static std::vector<mlir::LocationAttr> placesOf(mlir::Operation *op) {
  std::vector<mlir::LocationAttr> places;
  llvm::StringSet<> lines;
  op->walk<mlir::WalkOrder::PreOrder>([&](mlir::Operation *inner) {
    const mlir::Location loc = inner->getLoc();
    auto fused = mlir::dyn_cast<mlir::FusedLoc>(loc);
    for (mlir::Location one : fused ? fused.getLocations() : llvm::ArrayRef(loc))
      if (std::string line = sourceLine(one); !line.empty() && lines.insert(line).second)
        places.push_back(one);
  });
  return places;
}

mlir::LocationAttr KernelOrigin::at(int line) const {
  auto after = llvm::upper_bound(marks, line, [](int wanted, const TextMark &mark) { return wanted < mark.line; });
  if (after != marks.begin())
    if (mlir::LocationAttr from = std::prev(after)->from; from && sourcePlace(from))
      return from;
  return places.empty() ? mlir::LocationAttr() : places.front();
}

void cuda::wrapKernel(KernelSource &kernel, mlir::Operation *op, llvm::ArrayRef<std::string> includes,
                      llvm::ArrayRef<std::string> parameterTypes, const Text &body, bool isFast) {
  std::string &text = kernel.text;
  llvm::raw_string_ostream os(text);
  if (const std::string origin = sourceLine(op->getLoc()); !origin.empty())
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
  os << ", long long items, long long B, long long T) {\n";
  const int before = int(llvm::count(text, '\n'));
  os << body.written() << "}\n\n";
  kernel.origin.places = placesOf(op);
  for (const TextMark &mark : body.lineMarks())
    kernel.origin.marks.push_back({mark.line + before, mark.from});
  kernel.origin.marks.push_back({int(llvm::count(text, '\n')), {}});

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
}
