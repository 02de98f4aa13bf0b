//===- Substitution.h - Unit lower triangular solves ------------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CPU/Code.h"

namespace tidegate::cpu {

/// Emits `to = (I - M)^-1 rhs`, or `(I - M)^-T rhs`, for a row-major rows x rows
/// matrix and rows x width right side. Only the strictly lower part of M is read.
/// Blocks of rows: a product with the rows that are solved, then substitution in
/// registers.
void emitSubstitution(Code &code, mlir::Type type, int64_t rows, int64_t width, bool transposed, mlir::Value matrix,
                      mlir::Value rhs, mlir::Value to);

} // namespace tidegate::cpu
