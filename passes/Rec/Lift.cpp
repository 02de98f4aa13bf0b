//===- Lift.cpp - From one token to all of them -----------------*- C++ -*-===//
#include "passes/Rec/Lift.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

static RankedTensorType tensorOf(Value value) { return cast<RankedTensorType>(value.getType()); }

bool rec::usesRow(Operation &op, ScanOp scan) {
  return llvm::any_of(op.getOperands(), [&](Value operand) {
    auto argument = dyn_cast<BlockArgument>(operand);
    return argument && argument.getArgNumber() < scan.getInputs().size() &&
           scan.kindOf(argument.getArgNumber()) == OperandKind::Row;
  });
}

bool rec::canLift(Operation &op, ScanOp scan) {
  if (usesRow(op, scan)) // does not broadcast over tokens
    return false;
  return isa<ElementwiseOpInterface, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::PadOp, nn::ReduceSumOp,
             nn::ReduceMaxOp, nn::BroadcastLikeOp, nn::DotOp>(op);
}

Lifter::Lifter(ScanOp scan, OpBuilder &builder) : scan(scan), builder(builder), loc(scan.getLoc()) {
  outer = llvm::to_vector(tensorOf(scan.getInputs().front()).getShape().take_front(3));
}

ArrayRef<int64_t> Lifter::leading(Extent extent) const {
  ArrayRef<int64_t> all(outer);
  switch (extent) {
  case Extent::Token:
    return all;
  case Extent::Head:
    return all.drop_front(2);
  case Extent::Shared:
    return {};
  }
  llvm_unreachable("all extents are named");
}

ArrayRef<int64_t> Lifter::restOf(Lifted x) const {
  return tensorOf(x.value).getShape().drop_front(leading(x.extent).size());
}

RankedTensorType Lifter::typeOf(Extent extent, ArrayRef<int64_t> rest, Type element) const {
  SmallVector<int64_t> shape(leading(extent));
  llvm::append_range(shape, rest);
  return RankedTensorType::get(shape, element);
}

Lifter::Lifted Lifter::reshaped(Lifted x, ArrayRef<int64_t> rest) {
  if (restOf(x) == rest)
    return x;
  auto type = typeOf(x.extent, rest, tensorOf(x.value).getElementType());
  return {nn::ReshapeOp::create(builder, loc, type, x.value), x.extent};
}

Lifter::Lifted Lifter::transposed(Lifted x, ArrayRef<int64_t> permutation) {
  if (llvm::is_sorted(permutation))
    return x;
  SmallVector<int64_t> all;
  int64_t rank = leading(x.extent).size();
  for (int64_t d = 0; d < rank; ++d)
    all.push_back(d);
  for (int64_t d : permutation)
    all.push_back(rank + d);
  return {nn::TransposeOp::create(builder, loc, x.value, all), x.extent};
}

/// Adds zeros of the wider extent.
Lifter::Lifted Lifter::repeated(Lifted x, Extent extent) {
  if (x.extent == extent)
    return x;
  auto rest = llvm::to_vector(restOf(x));
  Type element = tensorOf(x.value).getElementType();
  SmallVector<int64_t> ones(rest.size(), 1);
  Value zeros;
  if (extent == Extent::Head) {
    zeros = nn::constant(builder, loc, 0, element, typeOf(extent, ones, element).getShape());
  } else {
    Value some = scan.getInputs().front(); // per token, by the rules of scans
    Value zero = nn::constant(builder, loc, 0, element);
    auto someType = tensorOf(some);
    zeros = nn::BroadcastLikeOp::create(builder, loc, someType.clone(element), zero, some);
    SmallVector<int64_t> dims;
    for (int64_t d = 3; d < someType.getRank(); ++d)
      dims.push_back(d);
    if (!dims.empty())
      zeros = nn::ReduceSumOp::create(builder, loc, zeros, dims);
    auto type = typeOf(extent, ones, element);
    if (zeros.getType() != type)
      zeros = nn::ReshapeOp::create(builder, loc, type, zeros);
  }
  return {nn::AddOp::create(builder, loc, x.value, zeros), extent};
}

