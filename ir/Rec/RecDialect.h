//===- RecDialect.h - The recurrence dialect --------------------*- C++ -*-===//
#pragma once

#include "mlir/IR/Dialect.h"

#include "ir/Rec/RecDialect.h.inc"
