//===- NnOps.cpp - Types and verifiers of the graph dialect -----*- C++ -*-===//
#include "ir/Nn/NnOps.h"

#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/SmallBitVector.h"

#include <cmath>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

static std::string shapeText(RankedTensorType type) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << type;
  return text;
}

static RankedTensorType tensorOf(Value value) { return cast<RankedTensorType>(value.getType()); }

FailureOr<RankedTensorType> nn::broadcastType(std::optional<Location> loc, ValueRange operands) {
  int64_t rank = 0;
  for (Value v : operands)
    rank = std::max(rank, tensorOf(v).getRank());
  SmallVector<int64_t> shape(rank, 1);
  Type element = tensorOf(operands.front()).getElementType();
  for (Value v : operands) {
    auto type = tensorOf(v);
    if (type.getElementType() != element) {
      (void)emitOptionalError(loc, "expects operands of one element type, but got ", element, " and ",
                              type.getElementType());
      return failure();
    }
    int64_t offset = rank - type.getRank();
    for (int64_t d = 0; d < type.getRank(); ++d) {
      int64_t &size = shape[offset + d], own = type.getDimSize(d);
      if (own == 1 || own == size)
        continue;
      if (size != 1) {
        (void)emitOptionalError(loc, "expects shapes that agree when aligned at the end, but got ",
                                shapeText(tensorOf(operands.front())), " and ", shapeText(type));
        return failure();
      }
      size = own;
    }
  }
  return RankedTensorType::get(shape, element);
}

LogicalResult nn::inferElementwiseType(std::optional<Location> loc, ValueRange operands,
                                       SmallVectorImpl<Type> &types) {
  auto type = broadcastType(loc, operands);
  if (failed(type))
    return failure();
  types.push_back(*type);
  return success();
}

LogicalResult nn::inferReducedType(std::optional<Location> loc, ValueRange operands, ArrayRef<int64_t> dims,
                                   SmallVectorImpl<Type> &types) {
  auto type = tensorOf(operands.front());
  SmallVector<int64_t> shape(type.getShape());
  for (int64_t d : dims) {
    if (d < 0 || d >= type.getRank())
      return emitOptionalError(loc, "expects dimensions in 0..", type.getRank() - 1, ", but got ", d);
    shape[d] = 1;
  }
  types.push_back(RankedTensorType::get(shape, type.getElementType()));
  return success();
}

int64_t nn::rowRank(RankedTensorType type) {
  int64_t rank = 0;
  while (rank < type.getRank() && type.isDynamicDim(rank))
    ++rank;
  return rank;
}

Value nn::constant(OpBuilder &builder, Location loc, double value, Type elementType, ArrayRef<int64_t> shape) {
  auto type = RankedTensorType::get(shape, elementType);
  return ConstantOp::create(builder, loc, type, builder.getF64FloatAttr(value));
}

Value nn::zerosLike(OpBuilder &builder, Location loc, Value like) {
  auto type = tensorOf(like);
  if (type.hasStaticShape())
    return constant(builder, loc, 0.0, type.getElementType(), type.getShape());
  Value zero = constant(builder, loc, 0.0, type.getElementType());
  return BroadcastLikeOp::create(builder, loc, type, zero, like);
}

Value nn::sumTo(OpBuilder &builder, Location loc, Value value, RankedTensorType type) {
  auto from = tensorOf(value);
  if (from == type)
    return value;
  int64_t offset = from.getRank() - type.getRank();
  SmallVector<int64_t> dims;
  for (int64_t d = 0; d < from.getRank(); ++d)
    if (d < offset || (type.getDimSize(d - offset) == 1 && from.getDimSize(d) != 1))
      dims.push_back(d);
  if (!dims.empty())
    value = ReduceSumOp::create(builder, loc, value, dims);
  if (value.getType() != type)
    value = ReshapeOp::create(builder, loc, type, value);
  return value;
}

//===----------------------------------------------------------------------===//
// Verifiers
//===----------------------------------------------------------------------===//

