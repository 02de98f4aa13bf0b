//===- CompiledDecoder.cpp - States of a model between calls ----*- C++ -*-===//
#include "compiler/Driver/CompiledDecoder.h"

#include <algorithm>

using namespace tidegate;
using runtime::HostTensor;

/// Tokens begin .. begin + count of each of B rows of T; nothing of nothing.
static std::vector<int32_t> cut(std::span<const int32_t> all, int64_t B, int64_t T, int64_t begin, int64_t count) {
  std::vector<int32_t> part;
  for (int64_t b = 0; b < B && !all.empty(); ++b)
    part.insert(part.end(), all.begin() + b * T + begin, all.begin() + b * T + begin + count);
  return part;
}

std::vector<CompiledDecoder::Piece> CompiledDecoder::piecesOf(std::span<const int32_t> ids, int64_t T,
                                                              const CompiledModel::Positions &positions) const {
  const bool isInPieces = model.compilation.options.target == Target::Cuda;
  std::vector<Piece> pieces;
  for (int64_t done = 0; done < T; done += pieces.back().T) {
    Piece &piece = pieces.emplace_back();
    piece.T = T - done;
    for (int64_t chunk : model.chunks) {
      if (!isInPieces)
        continue;
      const int64_t before = (fed + done) % chunk; // in its chunk
      piece.T = std::min(piece.T, chunk - before);
      if (before == 0 && fed + done > 0)
        piece.full.push_back(chunk);
    }
    piece.ids = cut(ids, B, T, done, piece.T);
    piece.positions = cut(positions, B, T, done, piece.T);
  }
  return pieces;
}

HostTensor CompiledDecoder::feed(std::span<const int32_t> ids, int64_t T, std::span<const int32_t> given) {
  model.checkTokens(ids, B, T, "id", false);
  const CompiledModel::Positions positions = model.positionsOf(given, B, T, position);
  const std::vector<Piece> pieces = piecesOf(ids, T, positions);
  for (const Piece &piece : pieces)
    expectRoom(piece);
  for (const Piece &piece : pieces)
    run(piece);
  fed += T;
  for (int64_t b = 0; b < B && !positions.empty(); ++b)
    position[b] = positions[(b + 1) * T - 1] + 1;
  return lastLogits();
}

std::vector<int64_t> CompiledDecoder::stateBytes(const runtime::Plan &plan) const {
  const int arguments = int(1 + model.order.size() + model.hasDocuments());
  const int states = (plan.bindings - arguments - 1) / 2;
  std::vector<int64_t> bytes(states, 0);
  for (const runtime::Buffer &buffer : plan.buffers)
    if (buffer.binding >= arguments && buffer.binding < arguments + states)
      bytes[buffer.binding - arguments] = buffer.elements.at(B, 1) * buffer.elementBytes;
  return bytes;
}

HostDecoder::HostDecoder(const CompiledModel &model, int64_t B, ExecutorOf executorOf, Inputs inputs)
    : CompiledDecoder(model, B), executorOf(std::move(executorOf)), inputs(std::move(inputs)),
      logits(model.dtype(), {B, model.vocab()}) {
  for (int64_t bytes : stateBytes(this->executorOf({}).plan())) {
    states.emplace_back(bytes);
    next.emplace_back(bytes);
  }
}

void HostDecoder::run(const Piece &piece) {
  std::vector<void *> bindings = inputs(piece.ids, piece.positions);
  for (auto &state : states)
    bindings.push_back(state.data());
  bindings.push_back(logits.view().data);
  for (auto &state : next)
    bindings.push_back(state.data());
  executorOf(piece.full).run(B, piece.T, bindings);
  std::swap(states, next);
}
