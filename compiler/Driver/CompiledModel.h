//===- CompiledModel.h - What models on every target share ------*- C++ -*-===//
#pragma once

#include "compiler/Driver/CpuModel.h"

namespace tidegate {

/// The program of a model, its weights' places, and the checks of what callers give.
class CompiledModel : public train::Model {
public:
  CompiledModel(const ProgramSource &source, const CompileOptions &options);

  const std::vector<train::ParameterSpec> &parameters() const override { return specs; }
  runtime::Dtype dtype() const override { return type; }
  int64_t vocab() const override { return vocabulary; }
  bool hasDocuments() const override { return compilation.options.documents; }

  using Positions = std::vector<int32_t>;

protected:
  friend class CompiledDecoder;
  static constexpr int64_t kRow = FlatWeights::kRow;

  void checkBatch(const train::TokenBatch &batch) const;
  void checkTokens(std::span<const int32_t> tokens, int64_t B, int64_t T, const char *what, bool mayIgnore) const;
  /// What the program takes: nothing if it is compiled without documents, else the
  /// positions given, or one document a row. `first` tokens of each row were fed before.
  Positions positionsOf(std::span<const int32_t> given, int64_t B, int64_t T,
                        std::span<const int32_t> first = {}) const;
  /// What @scores returned.
  static train::LabelScores scoresFrom(runtime::HostSpan logs, runtime::HostSpan likeliest);
  /// 1 or 0 for each row of the flat weights: whether it decays.
  std::vector<double> decayOfRows() const;
  /// The scalar arguments of @adamw, in order; without norm2.
  static std::vector<double> adamwScalars(const train::StepConfig &config);

  Compilation compilation;
  LoadedProgram program;
  std::vector<train::ParameterSpec> specs;
  FlatWeights flat;
  runtime::Dtype type; ///< Of weights, gradients, moments and logits.
  int64_t vocabulary = 0;
  std::vector<size_t> order; ///< Weights as the compiled functions take them.
  std::set<int64_t> chunks;  ///< Tokens of a chunk, of the scans over chunks.
  bool runsInPieces = true;  ///< All of them can be fed piece by piece.
};

} // namespace tidegate
