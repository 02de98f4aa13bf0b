//===- TileDialect.cpp - Registration and verification of the tile dialect ----===//
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "ir/Tile/TileOps.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

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
  return llvm::alignTo(sharedBytes(type, place), place.getSwizzled() ? 1024 : 16);
}

int64_t tile::sliceBytes(StreamOp stream) {
  auto type = cast<RankedTensorType>(stream.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape[stream.getAlong()] = stream.getSlice();
  return stageBytes(RankedTensorType::get(shape, type.getElementType()), stream.getPlace());
}

/// Whether a value is an operand of the scan whose body it stands in.
static bool isOperandOfScan(Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  auto scan = argument ? dyn_cast<rec::ScanOp>(argument.getOwner()->getParentOp()) : rec::ScanOp();
  return scan && argument.getArgNumber() < scan.getInputs().size();
}

LogicalResult LoadOp::verify() {
  if (!isOperandOfScan(getOperand())) // load_c1
    return emitOpError("expects an operand of the scan, but got another value");
  if (getPlace().getSpace() != Space::Shared) // load_c2
    return emitOpError("expects a place in shared memory, but got ") << getPlace();
  return success();
}

LogicalResult StreamOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  if (!isOperandOfScan(getOperand()) || type.getRank() != 2 || type.getDimSize(0) % 16 || type.getDimSize(1) % 16) // stream_c1
    return emitOpError("expects an operand of the scan whose sides are multiples of 16, but got ") << type;
  if (getPlace().getSpace() != Space::Shared || !getPlace().getSwizzled()) // stream_c2
    return emitOpError("expects a swizzled place in shared memory, but got ") << getPlace();
  if (getAlong() > 1 || getSlice() < 16 || getSlice() % 16 || type.getDimSize(getAlong()) % getSlice()) // stream_c3
    return emitOpError("expects slices of a multiple of 16 that divides dimension ")
           << getAlong() << " of " << type << ", but got " << getSlice();
  for (OpOperand &use : getResult().getUses()) { // stream_c4
    auto dot = dyn_cast<nn::DotOp>(use.getOwner());
    if (!dot || use.getOperandNumber() != 1 || dot.getRhsContract() != ArrayRef<int64_t>(getAlong()))
      return emitOpError("expects to be the right side of products over dimension ") << getAlong();
  }
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