LogicalResult AngleOp::verify() {
  const double base = getBase().convertToDouble();
  if (!(base > 0) || std::isinf(base)) // angle_c3
    return emitOpError("expects a base above 0 and finite, but got ") << base;
  return success();
}

LogicalResult ConstantOp::verify() {
  if (!getType().hasStaticShape()) // constant_c1
    return emitOpError("expects a static result shape, but got ") << getType();
  return success();
}

LogicalResult BroadcastLikeOp::verify() {
  auto from = getInput().getType(), to = getType(), like = getLike().getType();
  if (to.getShape() != like.getShape())
    return emitOpError("expects a result with the shape of ") << like << ", but got " << to;
  int64_t offset = to.getRank() - from.getRank();
  bool fits = offset >= 0 && from.getElementType() == to.getElementType();
  for (int64_t d = 0; fits && d < from.getRank(); ++d)
    fits = from.getDimSize(d) == 1 || from.getDimSize(d) == to.getDimSize(d + offset);
  if (!fits) // broadcast_like_c1
    return emitOpError("operand of type ") << from << " does not broadcast to " << to;
  return success();
}

LogicalResult ReshapeOp::verify() {
  auto from = getInput().getType(), to = getType();
  auto product = [](RankedTensorType type, int64_t first) {
    int64_t n = 1;
    for (int64_t size : type.getShape().drop_front(first))
      n *= ShapedType::isDynamic(size) ? -1 : size;
    return n;
  };
  int64_t rows = nn::rowRank(from);
  if (rows != nn::rowRank(to) || product(from, rows) < 0 || product(to, rows) < 0) // reshape_c1
    return emitOpError("expects the same leading ? dimensions and no other, but got ") << from << " and " << to;
  if (product(from, rows) != product(to, rows)) // reshape_c2
    return emitOpError("cannot regroup ") << product(from, rows) << " elements as " << product(to, rows);
  return success();
}

void TransposeOp::build(OpBuilder &builder, OperationState &state, Value input, ArrayRef<int64_t> permutation) {
  auto type = tensorOf(input);
  SmallVector<int64_t> shape;
  for (int64_t d : permutation)
    shape.push_back(type.getDimSize(d));
  build(builder, state, RankedTensorType::get(shape, type.getElementType()), input, permutation);
}

LogicalResult CastRowsOp::verify() {
  auto from = getInput().getType(), to = getType();
  auto knownBut = [](RankedTensorType type) {
    SmallVector<int64_t> shape(type.getShape());
    if (shape.size() > 1)
      shape[1] = 1;
    return shape;
  };
  if (from.getRank() < 2 || knownBut(from) != knownBut(to) || from.getElementType() != to.getElementType() ||
      from.isDynamicDim(1) == to.isDynamicDim(1)) // cast_rows_c1
    return emitOpError("expects types that differ in whether the second dimension is ?, but got ")
           << from << " and " << to;
  return success();
}

LogicalResult LastRowsOp::verify() {
  auto from = getInput().getType(), to = getType();
  auto isFit = [&] {
    if (from.getRank() < 2 || to.getRank() != from.getRank() || to.isDynamicDim(1))
      return false;
    SmallVector<int64_t> shape(from.getShape());
    shape[1] = to.getDimSize(1);
    return RankedTensorType::get(shape, from.getElementType()) == to;
  };
  if (!isFit()) // last_rows_c1
    return emitOpError("expects B x E x rest from B x T x rest with a known E, but got ") << to << " from " << from;
  if (getPast() && getPast().getType() != to) // last_rows_c2
    return emitOpError("expects rows before the sequence of type ") << to << ", but got " << getPast().getType();
  return success();
}

LogicalResult TransposeOp::verify() {
  auto from = getInput().getType(), to = getType();
  int64_t rank = from.getRank();
  llvm::SmallBitVector seen(rank);
  bool isPermutation = int64_t(getPermutation().size()) == rank && to.getRank() == rank;
  for (int64_t d : getPermutation())
    if (d < 0 || d >= rank || seen.test(d))
      isPermutation = false;
    else
      seen.set(d);
  if (!isPermutation) // transpose_c1
    return emitOpError("expects a permutation of ") << rank << " dimensions, but got [" << getPermutation() << "]";
  for (auto [d, source] : llvm::enumerate(getPermutation()))
    if (to.getDimSize(d) != from.getDimSize(source)) // transpose_c2
      return emitOpError("dimension ") << d << " of the result is " << to.getDimSize(d) << ", but the operand has "
                                       << from.getDimSize(source);
  return success();
}

