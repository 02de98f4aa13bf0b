//===- Evaluate.h - How well a model predicts held-out bytes ----*- C++ -*-===//
// Bits per byte over every byte of a text, comparable with any compressor of
// the same text, and the compressor to compare with: gzip -9.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/train/Model.h"

#include <string_view>

namespace tidegate::train {

struct TextLoss {
  double nats = 0;        ///< Mean per predicted byte.
  double bitsPerByte = 0; ///< Over all bytes; the first, which nothing predicts, counts 8.
  int64_t bytes = 0;
};

/// Cuts `text` (2 bytes or more) into windows of T tokens, B at a time. Each
/// byte but the first is predicted once, from the bytes of its window before it.
TextLoss evaluateText(Model &model, std::string_view text, int64_t B, int64_t T);

/// Bits per byte of the text as one `gzip -9` file, header included.
double gzipBitsPerByte(std::string_view text);

} // namespace tidegate::train
