//===- Golden.h - Against stored values of a reference ----------*- C++ -*-===//
// A golden folder holds weights, a batch, and what a reference implementation
// made of them: logits, loss, every gradient, and the losses of five AdamW
// steps.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/tools/tidegate/verify/Report.h"
#include "runtime/train/Model.h"

namespace tidegate::tool {

/// Loads DIR/model.safetensors into the model, compares with
/// DIR/golden.safetensors and adds rows whose checks start with `label`.
/// Trains the model, so its weights are different ones afterwards.
void checkGolden(train::Model &model, const std::string &directory, const std::string &label, VerifyReport &report);

} // namespace tidegate::tool
