//===- Builtins.cpp - The table of built-in functions -----------*- C++ -*-===//
#include "frontends/dsl/Builtins.h"

using namespace tidegate::dsl;

static constexpr BuiltinInfo kBuiltins[] = {
    {Builtin::Exp, "exp", 1, "exp(x)"},
    {Builtin::Log, "log", 1, "log(x)"},
    {Builtin::Sqrt, "sqrt", 1, "sqrt(x)"},
    {Builtin::Rsqrt, "rsqrt", 1, "rsqrt(x)"},
    {Builtin::Abs, "abs", 1, "abs(x)"},
    {Builtin::Sigmoid, "sigmoid", 1, "sigmoid(x)"},
    {Builtin::Softplus, "softplus", 1, "softplus(x)"},
    {Builtin::Tanh, "tanh", 1, "tanh(x)"},
    {Builtin::Sin, "sin", 1, "sin(x)"},
    {Builtin::Cos, "cos", 1, "cos(x)"},
    {Builtin::Maximum, "maximum", 2, "maximum(x, y)"},
    {Builtin::Minimum, "minimum", 2, "minimum(x, y)"},
    {Builtin::Where, "where", 3, "where(condition, x, y)"},
    {Builtin::StopGradient, "stop_gradient", 1, "stop_gradient(x)"},
    {Builtin::Sum, "sum", 1, "sum(x)", 2},
    {Builtin::Mean, "mean", 1, "mean(x)", 2},
    {Builtin::Max, "max", 1, "max(x)", 2},
    {Builtin::Heads, "heads", 2, "heads(x, count)"},
    {Builtin::Flatten, "flatten", 1, "flatten(x)"},
    {Builtin::Transpose, "transpose", 1, "transpose(x)"},
    {Builtin::Slice, "slice", 3, "slice(x, begin, size)"},
    {Builtin::Outer, "outer", 2, "outer(x, y)"},
    {Builtin::Diag, "diag", 1, "diag(x)"},
    {Builtin::Identity, "identity", 2, "identity(m, n)"},
    {Builtin::Matmul, "matmul", 2, "matmul(x, w)"},
    {Builtin::Lookup, "lookup", 2, "lookup(table, ids)"},
    {Builtin::CausalConv, "causal_conv", 2, "causal_conv(x, w)"},
    {Builtin::Concat, "concat", 2, "concat(x, y)"},
    {Builtin::Iota, "iota", 1, "iota(n)"},
    {Builtin::Positions, "positions", 0, "positions()"},
    {Builtin::Angles, "rotary_angles", 3, "rotary_angles(x, n, base)"},
    {Builtin::Attention, "attention", 4, "attention(q, k, v, window)"},
    {Builtin::Grad, "grad", 2, "grad(scalar, value, ...)", ~0u},
    {Builtin::Floor, "floor", 1, "floor(n)"},
    {Builtin::Ceil, "ceil", 1, "ceil(n)"},
    {Builtin::Normal, "normal", 1, "normal(std)"},
    {Builtin::Uniform, "uniform", 2, "uniform(low, high)"},
    {Builtin::SoftplusInverse, "softplus_inverse", 1, "softplus_inverse(x)"},
};

llvm::ArrayRef<BuiltinInfo> tidegate::dsl::allBuiltins() { return kBuiltins; }

const BuiltinInfo *tidegate::dsl::findBuiltin(llvm::StringRef name) {
  for (const BuiltinInfo &info : kBuiltins)
    if (info.name == name)
      return &info;
  return nullptr;
}
