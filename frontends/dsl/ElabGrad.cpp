//===- ElabGrad.cpp - grad(scalar, values...) -------------------*- C++ -*-===//
// The gradient is appended to the ops that compute the scalar, by the adjoints
// of these ops. It consists of ops like any others, so a gradient can be
// differentiated again: by another grad, and by training.
//===----------------------------------------------------------------------===//
#include "frontends/dsl/Elaborator.h"
#include "ir/Nn/NnOps.h"
#include "llvm/ADT/SetVector.h"
#include "mlir/IR/IRMapping.h"

using namespace tidegate;
using namespace tidegate::dsl;

/// Values of the block of `scalar` that it depends on, itself included.
static llvm::SetVector<mlir::Value> dependencies(mlir::Value scalar) {
  llvm::SetVector<mlir::Value> found;
  found.insert(scalar);
  for (size_t i = 0; i < found.size(); ++i)
    if (mlir::Operation *op = found[i].getDefiningOp())
      found.insert(op->operand_begin(), op->operand_end());
  return found;
}

/// Walks `ops` backwards; a call of a repeat's function is computed again in place.
bool Elaborator::reverse(llvm::ArrayRef<mlir::Operation *> ops, nn::Cotangents &cotangents, Range range) {
  for (mlir::Operation *op : llvm::reverse(ops)) {
    auto call = llvm::dyn_cast<mlir::func::CallOp>(op);
    if (!call) {
      if (failed(nn::reverse(region->builder, op, cotangents))) {
        error(range, "expected an expression that can be differentiated, but '" + op->getName().getStringRef() +
                         "' has no gradient");
        return false;
      }
      continue;
    }
    auto callee = module.lookupSymbol<mlir::func::FuncOp>(call.getCallee());
    mlir::Block &body = callee.getBody().front();
    mlir::IRMapping mapping;
    mapping.map(body.getArguments(), call.getOperands());
    llvm::SmallVector<mlir::Operation *> inlined;
    for (mlir::Operation &inner : body.without_terminator())
      inlined.push_back(region->builder.clone(inner, mapping));
    for (auto [result, inner] : llvm::zip(call.getResults(), body.getTerminator()->getOperands()))
      cotangents.add(region->builder, mapping.lookup(inner), cotangents.lookup(result));
    if (!reverse(inlined, cotangents, range))
      return false;
  }
  return true;
}

Value Elaborator::evalGrad(const CallExpr &call) {
  // The values first: a tensor of an outer region is one argument here, whoever asks for it.
  std::vector<Value> values;
  for (const CallArg &arg : llvm::ArrayRef(call.args).drop_front()) {
    Range range = arg.value->range;
    if (!llvm::isa<NameExpr, IndexExpr>(arg.value)) {
      error(range, "expected the name of a value to differentiate by in grad(scalar, value, ...)");
      return {};
    }
    values.push_back(eval(*arg.value));
    if (!isReal(values.back(), range, "to differentiate by"))
      return {};
  }
  Range range = call.args.front().value->range;
  Value scalar = eval(*call.args.front().value);
  if (!isReal(scalar, range, "to differentiate"))
    return {};
  if (llvm::any_of(scalar.shape, [](int64_t dim) { return dim != 1; })) {
    auto builder = error(range, "expected a scalar to differentiate, but got shape " + str(scalar.shape) +
                                    "; sum(flatten(x)) makes one of a matrix");
    describeOrigin(builder, "it", {&scalar, range});
    return {};
  }
  auto needed = dependencies(scalar.tensor);
  llvm::DenseSet<mlir::Value> active;
  for (auto [arg, value] : llvm::zip(llvm::ArrayRef(call.args).drop_front(), values)) {
    std::string name(arg.value->range.Start.getPointer(), arg.value->range.End.getPointer());
    if (!needed.contains(value.tensor)) {
      error(arg.value->range, "expected a value that the scalar depends on, but '" + name + "' does not enter it")
          .note(range, "the scalar is here; a name that is assigned again is another value");
      return {};
    }
    if (scalar.batched && !value.batched) {
      error(arg.value->range, "expected a value with the batch, as the scalar has, but '" + name +
                                  "' is one value for all rows; differentiate inside a 'scan', which sees one row")
          .note(range, "the scalar is here");
      return {};
    }
    active.insert(value.tensor);
  }
  llvm::SmallVector<mlir::Operation *> ops;
  for (mlir::Operation &op : *region->block)
    if (llvm::any_of(op.getOperands(), [&](mlir::Value v) { return active.contains(v); })) {
      active.insert(op.result_begin(), op.result_end());
      if (llvm::any_of(op.getResults(), [&](mlir::Value v) { return needed.contains(v); }))
        ops.push_back(&op);
    }
  mlir::Location place = loc(call.range);
  nn::Cotangents cotangents;
  mlir::Value one = constant(1, {}, place);
  if (one.getType() != scalar.tensor.getType())
    one = nn::BroadcastLikeOp::create(region->builder, place, scalar.tensor.getType(), one, scalar.tensor);
  cotangents.add(region->builder, scalar.tensor, one);
  if (!reverse(ops, cotangents, range))
    return {};
  Value tuple;
  tuple.kind = ValueKind::Tuple;
  for (const Value &value : values) {
    mlir::Value cotangent = cotangents.lookup(value.tensor);
    if (!cotangent)
      cotangent = nn::zerosLike(region->builder, place, value.tensor);
    tuple.elements.push_back(tensorValue(cotangent, value.shape, value.batched, call.range));
  }
  return tuple.elements.size() == 1 ? tuple.elements.front() : tuple;
}
