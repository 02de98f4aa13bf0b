//===- Kernels.h - Functions of maps and scans ------------------*- C++ -*-===//
#pragma once

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

namespace tidegate::cpu {

/// A compiled unit: one function
///   void name(ptr *buffers, i64 begin, i64 end, i64 part, i64 batch, i64 tokens, ptr scratch)
/// over work items [begin, end): rows of a map, (batch row, head) pairs of a scan.
/// `buffers` are the op's operands, then its results. A summed result is an array
/// of partial sums; `part` says which one this call fills.
struct Kernel {
  std::string name;
  int64_t scratchBytes = 0;
};

/// Emits kernels into one module. Equal ops (same text, attributes and types)
/// share a function.
class KernelModule {
public:
  explicit KernelModule(mlir::MLIRContext *context);

  /// The kernel of an nn.map or rec.scan. Errors are reported at the op.
  llvm::FailureOr<Kernel> add(mlir::Operation *op);
  unsigned size() const { return kernels.size(); }
  mlir::ModuleOp module() { return *kernelModule; }

private:
  mlir::OwningOpRef<mlir::ModuleOp> kernelModule;
  llvm::StringMap<Kernel> kernels; // by the op's text
};

/// The op's text without locations or operand names: what makes two kernels equal.
std::string kernelKey(mlir::Operation *op);

} // namespace tidegate::cpu
