//===- Passes.h - Passes inside the graph dialect ---------------*- C++ -*-===//
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace tidegate::nn {

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "passes/Nn/Passes.h.inc"

} // namespace tidegate::nn
