//===- StepFunction.cpp - A step of a scan for all rows and heads ---------===//
// A value of the body is one of three kinds of tensors in the function:
//
//   plain   no batch row or head enters it: the value itself
//   whole   `M x shape`, M = B * H
//   rows    `M x C x rest` with C as a row dimension, where the value's first
//           dimension counts the tokens of the chunk
//
// Rows are what row-wise work fuses over and what products go along. An op that
// mixes tokens (a sum over the chunk, say) sees them as a whole tensor.
//===----------------------------------------------------------------------===//
#include "passes/Rec/StepFunction.h"

#include "ir/Nn/NnOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

static RankedTensorType tensorOf(Value v) { return cast<RankedTensorType>(v.getType()); }

bool rec::hasStepFunction(ScanOp scan) {
  return scan.getChunk() > 1 && llvm::all_of(scan.getBody().front(), [](Operation &op) {
    return isa<ElementwiseOpInterface, nn::BroadcastLikeOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::PadOp,
               nn::ReduceSumOp, nn::ReduceMaxOp, nn::DotOp, nn::IotaOp, UnlessLastOp, YieldOp>(op);
  });
}

namespace {
class StepFunctionBuilder {
public:
  StepFunctionBuilder(int64_t chunk, OpBuilder &b) : chunk(chunk), b(b) {}

  /// `argument` of the function stands for `inner` of the body.
  void enter(Value inner, Value argument) { values[inner] = argument; }
  LogicalResult convert(Operation *op);
  /// A value of the body as the function returns it. `like` is a whole tensor.
  Value leave(Value inner, bool isToken, Value like);

private:
  bool isPlain(Value inner) { return tensorOf(values.lookup(inner)).getRank() == tensorOf(inner).getRank(); }
  static bool hasRows(Value v) { return tensorOf(v).getRank() > 1 && tensorOf(v).isDynamicDim(1); }
  bool isRows(Value inner) { return !isPlain(inner) && hasRows(values.lookup(inner)); }
  bool hasTokens(RankedTensorType inner) { return inner.getRank() > 0 && inner.getDimSize(0) == chunk; }

  /// The type of a value that is not plain.
  RankedTensorType outerType(Value inner, bool isRows) {
    SmallVector<int64_t> shape(tensorOf(inner).getShape());
    if (isRows)
      shape[0] = ShapedType::kDynamic;
    shape.insert(shape.begin(), ShapedType::kDynamic);
    return RankedTensorType::get(shape, tensorOf(inner).getElementType());
  }

  Value withSecond(Value v, int64_t size) {
    SmallVector<int64_t> shape(tensorOf(v).getShape());
    if (shape[1] == size)
      return v;
    shape[1] = size;
    return nn::CastRowsOp::create(b, v.getLoc(), RankedTensorType::get(shape, tensorOf(v).getElementType()), v);
  }
  Value asRows(Value v) { return withSecond(v, ShapedType::kDynamic); }
  Value asWhole(Value v) { return hasRows(v) ? withSecond(v, chunk) : v; }
  /// As it is, or as a whole tensor.
  Value outer(Value inner, bool isRows) {
    Value v = values.lookup(inner);
    return isPlain(inner) ? v : isRows ? asRows(v) : asWhole(v);
  }

  Value reshaped(Value v, ArrayRef<int64_t> shape) {
    return nn::ReshapeOp::create(b, v.getLoc(), RankedTensorType::get(shape, tensorOf(v).getElementType()), v);
  }
  /// A whole tensor that broadcasts as `shape` did in the body, against one of `rank` dimensions.
  Value aligned(Value v, int64_t rank) {
    SmallVector<int64_t> shape(tensorOf(v).getShape());
    if (rank + 1 == int64_t(shape.size()))
      return v;
    shape.insert(shape.begin() + 1, rank + 1 - shape.size(), 1);
    return reshaped(v, shape);
  }
  /// `M x 1 x rest`, the same for all tokens, as rows.
  Value spread(Value v) {
    SmallVector<int64_t> shape(tensorOf(v).getRank() - 1, 1);
    shape[0] = chunk;
    Value zeros = nn::constant(b, v.getLoc(), 0, tensorOf(v).getElementType(), shape);
    return asRows(nn::AddOp::create(b, v.getLoc(), v, zeros));
  }
  Value repeated(Value v, Value like);

  bool canBeRows(Value result, ValueRange operands);
  Value operandOf(Value inner, Value result, bool isRows);
  LogicalResult elementwise(Operation *op);
  void broadcast(nn::BroadcastLikeOp op);
  LogicalResult dot(nn::DotOp op, Value result, bool isTransposed);

