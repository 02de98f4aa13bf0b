//===- ElabTensor.cpp - Shapes and broadcasting -----------------*- C++ -*-===//
// The user's shapes leave out the batch; the IR has it in front. Two tensors
// with the batch but of different rank are brought to one rank behind it, so
// that NumPy alignment in the IR is alignment of the user's shapes.
//===----------------------------------------------------------------------===//
#include "frontends/dsl/Elaborator.h"
#include "ir/Nn/NnOps.h"

using namespace tidegate::dsl;

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Value Elaborator::tensorValue(mlir::Value tensor, Shape shape, bool batched, Range origin) {
  Value value;
  value.kind = ValueKind::Tensor;
  value.tensor = tensor;
  value.shape = std::move(shape);
  value.batched = batched;
  value.origin = origin;
  return value;
}

mlir::RankedTensorType Elaborator::tensorType(llvm::ArrayRef<int64_t> shape, bool batched) {
  Shape full;
  if (batched)
    full.push_back(mlir::ShapedType::kDynamic);
  full.append(shape.begin(), shape.end());
  return mlir::RankedTensorType::get(full, elementType);
}

mlir::Value Elaborator::constant(double value, llvm::ArrayRef<int64_t> shape, mlir::Location place) {
  return nn::constant(region->builder, place, value, elementType, shape);
}

mlir::Value Elaborator::reshape(mlir::Value value, llvm::ArrayRef<int64_t> shape, mlir::Location place) {
  auto type = mlir::RankedTensorType::get(shape, elementType);
  return type == value.getType() ? value : mlir::Value(nn::ReshapeOp::create(region->builder, place, type, value));
}

/// `value` under another shape of the user's view.
Value Elaborator::reshaped(const Value &value, Shape shape, Range range) {
  auto type = tensorType(shape, value.batched);
  mlir::Value tensor = reshape(value.tensor, type.getShape(), loc(range));
  return tensorValue(tensor, std::move(shape), value.batched, range);
}

bool Elaborator::isReal(const Value &value, Range range, llvm::StringRef where) {
  if (value.isPoison())
    return false;
  if (value.isTensor() && !value.isInt && !value.diagonal)
    return true;
  auto builder = error(range, "expected a tensor " + where + ", but got " + describe(value));
  if (value.isTensor() && value.diagonal)
    builder.note(range, "a diag(...) stands only beside '.', as in diag(a) . S");
  return false;
}

bool Elaborator::hasRank(const Value &value, size_t least, Range range, llvm::StringRef where) {
  if (!isReal(value, range, where))
    return false;
  if (value.shape.size() >= least)
    return true;
  auto builder =
      error(range, "expected a tensor of at least " + llvm::Twine(least) +
                       (least == 1 ? " dimension " : " dimensions ") + where + ", but got shape " + str(value.shape));
  describeOrigin(builder, "it", {&value, range});
  return false;
}

void Elaborator::describeOrigin(DiagnosticBuilder &error, llvm::StringRef who, const Operand &operand) {
  if (operand.value->isTensor() && operand.value->origin.isValid() &&
      operand.value->origin.Start != operand.range.Start)
    error.note(operand.value->origin, who + " gets its shape " + str(operand.value->shape) + " here");
}

//===----------------------------------------------------------------------===//
// Broadcasting
//===----------------------------------------------------------------------===//

std::optional<Shape> Elaborator::broadcastShape(llvm::StringRef what, Range range, llvm::ArrayRef<Operand> operands) {
  const Operand *widest = &operands.front();
  for (const Operand &operand : operands)
    if (operand.value->shape.size() > widest->value->shape.size())
      widest = &operand;
  Shape shape = widest->value->shape;
  llvm::SmallVector<const Operand *> source(shape.size(), widest); // who gave each dimension
  for (const Operand &operand : operands) {
    size_t shift = shape.size() - operand.value->shape.size();
    for (auto [i, dim] : llvm::enumerate(operand.value->shape)) {
      int64_t &known = shape[i + shift];
      if (dim == known || dim == 1)
        continue;
      if (known == 1) {
        known = dim;
        source[i + shift] = &operand;
        continue;
      }
      const Operand &other = *source[i + shift];
      auto builder =
          error(range, "expected equal dimensions in " + what + ", but got " + dimStr(known) + " in " +
                           str(other.value->shape) + " and " + dimStr(dim) + " in " + str(operand.value->shape));
      builder.note(other.range, "this has shape " + str(other.value->shape));
      describeOrigin(builder, "it", other);
      builder.note(operand.range, "this has shape " + str(operand.value->shape));
      describeOrigin(builder, "it", operand);
      return std::nullopt;
    }
  }
  for (size_t i = 1; i < shape.size(); ++i)
    if (shape[i] == kTime) {
      error(range, "expected T as the first dimension, but " + what + " would give " + str(shape));
      return std::nullopt;
    }
  return shape;
}

std::optional<Value> Elaborator::align(llvm::StringRef what, Range range, llvm::ArrayRef<Operand> operands,
                                       llvm::SmallVectorImpl<mlir::Value> &tensors) {
  std::string where = ("in " + what).str();
  llvm::SmallVector<Value, 3> values;
  for (const Operand &operand : operands) {
    Value value = *operand.value;
    if (value.isNumber())
      value = tensorValue(constant(value.number.toDouble(), {}, loc(operand.range)), {}, false, operand.range);
    if (!isReal(value, operand.range, where))
      return std::nullopt;
    values.push_back(std::move(value));
  }
  llvm::SmallVector<Operand, 3> asTensors;
  for (auto [value, operand] : llvm::zip(values, operands))
    asTensors.push_back({&value, operand.range});
  std::optional<Shape> shape = broadcastShape(what, range, asTensors);
  if (!shape)
    return std::nullopt;
  bool batched = llvm::any_of(values, [](const Value &value) { return value.batched; });
  for (Value &value : values) {
    if (value.batched && value.shape.size() < shape->size()) {
      Shape wide(shape->size() - value.shape.size(), 1);
      wide.append(value.shape);
      value = reshaped(value, std::move(wide), range);
    }
    tensors.push_back(value.tensor);
  }
  return tensorValue({}, std::move(*shape), batched, range);
}

//===----------------------------------------------------------------------===//
// Dimensions
//===----------------------------------------------------------------------===//

std::optional<int64_t> Elaborator::evalInteger(const Expr &expr, llvm::StringRef what, int64_t least) {
  Value value = eval(expr);
  return asInteger(value, expr.range, what, least,
                   [&](Range range, const llvm::Twine &message) { return error(range, message); });
}

std::optional<int64_t> Elaborator::evalDim(const Expr &expr) {
  auto *name = llvm::dyn_cast<NameExpr>(&expr);
  if (name && name->name == "T")
    return kTime;
  return evalInteger(expr, "a dimension", 1);
}

/// A shape in full: `...` stands for what the call bound it to.
std::optional<Shape> Elaborator::evalShape(const ShapeType &type) {
  Shape shape;
  if (type.ellipsis) {
    if (!frame->ellipsis) {
      error(type.range, "expected '...' in the type of an argument too: nothing says what it stands for");
      return std::nullopt;
    }
    shape = *frame->ellipsis;
  }
  for (const Expr *expr : type.dims) {
    std::optional<int64_t> dim = evalDim(*expr);
    if (!dim)
      return std::nullopt;
    if (*dim == kTime && !shape.empty()) {
      error(expr->range, "expected T as the first dimension of a shape");
      return std::nullopt;
    }
    shape.push_back(*dim);
  }
  return shape;
}
