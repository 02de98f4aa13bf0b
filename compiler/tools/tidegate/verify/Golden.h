//===- Golden.h - Against stored values of a reference ----------*- C++ -*-===//
// A golden folder holds weights, a batch, and what a reference implementation
// made of them: logits, loss, every gradient, and the losses of five AdamW
// steps.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/tools/tidegate/verify/Report.h"
#include "runtime/train/Model.h"

namespace tidegate::tool {

/// Largest relative errors that count as equal.
struct GoldenBounds {
  double logits = 1e-5, gradients = 3e-4, losses = 1e-5;
  /// A gradient is compared on its own scale, or on this share of the model's largest where that is more.
  double gradientFloor = 0;

  /// Orthogonalised updates: the polynomial's steep start enlarges the reference's own rounding. Such an
  /// update does not depend on the scale of its rates either, so that the gradients of their biases are
  /// what rounding leaves of terms that cancel.
  static GoldenBounds ofNewtonSchulz() { return {5e-5, 2e-3, 1e-4, 1e-3}; }
};

/// Loads DIR/model.safetensors into the model, compares with
/// DIR/golden.safetensors and adds rows whose checks start with `label`.
/// Trains the model, so its weights are different ones afterwards.
void checkGolden(train::Model &model, const std::string &directory, const std::string &label, VerifyReport &report,
                 const GoldenBounds &bounds = {});

} // namespace tidegate::tool
