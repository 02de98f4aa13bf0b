//===- Attention.cpp - Types and adjoints of positions and attention ------===//
#include "ir/Nn/NnOps.h"

#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

using Cotangents = ArrayRef<Value>;
using Out = MutableArrayRef<Value>;

static RankedTensorType tensorOf(Value value) { return cast<RankedTensorType>(value.getType()); }

static std::string textOf(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

//===----------------------------------------------------------------------===//
// Positions
//===----------------------------------------------------------------------===//

LogicalResult PositionsOp::inferReturnTypes(MLIRContext *context, std::optional<Location> loc, ValueRange operands,
                                            DictionaryAttr, OpaqueProperties, RegionRange,
                                            SmallVectorImpl<Type> &types) {
  auto like = tensorOf(operands[0]);
  if (like.getRank() < 2) // positions_c1
    return emitOptionalError(loc, "expects a B x T x ... tensor, but got ", textOf(like));
  Type index = IntegerType::get(context, 32);
  auto next = RankedTensorType::get({like.getDimSize(0), 1}, index);
  if (operands.size() > 1 && operands[1].getType() != next) // positions_c2
    return emitOptionalError(loc, "expects ", textOf(next), " for the tokens before, but got ",
                             textOf(operands[1].getType()));
  types.assign({RankedTensorType::get(like.getShape().take_front(2), index), next});
  return success();
}

void PositionsOp::buildAdjoint(OpBuilder &, Cotangents, Out) {}

/// An operand of the op behind `value` that has the same B and T; null if none is known to.
static Value rowSource(Value value) {
  auto hasRows = [](Value v) { return rowRank(tensorOf(v)) >= 2; };
  Operation *op = value.getDefiningOp();
  if (!op || !hasRows(value))
    return {};
  if (auto dot = dyn_cast<DotOp>(op)) {
    auto free = dot.getLhsFree();
    bool keepsRows = dot.getLhsBatch().empty() && free.size() >= 2 && free[0] == 0 && free[1] == 1;
    return keepsRows && hasRows(dot.getLhs()) ? dot.getLhs() : Value();
  }
  bool isRowWise = isa<ElementwiseOpInterface, ReshapeOp, SliceOp, PadOp, ReduceSumOp, ReduceMaxOp, LookupOp, PickOp,
                       PlaceOp, IsIndexOp, ToFloatOp>(op) ||
                   (isa<ShortConvOp, ShortConvInputGradOp, AttentionOp>(op) && op->getResult(0) == value);
  if (isRowWise)
    for (Value operand : op->getOperands())
      if (hasRows(operand))
        return operand;
  return {};
}

/// positions(f(x)) => positions(x), so that a value is not kept for its sizes alone.
LogicalResult PositionsOp::canonicalize(PositionsOp op, PatternRewriter &rewriter) {
  Value like = op.getLike();
  while (Value source = rowSource(like))
    like = source;
  if (like == op.getLike())
    return rewriter.notifyMatchFailure(op, "sizes come from no other value");
  rewriter.modifyOpInPlace(op, [&] { op.getLikeMutable().assign(like); });
  return success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

namespace {
/// The types that query, key, value and window give to everything else.
struct AttentionTypes {
  RankedTensorType result, lse, edgeKey, edgeValue, positions;
};
} // namespace

static FailureOr<AttentionTypes> attentionTypes(std::optional<Location> loc, ValueRange operands, int64_t window) {
  RankedTensorType query = tensorOf(operands[0]), key = tensorOf(operands[1]), value = tensorOf(operands[2]);
  auto fail = [&](auto &&...text) -> FailureOr<AttentionTypes> {
    (void)emitOptionalError(loc, text...);
    return failure();
  };
  auto shapes = textOf(query) + ", " + textOf(key) + ", " + textOf(value);
  if (query.getRank() != 4 || key.getRank() != 4 || value.getRank() != 4) // attention_c1
    return fail("expects a query, key and value of rank 4, but got ", shapes);
  auto agree = [](RankedTensorType a, RankedTensorType b, ArrayRef<int64_t> dims) {
    return llvm::all_of(dims, [&](int64_t d) { return a.getDimSize(d) == b.getDimSize(d); });
  };
  if (!agree(query, key, {0, 1, 3}) || !agree(key, value, {0, 1, 2})) // attention_c1
    return fail("expects a B x T x H x K query, a B x T x G x K key and a B x T x G x V value, but got ", shapes);
  int64_t heads = query.getDimSize(2), groups = key.getDimSize(2);
  if (groups < 1 || heads % groups) // attention_c2
    return fail("expects a number of key heads that divides the ", heads, " query heads, but got ", groups);
  if (window < 1) // attention_c3
    return fail("expects a window of at least 1 token, but got ", window);
  Type element = query.getElementType();
  if (key.getElementType() != element || value.getElementType() != element) // attention_c4
    return fail("expects operands of one element type, but got ", shapes);
  auto type = [&](std::initializer_list<int64_t> shape) { return RankedTensorType::get(shape, element); };
  int64_t B = query.getDimSize(0), T = query.getDimSize(1);
  return AttentionTypes{type({B, T, heads, value.getDimSize(3)}), type({B, T, heads}),
                        type({B, window - 1, groups, key.getDimSize(3)}),
                        type({B, window - 1, groups, value.getDimSize(3)}),
                        RankedTensorType::get({B, T}, IntegerType::get(query.getContext(), 32))};
}

/// The constraints on what both ops may take beside query, key and value.
template <typename OpT>
static LogicalResult verifyExtras(OpT op, const AttentionTypes &types) {
  auto check = [&](Value value, RankedTensorType want, const char *what) -> LogicalResult {
    if (value && value.getType() != want)
      return op.emitOpError("expects ") << want << " for " << what << ", but got " << value.getType();
    return success();
  };
  if (bool(op.getPastKey()) != bool(op.getPastValue())) // attention_c6
    return op.emitOpError("expects a past of both keys and values, or of neither");
  if (failed(check(op.getPositions(), types.positions, "the positions")) ||  // attention_c5
      failed(check(op.getPastKey(), types.edgeKey, "the keys of the past")) || // attention_c6
      failed(check(op.getPastValue(), types.edgeValue, "the values of the past")))
    return failure();
  return success();
}

LogicalResult AttentionOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, ValueRange operands,
                                            DictionaryAttr, OpaqueProperties properties, RegionRange,
                                            SmallVectorImpl<Type> &types) {
  auto found = attentionTypes(loc, operands, properties.as<Properties *>()->window.getInt());
  if (failed(found))
    return failure();
  types.assign({found->result, found->lse, found->edgeKey, found->edgeValue});
  return success();
}

LogicalResult AttentionOp::verify() {
  auto types = attentionTypes(getLoc(), getOperands(), getWindow());
  return failed(types) ? failure() : verifyExtras(*this, *types);
}

LogicalResult AttentionGradOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, ValueRange operands,
                                                DictionaryAttr, OpaqueProperties properties, RegionRange,
                                                SmallVectorImpl<Type> &types) {
  auto found = attentionTypes(loc, operands, properties.as<Properties *>()->window.getInt());
  if (failed(found))
    return failure();
  types.assign({operands[0].getType(), operands[1].getType(), operands[2].getType(), found->edgeKey, found->edgeValue});
  return success();
}

