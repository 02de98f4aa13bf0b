//===- AdamW.cpp - The optimiser as a function of nn ops --------*- C++ -*-===//
#include "passes/Nn/AdamW.h"
#include "ir/Nn/NnOps.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

namespace {
constexpr int64_t kWidth = 1024; ///< Elements of a row.

/// Arithmetic at the end of one function.
struct Arithmetic {
  OpBuilder &b;
  Location loc;
  Type element;

  Value add(Value x, Value y) { return AddOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return SubOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return MulOp::create(b, loc, x, y); }
  Value div(Value x, Value y) { return DivOp::create(b, loc, x, y); }
  Value sqrt(Value x) { return SqrtOp::create(b, loc, x); }
  Value select(Value condition, Value x, Value y) { return SelectOp::create(b, loc, condition, x, y); }
  Value number(double c) { return constant(b, loc, c, element); }

  /// The factor of the gradients: min(1, max_norm / (norm + 1e-6)), 1 without a maximum.
  Value clipFactor(Value norm2, Value maxNorm) {
    Value one = number(1);
    Value factor = MinimumOp::create(b, loc, one, div(maxNorm, add(sqrt(norm2), number(1e-6))));
    return select(GreaterOp::create(b, loc, maxNorm, number(0)), factor, one);
  }
  /// beta * old + (1 - beta) * value.
  Value average(Value beta, Value old, Value value) { return add(mul(beta, old), mul(sub(number(1), beta), value)); }
};
} // namespace

static func::FuncOp addFunction(ModuleOp module, StringRef name, ArrayRef<std::pair<StringRef, Type>> arguments,
                                TypeRange results) {
  OpBuilder b(module.getBodyRegion());
  b.setInsertionPointToEnd(module.getBody());
  SmallVector<Type> types;
  for (auto &[argument, type] : arguments)
    types.push_back(type);
  auto function = func::FuncOp::create(b, module.getLoc(), name, b.getFunctionType(types, results));
  for (auto [i, argument] : llvm::enumerate(arguments))
    function.setArgAttr(i, "nn.name", b.getStringAttr(argument.first));
  function.addEntryBlock();
  return function;
}

static func::FuncOp addGradNorm(ModuleOp module, Type rows, Type scalar) {
  auto function = addFunction(module, "grad_norm", {{"g", rows}}, scalar);
  OpBuilder b(function.getBody());
  Location loc = function.getLoc();
  Value g = function.getArgument(0);
  Value square = MulOp::create(b, loc, g, g);
  Value sum = ReduceSumOp::create(b, loc, square, ArrayRef<int64_t>{0, 1});
  func::ReturnOp::create(b, loc, ReshapeOp::create(b, loc, scalar, sum).getResult());
  return function;
}

static func::FuncOp addUpdate(ModuleOp module, Type rows, Type perRow, Type scalar, Type element) {
  auto function = addFunction(module, "adamw",
                              {{"p", rows},
                               {"g", rows},
                               {"m", rows},
                               {"v", rows},
                               {"decay", perRow},
                               {"lr", scalar},
                               {"weight_decay", scalar},
                               {"beta1", scalar},
                               {"beta2", scalar},
                               {"eps", scalar},
                               {"max_norm", scalar},
                               {"bias1", scalar},
                               {"bias2", scalar},
                               {"norm2", scalar}},
                              {rows, rows, rows});
  enum { P, G, M, V, Decay, Lr, WeightDecay, Beta1, Beta2, Eps, MaxNorm, Bias1, Bias2, Norm2 };
  auto in = [&](unsigned i) -> Value { return function.getArgument(i); };
  OpBuilder b(function.getBody());
  Arithmetic a{b, function.getLoc(), element};

  Value g = a.mul(in(G), a.clipFactor(in(Norm2), in(MaxNorm)));
  Value kept = a.sub(a.number(1), a.mul(a.mul(in(Lr), in(WeightDecay)), in(Decay)));
  Value m = a.average(in(Beta1), in(M), g);
  Value v = a.average(in(Beta2), in(V), a.mul(g, g));
  Value deviation = a.add(a.div(a.sqrt(v), a.sqrt(in(Bias2))), in(Eps));
  Value step = a.mul(in(Lr), a.div(a.div(m, in(Bias1)), deviation));
  Value p = a.sub(a.mul(in(P), kept), step);

  Value isSound = IsFiniteOp::create(b, a.loc, in(Norm2));
  func::ReturnOp::create(
      b, a.loc, ValueRange{a.select(isSound, p, in(P)), a.select(isSound, m, in(M)), a.select(isSound, v, in(V))});
  return function;
}

static void addAccumulate(ModuleOp module, Type rows, Type scalar, Type element) {
  auto function = addFunction(module, "accumulate", {{"sum", rows}, {"g", rows}, {"scale", scalar}}, rows);
  OpBuilder b(function.getBody());
  Arithmetic a{b, function.getLoc(), element};
  Value sum = a.add(function.getArgument(0), function.getArgument(1));
  func::ReturnOp::create(b, a.loc, a.mul(sum, function.getArgument(2)));
}

AdamWFunctions nn::buildAdamW(ModuleOp module, Type elementType) {
  Type rows = RankedTensorType::get({ShapedType::kDynamic, kWidth}, elementType);
  Type perRow = RankedTensorType::get({ShapedType::kDynamic, 1}, elementType);
  Type scalar = RankedTensorType::get({}, elementType);
  addAccumulate(module, rows, scalar, elementType);
  func::FuncOp update = addUpdate(module, rows, perRow, scalar, elementType);
  return {update, addGradNorm(module, rows, scalar)};
}