/// Checks that `part` is `whole` with dimension `dim` cut to a strided range.
static LogicalResult verifyRange(Operation *op, RankedTensorType whole, RankedTensorType part, int64_t dim,
                                 int64_t begin, int64_t stride) {
  if (dim < 0 || dim >= whole.getRank() || whole.getRank() != part.getRank() || whole.isDynamicDim(dim) ||
      part.isDynamicDim(dim)) // slice_c1, pad_c1
    return op->emitOpError("expects a static dimension of both types, but got ") << dim;
  for (int64_t d = 0; d < whole.getRank(); ++d)
    if (d != dim && whole.getDimSize(d) != part.getDimSize(d))
      return op->emitOpError("only dimension ") << dim << " may change, but dimension " << d << " does";
  int64_t size = part.getDimSize(dim);
  if (stride < 1 || begin < 0 || size < 1 || begin + (size - 1) * stride >= whole.getDimSize(dim)) // slice_c2, pad_c2
    return op->emitOpError("range of ") << size << " from " << begin << " step " << stride
                                        << " does not lie in 0.." << whole.getDimSize(dim) - 1;
  return success();
}

LogicalResult SliceOp::verify() {
  return verifyRange(*this, getInput().getType(), getType(), getDim(), getBegin(), getStride());
}

LogicalResult PadOp::verify() {
  return verifyRange(*this, getType(), getInput().getType(), getDim(), getBegin(), getStride());
}

static LogicalResult verifyDims(Operation *op, ArrayRef<int64_t> dims) {
  if (!llvm::is_sorted(dims) || std::adjacent_find(dims.begin(), dims.end()) != dims.end()) // reduce_c1
    return op->emitOpError("expects ascending dimensions, but got [") << dims << "]";
  return success();
}

LogicalResult ReduceSumOp::verify() { return verifyDims(*this, getDims()); }
LogicalResult ReduceMaxOp::verify() { return verifyDims(*this, getDims()); }

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

static SmallVector<int64_t> freeDims(int64_t rank, ArrayRef<int64_t> batch, ArrayRef<int64_t> contract) {
  SmallVector<int64_t> free;
  for (int64_t d = 0; d < rank; ++d)
    if (!llvm::is_contained(batch, d) && !llvm::is_contained(contract, d))
      free.push_back(d);
  return free;
}

SmallVector<int64_t> DotOp::getLhsFree() {
  return freeDims(getLhs().getType().getRank(), getLhsBatch(), getLhsContract());
}
SmallVector<int64_t> DotOp::getRhsFree() {
  return freeDims(getRhs().getType().getRank(), getRhsBatch(), getRhsContract());
}

void DotOp::build(OpBuilder &builder, OperationState &state, Value lhs, Value rhs, ArrayRef<int64_t> lhsContract,
                  ArrayRef<int64_t> rhsContract) {
  build(builder, state, lhs, rhs, ArrayRef<int64_t>{}, ArrayRef<int64_t>{}, lhsContract, rhsContract);
}

