//===- TextCodec.cpp - Texts as a run's ids, and back -----------*- C++ -*-===//
// A token's text depends on the token before it (a blank at the start of a text
// is not written), so the stream decodes both and takes the difference.
//===----------------------------------------------------------------------===//
#include "runtime/data/TextCodec.h"

#include <algorithm>

using namespace tidegate::data;

namespace {

constexpr size_t kMostKept = 8; ///< Ids without a whole character: the text is broken.
constexpr std::string_view kReplacement = "\xef\xbf\xbd";

} // namespace

std::vector<int32_t> TextCodec::encode(std::string_view text) const {
  std::vector<int32_t> ids = tokenizer->encode(text);
  if (prefixed) {
    const std::vector<int32_t> before = tokenizer->prefix();
    ids.insert(ids.begin(), before.begin(), before.end());
  }
  return ids;
}

std::vector<int32_t> TextCodec::ends() const {
  std::vector<int32_t> ids;
  if (const auto id = tokenizer->eos())
    ids.push_back(*id);
  if (const auto id = tokenizer->bos(); id && prefixed)
    ids.push_back(*id);
  return ids;
}

TextStream::TextStream(const Tokenizer &tokenizer, std::span<const int32_t> before)
    : tokenizer(tokenizer), window(before.begin(), before.end()), written(window.size()) {}

std::string TextStream::add(int32_t id) {
  window.push_back(id);
  return newText(false);
}

std::string TextStream::finish() { return newText(true); }

std::string TextStream::newText(bool atEnd) {
  const std::string before = tokenizer.decode(std::span(window).first(written)), all = tokenizer.decode(window);
  if (!atEnd && all.ends_with(kReplacement) && window.size() - written < kMostKept)
    return "";
  const size_t same = std::mismatch(before.begin(), before.end(), all.begin(), all.end()).first - before.begin();
  // What follows needs a token with a text before it.
  if (!tokenizer.decode(std::span(window).subspan(written)).empty())
    window.erase(window.begin(), window.begin() + written);
  written = window.size();
  return all.substr(same);
}
