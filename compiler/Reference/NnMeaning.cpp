//===- NnMeaning.cpp - Meaning of shapes, products and lookups --*- C++ -*-===//
#include "compiler/Reference/Meaning.h"
#include "ir/Nn/NnOps.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <limits>
#include <numeric>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::reference;

static std::vector<int64_t> sizes(const Tensor &t, ArrayRef<int64_t> dims) {
  std::vector<int64_t> result;
  for (int64_t d : dims)
    result.push_back(t.shape[d]);
  return result;
}

/// Offsets of the sub-space of `t` spanned by `dims`, in that order.
static std::vector<int64_t> offsetsAlong(const Tensor &t, ArrayRef<int64_t> dims) {
  std::vector<int64_t> all = rowMajorStrides(t.shape), strides;
  for (int64_t d : dims)
    strides.push_back(all[d]);
  return offsets(sizes(t, dims), strides);
}

static FailureOr<Tensor> evaluate(nn::ConstantOp op, Operands) {
  Tensor result = Tensor::zeros(op.getType().getShape().vec());
  result.values.assign(result.size(), op.getValue().convertToDouble());
  return result;
}

static FailureOr<Tensor> evaluate(nn::IotaOp op, Operands) {
  Tensor result = Tensor::zeros(op.getType().getShape().vec());
  std::iota(result.values.begin(), result.values.end(), 0.0);
  return result;
}

static FailureOr<Tensor> evaluate(nn::BroadcastLikeOp op, Operands x) {
  Tensor result = Tensor::zeros(x[1]->shape);
  auto at = broadcastOffsets(x[0]->shape, result.shape);
  for (size_t i = 0; i < at.size(); ++i)
    result.values[i] = x[0]->values[at[i]];
  return result;
}

static FailureOr<Tensor> evaluate(nn::ReshapeOp op, Operands x) {
  Tensor result = *x[0];
  result.shape.assign(op.getType().getShape().begin(), op.getType().getShape().end());
  for (size_t d = 0; d < result.shape.size() && ShapedType::isDynamic(result.shape[d]); ++d)
    result.shape[d] = x[0]->shape[d];
  return result;
}

static FailureOr<Tensor> evaluate(nn::TransposeOp op, Operands x) {
  Tensor result = Tensor::zeros(sizes(*x[0], op.getPermutation()));
  auto at = offsetsAlong(*x[0], op.getPermutation());
  for (size_t i = 0; i < at.size(); ++i)
    result.values[i] = x[0]->values[at[i]];
  return result;
}

/// Offsets in `whole` of the elements of a tensor of shape `part` that lies in
/// it along `dim` from `begin` with `stride`.
static std::vector<int64_t> rangeOffsets(const std::vector<int64_t> &whole, const std::vector<int64_t> &part,
                                         int64_t dim, int64_t begin, int64_t stride) {
  auto strides = rowMajorStrides(whole);
  int64_t base = begin * strides[dim];
  strides[dim] *= stride;
  auto at = offsets(part, strides);
  for (int64_t &offset : at)
    offset += base;
  return at;
}

static FailureOr<Tensor> evaluate(nn::SliceOp op, Operands x) {
  std::vector<int64_t> shape = x[0]->shape;
  shape[op.getDim()] = op.getType().getDimSize(op.getDim());
  Tensor result = Tensor::zeros(shape);
  auto at = rangeOffsets(x[0]->shape, shape, op.getDim(), op.getBegin(), op.getStride());
  for (size_t i = 0; i < at.size(); ++i)
    result.values[i] = x[0]->values[at[i]];
  return result;
}

static FailureOr<Tensor> evaluate(nn::PadOp op, Operands x) {
  std::vector<int64_t> shape = x[0]->shape;
  shape[op.getDim()] = op.getType().getDimSize(op.getDim());
  Tensor result = Tensor::zeros(shape);
  auto at = rangeOffsets(shape, x[0]->shape, op.getDim(), op.getBegin(), op.getStride());
  for (size_t i = 0; i < at.size(); ++i)
    result.values[at[i]] = x[0]->values[i];
  return result;
}

template <typename Combine>
static Tensor reduce(const Tensor &x, ArrayRef<int64_t> dims, double start, Combine combine) {
  std::vector<int64_t> shape = x.shape;
  for (int64_t d : dims)
    shape[d] = 1;
  Tensor result = Tensor::zeros(shape);
  result.values.assign(result.values.size(), start);
  auto at = broadcastOffsets(shape, x.shape);
  for (size_t i = 0; i < at.size(); ++i)
    result.values[at[i]] = combine(result.values[at[i]], x.values[i]);
  return result;
}

static FailureOr<Tensor> evaluate(nn::ReduceSumOp op, Operands x) {
  return reduce(*x[0], op.getDims(), 0.0, [](double a, double b) { return a + b; });
}

static FailureOr<Tensor> evaluate(nn::ReduceMaxOp op, Operands x) {
  double lowest = -std::numeric_limits<double>::infinity();
  return reduce(*x[0], op.getDims(), lowest, [](double a, double b) {
    return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::quiet_NaN() : std::fmax(a, b);
  });
}

