//===- Passes.h - Differentiation passes ------------------------*- C++ -*-===//
#pragma once

#include "mlir/Pass/Pass.h"

#include <string>

namespace tidegate::autodiff {
#define GEN_PASS_DECL
#include "passes/Autodiff/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Autodiff/Passes.h.inc"
} // namespace tidegate::autodiff