  /// One side of a product, with its dimensions by role.
  struct Side {
    Value value;
    SmallVector<int64_t> batch, contract, free;
  };
  /// A side of a product; of a transposed matrix the matrix.
  Side sideOf(Value v, ArrayRef<int64_t> batch, ArrayRef<int64_t> contract, ArrayRef<int64_t> free);
  FailureOr<Value> product(nn::DotOp op, Side lhs, Side rhs);
  LogicalResult shaped(Operation *op);

  int64_t chunk;
  OpBuilder &b;
  DenseMap<Value, Value> values;
};
} // namespace

/// A plain value for each batch row and head: it takes no number of `like`, but its first size.
Value StepFunctionBuilder::repeated(Value v, Value like) {
  for (int64_t d = 1; d < tensorOf(like).getRank(); ++d) {
    SmallVector<int64_t> shape(tensorOf(like).getShape());
    shape[d] = 1;
    like = nn::SliceOp::create(b, v.getLoc(), RankedTensorType::get(shape, tensorOf(like).getElementType()), like, d, 0, 1);
  }
  SmallVector<int64_t> shape(tensorOf(v).getRank() + 1, 1);
  shape[0] = ShapedType::kDynamic;
  Value always = nn::constant(b, v.getLoc(), 1, tensorOf(v).getElementType(), {});
  return nn::SelectOp::create(b, v.getLoc(), always, v, reshaped(like, shape));
}

Value StepFunctionBuilder::leave(Value inner, bool isToken, Value like) {
  Value v = values.lookup(inner);
  if (isPlain(inner))
    v = repeated(v, asWhole(like));
  return isToken ? asRows(v) : asWhole(v);
}

//===----------------------------------------------------------------------===//
// Element-wise ops
//===----------------------------------------------------------------------===//

/// Whether an element-wise result can be rows: an operand is, and none has its tokens elsewhere.
bool StepFunctionBuilder::canBeRows(Value result, ValueRange operands) {
  const int64_t rank = tensorOf(result).getRank();
  auto hasRank = [&](Value v) { return tensorOf(v).getRank() == rank; };
  return hasTokens(tensorOf(result)) && llvm::any_of(operands, [&](Value v) { return isRows(v) && hasRank(v); }) &&
         llvm::all_of(operands, [&](Value v) {
           if (v.getDefiningOp<nn::ConstantOp>())
             return true;
           bool isPerToken = hasRank(v) && tensorOf(v).getDimSize(0) != 1;
           return isPlain(v) ? !isPerToken : isPerToken || !isRows(v);
         });
}

/// An operand such that it broadcasts in the function as it did in the body.
Value StepFunctionBuilder::operandOf(Value inner, Value result, bool isRows) {
  if (auto number = inner.getDefiningOp<nn::ConstantOp>())
    return nn::constant(b, inner.getLoc(), number.getValue().convertToDouble(), tensorOf(inner).getElementType(),
                        tensorOf(result).getShape().drop_front(isRows));
  if (isPlain(inner))
    return values.lookup(inner);
  const int64_t rank = tensorOf(result).getRank();
  if (isRows && tensorOf(inner).getRank() == rank && tensorOf(inner).getDimSize(0) == chunk)
    return asRows(values.lookup(inner));
  Value v = aligned(asWhole(values.lookup(inner)), rank);
  return isRows ? spread(v) : v;
}

LogicalResult StepFunctionBuilder::elementwise(Operation *op) {
  Value result = op->getResult(0);
  const bool isRows = canBeRows(result, op->getOperands());
  OperationState state(op->getLoc(), op->getName());
  for (Value operand : op->getOperands())
    state.addOperands(operandOf(operand, result, isRows));
  state.addTypes(outerType(result, isRows));
  state.addAttributes(op->getAttrDictionary().getValue());
  values[result] = b.create(state)->getResult(0);
  return success();
}

