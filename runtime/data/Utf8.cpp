//===- Utf8.cpp - Validation by the table of the standard -------*- C++ -*-===//
// Only the second byte has bounds that depend on the first.
//===----------------------------------------------------------------------===//
#include "runtime/data/Utf8.h"

using namespace tidegate::data;

namespace {

/// Bytes from `at` on that begin a character, and whether they are a whole one.
struct Prefix {
  size_t bytes;
  bool whole;
};

Prefix prefixAt(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned lead = byte(at);
  if (lead < 0x80)
    return {1, true};
  if (lead < 0xc2 || lead > 0xf4)
    return {1, false};
  const size_t length = utf8::length(text[at]);
  const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (byte(at + 1) < low || byte(at + 1) > high)
    return {1, false};
  for (size_t i = 2; i < length; ++i)
    if ((byte(at + i) & 0xc0) != 0x80)
      return {i, false};
  return {length, true};
}

} // namespace

std::string utf8::valid(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Prefix prefix = prefixAt(text, at);
    if (prefix.whole)
      result.append(text, at, prefix.bytes);
    else
      result += "\xef\xbf\xbd";
    at += prefix.bytes;
  }
  return result;
}

bool utf8::isValid(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Prefix prefix = prefixAt(text, at);
    if (!prefix.whole)
      return false;
    at += prefix.bytes;
  }
  return true;
}

std::string utf8::encode(uint32_t c) {
  auto tail = [&](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80)
    return {static_cast<char>(c)};
  if (c < 0x800)
    return {static_cast<char>(0xc0 | c >> 6), tail(0)};
  if (c < 0x10000)
    return {static_cast<char>(0xe0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xf0 | c >> 18), tail(12), tail(6), tail(0)};
}
