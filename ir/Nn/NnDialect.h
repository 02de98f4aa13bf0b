//===- NnDialect.h - The graph dialect --------------------------*- C++ -*-===//
#pragma once

#include "mlir/IR/Dialect.h"

#include "ir/Nn/NnDialect.h.inc"
