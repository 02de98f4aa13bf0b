//===- Autodiff.cpp - Passes that make gradients ----------------*- C++ -*-===//
// Implements -autodiff, -build-loss and -build-scores over passes/Autodiff/Gradient.h.
//===----------------------------------------------------------------------===//
#include "ir/Nn/NnDialect.h"
#include "passes/Autodiff/Gradient.h"
#include "passes/Autodiff/Passes.h"

#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace tidegate::autodiff;

namespace tidegate::autodiff {
#define GEN_PASS_DEF_AUTODIFFPASS
#define GEN_PASS_DEF_BUILDLOSSPASS
#define GEN_PASS_DEF_BUILDSCORESPASS
#include "passes/Autodiff/Passes.h.inc"
} // namespace tidegate::autodiff

static FailureOr<AutodiffOptions> optionsFrom(ModuleOp module, StringRef policy) {
  auto parsed = parsePolicy(policy);
  if (!parsed)
    return module.emitError("expects the policy none, block, or a number of calls, but got '") << policy << "'";
  return AutodiffOptions{*parsed};
}

static FailureOr<func::FuncOp> functionNamed(ModuleOp module, StringRef name) {
  if (auto function = module.lookupSymbol<func::FuncOp>(name))
    return function;
  return module.emitError("has no function '") << name << "'";
}

namespace {
struct AutodiffPass : tidegate::autodiff::impl::AutodiffPassBase<AutodiffPass> {
  using AutodiffPassBase::AutodiffPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto options = optionsFrom(module, policy);
    if (failed(options))
      return signalPassFailure();
    SmallVector<func::FuncOp> chosen;
    for (const std::string &name : functions) {
      auto function = functionNamed(module, name);
      if (failed(function))
        return signalPassFailure();
      chosen.push_back(*function);
    }
    if (functions.empty())
      for (auto function : module.getOps<func::FuncOp>())
        if (function.isPublic() && !function.isExternal())
          chosen.push_back(function);
    for (func::FuncOp function : chosen)
      if (failed(buildGradient(function, *options)))
        return signalPassFailure();
  }
};

struct BuildLossPass : tidegate::autodiff::impl::BuildLossPassBase<BuildLossPass> {
  using BuildLossPassBase::BuildLossPassBase;

  void runOnOperation() override {
    auto options = optionsFrom(getOperation(), policy);
    auto function = functionNamed(getOperation(), model);
    if (failed(options) || failed(function) || failed(buildLossAndGradients(*function, *options)))
      signalPassFailure();
  }
};

struct BuildScoresPass : tidegate::autodiff::impl::BuildScoresPassBase<BuildScoresPass> {
  using BuildScoresPassBase::BuildScoresPassBase;

  void runOnOperation() override {
    auto function = functionNamed(getOperation(), model);
    if (failed(function) || failed(buildScores(*function)))
      signalPassFailure();
  }
};
} // namespace
