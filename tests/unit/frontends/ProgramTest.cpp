//===- ProgramTest.cpp - The interface of the front end ---------*- C++ -*-===//
#include "frontends/dsl/Frontend.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <gtest/gtest.h>
#include <numeric>

using namespace tidegate::dsl;
using Params = std::vector<std::pair<std::string, std::string>>;

namespace {

struct Loaded {
  Diagnostics diagnostics;
  std::unique_ptr<Program> program;
  explicit Loaded(const std::string &text, Params params = {}) {
    LoadOptions load;
    load.path = "test.tg";
    load.text = text;
    load.params = std::move(params);
    program = Program::load(load, diagnostics);
  }
};

std::unique_ptr<Program> loadExample(const std::string &name, Params params, Diagnostics &diagnostics) {
  LoadOptions load;
  load.path = TIDEGATE_SOURCE_DIR "/examples/" + name + "/" + name + ".tg";
  load.params = std::move(params);
  return Program::load(load, diagnostics);
}

int64_t countWeights(const std::string &example, Params params) {
  Diagnostics diagnostics;
  auto program = loadExample(example, std::move(params), diagnostics);
  auto weights = program ? program->weights(diagnostics) : std::nullopt;
  EXPECT_TRUE(weights.has_value()) << diagnostics.str();
  int64_t total = 0;
  for (const WeightInfo &weight : weights.value_or(std::vector<WeightInfo>()))
    total += std::accumulate(weight.shape.begin(), weight.shape.end(), int64_t(1), std::multiplies<int64_t>());
  return total;
}

TEST(ExamplesTest, ParameterCountsOfGla) {
  EXPECT_EQ(countWeights("gla", {{"rank", "full"}}), 374471168);
  EXPECT_EQ(countWeights("gla", {{"rank", "256"}}), 355596800);
  EXPECT_EQ(countWeights("gla", {{"rank", "64"}}), 332003840);
  EXPECT_EQ(countWeights("gla", {{"rank", "32"}}), 328071680);
}

TEST(ExamplesTest, ParameterCountsOfDeltaNet) {
  EXPECT_EQ(countWeights("delta_net", {{"rank", "full"}}), 374557184);
  EXPECT_EQ(countWeights("delta_net", {{"rank", "256"}}), 336808448);
  EXPECT_EQ(countWeights("delta_net", {{"rank", "64"}}), 308496896);
  EXPECT_EQ(countWeights("delta_net", {{"rank", "32"}}), 303778304);
  EXPECT_EQ(countWeights("delta_net", {{"H", "8"}}), 374362112);
}

TEST(ExamplesTest, ParameterCountsOfGatedDeltaNet) {
  EXPECT_EQ(countWeights("gated_deltanet", {{"rank", "full"}}), 525852032);
  EXPECT_EQ(countWeights("gated_deltanet", {{"rank", "512"}}), 488103296);
  EXPECT_EQ(countWeights("gated_deltanet", {{"rank", "256"}}), 431480192);
  EXPECT_EQ(countWeights("gated_deltanet", {{"rank", "64"}}), 389012864);
  EXPECT_EQ(countWeights("gated_deltanet", {{"rank", "32"}}), 381934976);
  // The count that the reference publishes.
  EXPECT_EQ(countWeights("gated_deltanet", {{"H", "4"}, {"L", "21"}}), 357781928);
  Params sixteen = {{"H", "16"}, {"head_dim", "128"}};
  EXPECT_EQ(countWeights("gated_deltanet", sixteen), 526242560);
  for (auto [rank, count] : {std::pair("512", 488493824), {"256", 431870720}, {"64", 389403392}, {"32", 382325504}}) {
    Params params = sixteen;
    params.emplace_back("rank", rank);
    EXPECT_EQ(countWeights("gated_deltanet", params), count) << rank;
  }
}

TEST(GlaTest, LayersAreOneFunction) {
  Diagnostics diagnostics;
  auto program = loadExample("gla", {}, diagnostics);
  ASSERT_NE(program, nullptr) << diagnostics.str();
  mlir::MLIRContext context;
  auto module = program->generate(context, {}, diagnostics);
  ASSERT_TRUE(module) << diagnostics.str();
  int functions = 0, calls = 0, scans = 0;
  module->walk([&](mlir::func::FuncOp) { ++functions; });
  module->walk([&](mlir::func::CallOp call) { calls += call.getCallee() == "model.layers"; });
  module->walk([&](tidegate::rec::ScanOp) { ++scans; });
  EXPECT_EQ(functions, 2);
  EXPECT_EQ(calls, 24);
  EXPECT_EQ(scans, 1);
  // Every weight argument of the model is named, in the order of weights().
  auto model = module->lookupSymbol<mlir::func::FuncOp>("model");
  auto weights = program->weights(diagnostics);
  ASSERT_TRUE(weights.has_value());
  ASSERT_EQ(model.getNumArguments(), weights->size() + 1);
  for (size_t i = 0; i < weights->size(); ++i) {
    EXPECT_EQ(model.getArgAttrOfType<mlir::StringAttr>(i + 1, "nn.weight").str(), (*weights)[i].name);
    EXPECT_EQ(model.getArgAttrOfType<mlir::StringAttr>(i + 1, "nn.init").str(), (*weights)[i].init);
  }
}

TEST(ProgramTest, ParamsInOrderWithOverrides) {
  Loaded loaded("param A = 4, B = A / 2, word = full, ratio = 1/3\nfn f(x: [T, A]) { return x }\n", {{"A", "2 * 5"}});
  ASSERT_NE(loaded.program, nullptr) << loaded.diagnostics.str();
  const auto &params = loaded.program->params();
  ASSERT_EQ(params.size(), 4u);
  EXPECT_EQ(params[0].value, "10");
  EXPECT_TRUE(params[0].isSet);
  EXPECT_EQ(params[1].value, "5");
  EXPECT_FALSE(params[1].isSet);
  EXPECT_EQ(params[2].value, "full");
  EXPECT_EQ(params[3].value, "1/3");
}

TEST(ProgramTest, WeightsCarryInitAndDecay) {
  Loaded loaded("layer gate(x: [T, n]) {\n"
                "  weight A_log: [n] ~ log(uniform(0, 16)), decay = false\n"
                "  weight scale: [n] = 0.5\n"
                "  weight one: [n] = 1\n"
                "  weight zero: [n] = 0\n"
                "  weight mix: [n] ~ normal(1/4) * 2\n"
                "  return x * (A_log + scale + one + zero + mix)\n"
                "}\n"
                "model M(ids: [T] int) -> [T, 8] { return gate(embedding(ids, 16, 8) as E) as a.b.0 }\n");
  ASSERT_NE(loaded.program, nullptr) << loaded.diagnostics.str();
  auto weights = loaded.program->weights(loaded.diagnostics);
  ASSERT_TRUE(weights.has_value()) << loaded.diagnostics.str();
  ASSERT_EQ(weights->size(), 6u);
  EXPECT_EQ((*weights)[0].name, "E.weight");
  EXPECT_EQ((*weights)[0].init, "normal(0.02)");
  EXPECT_EQ((*weights)[1].name, "a.b.0.A_log");
  EXPECT_EQ((*weights)[1].init, "log(uniform(0, 16))");
  EXPECT_FALSE((*weights)[1].decay);
  EXPECT_EQ((*weights)[2].init, "constant(0.5)");
  EXPECT_TRUE((*weights)[2].decay);
  EXPECT_EQ((*weights)[3].init, "ones");
  EXPECT_EQ((*weights)[4].init, "zeros");
  EXPECT_EQ((*weights)[5].init, "mul(normal(0.25), 2)");
}

TEST(ProgramTest, InputShapesBindOpenDimensions) {
  Loaded loaded("fn f(q: [T, H, K], s: [..., n]) -> [T, H, K] { return q * n }\n");
  ASSERT_NE(loaded.program, nullptr) << loaded.diagnostics.str();
  mlir::MLIRContext context;
  GenerateOptions options;
  options.entry = "f";
  options.inputShapes = {{"q", {2, 7, 3, 5}}, {"s", {2, 7, 9}}};
  auto module = loaded.program->generate(context, options, loaded.diagnostics);
  ASSERT_TRUE(module) << loaded.diagnostics.str();
  auto func = module->lookupSymbol<mlir::func::FuncOp>("f");
  auto type = mlir::cast<mlir::RankedTensorType>(func.getArgumentTypes()[0]);
  const int64_t q[] = {mlir::ShapedType::kDynamic, mlir::ShapedType::kDynamic, 3, 5};
  EXPECT_EQ(type.getShape(), llvm::ArrayRef(q));
  auto other = mlir::cast<mlir::RankedTensorType>(func.getArgumentTypes()[1]);
  EXPECT_EQ(other.getRank(), 3);
  EXPECT_EQ(other.getDimSize(2), 9);
}

TEST(ProgramTest, WrongInputShapesAreErrors) {
  auto message = [](std::map<std::string, std::vector<int64_t>> shapes) {
    Loaded loaded("fn f(q: [T, 3, K], k: [T, 3, K]) { return q + k }\n");
    mlir::MLIRContext context;
    GenerateOptions options;
    options.entry = "f";
    options.inputShapes = std::move(shapes);
    EXPECT_FALSE(loaded.program->generate(context, options, loaded.diagnostics));
    return loaded.diagnostics.all().front().message;
  };
  EXPECT_EQ(message({{"q", {2, 7, 3}}}), "expected 4 dimensions (the batch in front) in input 'q', but got [2, 7, 3]");
  EXPECT_EQ(message({{"q", {2, 7, 4, 5}}}),
            "expected input 'q' of shape [T, 3, 5] behind the batch, but got [2, 7, 4, 5]");
  EXPECT_EQ(message({{"q", {2, 7, 3, 5}}, {"k", {2, 7, 3, 6}}}), "expected one size for 'K', but got 5 and 6");
  EXPECT_EQ(message({{"x", {2, 7}}}), "entry 'f' has no argument 'x'");
  EXPECT_EQ(message({}), "expected a size for 'K': entry 'f' leaves it open");
}

/// A program is used with other Diagnostics than it was loaded with, and again
/// after an error; the same error twice is an error twice.
TEST(ProgramTest, OutlivesItsDiagnostics) {
  std::unique_ptr<Program> program;
  {
    Loaded loaded("fn bad(x: [T, 4]) {\n"
                  "  scan over t { o[t] = x[t] . outer(x[t], x[t]) + slice(x[t], 3, 2) }\n"
                  "  return o\n"
                  "}\n"
                  "fn twice(x: [T, 4]) { return bad(x) + bad(x) }\n"
                  "fn fine(x: [T, 4]) { return x + x }\n");
    program = std::move(loaded.program);
  }
  ASSERT_NE(program, nullptr);
  mlir::MLIRContext context;
  GenerateOptions options;
  Diagnostics diagnostics;
  for (int round = 0; round < 2; ++round) {
    options.entry = "twice";
    EXPECT_FALSE(program->generate(context, options, diagnostics));
    EXPECT_NE(diagnostics.str().find("test.tg:2:"), std::string::npos) << diagnostics.str();
    EXPECT_EQ(diagnostics.all().size(), 1u);
    options.entry = "fine";
    EXPECT_TRUE(program->generate(context, options, diagnostics));
  }
}

TEST(ProgramTest, EmitsDoublePrecision) {
  Loaded loaded("fn f(x: [T, 4]) { return exp(x) }\n");
  mlir::MLIRContext context;
  GenerateOptions options;
  options.entry = "f";
  options.f64 = true;
  auto module = loaded.program->generate(context, options, loaded.diagnostics);
  ASSERT_TRUE(module);
  bool allDouble = true;
  module->walk([&](tidegate::nn::ExpOp op) { allDouble &= op.getType().getElementType().isF64(); });
  EXPECT_TRUE(allDouble);
}

TEST(ProgramTest, OpsKnowTheirSourceAndName) {
  Loaded loaded("fn f(x: [T, 4]) {\n  gate = exp(x)\n  return gate\n}\n");
  mlir::MLIRContext context;
  GenerateOptions options;
  options.entry = "f";
  auto module = loaded.program->generate(context, options, loaded.diagnostics);
  ASSERT_TRUE(module);
  int found = 0;
  module->walk([&](tidegate::nn::ExpOp op) {
    auto name = mlir::dyn_cast<mlir::NameLoc>(op->getLoc());
    ASSERT_TRUE(name);
    EXPECT_EQ(name.getName(), "gate");
    auto place = mlir::dyn_cast<mlir::FileLineColRange>(name.getChildLoc());
    ASSERT_TRUE(place);
    EXPECT_EQ(place.getStartLine(), 2u);
    EXPECT_EQ(place.getStartColumn(), 10u);
    EXPECT_EQ(place.getEndColumn(), 16u);
    ++found;
  });
  EXPECT_EQ(found, 1);
}

TEST(ProgramTest, TheLibraryIsSound) {
  Loaded loaded("");
  ASSERT_NE(loaded.program, nullptr) << loaded.diagnostics.str();
  int checked = 0;
  for (const EntryInfo &entry : loaded.program->entries()) {
    mlir::MLIRContext context;
    GenerateOptions options;
    options.entry = entry.name;
    options.dims = {{"n", 8}, {"d", 4}, {"width", 6}, {"H", 2}, {"K", 8}, {"m", 6}, {"a", 1}, {"b", 2}, {"c", 3}};
    loaded.diagnostics.clear();
    EXPECT_TRUE(loaded.program->generate(context, options, loaded.diagnostics)) << entry.name << "\n"
                                                                                << loaded.diagnostics.str();
    ++checked;
  }
  EXPECT_GE(checked, 9);
}

} // namespace
