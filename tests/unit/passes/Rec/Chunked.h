//===- Chunked.h - Passes and gradients for tests ---------------*- C++ -*-===//
#pragma once

#include "tests/unit/compiler/Reference/Run.h"

#include "ir/Nn/ReverseMode.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Rec/Passes.h"

namespace tidegate::test {

/// Applies rec-to-chunk and expects that no token scan is left.
inline void toChunk(Module &m, int64_t chunk, bool halfProducts = false) {
  mlir::PassManager manager(&m.context);
  rec::RecToChunkOptions options;
  options.chunk = chunk;
  options.halfProducts = halfProducts;
  manager.addPass(rec::createRecToChunk(options));
  if (failed(manager.run(*m.module))) {
    ADD_FAILURE() << m.errors;
    return;
  }
  m.module->walk([&](rec::ScanOp scan) { EXPECT_EQ(int64_t(scan.getChunk()), chunk) << m.errors; });
}

/// Adds `@f_grad(arguments..., cotangents of the results...)`, which returns the
/// cotangents of the arguments.
inline void addGradient(Module &m) {
  auto gradient = m.function("f").clone();
  gradient.setName("f_grad");
  m.module->push_back(gradient);
  mlir::Block &body = gradient.getBody().front();
  llvm::SmallVector<mlir::Operation *> ops;
  for (mlir::Operation &op : body.without_terminator())
    ops.push_back(&op);
  mlir::Operation *terminator = body.getTerminator();
  mlir::OpBuilder builder(terminator);
  llvm::SmallVector<mlir::Value> inputs(body.getArguments());
  nn::Cotangents cotangents;
  for (mlir::Value result : terminator->getOperands())
    cotangents.add(builder, result, body.addArgument(result.getType(), result.getLoc()));
  if (failed(nn::reverse(builder, ops, cotangents)))
    ADD_FAILURE() << m.errors;
  llvm::SmallVector<mlir::Value> results;
  for (mlir::Value input : inputs) {
    mlir::Value cotangent = cotangents.lookup(input);
    results.push_back(cotangent ? cotangent : nn::zerosLike(builder, input.getLoc(), input));
  }
  terminator->setOperands(results);
  gradient.setFunctionType(
      builder.getFunctionType(body.getArgumentTypes(), mlir::ValueRange(results).getTypes()));
  EXPECT_TRUE(succeeded(mlir::verify(*m.module))) << m.errors;
}

} // namespace tidegate::test
