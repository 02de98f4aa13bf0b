//===- RandomGraph.cpp - Functions of random nn ops -------------*- C++ -*-===//
#include "RandomGraph.h"

#include "ir/Nn/NnOps.h"

#include <random>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

namespace {
constexpr int64_t kDynamic = ShapedType::kDynamic;
constexpr int64_t kWidth = 6, kOuter = 2, kInner = 3, kTable = 5;

/// Grows one function; every step adds an op on values that are there.
class Grower {
public:
  Grower(ModuleOp module, unsigned seed) : random(seed), builder(module.getBodyRegion()), loc(builder.getUnknownLoc()) {
    rows = 1 + pick(2);
    element = builder.getF64Type();
    SmallVector<Type> arguments{row({kWidth}), row({kWidth}),           row({kOuter, kInner}),
                                row({1}),      whole({kWidth}),         whole({1}),
                                whole({}),     whole({kTable, kWidth}), rowType({}, builder.getI32Type())};
    function = func::FuncOp::create(builder, loc, "f", builder.getFunctionType(arguments, {}));
    Block *body = function.addEntryBlock();
    builder.setInsertionPointToStart(body);
    ids = body->getArguments().back();
    table = body->getArgument(7);
    for (Value v : body->getArguments().drop_back())
      values.push_back(v);
  }

  void addOp() {
    if (Value v = tryOp())
      values.push_back(v);
  }

  func::FuncOp finish() {
    SmallVector<Value> results;
    for (Value v : ArrayRef<Value>(values).drop_front(8))
      if (pick(6) == 0)
        results.push_back(v);
    results.push_back(values.back());
    func::ReturnOp::create(builder, loc, results);
    function.setType(builder.getFunctionType(function.getArgumentTypes(), ValueRange(results).getTypes()));
    return function;
  }

private:
  std::mt19937 random;
  OpBuilder builder;
  Location loc;
  func::FuncOp function;
  int64_t rows = 0;
  Type element;
  Value ids, table;
  SmallVector<Value> values;

  int64_t pick(int64_t n) { return int64_t(random() % uint64_t(n)); }
  Value any() {
    // Recent values make long chains, old ones make distant uses.
    return pick(2) ? values[pick(values.size())] : values[values.size() - 1 - pick(std::min<size_t>(6, values.size()))];
  }
  RankedTensorType typeOf(Value v) { return cast<RankedTensorType>(v.getType()); }
  RankedTensorType rowType(ArrayRef<int64_t> inner, Type type) {
    SmallVector<int64_t> shape(rows, kDynamic);
    shape.append(inner.begin(), inner.end());
    return RankedTensorType::get(shape, type);
  }
  RankedTensorType row(ArrayRef<int64_t> inner) { return rowType(inner, element); }
  RankedTensorType whole(ArrayRef<int64_t> shape) { return RankedTensorType::get(shape, element); }
  ArrayRef<int64_t> inner(Value v) { return typeOf(v).getShape().drop_front(rowRank(typeOf(v))); }

  /// Values of any depth stay in [-1, 1], so that rounding stays small.
  Value bounded(Value v) { return TanhOp::create(builder, loc, v); }

  Value unary(Value x) {
    switch (pick(6)) {
    case 0:
      return NegOp::create(builder, loc, x);
    case 1:
      return SigmoidOp::create(builder, loc, x);
    case 2:
      return AbsOp::create(builder, loc, x);
    case 3:
      return SinOp::create(builder, loc, x);
    case 4:
      return StopGradientOp::create(builder, loc, x);
    default:
      return bounded(x);
    }
  }

  /// The type that both broadcast to if their row dimensions agree, else null.
  RankedTensorType together(Value x, Value y) {
    auto both = broadcastType(std::nullopt, {x, y});
    if (failed(both))
      return {};
    for (Value v : {x, y})
      if (rowRank(typeOf(v)) > 0 && typeOf(v).getRank() != both->getRank())
        return {};
    return *both;
  }

  Value binary(Value x, Value y) {
    if (!together(x, y))
      return {};
    switch (pick(6)) {
    case 0:
      return bounded(AddOp::create(builder, loc, x, y));
    case 1:
      return bounded(SubOp::create(builder, loc, x, y));
    case 2:
      return MulOp::create(builder, loc, x, y);
    case 3:
      return MaximumOp::create(builder, loc, x, y);
    case 4:
      return GreaterOp::create(builder, loc, x, y);
    default:
      return SelectOp::create(builder, loc, x, y, x);
    }
  }

