//===- PlanBuilder.h - From a fused function to a plan ----------*- C++ -*-===//
#pragma once

#include "compiler/CodeGen/CPU/Kernels.h"
#include "compiler/Plan/KernelSink.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "runtime/core/Plan.h"

namespace tidegate {

/// Lists what `entry` does: calls are followed in place, reshapes become other
/// names of one buffer, maps and scans become launches of kernels added to
/// `kernels`. Arguments, then results, are the plan's bindings in order. Kernels
/// of the plan carry names; functions are filled in after compilation.
///
/// Shapes: of an argument's `?` dimensions the first is B and the second T.
/// Errors: a diagnostic at an op that fusion should have put into a map, or at a
/// product that is not one matrix product.
llvm::FailureOr<runtime::Plan> buildPlan(mlir::func::FuncOp entry, KernelSink &kernels);

/// The same with kernels for the CPU.
llvm::FailureOr<runtime::Plan> buildPlan(mlir::func::FuncOp entry, cpu::KernelModule &kernels);

} // namespace tidegate