LogicalResult DotOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, ValueRange operands,
                                      DictionaryAttr attributes, OpaqueProperties properties, RegionRange regions,
                                      SmallVectorImpl<Type> &types) {
  Adaptor adaptor(operands, attributes, properties, regions);
  // Batch dimensions are optional in the text, and still unset while it is parsed.
  auto dims = [](DenseI64ArrayAttr attr) { return attr ? attr.asArrayRef() : ArrayRef<int64_t>(); };
  auto lhsBatch = dims(adaptor.getProperties().lhs_batch), rhsBatch = dims(adaptor.getProperties().rhs_batch);
  auto lhs = tensorOf(operands[0]), rhs = tensorOf(operands[1]);
  auto check = [&](ArrayRef<int64_t> left, ArrayRef<int64_t> right, StringRef what) -> LogicalResult {
    if (left.size() != right.size())
      return emitOptionalError(loc, "expects as many ", what, " dimensions on both sides, but got ", left.size(),
                               " and ", right.size());
    for (auto [l, r] : llvm::zip(left, right)) {
      if (l < 0 || l >= lhs.getRank() || r < 0 || r >= rhs.getRank())
        return emitOptionalError(loc, what, " dimensions ", l, " x ", r, " are out of range");
      if (lhs.getDimSize(l) != rhs.getDimSize(r)) // dot_c1
        return emitOptionalError(loc, "paired ", what, " dimensions differ: ", lhs.getDimSize(l), " (dimension ", l,
                                 " of the left side) and ", rhs.getDimSize(r), " (dimension ", r, " of the right)");
    }
    return success();
  };
  if (failed(check(lhsBatch, rhsBatch, "batch")) ||
      failed(check(adaptor.getLhsContract(), adaptor.getRhsContract(), "contracted")))
    return failure();
  if (lhs.getElementType() != rhs.getElementType()) // dot_c3
    return emitOptionalError(loc, "expects one element type, but got ", lhs.getElementType(), " and ",
                             rhs.getElementType());
  SmallVector<int64_t> shape;
  for (int64_t d : lhsBatch)
    shape.push_back(lhs.getDimSize(d));
  for (int64_t d : freeDims(lhs.getRank(), lhsBatch, adaptor.getLhsContract()))
    shape.push_back(lhs.getDimSize(d));
  for (int64_t d : freeDims(rhs.getRank(), rhsBatch, adaptor.getRhsContract()))
    shape.push_back(rhs.getDimSize(d));
  types.push_back(RankedTensorType::get(shape, lhs.getElementType()));
  return success();
}

LogicalResult DotOp::verify() {
  auto once = [](ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
    llvm::SmallDenseSet<int64_t> seen(a.begin(), a.end());
    seen.insert(b.begin(), b.end());
    return seen.size() == a.size() + b.size();
  };
  if (!once(getLhsBatch(), getLhsContract()) || !once(getRhsBatch(), getRhsContract())) // dot_c2
    return emitOpError("names a dimension twice");
  return success();
}

//===----------------------------------------------------------------------===//
// Indices
//===----------------------------------------------------------------------===//

static LogicalResult verifyIdsAnd(Operation *op, RankedTensorType ids, RankedTensorType type, int64_t last) {
  SmallVector<int64_t> shape(ids.getShape());
  shape.push_back(last);
  if (type.getShape() != ArrayRef<int64_t>(shape))
    return op->emitOpError("expects the shape of the ids ") << ids << " and a last dimension of " << last
                                                            << ", but got " << type;
  return success();
}

LogicalResult LookupOp::verify() {
  if (getTable().getType().getRank() != 2) // lookup_c1
    return emitOpError("expects a table of rank 2, but got ") << getTable().getType();
  return verifyIdsAnd(*this, getIds().getType(), getType(), getTable().getType().getDimSize(1)); // lookup_c2
}

LogicalResult LookupGradOp::verify() {
  if (getType().getRank() != 2) // lookup_grad_c1
    return emitOpError("expects a result of rank 2, but got ") << getType();
  return verifyIdsAnd(*this, getIds().getType(), getInput().getType(), getType().getDimSize(1)); // lookup_grad_c2
}

LogicalResult PickOp::verify() {
  if (failed(verifyIdsAnd(*this, getIds().getType(), getType(), 1)))
    return failure();
  auto type = getInput().getType();
  return verifyIdsAnd(*this, getIds().getType(), type, type.getRank() ? type.getShape().back() : 0); // pick_c1
}

LogicalResult PlaceOp::verify() {
  auto ids = getIds().getType(), type = getType();
  if (type.getRank() != ids.getRank() + 1 || type.getShape().drop_back() != ids.getShape()) // place_c2
    return emitOpError("expects a result with the shape of the ids ")
           << ids << " and one more dimension, but got " << type;
  return verifyIdsAnd(*this, ids, getInput().getType(), 1); // place_c1
}

