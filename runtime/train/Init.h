//===- Init.h - Initial values of weights -----------------------*- C++ -*-===//
// A weight's values depend on the seed, its name and its `init` text only, not
// on the other weights or on their order.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/train/Model.h"

#include <cstdint>
#include <string>
#include <vector>

namespace tidegate::train {

/// An `init` text, read: an expression over draws, such as normal(0.02),
/// zeros, or log(uniform(0, 16)).
struct Initialiser {
  enum class Op {
    Number, Normal, Uniform, // leaves; Normal and Uniform are drawn per element
    Neg, Add, Sub, Mul, Div, Exp, Log, Sqrt, Maximum, Minimum, SoftplusInverse
  };
  Op op = Op::Number;
  double a = 0, b = 0; ///< Number: a. Normal: deviation a. Uniform: [a, b).
  int draw = 0;        ///< Which of the expression's distributions this is.
  std::vector<Initialiser> operands;
};

/// Reads
///   text := number | zeros | ones | constant(c) | normal(std) | uniform(low, high)
///         | neg|exp|log|sqrt|softplus_inverse(text) | add|sub|mul|div|maximum|minimum(text, text)
/// InvalidArgument for anything else, naming the weight.
Initialiser parseInit(const std::string &init, const std::string &name);

/// Fills one tensor.
void initialise(const Initialiser &init, const std::string &name, uint64_t seed, runtime::HostSpan target);

/// Fills every parameter of a model by its `init`.
/// InvalidArgument when a value is not finite.
void initialiseParameters(Model &model, uint64_t seed);

} // namespace tidegate::train
