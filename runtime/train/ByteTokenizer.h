//===- ByteTokenizer.h - Bytes are tokens -----------------------*- C++ -*-===//
// Ids 0 to 255 are the bytes themselves; three special ids follow. A model's
// vocabulary may be padded beyond them.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tidegate::train {

struct ByteTokenizer {
  static constexpr int32_t kBytes = 256, kBos = 256, kEos = 257, kPad = 258, kVocab = 259;

  static std::vector<int32_t> encode(std::string_view text) {
    std::vector<int32_t> ids(text.size());
    for (size_t i = 0; i < text.size(); ++i)
      ids[i] = static_cast<unsigned char>(text[i]);
    return ids;
  }
  /// Specials and padding ids leave no text.
  static std::string decode(std::span<const int32_t> ids) {
    std::string text;
    for (int32_t id : ids)
      if (id >= 0 && id < kBytes)
        text += static_cast<char>(id);
    return text;
  }
};

} // namespace tidegate::train