LogicalResult AttentionGradOp::verify() {
  auto types = attentionTypes(getLoc(), getOperands(), getWindow());
  if (failed(types) || failed(verifyExtras(*this, *types)))
    return failure();
  for (Value value : {getResult(), getResultGrad()})
    if (value.getType() != types->result) // attention_grad_c7
      return emitOpError("expects ") << types->result << " for result and its cotangent, but got " << value.getType();
  for (Value value : {Value(getLse()), Value(getLseGrad())})
    if (value && value.getType() != types->lse) // attention_grad_c7
      return emitOpError("expects ") << types->lse << " for lse and its cotangent, but got " << value.getType();
  return success();
}

bool AttentionOp::isWorthSaving() { return true; }

void AttentionOp::buildAdjoint(OpBuilder &b, Cotangents dy, Out out) {
  Value grad = dy[0] ? dy[0] : zerosLike(b, getLoc(), getResult());
  auto adjoint = AttentionGradOp::create(b, getLoc(), getQuery(), getKey(), getValue(), getResult(), getLse(), grad,
                                         dy[1], getPositions(), getPastKey(), getPastValue(), getWindow());
  out[0] = adjoint.getQueryGrad();
  out[1] = adjoint.getKeyGrad();
  out[2] = adjoint.getValueGrad();
  if (getPastKey()) {
    out[out.size() - 2] = adjoint.getPastKeyGrad();
    out[out.size() - 1] = adjoint.getPastValueGrad();
  }
}
