//===- Evaluate.h - How well a model predicts held-out text -----*- C++ -*-===//
// Bits per byte over every byte of a text, comparable with any compressor of
// the same text and between tokenizers, and the compressor to compare with:
// gzip -9.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/BatchSource.h"
#include "runtime/train/Model.h"

#include <string_view>

namespace tidegate::train {

struct TextLoss {
  double nats = 0;        ///< Mean per predicted token.
  double bitsPerByte = 0; ///< Over all bytes; the first token, which nothing predicts, counts log2(vocab).
  int64_t tokens = 0, bytes = 0;
};

/// Cuts the first `most` tokens of a text (2 or more) into windows of T, B at a
/// time. Each token but the first is predicted once, from the tokens of its
/// window, and of its document if those are kept apart, before it. `vocab`: of the tokens.
TextLoss evaluateText(Model &model, const data::HeldOut &text, int64_t vocab, int64_t most, int64_t B, int64_t T);

/// Bits per byte of the text as one `gzip -9` file, header included.
double gzipBitsPerByte(std::string_view text);

} // namespace tidegate::train
