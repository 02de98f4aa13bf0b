//===- DifferentiableOpInterface.h - Ops with an adjoint --------*- C++ -*-===//
#pragma once

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpDefinition.h"

#include "ir/Interfaces/DifferentiableOpInterface.h.inc"