LogicalResult IsIndexOp::verify() { return verifyIdsAnd(*this, getIds().getType(), getType(), 1); } // is_index_c1

LogicalResult ToFloatOp::verify() {
  if (getType().getShape() != getInput().getType().getShape()) // to_float_c1
    return emitOpError("expects a result with the shape of ") << getInput().getType() << ", but got " << getType();
  return success();
}

LogicalResult IotaOp::verify() {
  if (getType().getRank() != 1 || !getType().hasStaticShape()) // iota_c1
    return emitOpError("expects a vector of static size, but got ") << getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Fused rows
//===----------------------------------------------------------------------===//

LogicalResult MapOp::verify() {
  int64_t rows = getRowRank();
  if (getOperandRows().size() != getInputs().size() || getResultRows().size() != getNumResults())
    return emitOpError("expects one flag per operand and per result");
  Block &body = getBody().front();
  auto yield = dyn_cast<YieldOp>(body.getTerminator());
  if (!yield || body.getNumArguments() != getInputs().size() || yield.getValues().size() != getNumResults())
    return emitOpError("expects a body with one argument per operand that yields one value per result");
  std::optional<ArrayRef<int64_t>> space;
  auto inner = [&](RankedTensorType type, bool isRow) -> FailureOr<RankedTensorType> {
    if (!isRow)
      return type;
    if (type.getRank() < rows)
      return failure();
    auto own = type.getShape().take_front(rows);
    if (space && *space != own) // map_c2
      return failure();
    space = own;
    return RankedTensorType::get(type.getShape().drop_front(rows), type.getElementType());
  };
  auto check = [&](Type outer, bool isRow, Type have, const char *what, size_t i) -> LogicalResult {
    auto want = inner(cast<RankedTensorType>(outer), isRow);
    if (failed(want))
      return emitOpError("row dimensions of ") << what << " " << i << " of type " << outer << " differ from the others";
    if (*want != have) // map_c1
      return emitOpError("body sees ") << what << " " << i << " as " << have << ", but " << outer << " gives " << *want;
    return success();
  };
  for (auto [i, v] : llvm::enumerate(getInputs()))
    if (failed(check(v.getType(), getOperandRows()[i], body.getArgument(i).getType(), "operand", i)))
      return failure();
  if (rows > 0 && !space) // map_c3
    return emitOpError("expects a sliced operand that gives the ") << rows << " row dimensions";
  for (auto [i, v] : llvm::enumerate(getResults()))
    if (failed(check(v.getType(), getResultRows()[i], yield.getValues()[i].getType(), "result", i)))
      return failure();
  return success();
}

LogicalResult BlocksOp::verify() {
  auto rowsOf = [](Value v) { return rowRank(cast<RankedTensorType>(v.getType())); };
  if (getCount() < 1) // blocks_c3
    return emitOpError("expects at least 1 block, but got ") << getCount();
  for (ValueRange values : {ValueRange(getInputs()), ValueRange(getResults())})
    for (Value v : values)
      if (rowsOf(v) != 0 && rowsOf(v) != 2) // blocks_c2
        return emitOpError("expects two row dimensions or none, but got ") << v.getType();
  if (llvm::none_of(getInputs(), [&](Value v) { return rowsOf(v) == 2; })) // blocks_c2
    return emitOpError("expects an operand with row dimensions");
  return success();
}

LogicalResult BlocksOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto function = symbols.lookupNearestSymbolFrom<FunctionOpInterface>(*this, getCalleeAttr());
  if (!function) // blocks_c1
    return emitOpError("calls '") << getCallee() << "', which is no function";
  auto want = FunctionType::get(getContext(), getOperandTypes(), getResultTypes());
  if (function.getFunctionType() != want) // blocks_c1
    return emitOpError("needs a function of type ")
           << want << ", but '" << getCallee() << "' has type " << function.getFunctionType();
  return success();
}

#define GET_OP_CLASSES
#include "ir/Nn/NnOps.cpp.inc"