Value Lifter::toTokens(Value inner, Value outerValue) {
  Lifted x = liftValue(inner);
  loc = inner.getLoc();
  return repeated({outerValue ? outerValue : x.value, x.extent}, Extent::Token).value;
}

Lifter::Lifted Lifter::liftValue(Value inner) {
  auto found = lifted.find(inner);
  if (found != lifted.end())
    return found->second;
  Lifted result;
  if (auto argument = dyn_cast<BlockArgument>(inner))
    result = liftArgument(argument);
  else
    result = liftOp(inner.getDefiningOp());
  lifted[inner] = result;
  return result;
}

Lifter::Lifted Lifter::liftArgument(BlockArgument argument) {
  unsigned index = argument.getArgNumber();
  Value value = scan.getInputs()[index];
  switch (scan.kindOf(index)) {
  case OperandKind::Token:
  case OperandKind::Step: // a step is a token
    return {value, Extent::Token};
  case OperandKind::Head:
    return {value, Extent::Head};
  case OperandKind::Shared:
    return {value, Extent::Shared};
  case OperandKind::Row:
    llvm_unreachable("the caller asked canLift");
  }
  llvm_unreachable("all kinds are named");
}

Lifter::Lifted Lifter::liftOp(Operation *op) {
  SmallVector<Lifted> operands;
  Extent extent = Extent::Shared;
  for (Value operand : op->getOperands()) {
    operands.push_back(liftValue(operand));
    extent = std::max(extent, operands.back().extent);
  }
  loc = op->getLoc();
  auto inner = tensorOf(op->getResult(0));
  Type type = typeOf(extent, inner.getShape(), inner.getElementType());
  int64_t shift = leading(extent).size();
  auto shifted = [&](ArrayRef<int64_t> dims) {
    SmallVector<int64_t> result;
    for (int64_t d : dims)
      result.push_back(shift + d);
    return result;
  };
  return llvm::TypeSwitch<Operation *, Lifted>(op)
      .Case([&](nn::ConstantOp constant) -> Lifted {
        return {nn::ConstantOp::create(builder, loc, type, constant.getValueAttr()), extent};
      })
      .Case([&](ElementwiseOpInterface) -> Lifted {
        OperationState state(loc, op->getName());
        for (Lifted x : operands) { // ranks are aligned behind the leading dimensions
          SmallVector<int64_t> rest(inner.getRank() - restOf(x).size(), 1);
          llvm::append_range(rest, restOf(x));
          state.addOperands((x.extent == Extent::Shared ? x : reshaped(x, rest)).value);
        }
        state.addTypes(type);
        return {builder.create(state)->getResult(0), extent};
      })
      .Case([&](nn::ReshapeOp) { return reshaped(operands[0], inner.getShape()); })
      .Case([&](nn::TransposeOp op) { return transposed(operands[0], op.getPermutation()); })
      .Case([&](nn::SliceOp op) -> Lifted {
        return {nn::SliceOp::create(builder, loc, type, operands[0].value, shift + op.getDim(), op.getBegin(),
                                    op.getStride()),
                extent};
      })
      .Case([&](nn::PadOp op) -> Lifted {
        return {nn::PadOp::create(builder, loc, type, operands[0].value, shift + op.getDim(), op.getBegin(),
                                  op.getStride()),
                extent};
      })
      .Case([&](nn::ReduceSumOp op) -> Lifted {
        return {nn::ReduceSumOp::create(builder, loc, operands[0].value, shifted(op.getDims())), extent};
      })
      .Case([&](nn::ReduceMaxOp op) -> Lifted {
        return {nn::ReduceMaxOp::create(builder, loc, operands[0].value, shifted(op.getDims())), extent};
      })
      .Case([&](nn::BroadcastLikeOp) -> Lifted { // by adding zeros of the static shape
        SmallVector<int64_t> rest(inner.getRank() - restOf(operands[0]).size(), 1);
        llvm::append_range(rest, restOf(operands[0]));
        Lifted x = reshaped(operands[0], rest);
        Value zeros = nn::constant(builder, loc, 0, inner.getElementType(), inner.getShape());
        return {nn::AddOp::create(builder, loc, x.value, zeros), x.extent};
      })
      .Case([&](nn::DotOp dot) { return liftDot(dot); })
      .Default([](Operation *) -> Lifted { llvm_unreachable("the caller asked canLift"); });
}

