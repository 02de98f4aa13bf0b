//===- TileDialect.h - The tile dialect -------------------------*- C++ -*-===//
#pragma once

#include "mlir/IR/Dialect.h"

#include "ir/Tile/TileDialect.h.inc"
