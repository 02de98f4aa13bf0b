//===- TileOps.h - Ops of the tile dialect ----------------------*- C++ -*-===//
#pragma once

#include "ir/Tile/TileDialect.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "ir/Tile/TileEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "ir/Tile/TileAttributes.h.inc"

#define GET_OP_CLASSES
#include "ir/Tile/TileOps.h.inc"

namespace tidegate::tile {

/// Rows and columns of a value as a matrix: the last dimension is the columns, a vector is one row.
struct Matrix {
  int64_t rows = 1, cols = 1;
  explicit Matrix(mlir::RankedTensorType type);
  int64_t paddedRows() const { return (rows + 15) / 16 * 16; }
  int64_t paddedCols() const { return (cols + 15) / 16 * 16; }
};

/// Bytes of a value of type `type` in shared memory.
int64_t sharedBytes(mlir::RankedTensorType type, PlaceAttr place);
/// From one stage of a load to the next.
int64_t stageBytes(mlir::RankedTensorType type, PlaceAttr place);
/// From one slice of a stream to the next.
int64_t sliceBytes(StreamOp stream);

} // namespace tidegate::tile