/// The sizes of `like` are known, but for M.
void StepFunctionBuilder::broadcast(nn::BroadcastLikeOp op) {
  Value input = op.getInput(), result = op.getResult();
  auto type = op.getType();
  if (isPlain(input)) {
    Value like = nn::constant(b, op.getLoc(), 0, type.getElementType(), type.getShape());
    values[result] = nn::BroadcastLikeOp::create(b, op.getLoc(), type, values.lookup(input), like);
    return;
  }
  const bool isRows = hasTokens(type) && this->isRows(input) && tensorOf(input).getRank() == type.getRank();
  Value zeros = nn::constant(b, op.getLoc(), 0, type.getElementType(), type.getShape().drop_front(isRows));
  values[result] = nn::AddOp::create(b, op.getLoc(), operandOf(input, result, isRows), zeros);
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

static SmallVector<int64_t> shifted(ArrayRef<int64_t> dims, int64_t by) {
  return llvm::map_to_vector(dims, [&](int64_t d) { return d + by; });
}

StepFunctionBuilder::Side StepFunctionBuilder::sideOf(Value v, ArrayRef<int64_t> batch, ArrayRef<int64_t> contract,
                                                      ArrayRef<int64_t> free) {
  Side side{v, llvm::to_vector(batch), llvm::to_vector(contract), llvm::to_vector(free)};
  auto transpose = v.getDefiningOp<nn::TransposeOp>();
  if (!transpose || tensorOf(v).getRank() != 2 || !batch.empty() || free.size() > 1)
    return side;
  side.value = transpose.getInput();
  for (SmallVector<int64_t> *dims : {&side.contract, &side.free})
    for (int64_t &d : *dims)
      d = transpose.getPermutation()[d];
  return side;
}

FailureOr<Value> StepFunctionBuilder::product(nn::DotOp op, Side lhs, Side rhs) {
  const bool hasBatch = !lhs.batch.empty(), isTurned = isPlain(lhs.value); // the plain side stands right
  if (hasBatch && (isPlain(lhs.value) || isPlain(rhs.value)))
    return op.emitOpError("has a side that is shared by rows and heads, and batch dimensions"), failure();
  if (isTurned)
    std::swap(lhs, rhs);
  const bool isShared = isPlain(rhs.value);
  auto pairs = llvm::zip(lhs.contract, rhs.contract);
  const bool isAlong = !isShared && (isRows(lhs.value) || isRows(rhs.value)) &&
                       llvm::any_of(pairs, [](auto pair) { return pair == std::tuple(0, 0); });
  const bool isLeft = isRows(lhs.value) && !hasBatch && llvm::is_contained(lhs.free, 0);
  const bool isRight = isRows(rhs.value) && !hasBatch && lhs.free.empty() && llvm::is_contained(rhs.free, 0);
  SmallVector<int64_t> lhsBatch, rhsBatch;
  if (!isShared) {
    lhsBatch = shifted(lhs.batch, 1);
    rhsBatch = shifted(rhs.batch, 1);
    lhsBatch.insert(lhsBatch.begin(), 0);
    rhsBatch.insert(rhsBatch.begin(), 0);
  }
  Value v = nn::DotOp::create(b, op.getLoc(), outer(lhs.value, isAlong || isLeft), outer(rhs.value, isAlong || isRight),
                              lhsBatch, rhsBatch, shifted(lhs.contract, 1), shifted(rhs.contract, !isShared));
  if (!isTurned || lhs.free.empty() || rhs.free.empty())
    return v;
  SmallVector<int64_t> permutation{0};
  for (size_t d = 0; d < rhs.free.size(); ++d)
    permutation.push_back(1 + lhs.free.size() + d);
  for (size_t d = 0; d < lhs.free.size(); ++d)
    permutation.push_back(1 + d);
  return nn::TransposeOp::create(b, op.getLoc(), asWhole(v), permutation).getResult();
}

/// With `isTransposed` the transpose of the product of two matrices: that of the sides exchanged.
LogicalResult StepFunctionBuilder::dot(nn::DotOp op, Value result, bool isTransposed) {
  Side lhs = sideOf(op.getLhs(), op.getLhsBatch(), op.getLhsContract(), op.getLhsFree());
  Side rhs = sideOf(op.getRhs(), op.getRhsBatch(), op.getRhsContract(), op.getRhsFree());
  auto v = isTransposed ? product(op, rhs, lhs) : product(op, lhs, rhs);
  if (failed(v))
    return failure();
  values[result] = *v;
  return success();
}

/// The product that a value is the transpose of.
static nn::DotOp transposedProduct(Operation *op) {
  auto transpose = dyn_cast<nn::TransposeOp>(op);
  auto product = transpose ? transpose.getInput().getDefiningOp<nn::DotOp>() : nn::DotOp();
  const bool isOfMatrices = product && product->hasOneUse() && product.getLhsBatch().empty() &&
                            product.getLhsFree().size() == 1 && product.getRhsFree().size() == 1;
  return isOfMatrices && transpose.getPermutation()[0] == 1 ? product : nn::DotOp();
}

//===----------------------------------------------------------------------===//
// Shapes and sums
//===----------------------------------------------------------------------===//

LogicalResult StepFunctionBuilder::shaped(Operation *op) {
  Value input = op->getOperand(0), result = op->getResult(0);
  Location loc = op->getLoc();
  // Rows stay rows if the op leaves the first dimension alone.
  const bool keepsFirst = llvm::TypeSwitch<Operation *, bool>(op)
                              .Case([&](nn::ReshapeOp) { return hasTokens(tensorOf(result)); })
                              .Case([](nn::TransposeOp t) { return t.getPermutation()[0] == 0; })
                              .Case<nn::SliceOp, nn::PadOp>([](auto s) { return s.getDim() != 0; })
                              .Case<nn::ReduceSumOp, nn::ReduceMaxOp>([](auto r) {
                                return r.getDims().empty() || r.getDims()[0] != 0;
                              })
                              .Default([](Operation *) { return false; });
  const bool isRows = this->isRows(input) && keepsFirst;
  Value v = outer(input, isRows);
  Type type = outerType(result, isRows);
  values[result] =
      llvm::TypeSwitch<Operation *, Value>(op)
          .Case([&](nn::ReshapeOp) { return nn::ReshapeOp::create(b, loc, type, v); })
          .Case([&](nn::TransposeOp t) {
            SmallVector<int64_t> permutation = shifted(t.getPermutation(), 1);
            permutation.insert(permutation.begin(), 0);
            return nn::TransposeOp::create(b, loc, v, permutation);
          })
          .Case([&](nn::SliceOp s) {
            return nn::SliceOp::create(b, loc, type, v, s.getDim() + 1, s.getBegin(), s.getStride());
          })
          .Case([&](nn::PadOp p) {
            return nn::PadOp::create(b, loc, type, v, p.getDim() + 1, p.getBegin(), p.getStride());
          })
          .Case([&](nn::ReduceSumOp r) { return nn::ReduceSumOp::create(b, loc, v, shifted(r.getDims(), 1)); })
          .Case([&](nn::ReduceMaxOp r) { return nn::ReduceMaxOp::create(b, loc, v, shifted(r.getDims(), 1)); })
          .Default([](Operation *) { return Value(); });
  return success(bool(values[result]));
}

LogicalResult StepFunctionBuilder::convert(Operation *op) {
  if (auto repeat = dyn_cast<nn::BroadcastLikeOp>(op)) {
    broadcast(repeat);
    return success();
  }
  if (llvm::all_of(op->getOperands(), [&](Value v) { return isPlain(v); })) {
    IRMapping mapping;
    for (Value v : op->getOperands())
      mapping.map(v, values.lookup(v));
    values[op->getResult(0)] = b.clone(*op, mapping)->getResult(0);
    return success();
  }
  if (auto product = dyn_cast<nn::DotOp>(op))
    return dot(product, product, /*isTransposed=*/false);
  if (nn::DotOp product = transposedProduct(op))
    return dot(product, op->getResult(0), /*isTransposed=*/true);
  return isa<ElementwiseOpInterface>(op) ? elementwise(op) : shaped(op);
}

//===----------------------------------------------------------------------===//
// The function
//===----------------------------------------------------------------------===//

FailureOr<func::FuncOp> rec::buildStepFunction(ScanOp scan, bool isLast, StringRef name) {
  Region region;
  IRMapping ignored;
  scan.getBody().cloneInto(&region, ignored);
  Block &body = region.front();
  specialiseBody(body, {isLast, /*isMarked=*/false});

  SmallVector<Type> arguments, results;
  for (auto [i, v] : llvm::enumerate(scan.getInputs()))
    arguments.push_back(LoopOp::wholeType(tensorOf(v), scan.kindOf(i)));
  for (auto [i, v] : llvm::enumerate(scan.getOutputs()))
    results.push_back(LoopOp::wholeType(tensorOf(v), scan.outKindOf(i)));
  for (Value state : scan.getFinalStates()) {
    arguments.push_back(LoopOp::wholeType(tensorOf(state), OperandKind::Row));
    results.push_back(arguments.back());
  }
  OpBuilder b(scan.getContext());
  auto function = func::FuncOp::create(b, scan.getLoc(), name, b.getFunctionType(arguments, results));
  function.setPrivate();
  Block *entry = function.addEntryBlock();
  b.setInsertionPointToEnd(entry);
  StepFunctionBuilder builder(scan.getChunk(), b);
  for (auto [inner, argument] : llvm::zip(body.getArguments(), entry->getArguments()))
    builder.enter(inner, argument);
  for (Operation &op : body.without_terminator())
    if (failed(builder.convert(&op))) {
      function.erase();
      return failure();
    }
  SmallVector<Value> returned;
  const Value like = scan.getNumStates() > 0 ? entry->getArguments().back() : entry->getArgument(0);
  for (auto [i, v] : llvm::enumerate(body.getTerminator()->getOperands()))
    returned.push_back(builder.leave(v, i < scan.getNumOutputs() && scan.outKindOf(i) == OperandKind::Token, like));
  func::ReturnOp::create(b, scan.getLoc(), returned);
  return function;
}
