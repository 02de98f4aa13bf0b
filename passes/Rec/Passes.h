//===- Passes.h - Passes over recurrences -----------------------*- C++ -*-===//
#pragma once

#include "ir/Nn/NnDialect.h"
#include "ir/Rec/RecDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace tidegate::rec {

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "passes/Rec/Passes.h.inc"

} // namespace tidegate::rec
