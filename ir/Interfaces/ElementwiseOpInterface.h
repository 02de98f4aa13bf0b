//===- ElementwiseOpInterface.h - Ops made of one scalar rule -*- C++ -*-===//
#pragma once

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpDefinition.h"

#include "ir/Interfaces/ElementwiseOpInterface.h.inc"
