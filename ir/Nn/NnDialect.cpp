//===- NnDialect.cpp - Registration of the graph dialect --------*- C++ -*-===//
#include "ir/Nn/NnDialect.h"
#include "ir/Nn/NnOps.h"

#include "ir/Nn/NnDialect.cpp.inc"

namespace tidegate::nn {
void NnDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "ir/Nn/NnOps.cpp.inc"
      >();
}
} // namespace tidegate::nn