static FailureOr<Tensor> evaluate(nn::DotOp op, Operands x) {
  const Tensor &lhs = *x[0], &rhs = *x[1];
  if (sizes(lhs, op.getLhsBatch()) != sizes(rhs, op.getRhsBatch()) ||
      sizes(lhs, op.getLhsContract()) != sizes(rhs, op.getRhsContract()))
    return op.emitOpError("paired dimensions differ at run time");
  std::vector<int64_t> shape;
  for (const auto &part : {sizes(lhs, op.getLhsBatch()), sizes(lhs, op.getLhsFree()), sizes(rhs, op.getRhsFree())})
    shape.insert(shape.end(), part.begin(), part.end());
  Tensor result = Tensor::zeros(shape);
  auto lb = offsetsAlong(lhs, op.getLhsBatch()), rb = offsetsAlong(rhs, op.getRhsBatch());
  auto li = offsetsAlong(lhs, op.getLhsFree()), rj = offsetsAlong(rhs, op.getRhsFree());
  auto lc = offsetsAlong(lhs, op.getLhsContract()), rc = offsetsAlong(rhs, op.getRhsContract());
  double *out = result.values.data();
  for (size_t b = 0; b < lb.size(); ++b)
    for (int64_t i : li)
      for (int64_t j : rj) {
        double sum = 0;
        for (size_t c = 0; c < lc.size(); ++c)
          sum += lhs.values[lb[b] + i + lc[c]] * rhs.values[rb[b] + j + rc[c]];
        *out++ = sum;
      }
  return result;
}

/// The run-time shape of `ids` with a last dimension added.
static Tensor zerosPerId(const Tensor &ids, int64_t last) {
  std::vector<int64_t> shape = ids.shape;
  shape.push_back(last);
  return Tensor::zeros(shape);
}

static bool isInside(int32_t id, int64_t size) { return id >= 0 && id < size; }

static FailureOr<Tensor> evaluate(nn::LookupOp op, Operands x) {
  int64_t rows = x[0]->shape[0], width = x[0]->shape[1];
  Tensor result = zerosPerId(*x[1], width);
  for (size_t i = 0; i < x[1]->ids.size(); ++i)
    for (int64_t d = 0; d < width && isInside(x[1]->ids[i], rows); ++d)
      result.values[i * width + d] = x[0]->values[x[1]->ids[i] * width + d];
  return result;
}

static FailureOr<Tensor> evaluate(nn::LookupGradOp op, Operands x) {
  int64_t rows = op.getType().getDimSize(0), width = op.getType().getDimSize(1);
  Tensor result = Tensor::zeros({rows, width});
  for (size_t i = 0; i < x[1]->ids.size(); ++i)
    for (int64_t d = 0; d < width && isInside(x[1]->ids[i], rows); ++d)
      result.values[x[1]->ids[i] * width + d] += x[0]->values[i * width + d];
  return result;
}

static FailureOr<Tensor> evaluate(nn::ToFloatOp op, Operands x) {
  return Tensor{x[0]->shape, {x[0]->ids.begin(), x[0]->ids.end()}, {}};
}

static FailureOr<Tensor> evaluate(nn::PickOp op, Operands x) {
  int64_t width = x[0]->shape.back();
  Tensor result = zerosPerId(*x[1], 1);
  for (size_t i = 0; i < x[1]->ids.size(); ++i)
    if (isInside(x[1]->ids[i], width))
      result.values[i] = x[0]->values[i * width + x[1]->ids[i]];
  return result;
}

static FailureOr<Tensor> evaluate(nn::PlaceOp op, Operands x) {
  int64_t width = op.getType().getShape().back();
  Tensor result = zerosPerId(*x[1], width);
  for (size_t i = 0; i < x[1]->ids.size(); ++i)
    if (isInside(x[1]->ids[i], width))
      result.values[i * width + x[1]->ids[i]] = x[0]->values[i];
  return result;
}

static FailureOr<Tensor> evaluate(nn::IsIndexOp op, Operands x) {
  Tensor result = zerosPerId(*x[0], 1);
  for (size_t i = 0; i < x[0]->ids.size(); ++i)
    result.values[i] = x[0]->ids[i] >= 0 ? 1 : 0;
  return result;
}

FailureOr<Tensor> reference::evaluateNn(Operation *op, Operands operands, bool &isKnown) {
  isKnown = true;
  return llvm::TypeSwitch<Operation *, FailureOr<Tensor>>(op)
      .Case<nn::ConstantOp, nn::IotaOp, nn::ToFloatOp, nn::BroadcastLikeOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::PadOp,
            nn::ReduceSumOp, nn::ReduceMaxOp, nn::DotOp, nn::LookupOp, nn::LookupGradOp, nn::PickOp, nn::PlaceOp,
            nn::IsIndexOp>([&](auto known) { return evaluate(known, operands); })
      .Default([&](Operation *) -> FailureOr<Tensor> {
        isKnown = false;
        return failure();
      });
}
