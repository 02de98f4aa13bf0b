//===- Pattern.cpp - PCRE2 --------------------------------------*- C++ -*-===//
// Compiled once, to machine code where the library can.
//===----------------------------------------------------------------------===//
#include "runtime/data/Pattern.h"

#include "runtime/core/Error.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

using namespace tidegate::data;
using tidegate::runtime::RuntimeError;

Pattern::Pattern(const std::string &expression, const std::string &where) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code *compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                                       PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (!compiled) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(error, text, sizeof text);
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, where + ": expected a regular expression, but at character " +
                                                                std::to_string(offset) + ": " +
                                                                reinterpret_cast<const char *>(text));
  }
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); // Without it matching is slower, not different.
  code = {compiled, [](void *p) { pcre2_code_free(static_cast<pcre2_code *>(p)); }};
}

std::string Pattern::escaped(const std::string &text) {
  std::string result;
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && !std::isalnum(static_cast<unsigned char>(c)) && c > ' ')
      result += '\\';
    result += c;
  }
  return result;
}

Pattern Pattern::literal(const std::string &text) { return {escaped(text), "text"}; }

void Pattern::split(std::string_view text, const std::function<void(std::string_view, bool)> &part) const {
  const auto *compiled = static_cast<const pcre2_code *>(code.get());
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(compiled, nullptr), pcre2_match_data_free);
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const int found = pcre2_match(compiled, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                  PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match.get(), nullptr);
    if (found == PCRE2_ERROR_NOMATCH)
      break;
    if (found < 0)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "the tokenizer's regular expression cannot cope with a text (PCRE2 error " +
                             std::to_string(found) + ")");
    const size_t *range = pcre2_get_ovector_pointer(match.get());
    if (range[0] > done)
      part(text.substr(done, range[0] - done), false);
    part(text.substr(range[0], range[1] - range[0]), true);
    done = at = range[1];
  }
  if (done < text.size())
    part(text.substr(done), false);
}
