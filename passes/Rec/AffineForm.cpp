//===- AffineForm.cpp - Values as affine functions of the state -*- C++ -*-===//
// A body is read like a polynomial of degree one in the state: every value that
// depends on the state becomes a sum of scaled states and outer products, or of
// reads. Coefficients are state-free values; the ops that make them are added
// to the body.
//===----------------------------------------------------------------------===//
#include "passes/Rec/AffineForm.h"

#include "passes/Rec/Lift.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

using Form = AffineForm;

static RankedTensorType tensorOf(Value value) { return cast<RankedTensorType>(value.getType()); }

static int64_t countOf(Value value) { return tensorOf(value).getNumElements(); }

AffineReader::AffineReader(ScanOp scan, int64_t keyDim)
    : keyDim(keyDim), scan(scan), builder(scan.getBody().front().getTerminator()), loc(scan.getLoc()) {
  auto state = tensorOf(scan.getBodyStates().front());
  shape = llvm::to_vector(state.getShape());
  keys = shape[keyDim], values = shape[1 - keyDim];
  element = state.getElementType();
}

const AffineForm &AffineReader::formOf(Value value) const {
  auto found = forms.find(value);
  return found == forms.end() ? free : found->second;
}

Form AffineReader::of(Vector vector) {
  Form form;
  form.kind = Form::IsVector;
  form.vector = std::move(vector);
  return form;
}

Form AffineReader::of(Matrix matrix) {
  Form form;
  form.kind = Form::IsMatrix;
  form.matrix = std::move(matrix);
  return form;
}

Form AffineReader::refuse(Operation &op, const Twine &what, bool isAffine) {
  Form form;
  form.kind = Form::Other;
  form.refusal = {op.getLoc(), what.str(), isAffine};
  return form;
}

Form AffineReader::refuseDegreeTwo(Operation &op) {
  return refuse(op, "this multiplies two terms that both depend on it", /*isAffine=*/false);
}

//===----------------------------------------------------------------------===//
// State-free parts
//===----------------------------------------------------------------------===//

AffineReader::Part AffineReader::partOf(Value value) {
  auto own = tensorOf(value).getShape();
  if (own.size() > 2)
    return Part::Outside;
  int64_t sizes[2] = {1, 1};
  for (size_t d = 0; d < own.size(); ++d)
    sizes[2 - own.size() + d] = own[d];
  int64_t key = sizes[keyDim], other = sizes[1 - keyDim];
  if ((key != 1 && key != keys) || (other != 1 && other != values))
    return Part::Outside;
  if (key == 1)
    return other == 1 ? Part::Scalar : Part::Value;
  return other == 1 ? Part::Key : Part::Full;
}

Value AffineReader::asKey(Value value, Part part) {
  return at(loc).reshaped(value, part == Part::Scalar ? 1 : keys);
}

Value AffineReader::asValue(Value value) {
  if (countOf(value) == values)
    return at(loc).reshaped(value, values);
  return at(loc).plus(at(loc).number(0, element, values), at(loc).reshaped(value, 1));
}

std::optional<AffineForm::Matrix> AffineReader::asMatrix(Value value) {
  const Form &form = formOf(value);
  if (form.kind == Form::IsMatrix)
    return form.matrix;
  Part part = partOf(value);
  if (form.kind == Form::IsVector) { // the same row for every key
    if (part != Part::Value && part != Part::Scalar)
      return std::nullopt;
    return Matrix{{}, {{at(loc).number(1, element, keys), form.vector}}};
  }
  if (form.kind == Form::Other)
    return std::nullopt;
  return decompose(value);
}

