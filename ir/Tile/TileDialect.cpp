//===- TileDialect.cpp - Registration and verification of the tile dialect ----===//
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "ir/Tile/TileOps.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include "ir/Tile/TileDialect.cpp.inc"
#include "ir/Tile/TileEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "ir/Tile/TileAttributes.cpp.inc"

#define GET_OP_CLASSES
#include "ir/Tile/TileOps.cpp.inc"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::tile;

void TileDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ir/Tile/TileAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ir/Tile/TileOps.cpp.inc"
      >();
}

tile::Matrix::Matrix(RankedTensorType type) {
  for (int64_t d = 0; d < type.getRank(); ++d)
    (d + 1 == type.getRank() ? cols : rows) *= type.getDimSize(d);
}

int64_t tile::sharedBytes(RankedTensorType type, PlaceAttr place) {
  int64_t bytes = place.getElement().getIntOrFloatBitWidth() / 8;
  if (!place.getSwizzled())
    return type.getNumElements() * bytes;
  Matrix matrix(type);
  return matrix.paddedRows() * matrix.paddedCols() * bytes;
}

int64_t tile::stageBytes(RankedTensorType type, PlaceAttr place) {
  const int64_t alignment = place.getSwizzled() ? 1024 : 16, bytes = sharedBytes(type, place);
  return (bytes + alignment - 1) / alignment * alignment;
}

LogicalResult LoadOp::verify() {
  auto argument = dyn_cast<BlockArgument>(getOperand());
  auto scan = argument ? dyn_cast<rec::ScanOp>(argument.getOwner()->getParentOp()) : rec::ScanOp();
  if (!scan || argument.getArgNumber() >= scan.getInputs().size()) // load_c1
    return emitOpError("expects an operand of the scan, but got another value");
  if (getPlace().getSpace() != Space::Shared) // load_c2
    return emitOpError("expects a place in shared memory, but got ") << getPlace();
  return success();
}

LogicalResult ComputeOp::verify() {
  if (getPlaces().size() != getNumResults()) // compute_c1
    return emitOpError("has ") << getNumResults() << " results, but " << getPlaces().size() << " places";
  auto yielded = getYielded();
  if (yielded.size() != getNumResults())
    return emitOpError("has ") << getNumResults() << " results, but yields " << yielded.size() << " values";
  for (auto [value, result] : llvm::zip(yielded, getResults()))
    if (value.getType() != result.getType())
      return emitOpError("yields ") << value.getType() << " for a result of type " << result.getType();
  if (getForm() == Form::Fragment)
    return success();
  for (Operation &op : getBody().front())
    if (isa<nn::DotOp, rec::DecayScoresOp, rec::DecayMixOp>(op)) { // compute_c2
      auto diag = emitOpError("of form ") << stringifyForm(getForm()) << " cannot hold a product";
      diag.attachNote(op.getLoc()) << "this one";
      return diag;
    }
  return success();
}
