//===- CpuModel.h - A compiled model on the CPU -----------------*- C++ -*-===//
#pragma once

#include "compiler/Driver/Pipeline.h"
#include "compiler/Plan/CpuProgram.h"
#include "runtime/train/Model.h"

namespace tidegate {

/// The functions of a model that are compiled together, on first use.
enum class ModelPart {
  Train,  ///< @loss_and_grads, @accumulate, @grad_norm, @adamw
  Loss,   ///< @loss
  Scores, ///< @scores
  Logits, ///< @model
  Decode, ///< @model with states in and out, which gives the logits of the last token
};
inline constexpr int kModelParts = int(ModelPart::Decode) + 1;

/// The module of one part, ready to be planned, and its entry points. `full`: in decoding on the GPU, chunks of so
/// many tokens (of scans over chunks) are full, and update the states before the tokens that are fed.
mlir::OwningOpRef<mlir::ModuleOp> buildPart(Compilation &compilation, LoadedProgram &program, ModelPart part,
                                            llvm::ArrayRef<int64_t> full = {});
llvm::ArrayRef<llvm::StringRef> entriesOf(ModelPart part);

/// The compiled functions of a training step of a model on the CPU that compileModel made.
CpuProgram &cpuTraining(train::Model &model);

/// Places of the weights in flat arrays: rows of kRow elements, each weight from
/// a row of its own, so that one launch updates all of them.
struct FlatWeights {
  static constexpr int64_t kRow = 1024;

  explicit FlatWeights(const std::vector<train::ParameterSpec> &specs);
  std::vector<int64_t> offsets; ///< elements
  int64_t rows = 0;
};

} // namespace tidegate