std::optional<AffineForm::Matrix> AffineReader::decompose(Value value) {
  Arithmetic a = at(value.getLoc());
  Part part = partOf(value);
  auto outer = [](Value key, Value row) { return Matrix{{}, {{key, Vector{row, {}}}}}; };
  switch (part) {
  case Part::Outside:
    return std::nullopt;
  case Part::Scalar:
  case Part::Value:
    return outer(a.number(1, element, keys), asValue(value));
  case Part::Key:
    return outer(asKey(value, part), a.number(1, element, values));
  case Part::Full:
    break;
  }
  Operation *op = value.getDefiningOp();
  if (!op)
    return std::nullopt;
  return llvm::TypeSwitch<Operation *, std::optional<Matrix>>(op)
      .Case([&](nn::DotOp dot) -> std::optional<Matrix> {
        if (!dot.getLhsContract().empty() || tensorOf(dot.getLhs()).getRank() != 1)
          return std::nullopt;
        Value sides[2] = {dot.getLhs(), dot.getRhs()};
        return outer(sides[keyDim], sides[1 - keyDim]);
      })
      .Case([&](nn::NegOp neg) -> std::optional<Matrix> {
        auto inner = decompose(neg.getInput());
        return inner ? std::optional(negated(*inner)) : std::nullopt;
      })
      .Case<nn::AddOp, nn::SubOp>([&](auto add) -> std::optional<Matrix> {
        auto lhs = decompose(add.getLhs()), rhs = decompose(add.getRhs());
        if (!lhs || !rhs)
          return std::nullopt;
        return sum(*lhs, isa<nn::SubOp>(op) ? negated(*rhs) : *rhs);
      })
      .Case([&](nn::MulOp mul) -> std::optional<Matrix> {
        Value x = mul.getLhs(), y = mul.getRhs();
        if (partOf(x) == Part::Full)
          std::swap(x, y);
        Part factor = partOf(x), rest = partOf(y);
        if (factor == Part::Value && rest == Part::Key)
          return outer(asKey(y, rest), asValue(x));
        if (factor == Part::Key && rest == Part::Value)
          return outer(asKey(x, factor), asValue(y));
        auto inner = decompose(y);
        if (!inner || factor == Part::Full || factor == Part::Outside)
          return std::nullopt;
        if (factor == Part::Key)
          return scaledByKey(*inner, asKey(x, factor));
        for (auto &[key, row] : inner->outers)
          row.constant = a.times(row.constant, factor == Part::Scalar ? asKey(x, factor) : asValue(x));
        return inner;
      })
      .Default([](Operation *) { return std::nullopt; });
}

//===----------------------------------------------------------------------===//
// Arithmetic of forms
//===----------------------------------------------------------------------===//

AffineForm::Vector AffineReader::scaled(const Vector &x, Value scalar) {
  Vector y;
  y.constant = x.constant ? at(loc).times(x.constant, scalar) : Value();
  for (const auto &[reader, version, factor] : x.terms)
    y.terms.push_back({at(loc).times(reader, scalar), version, factor});
  return y;
}

AffineForm::Vector AffineReader::scaledByValue(Vector x, Value value) {
  if (x.constant)
    x.constant = at(loc).times(x.constant, value);
  for (auto &term : x.terms)
    term.factor = at(loc).times(term.factor, value);
  return x;
}

AffineForm::Vector AffineReader::sum(Vector x, const Vector &y) {
  x.constant = at(loc).plus(x.constant, y.constant);
  for (const auto &term : y.terms) {
    auto same = llvm::find_if(
        x.terms, [&](const Form::Term &t) { return t.version == term.version && t.factor == term.factor; });
    if (same != x.terms.end())
      same->reader = at(loc).plus(same->reader, term.reader);
    else
      x.terms.push_back(term);
  }
  return x;
}

AffineForm::Matrix AffineReader::scaledByKey(const Matrix &x, Value key) {
  Matrix y = x;
  for (auto &base : y.bases)
    base.decay = at(loc).times(base.decay, key);
  for (auto &outer : y.outers)
    outer.key = at(loc).times(outer.key, key);
  return y;
}

AffineForm::Matrix AffineReader::scaledByValue(Matrix x, Value value) {
  for (auto &base : x.bases)
    base.valueDecay = at(loc).times(base.valueDecay, value);
  for (auto &outer : x.outers)
    outer.value = scaledByValue(outer.value, value);
  return x;
}

AffineForm::Matrix AffineReader::negated(Matrix x) {
  for (auto &base : x.bases)
    base.decay = base.decay ? at(loc).negated(base.decay) : at(loc).number(-1, element, 1);
  for (auto &outer : x.outers)
    outer.value = negated(outer.value);
  return x;
}

AffineForm::Vector AffineReader::negated(Vector x) {
  x.constant = at(loc).negated(x.constant);
  for (auto &term : x.terms)
    term.reader = at(loc).negated(term.reader);
  return x;
}

