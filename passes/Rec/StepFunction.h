//===- StepFunction.h - A step of a scan for all rows and heads -*- C++ -*-===//
#pragma once

#include "ir/Rec/RecOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace tidegate::rec {

/// Whether every op of a scan's body has a form on whole tensors: a scan over chunks of the language, or an adjoint of
/// one.
bool hasStepFunction(ScanOp scan);

/// The body of a scan over chunks as a private function of `module` on whole tensors, as rec.loop calls it: what a body
/// computes for one batch row and head, it computes for all. `isLast`: for the step of the last token.
/// Errors: a diagnostic at an op that has no such form.
llvm::FailureOr<mlir::func::FuncOp> buildStepFunction(ScanOp scan, bool isLast, llvm::StringRef name);

} // namespace tidegate::rec
