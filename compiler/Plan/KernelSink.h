//===- KernelSink.h - Where a plan's kernels go -----------------*- C++ -*-===//
#pragma once

#include "mlir/IR/Operation.h"
#include "runtime/core/Plan.h"
#include "llvm/Support/LogicalResult.h"

namespace tidegate {

/// A back end, as the plan sees it: kernels by op.
class KernelSink {
public:
  virtual ~KernelSink() = default;

  /// The kernel of an nn.map or rec.scan; equal ops share one. Errors are reported at the op.
  virtual llvm::FailureOr<runtime::Kernel> add(mlir::Operation *op) = 0;
  /// Parts that a sum over rows is cut into at most; they are floats of at least 4 bytes.
  virtual int64_t sumParts() const = 0;
  /// Whether each step of a scan without states is a work item of its own.
  virtual bool splitsSteps() const = 0;
};

} // namespace tidegate