AffineForm::Matrix AffineReader::sum(Matrix x, const Matrix &y) {
  llvm::append_range(x.bases, y.bases);
  llvm::append_range(x.outers, y.outers);
  return x;
}

AffineForm::Vector AffineReader::readMatrix(const Matrix &x, Value query) {
  Vector y;
  for (const auto &[decay, version, valueDecay] : x.bases)
    y = sum(y, Vector{{}, {{at(loc).times(query, decay), version, valueDecay}}});
  for (const auto &[key, value] : x.outers) {
    Value weight = at(loc).reshaped(at(loc).dot(key, query, 0, 0), 1);
    y = sum(y, scaled(value, weight));
  }
  return y;
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

/// A matrix under a factor that lies along its keys, along its values, or is the
/// outer product of two that do.
Form AffineReader::scaledMatrix(Operation &op, const Matrix &matrix, Value factor) {
  switch (Part part = partOf(factor)) {
  case Part::Scalar: {
    Matrix y = matrix;
    for (auto &base : y.bases)
      base.decay = at(loc).times(base.decay, asKey(factor, part));
    for (auto &outer : y.outers)
      outer.value = scaled(outer.value, asKey(factor, part));
    return of(y);
  }
  case Part::Key:
    return of(scaledByKey(matrix, asKey(factor, part)));
  case Part::Value:
    return of(scaledByValue(matrix, asValue(factor)));
  case Part::Full:
    if (auto parts = decompose(factor); parts && parts->outers.size() == 1)
      return of(scaledByValue(scaledByKey(matrix, parts->outers[0].key), parts->outers[0].value.constant));
    break;
  case Part::Outside:
    break;
  }
  return refuse(op, "the state is scaled element by element, not along its keys and values", /*isAffine=*/true);
}

/// The value `whole` of a form that is not free, times a state-free factor.
Form AffineReader::scaledForm(Operation &op, Value whole, Value factor) {
  const Form &form = formOf(whole);
  if (form.kind == Form::IsMatrix)
    return scaledMatrix(op, Matrix(form.matrix), factor);
  if (countOf(factor) == 1)
    return of(scaled(form.vector, at(loc).reshaped(factor, 1)));
  Part part = partOf(factor);
  bool liesAlongValues = partOf(whole) == Part::Value || partOf(whole) == Part::Scalar;
  if (part == Part::Key && liesAlongValues && countOf(op.getResult(0)) != values)
    return of(Matrix{{}, {{asKey(factor, part), form.vector}}});
  if (countOf(factor) == values && countOf(op.getResult(0)) == values)
    return of(scaledByValue(form.vector, asValue(factor)));
  return refuse(op, "a read of the state is scaled element by element", /*isAffine=*/true);
}

Form AffineReader::readProduct(Operation &op) {
  Value x = op.getOperand(0), y = op.getOperand(1);
  if (!isFree(x) && !isFree(y))
    return refuseDegreeTwo(op);
  return isFree(x) ? scaledForm(op, y, x) : scaledForm(op, x, y);
}

Form AffineReader::readQuotient(Operation &op) {
  Value x = op.getOperand(0), y = op.getOperand(1);
  if (!isFree(y))
    return refuse(op, "this divides by a term that depends on it", /*isAffine=*/false);
  Value inverse = nn::DivOp::create(builder, loc, at(loc).number(1, element), y);
  return scaledForm(op, x, inverse);
}

Form AffineReader::readSum(Operation &op, bool isDifference) {
  Value x = op.getOperand(0), y = op.getOperand(1);
  const Form &fx = formOf(x), &fy = formOf(y);
  if (fx.kind == Form::IsMatrix || fy.kind == Form::IsMatrix || countOf(op.getResult(0)) != values) {
    auto lhs = asMatrix(x), rhs = asMatrix(y);
    if (!lhs || !rhs)
      return refuse(op, "a summand of the state is not written as an outer product", /*isAffine=*/true);
    return of(sum(*lhs, isDifference ? negated(*rhs) : *rhs));
  }
  auto vectorOf = [&](Value v, const Form &form) {
    return form.kind == Form::IsVector ? form.vector : Vector{asValue(v), {}};
  };
  Vector lhs = vectorOf(x, fx), rhs = vectorOf(y, fy);
  return of(sum(lhs, isDifference ? negated(rhs) : rhs));
}

/// A product with the matrix on one side: a read, or P S for an outer product P.
Form AffineReader::readStateDot(nn::DotOp op, bool stateIsLhs) {
  const Matrix &state = formOf(stateIsLhs ? op.getLhs() : op.getRhs()).matrix;
  Value other = stateIsLhs ? op.getRhs() : op.getLhs();
  auto contracts = [&](int64_t stateDim, int64_t otherDim) {
    auto own = stateIsLhs ? op.getLhsContract() : op.getRhsContract();
    auto theirs = stateIsLhs ? op.getRhsContract() : op.getLhsContract();
    return own == ArrayRef<int64_t>(stateDim) && theirs == ArrayRef<int64_t>(otherDim);
  };
  if (tensorOf(other).getRank() == 1 && contracts(keyDim, 0))
    return of(readMatrix(state, other));
  bool keepsLayout = stateIsLhs == (keyDim == 1); // the new keys take the place of the old ones
  if (keepsLayout && tensorOf(other).getRank() == 2 && contracts(keyDim, 1 - keyDim) && countOf(other) == keys * keys)
    if (auto product = other.getDefiningOp<nn::DotOp>(); product && product.getLhsContract().empty()) {
      Value sides[2] = {product.getLhs(), product.getRhs()};
      return of(Matrix{{}, {{sides[keyDim], readMatrix(state, sides[1 - keyDim])}}});
    }
  return refuse(*op, "this is neither a read along the keys of the state nor an outer product times it",
                /*isAffine=*/true);
}

Form AffineReader::readDot(nn::DotOp op) {
  Value x = op.getLhs(), y = op.getRhs();
  if (!isFree(x) && !isFree(y))
    return refuseDegreeTwo(*op);
  bool lhs = !isFree(x);
  const Form &form = formOf(lhs ? x : y);
  if (form.kind == Form::IsMatrix)
    return readStateDot(op, lhs);
  Value other = lhs ? y : x;
  bool isOuter = op.getLhsContract().empty() && op.getLhsBatch().empty() && tensorOf(x).getRank() == 1 &&
                 tensorOf(y).getRank() == 1;
  if (isOuter && lhs == (keyDim == 1) && countOf(other) == keys)
    return of(Matrix{{}, {{other, form.vector}}});
  return refuse(*op, "a read of the state is contracted again", /*isAffine=*/true);
}

Form AffineReader::readUnary(Operation &op) {
  const Form &form = formOf(op.getOperand(0));
  if (isa<nn::NegOp>(op))
    return form.kind == Form::IsMatrix ? of(negated(form.matrix))
                                       : of(negated(form.vector));
  if (isa<nn::ReshapeOp>(op) && form.kind == Form::IsVector)
    return form;
  bool isLinear = isa<nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::PadOp, nn::ReduceSumOp, nn::BroadcastLikeOp,
                      nn::StopGradientOp>(op);
  return refuse(op, "'" + op.getName().getStringRef() + "' is applied to it", isLinear);
}

void AffineReader::read(Operation &op) {
  if (llvm::all_of(op.getOperands(), [&](Value v) { return isFree(v); }))
    return;
  loc = op.getLoc();
  bool afterReads = canLift(op, scan);
  const Form *other = nullptr;
  for (Value operand : op.getOperands()) {
    const Form &form = formOf(operand);
    afterReads &= form.kind != Form::IsMatrix && form.isAfterReads;
    if (form.kind == Form::Other && !other)
      other = &form;
  }
  Form form;
  if (other)
    form = *other;
  else
    form = llvm::TypeSwitch<Operation *, Form>(&op)
               .Case<nn::AddOp>([&](Operation *) { return readSum(op, false); })
               .Case<nn::SubOp>([&](Operation *) { return readSum(op, true); })
               .Case<nn::MulOp>([&](Operation *) { return readProduct(op); })
               .Case<nn::DivOp>([&](Operation *) { return readQuotient(op); })
               .Case([&](nn::DotOp dot) { return readDot(dot); })
               .Default([&](Operation *) { return readUnary(op); });
  if (form.kind == Form::Other)
    form.isAfterReads = afterReads;
  for (Value result : op.getResults())
    forms[result] = form;
}
