//===- PlayedModel.h - A model for a GPU, run on the CPU --------*- C++ -*-===//
#pragma once

#include "compiler/Driver/CompiledDecoder.h"
#include "compiler/Driver/CudaModel.h"
#include "tests/unit/codegen/PlayedKernels.h"

#include <map>
#include <stdexcept>

namespace tidegate::played {

/// Logits, scores, gradients and decoding of a model whose plans are a GPU's: its kernels are played, and its tensors
/// are in bfloat16 where a GPU's are. It does not train. With `findsRaces` kernels throw at races in shared memory.
class PlayedModel : public CompiledModel {
public:
  PlayedModel(const ProgramSource &source, Precision precision, bool documents = false, bool findsRaces = false)
      : CompiledModel(source, onGpu(precision, documents)), findsRaces(findsRaces) {
    for (const train::ParameterSpec &spec : specs) {
      weights.emplace_back(type, spec.shape);
      gradients.emplace_back(type, spec.shape);
    }
  }

  runtime::HostSpan parameter(size_t i) override { return weights[i].view(); }
  runtime::HostSpan gradient(size_t i) override { return gradients[i].view(); }

  runtime::HostTensor logits(std::span<const int32_t> ids, int64_t B, int64_t T,
                             std::span<const int32_t> given) override {
    runtime::HostTensor out(type, {B, T, vocabulary});
    const Positions positions = positionsOf(given, B, T);
    auto bindings = inputs(ids, {}, positions);
    bindings.push_back(out.view().data);
    part(ModelPart::Logits).run(B, T, bindings);
    return out;
  }

  train::LabelScores scores(const train::TokenBatch &batch) override {
    runtime::HostTensor logs(type, {batch.B, batch.T}), likeliest(type, {batch.B, batch.T});
    const Positions positions = positionsOf(batch.positions, batch.B, batch.T);
    auto bindings = inputs(batch.ids, batch.labels, positions);
    bindings.push_back(logs.view().data);
    bindings.push_back(likeliest.view().data);
    part(ModelPart::Scores).run(batch.B, batch.T, bindings);
    return scoresFrom(logs.view(), likeliest.view());
  }

  train::LossResult lossAndGradients(const train::TokenBatch &batch) override {
    runtime::HostTensor loss(type, {1});
    const Positions positions = positionsOf(batch.positions, batch.B, batch.T);
    auto bindings = inputs(batch.ids, batch.labels, positions);
    bindings.push_back(loss.view().data);
    for (size_t i : order)
      bindings.push_back(gradients[i].view().data);
    part(ModelPart::Train).run(batch.B, batch.T, bindings);
    return {loss.view().get(0), batch.B * batch.T};
  }

  runtime::HostSpan moment(int, size_t) override { throw std::logic_error("played models have no moments"); }
  train::StepResult trainStep(std::span<const train::TokenBatch>, const train::StepConfig &) override {
    throw std::logic_error("played models are not trained");
  }
  train::LossResult evalLoss(const train::TokenBatch &) override {
    throw std::logic_error("played models have no loss by itself");
  }
  std::unique_ptr<train::Decoder> decoder(int64_t B) override {
    return std::make_unique<HostDecoder>(
        *this, B, [this](const auto &full) -> runtime::Executor & { return decoding(full); },
        [this](std::span<const int32_t> ids, const Positions &positions) { return inputs(ids, {}, positions); });
  }
  /// Plans for decoding that were made: one, and one for each set of chunks that were full.
  size_t numDecodings() const { return decodings.size(); }

private:
  static CompileOptions onGpu(Precision precision, bool documents) {
    CompileOptions options;
    options.target = Target::Cuda;
    options.precision = precision;
    options.documents = documents;
    return options;
  }

  std::vector<void *> inputs(std::span<const int32_t> ids, std::span<const int32_t> labels,
                             const Positions &positions) {
    std::vector<void *> bindings{const_cast<int32_t *>(ids.data())};
    if (!labels.empty())
      bindings.push_back(const_cast<int32_t *>(labels.data()));
    for (size_t i : order)
      bindings.push_back(weights[i].view().data);
    if (!positions.empty())
      bindings.push_back(const_cast<int32_t *>(positions.data()));
    return bindings;
  }

  /// The first function of a part.
  runtime::Executor &part(ModelPart which) { return played(parts[int(which)], which, {}); }
  runtime::Executor &decoding(const std::vector<int64_t> &full) {
    return played(decodings[full], ModelPart::Decode, full);
  }
  runtime::Executor &played(std::unique_ptr<runtime::Executor> &executor, ModelPart which,
                            const std::vector<int64_t> &full) {
    if (!executor) {
      PlannedKernels planned = planKernels(
          compilation, [&] { return buildPart(compilation, program, which, full); }, entriesOf(which).take_front());
      playKernels(planned.plans.front(), planned.kernels.kernels(), findsRaces);
      executor = std::make_unique<runtime::Executor>(std::move(planned.plans.front()));
    }
    return *executor;
  }

  bool findsRaces;
  std::vector<runtime::HostTensor> weights, gradients;
  std::unique_ptr<runtime::Executor> parts[kModelParts];
  std::map<std::vector<int64_t>, std::unique_ptr<runtime::Executor>> decodings; ///< By the chunks that are full.
};

} // namespace tidegate::played
