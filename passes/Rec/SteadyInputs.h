//===- SteadyInputs.h - Inputs under which no state grows -------*- C++ -*-===//
#pragma once

#include "passes/Rec/GateRange.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace tidegate::rec {

/// For each argument of a function the numbers, of those in [-1, 1], with which
/// no token scan of it makes its state grow: all of them, or those on one side
/// of 0. A state does not grow if decays are at most 1 in size, and if what an
/// add reads of the state is taken off it rather than put on top. As few
/// arguments as possible are kept to a side; where no choice of sides is seen to
/// do, none is made. Scans of several states are separated on the way.
llvm::SmallVector<Interval> steadyRanges(mlir::func::FuncOp function);

} // namespace tidegate::rec
