//===- Init.h - Initial values of weights -----------------------*- C++ -*-===//
// A weight's values depend on the seed, its name and its `init` text only, not
// on the other weights or on their order.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/train/Model.h"

#include <cstdint>
#include <string>

namespace tidegate::train {

/// An `init` text, read: zeros, ones, constant(c), normal(std), uniform(low, high).
struct Initialiser {
  enum class Kind { Constant, Normal, Uniform };
  Kind kind;
  double a = 0, b = 0; ///< Constant: a. Normal: mean a, deviation b. Uniform: [a, b).
};

/// InvalidArgument for anything else, naming the weight.
Initialiser parseInit(const std::string &init, const std::string &name);

/// Fills one tensor.
void initialise(const Initialiser &init, const std::string &name, uint64_t seed, runtime::HostSpan target);

/// Fills every parameter of a model by its `init`.
void initialiseParameters(Model &model, uint64_t seed);

} // namespace tidegate::train
