//===- VectorUnit.h - Vector registers of the host --------------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CPU/Code.h"

namespace tidegate::cpu {

/// What register blocks are cut to. Wider vectors than the host's are legal, but
/// LLVM splits them, and a block that fitted its registers spills.
struct VectorUnit {
  int64_t bits;      ///< Of one register.
  int64_t registers; ///< How many.

  int64_t lanes(mlir::Type type) const { return bits / type.getIntOrFloatBitWidth(); }
  static const VectorUnit &host();
};

/// Covers [0, width) with vectors of the host, in a loop, and the tail with
/// narrower ones: `body(begin, vector type)`.
void forVectors(Code &code, mlir::Type type, int64_t width,
                llvm::function_ref<void(mlir::Value, mlir::VectorType)> body);

} // namespace tidegate::cpu
