//===- Builtins.h - Functions that are not written in .tg -------*- C++ -*-===//
// One table: name resolution takes arities from it, elaboration the meaning.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_BUILTINS_H
#define TIDEGATE_FRONTENDS_DSL_BUILTINS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace tidegate::dsl {

enum class Builtin {
  // Element-wise, tensors and numbers.
  Exp, Log, Sqrt, Rsqrt, Abs, Sigmoid, Softplus, Tanh, Sin, Cos, Maximum, Minimum, Where, StopGradient,
  // Reductions over the last dimension.
  Sum, Mean, Max,
  // Shapes and products.
  Heads, Flatten, Transpose, Slice, Outer, Diag, Identity, Matmul, Lookup, CausalConv, Concat,
  // Vectors known when compiling, and what looks along time.
  Iota, Positions, Angles, Attention,
  // The gradient of a scalar.
  Grad,
  // Compile-time numbers.
  Floor, Ceil,
  // Initialisations of weights.
  Normal, Uniform, SoftplusInverse,
};

struct BuiltinInfo {
  Builtin id;
  llvm::StringRef name;
  unsigned arity;
  llvm::StringRef signature; ///< For messages.
  unsigned most = 0;         ///< Arguments at most, if more than `arity`.

  bool takes(size_t count) const { return count >= arity && count <= std::max(arity, most); }
};

const BuiltinInfo *findBuiltin(llvm::StringRef name);
llvm::ArrayRef<BuiltinInfo> allBuiltins();

} // namespace tidegate::dsl
#endif
