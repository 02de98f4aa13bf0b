//===- Utf8.h - Characters of a byte string ---------------------*- C++ -*-===//
// Just what tokenizers need: lengths of characters, and text made valid.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tidegate::data::utf8 {

/// Bytes of the character that begins with `lead`, in valid UTF-8.
inline size_t length(char lead) {
  const auto c = static_cast<unsigned char>(lead);
  return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/// Each largest part that could have begun a character but did not become one
/// is replaced by U+FFFD. Source: The Unicode Standard, section 3.9, table 3-8.
std::string valid(std::string_view text);
bool isValid(std::string_view text);

std::string encode(uint32_t codePoint);

} // namespace tidegate::data::utf8
