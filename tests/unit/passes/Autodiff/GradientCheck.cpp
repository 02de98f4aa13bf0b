//===- GradientCheck.cpp - Derived gradients against differences ----------===//
#include "GradientCheck.h"
#include "passes/Autodiff/Gradient.h"

#include "mlir/IR/Verifier.h"

#include <algorithm>
#include <numeric>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::test;
using reference::Tensor;

std::string Trial::withSizes(std::string text) {
  std::map<char, std::string> sizes;
  for (size_t at; (at = text.find('$')) != std::string::npos;) {
    auto [size, isNew] = sizes.try_emplace(text[at + 1]);
    if (isNew)
      size->second = std::to_string(integer(1, 4));
    text.replace(at, 2, size->second);
  }
  return text;
}

static std::vector<double> doubles(ArrayAttr list) {
  std::vector<double> numbers;
  for (Attribute number : list)
    numbers.push_back(cast<FloatAttr>(number).getValueAsDouble());
  return numbers;
}

Tensor Trial::argument(func::FuncOp f, unsigned index) {
  auto type = cast<RankedTensorType>(f.getArgumentTypes()[index]);
  auto chunk = f.getArgAttrOfType<IntegerAttr>(index, "test.chunk");
  Tensor tensor;
  int64_t sizes[] = {batch, chunk ? (time + chunk.getInt() - 1) / chunk.getInt() : time};
  for (int64_t d = 0, next = 0; d < type.getRank(); ++d)
    tensor.shape.push_back(type.isDynamicDim(d) ? sizes[next++] : type.getDimSize(d));
  int64_t count = tensor.size();
  if (auto bound = f.getArgAttrOfType<IntegerAttr>(index, "test.ids")) {
    for (int64_t i = 0; i < count; ++i)
      tensor.ids.push_back(integer(0, 4) == 0 ? -100 : integer(0, bound.getInt() - 1));
    return tensor;
  }
  tensor.values.resize(count);
  if (auto apart = f.getArgAttrOfType<FloatAttr>(index, "test.apart")) {
    std::vector<int64_t> order(count);
    std::iota(order.begin(), order.end(), -count / 2);
    std::shuffle(order.begin(), order.end(), random);
    for (int64_t i = 0; i < count; ++i)
      tensor.values[i] = 0.1 * order[i] + apart.getValueAsDouble();
  } else if (auto places = f.getArgAttrOfType<ArrayAttr>(index, "test.falls")) {
    std::vector<double> at = doubles(places);
    int64_t width = tensor.shape[1];
    for (int64_t i = 0; i < count; ++i) {
      int64_t event = i / width, token = event / at.size();
      tensor.values[i] = -(token + 0.1 * at[event % at.size()]) * (0.2 + 0.07 * (i % width));
    }
  } else {
    auto range = f.getArgAttrOfType<ArrayAttr>(index, "test.range");
    std::vector<double> bounds = range ? doubles(range) : std::vector<double>{-1, 1};
    for (double &value : tensor.values)
      value = number(bounds[0], bounds[1]);
  }
  return tensor;
}

Tensor Trial::likeRandom(const Tensor &tensor) {
  Tensor result = Tensor::zeros(tensor.shape);
  for (double &value : result.values)
    value = number(-1, 1);
  return result;
}

double test::inner(const Tensors &a, const Tensors &b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += std::inner_product(a[i].values.begin(), a[i].values.end(), b[i].values.begin(), 0.0);
  return sum;
}

void test::expectSlope(const Function &value, const Tensors &arguments, const Tensors &seeds, const Tensors &gradients,
                       Trial &trial) {
  std::vector<size_t> floats;
  for (size_t i = 0; i < arguments.size(); ++i)
    if (arguments[i].ids.empty())
      floats.push_back(i);
  ASSERT_EQ(gradients.size(), floats.size());

  auto at = [&](const Tensors &direction, double step) {
    Tensors moved = arguments;
    for (size_t k = 0; k < floats.size(); ++k)
      for (size_t i = 0; i < direction[k].values.size(); ++i)
        moved[floats[k]].values[i] += step * direction[k].values[i];
    return inner(value(moved), seeds);
  };
  Tensors all;
  for (size_t i : floats)
    all.push_back(trial.likeRandom(arguments[i]));
  for (size_t k = 0; k <= floats.size(); ++k) { // argument k alone; at the end all
    Tensors direction;
    for (size_t j = 0; j < floats.size(); ++j) {
      bool moves = k == j || k == floats.size();
      direction.push_back(moves ? all[j] : Tensor::zeros(arguments[floats[j]].shape));
      ASSERT_EQ(gradients[j].shape, arguments[floats[j]].shape);
    }
    double h = 1e-3;
    double near = (at(direction, h) - at(direction, -h)) / (2 * h);
    double far = (at(direction, 2 * h) - at(direction, -2 * h)) / (4 * h);
    double want = (4 * near - far) / 3, got = inner(direction, gradients);
    double scale = std::max({std::abs(want), std::abs(got), 1e-2});
    EXPECT_NEAR(got, want, 1e-6 * scale) << (k < floats.size() ? "argument " + std::to_string(floats[k])
                                                               : std::string("all arguments"));
  }
}

