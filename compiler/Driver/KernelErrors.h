//===- KernelErrors.h - NVRTC's errors at the program's lines ---*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CUDA/KernelSource.h"
#include "runtime/cuda/Nvrtc.h"

namespace tidegate {

/// Reports that a generated kernel does not compile: for each error in NVRTC's log that names a line of the kernel, at
/// the statement which that line was made for; else at the kernel's first, with notes at its others. The log follows
/// as a note.
void reportAtStatements(mlir::MLIRContext &context, const cuda::KernelOrigin &origin,
                        const runtime::cuda::ProgramError &error);

} // namespace tidegate
