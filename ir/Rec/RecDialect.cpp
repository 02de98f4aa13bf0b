//===- RecDialect.cpp - Registration of the recurrence dialect --------*- C++ -*-===//
#include "ir/Nn/NnDialect.h"
#include "ir/Rec/RecDialect.h"
#include "ir/Rec/RecOps.h"

#include "ir/Rec/RecDialect.cpp.inc"

namespace tidegate::rec {
void RecDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "ir/Rec/RecOps.cpp.inc"
      >();
}
} // namespace tidegate::rec