  Value reduce(Value x) {
    auto type = typeOf(x);
    if (rowRank(type) > 0 && pick(3) == 0) {
      SmallVector<int64_t> dims = llvm::to_vector(llvm::seq<int64_t>(0, rows));
      if (type.getRank() > rows && pick(2))
        dims.push_back(type.getRank() - 1);
      Value sum = ReduceSumOp::create(builder, loc, x, dims);
      SmallVector<int64_t> shape(typeOf(sum).getShape().drop_front(rows));
      // Leading ones stay sometimes: they meet row dimensions then.
      return bounded(pick(2) ? sum : ReshapeOp::create(builder, loc, whole(shape), sum).getResult());
    }
    if (type.getRank() == rowRank(type))
      return {};
    int64_t dim = rowRank(type) + pick(type.getRank() - rowRank(type));
    if (pick(2))
      return ReduceMaxOp::create(builder, loc, x, ArrayRef<int64_t>{dim});
    return bounded(ReduceSumOp::create(builder, loc, x, ArrayRef<int64_t>{dim}));
  }

  /// `x` with other inner dimensions.
  Value shape(Value x) {
    auto type = typeOf(x);
    int64_t own = rowRank(type);
    SmallVector<int64_t> to(type.getShape());
    if (inner(x) == ArrayRef<int64_t>{kWidth}) {
      to.back() = kOuter;
      to.push_back(kInner);
      if (pick(2))
        return ReshapeOp::create(builder, loc, RankedTensorType::get(to, element), x);
      to.assign(type.getShape().begin(), type.getShape().end());
      to.back() = 3;
      Value part = SliceOp::create(builder, loc, RankedTensorType::get(to, element), x, own, pick(2), 2);
      return PadOp::create(builder, loc, type, part, own, pick(4), 1);
    }
    if (inner(x) != ArrayRef<int64_t>{kOuter, kInner})
      return {};
    SmallVector<int64_t> permutation = llvm::to_vector(llvm::seq<int64_t>(0, own));
    permutation.append({own + 1, own});
    Value turned = pick(2) ? TransposeOp::create(builder, loc, x, permutation).getResult() : x;
    to.truncate(own);
    to.push_back(kWidth);
    return ReshapeOp::create(builder, loc, RankedTensorType::get(to, element), turned);
  }

  Value indexed(Value x) {
    if (rowRank(typeOf(x)) != rows || inner(x).size() != 1)
      return IsIndexOp::create(builder, loc, row({1}), ids);
    if (inner(x).front() == kWidth)
      return PickOp::create(builder, loc, row({1}), x, ids);
    if (inner(x).front() == 1)
      return PlaceOp::create(builder, loc, row({kWidth}), x, ids);
    return {};
  }

  Value broadcast(Value x, Value like) {
    if (together(x, like) != typeOf(like))
      return {};
    return BroadcastLikeOp::create(builder, loc, typeOf(like), x, like);
  }

  /// Products and lookups, which stay outside.
  Value barrier(Value x) {
    if (rowRank(typeOf(x)) != rows || inner(x) != ArrayRef<int64_t>{kWidth})
      return pick(4) ? Value() : LookupOp::create(builder, loc, row({kWidth}), table, ids).getResult();
    Value down = DotOp::create(builder, loc, x, table, ArrayRef<int64_t>{rows}, ArrayRef<int64_t>{1});
    return bounded(DotOp::create(builder, loc, down, table, ArrayRef<int64_t>{rows}, ArrayRef<int64_t>{0}));
  }

  Value tryOp() {
    Value x = any();
    switch (pick(16)) {
    case 0:
    case 1:
    case 2:
      return unary(x);
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
      return binary(x, any());
    case 8:
    case 9:
      return reduce(x);
    case 10:
    case 11:
      return shape(x);
    case 12:
      return indexed(x);
    case 13:
      return broadcast(x, any());
    case 14:
      return barrier(x);
    default:
      return constant(builder, loc, 0.25 * pick(4), element, pick(2) ? ArrayRef<int64_t>{} : ArrayRef<int64_t>{kWidth});
    }
  }
};
} // namespace

func::FuncOp test::buildRandomGraph(ModuleOp module, unsigned seed, int ops) {
  Grower grower(module, seed);
  for (int i = 0; i < ops; ++i)
    grower.addOp();
  return grower.finish();
}

std::vector<reference::Tensor> test::randomArguments(func::FuncOp f, unsigned seed, int64_t rows) {
  std::mt19937 random(seed);
  std::vector<reference::Tensor> arguments;
  for (Type type : f.getArgumentTypes()) {
    auto tensor = cast<RankedTensorType>(type);
    reference::Tensor argument;
    for (auto [d, size] : llvm::enumerate(tensor.getShape()))
      argument.shape.push_back(ShapedType::isDynamic(size) ? rows + int64_t(d) : size);
    for (int64_t i = 0; i < reference::product(argument.shape); ++i)
      if (tensor.getElementType().isInteger(32))
        argument.ids.push_back(int32_t(random() % 8) - 2);
      else
        argument.values.push_back(double(random() % 2001) / 1000 - 1);
    arguments.push_back(std::move(argument));
  }
  return arguments;
}
