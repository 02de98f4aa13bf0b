//===- RecOps.h - Ops of the recurrence dialect -----------------*- C++ -*-===//
#pragma once

#include "ir/Interfaces/DifferentiableOpInterface.h"
#include "ir/Interfaces/ElementwiseOpInterface.h"
#include "ir/Rec/RecDialect.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "ir/Rec/RecEnums.h.inc"

#define GET_OP_CLASSES
#include "ir/Rec/RecOps.h.inc"

namespace tidegate::rec {

/// The scan itself, or one in its place that saves (does not save) its entry
/// states and has taken over its uses; `op` is then dead.
ScanOp withEntryStates(ScanOp op);
ScanOp withoutEntryStates(ScanOp op);

/// The steps that a copy of a scan's body serves.
struct StepKind {
  bool isLast = false;   ///< The step of the last token, or the others.
  bool isMarked = false; ///< Those that a state marks, or the others.
};

/// Decides each `rec.unless_last` and `rec.when` of a scan's body for a kind of
/// steps, and removes what then adds nothing.
void specialiseBody(mlir::Block &body, StepKind kind);

} // namespace tidegate::rec