/// A product stays one where a side is a matrix and the layout allows it.
Lifter::Lifted Lifter::liftDot(nn::DotOp op) {
  Lifted lhs = liftValue(op.getLhs()), rhs = liftValue(op.getRhs());
  loc = op.getLoc();
  auto lf = op.getLhsFree(), rf = op.getRhsFree();
  auto lc = op.getLhsContract(), rc = op.getRhsContract();
  if (lc.empty() || (lf.empty() && rf.empty()))
    return liftDotAsProduct(op);
  if (lhs.extent == rhs.extent) {
    int64_t shift = leading(lhs.extent).size();
    SmallVector<int64_t> dims[4];
    for (int64_t d = 0; d < shift; ++d)
      dims[0].push_back(d), dims[1].push_back(d);
    auto append = [&](SmallVector<int64_t> &to, ArrayRef<int64_t> from) {
      for (int64_t d : from)
        to.push_back(shift + d);
    };
    append(dims[0], op.getLhsBatch()), append(dims[1], op.getRhsBatch()), append(dims[2], lc), append(dims[3], rc);
    return {nn::DotOp::create(builder, loc, lhs.value, rhs.value, dims[0], dims[1], dims[2], dims[3]), lhs.extent};
  }
  bool isLhsWide = rhs.extent == Extent::Shared;
  if (!op.getLhsBatch().empty() || (!isLhsWide && lhs.extent != Extent::Shared))
    return liftDotAsProduct(op);
  Lifted wide = isLhsWide ? lhs : rhs, narrow = isLhsWide ? rhs : lhs;
  SmallVector<int64_t> contract;
  for (int64_t d : isLhsWide ? lc : rc)
    contract.push_back(leading(wide.extent).size() + d);
  Lifted product{nn::DotOp::create(builder, loc, wide.value, narrow.value, contract, isLhsWide ? rc : lc), wide.extent};
  if (isLhsWide)
    return product;
  SmallVector<int64_t> swap; // free dimensions of the right side came first
  for (size_t d = 0; d < lf.size(); ++d)
    swap.push_back(rf.size() + d);
  for (size_t d = 0; d < rf.size(); ++d)
    swap.push_back(d);
  return transposed(product, swap);
}

/// Both sides brought to `batch x lhs free x rhs free x contracted`, multiplied and summed.
Lifter::Lifted Lifter::liftDotAsProduct(nn::DotOp op) {
  Lifted sides[2] = {liftValue(op.getLhs()), liftValue(op.getRhs())};
  loc = op.getLoc();
  Extent extent = std::max(sides[0].extent, sides[1].extent);
  SmallVector<int64_t> free[2] = {op.getLhsFree(), op.getRhsFree()};
  ArrayRef<int64_t> batch[2] = {op.getLhsBatch(), op.getRhsBatch()};
  ArrayRef<int64_t> contract[2] = {op.getLhsContract(), op.getRhsContract()};
  for (int s = 0; s < 2; ++s) {
    auto own = llvm::to_vector(restOf(sides[s]));
    SmallVector<int64_t> order(batch[s]), rest;
    llvm::append_range(order, free[s]);
    llvm::append_range(order, contract[s]);
    for (int64_t d : batch[s])
      rest.push_back(own[d]);
    if (s == 1)
      rest.append(free[0].size(), 1);
    for (int64_t d : free[s])
      rest.push_back(own[d]);
    if (s == 0)
      rest.append(free[1].size(), 1);
    for (int64_t d : contract[s])
      rest.push_back(own[d]);
    sides[s] = reshaped(transposed(sides[s], order), rest);
  }
  Value product = nn::MulOp::create(builder, loc, sides[0].value, sides[1].value);
  auto inner = op.getType().getShape();
  SmallVector<int64_t> dims;
  for (size_t d = 0; d < contract[0].size(); ++d)
    dims.push_back(leading(extent).size() + inner.size() + d);
  if (!dims.empty())
    product = nn::ReduceSumOp::create(builder, loc, product, dims);
  return reshaped({product, extent}, inner);
}
