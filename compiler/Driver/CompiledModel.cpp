//===- CompiledModel.cpp - What models on every target share ----*- C++ -*-===//
#include "compiler/Driver/CompiledModel.h"

#include "passes/Rec/PieceForm.h"
#include "passes/Rec/TokenForm.h"
#include "runtime/core/Error.h"
#include "runtime/train/Documents.h"

#include <cmath>

using namespace tidegate;
using runtime::Dtype;
using runtime::RuntimeError;

CompiledModel::CompiledModel(const ProgramSource &source, const CompileOptions &options)
    : compilation(options), program(source), specs(program.parameters()), flat(specs),
      type(options.precision == Precision::F64 ? Dtype::F64 : Dtype::F32) {
  auto module = compilation.generate(program);
  auto model = module->lookupSymbol<mlir::func::FuncOp>("model");
  auto logits = mlir::cast<mlir::RankedTensorType>(model.getResultTypes().front());
  vocabulary = logits.getShape().back();
  llvm::StringMap<size_t> byName;
  for (size_t i = 0; i < specs.size(); ++i)
    byName[specs[i].name] = i;
  for (unsigned i = 0; i < model.getNumArguments(); ++i)
    if (auto name = model.getArgAttrOfType<mlir::StringAttr>(i, "nn.weight"))
      order.push_back(byName.lookup(name.getValue()));
  module->walk([&](rec::ScanOp scan) {
    if (!rec::isChunkUpdate(scan))
      return;
    chunks.insert(scan.getChunk());
    runsInPieces &= rec::runsInPieces(scan);
  });
}

train::LabelScores CompiledModel::scoresFrom(runtime::HostSpan logs, runtime::HostSpan likeliest) {
  train::LabelScores scores;
  for (int64_t i = 0; i < logs.elements; ++i) {
    scores.logProbability.push_back(logs.get(i));
    scores.isLikeliest.push_back(likeliest.get(i) != 0);
  }
  return scores;
}

std::vector<double> CompiledModel::decayOfRows() const {
  std::vector<double> decay(flat.rows, 0);
  for (size_t i = 0; i < specs.size(); ++i)
    for (int64_t r = 0; r < (specs[i].elements() + kRow - 1) / kRow; ++r)
      decay[flat.offsets[i] / kRow + r] = specs[i].decay ? 1 : 0;
  return decay;
}

std::vector<double> CompiledModel::adamwScalars(const train::StepConfig &config) {
  return {config.lr,
          config.weightDecay,
          config.beta1,
          config.beta2,
          config.eps,
          config.maxNorm > 0 ? config.maxNorm : std::numeric_limits<double>::infinity(),
          1 - std::pow(config.beta1, double(config.step)),
          1 - std::pow(config.beta2, double(config.step))};
}

void CompiledModel::checkBatch(const train::TokenBatch &batch) const {
  checkTokens(batch.ids, batch.B, batch.T, "id", false);
  checkTokens(batch.labels, batch.B, batch.T, "label", true);
}

CompiledModel::Positions CompiledModel::positionsOf(std::span<const int32_t> given, int64_t B, int64_t T,
                      std::span<const int32_t> first) const {
  if (!hasDocuments()) {
    if (!given.empty())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "expected tokens without document positions, but got some: the model is compiled without "
                         "document boundaries");
    return {};
  }
  if (given.empty())
    return train::positionsOfRows(B, T, first);
  train::checkPositions(given, B, T, first);
  return {given.begin(), given.end()};
}

void CompiledModel::checkTokens(std::span<const int32_t> tokens, int64_t B, int64_t T, const char *what, bool mayIgnore) const {
  if (int64_t(tokens.size()) != B * T || B < 1 || T < 1)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected " + std::to_string(B) + " x " + std::to_string(T) + " " + what + "s, but got " +
                           std::to_string(tokens.size()));
  for (size_t i = 0; i < tokens.size(); ++i)
    if ((tokens[i] < 0 || tokens[i] >= vocabulary) && !(mayIgnore && tokens[i] == train::kIgnoredLabel))
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         std::string(what) + " " + std::to_string(tokens[i]) + " at row " + std::to_string(i / T) +
                             ", position " + std::to_string(i % T) + " is not in the vocabulary of " +
                             std::to_string(vocabulary));
}