/// `f.vjp(arguments, cotangents) -> gradients`, from the two functions of f's gradient.
static func::FuncOp vjpOf(func::FuncOp f, const autodiff::GradFunctions &grad) {
  OpBuilder builder(f.getContext());
  builder.setInsertionPointAfter(f);
  SmallVector<Type> inputs(f.getArgumentTypes());
  size_t numCotangents = 0;
  for (Type type : f.getResultTypes())
    if (isa<FloatType>(cast<RankedTensorType>(type).getElementType())) {
      inputs.push_back(type);
      ++numCotangents;
    }
  func::FuncOp forward = grad.forward, backward = grad.backward;
  auto vjp = func::FuncOp::create(builder, f.getLoc(), (f.getName() + ".vjp").str(),
                                  builder.getFunctionType(inputs, backward.getResultTypes()));
  builder.setInsertionPointToStart(vjp.addEntryBlock());
  ValueRange arguments = vjp.getArguments();
  auto ahead = func::CallOp::create(builder, f.getLoc(), forward, arguments.drop_back(numCotangents));
  auto operands = grad.backwardOperands(arguments, ahead.getResults(), arguments.take_back(numCotangents));
  auto back = func::CallOp::create(builder, f.getLoc(), backward, operands);
  func::ReturnOp::create(builder, f.getLoc(), back.getResults());
  return vjp;
}

static Tensors runOrFail(func::FuncOp f, const Tensors &arguments) {
  auto results = reference::run(f, arguments);
  EXPECT_TRUE(succeeded(results)) << "while running " << f.getName().str();
  return succeeded(results) ? *results : Tensors();
}

void test::expectGradientOf(func::FuncOp f, Trial &trial, int order) {
  Tensors arguments;
  for (unsigned i = 0; i < f.getNumArguments(); ++i)
    arguments.push_back(trial.argument(f, i));
  expectGradientAt(f, arguments, trial, order);
}

void test::expectGradientAt(func::FuncOp f, const Tensors &arguments, Trial &trial, int order) {
  auto grad = autodiff::buildGradient(f);
  ASSERT_TRUE(succeeded(grad));
  func::FuncOp vjp = vjpOf(f, *grad);
  ASSERT_TRUE(succeeded(verify(f->getParentOfType<ModuleOp>())));
  Tensors seeds;
  Tensors results = runOrFail(f, arguments), ahead = runOrFail(grad->forward, arguments);
  ASSERT_GE(ahead.size(), results.size());
  for (size_t i = 0; i < results.size(); ++i) {
    ASSERT_EQ(ahead[i].values, results[i].values) << "result " << i << " of the forward";
    seeds.push_back(trial.likeRandom(results[i]));
  }
  Tensors withSeeds = arguments;
  withSeeds.insert(withSeeds.end(), seeds.begin(), seeds.end());
  expectSlope([&](const Tensors &x) { return runOrFail(f, x); }, arguments, seeds, runOrFail(vjp, withSeeds), trial);
  if (order > 1) {
    SCOPED_TRACE("derivative of the gradient of " + f.getName().str());
    expectGradientAt(vjp, withSeeds, trial, order - 1);
  }
}

void test::expectGradient(const std::string &text, int order, int seeds) {
  for (int seed = 1; seed <= seeds; ++seed) {
    Trial trial(seed);
    std::string sized = trial.withSizes(text);
    SCOPED_TRACE("seed " + std::to_string(seed) + ", B " + std::to_string(trial.batch) + ", T " +
                 std::to_string(trial.time) + "\n" + sized);
    Module m(sized);
    ASSERT_TRUE(m.module) << m.errors;
    expectGradientOf(m.function("f"), trial, order);
    ASSERT_EQ(m.errors, "");
  }
}
