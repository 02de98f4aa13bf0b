//===- Kernels.h - CUDA kernels of a plan -----------------------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CUDA/KernelSource.h"
#include "compiler/Plan/KernelSink.h"
#include "ir/Rec/RecOps.h"
#include "llvm/ADT/StringMap.h"

#include <vector>

namespace tidegate::cuda {

/// Writes a CUDA kernel for each map and chunk scan. Nothing is compiled here.
class KernelSet : public KernelSink {
public:
  /// `bf16`: operands of products inside kernels are bfloat16.
  /// `mayShrink`: a scan that does not fit a block's shared memory is no error, but said by wantsLess().
  /// `isSparing`: what still does not fit is tried with TileOrder::Sparing.
  explicit KernelSet(bool bf16, bool mayShrink = false, bool isSparing = false)
      : bf16(bf16), mayShrink(mayShrink), isSparing(isSparing) {}

  /// True once add() has failed for want of shared memory that smaller chunks, or scans that are cut, may save.
  bool wantsLess() const { return isTooLarge; }

  llvm::FailureOr<runtime::Kernel> add(mlir::Operation *op) override;
  int64_t sumParts() const override { return kParts; }
  bool splitsSteps() const override { return true; }

  const std::vector<KernelSource> &kernels() const { return sources; }

  /// Two blocks for each of the 132 multiprocessors of a Hopper; fixed, so that sums do not depend on the device.
  static constexpr int64_t kParts = 264;

private:
  llvm::FailureOr<KernelSource> scanKernel(rec::ScanOp scan, const std::string &name);

  bool bf16, mayShrink, isSparing, isTooLarge = false;
  std::vector<KernelSource> sources;
  llvm::StringMap<size_t> byKey;
};

} // namespace tidegate::cuda
