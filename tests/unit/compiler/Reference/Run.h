//===- Run.h - Textual IR in, tensors out -----------------------*- C++ -*-===//
#pragma once

#include "compiler/Reference/Interpreter.h"
#include "ir/InitAllDialects.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

namespace tidegate::test {

/// A context with the project's dialects that collects diagnostics as text.
class Module {
public:
  explicit Module(const std::string &text) : handler(&context, [&](mlir::Diagnostic &d) { errors += d.str() + "\n"; }) {
    mlir::DialectRegistry registry;
    registerAllDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  }

  mlir::func::FuncOp function(const std::string &name) { return module->lookupSymbol<mlir::func::FuncOp>(name); }

  /// Runs a function that must succeed.
  std::vector<reference::Tensor> run(const std::string &name, std::vector<reference::Tensor> arguments) {
    if (!module || !function(name)) {
      ADD_FAILURE() << "no function " << name << "\n" << errors;
      return {};
    }
    auto results = reference::run(function(name), arguments);
    if (failed(results)) {
      ADD_FAILURE() << errors;
      return {};
    }
    return *results;
  }

  mlir::MLIRContext context;
  std::string errors;
  mlir::ScopedDiagnosticHandler handler;
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

using Shape = std::vector<int64_t>;
using Numbers = std::vector<double>;

inline reference::Tensor numbers(Shape shape, Numbers values) { return {std::move(shape), std::move(values), {}}; }
inline reference::Tensor indices(Shape shape, std::vector<int32_t> ids) {
  return {std::move(shape), {}, std::move(ids)};
}

inline void expectNear(const reference::Tensor &got, const Shape &shape, const Numbers &want,
                       double tolerance = 1e-12) {
  EXPECT_EQ(got.shape, shape);
  ASSERT_EQ(got.values.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(got.values[i], want[i], tolerance) << "element " << i;
}

} // namespace tidegate::test
