//===- AdamW.h - The optimiser as a function of nn ops ----------*- C++ -*-===//
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace tidegate::nn {

struct AdamWFunctions {
  mlir::func::FuncOp update;   ///< `@adamw`
  mlir::func::FuncOp gradNorm; ///< `@grad_norm`
};

/// Adds AdamW with decoupled weight decay and global-norm clipping to `module`.
///
/// `@accumulate(sum, g, scale) -> sum'`: (sum + g) * scale, over micro-batches.
/// `@grad_norm(g) -> tensor<ELT>`: the sum of squares of all gradients.
/// `@adamw(p, g, m, v, decay, lr, weight_decay, beta1, beta2, eps, max_norm,
///         bias1, bias2, norm2) -> (p', m', v')`; arguments carry `nn.name`.
///
/// Shapes: p, g, m, v are `? x 1024`, all weights one after another in rows;
///         decay is `? x 1`, 1 for rows that decay and 0 for others; all else
///         is scalar.
/// Units:  norm2 is what grad_norm gives; bias1 = 1 - beta1^t and bias2 = 1 -
///         beta2^t for t updates including this one; max_norm 0 does not clip.
/// Values: gradients times min(1, max_norm / (sqrt(norm2) + 1e-6)); p shrinks by
///         lr * weight_decay * decay before the step. If norm2 is not finite,
///         p, m and v come back unchanged.
/// Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", Alg. 2.
AdamWFunctions buildAdamW(mlir::ModuleOp module, mlir::Type elementType);

} // namespace tidegate::nn
