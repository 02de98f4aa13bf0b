//===- CompiledDecoder.h - States of a model between calls ------*- C++ -*-===//
// Decoding is the same on every target: ModelPart::Decode takes tokens and states and
// gives the logits of the last token and new states. Targets differ in where these lie.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Driver/CompiledModel.h"
#include "runtime/core/Executor.h"

namespace tidegate {

/// Feeds tokens piece by piece. Bindings of the part: ids, weights, positions if any, states; logits, new states.
class CompiledDecoder : public train::Decoder {
public:
  CompiledDecoder(const CompiledModel &model, int64_t B) : model(model), B(B), position(B, 0) {}

  runtime::HostTensor feed(std::span<const int32_t> ids, int64_t T, std::span<const int32_t> positions) override;

protected:
  /// Tokens that belong to one chunk of each scan over chunks of the GPU. The CPU takes all at once.
  struct Piece {
    std::vector<int32_t> ids;           ///< B x T
    CompiledModel::Positions positions; ///< B x T, or empty
    int64_t T = 0;
    std::vector<int64_t> full; ///< See buildPart.
  };
  /// Called for all pieces before the first of them runs. Errors: what there is no room for.
  virtual void expectRoom(const Piece &) {}
  /// Goes on by a piece; the logits after its last token stay with the target.
  virtual void run(const Piece &piece) = 0;
  /// [B, vocab], of the last piece.
  virtual runtime::HostTensor lastLogits() = 0;

  /// Bytes of each state in `plan`, for B rows.
  std::vector<int64_t> stateBytes(const runtime::Plan &plan) const;

  const CompiledModel &model;
  const int64_t B;

private:
  std::vector<Piece> piecesOf(std::span<const int32_t> ids, int64_t T, const CompiledModel::Positions &positions) const;

  CompiledModel::Positions position; ///< Of each row's next token in its document.
  int64_t fed = 0;                   ///< Tokens of each row.
};

/// A decoder whose states are in the host's memory.
class HostDecoder : public CompiledDecoder {
public:
  using ExecutorOf = std::function<runtime::Executor &(const std::vector<int64_t> &full)>;
  /// The leading bindings.
  using Inputs = std::function<std::vector<void *>(std::span<const int32_t> ids, const CompiledModel::Positions &)>;

  HostDecoder(const CompiledModel &model, int64_t B, ExecutorOf executorOf, Inputs inputs);

protected:
  void run(const Piece &piece) override;
  runtime::HostTensor lastLogits() override { return logits; }

private:
  ExecutorOf executorOf;
  Inputs inputs;
  runtime::HostTensor logits;
  std::vector<std::vector<std::byte>> states, next;
};

} // namespace tidegate
