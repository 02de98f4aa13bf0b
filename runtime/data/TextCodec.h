//===- TextCodec.h - Texts as a run's ids, and back -------------*- C++ -*-===//
// A tokenizer, and whether the texts that a model knows begin like documents:
// the windows of a plain byte text do not.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/Tokenizer.h"

namespace tidegate::data {

struct TextCodec {
  std::shared_ptr<const Tokenizer> tokenizer;
  bool prefixed = true; ///< Texts begin with Tokenizer::prefix.

  /// The ids of a text, with what begins it.
  std::vector<int32_t> encode(std::string_view text) const;
  /// The ids that say that a text is over: EOS and, where texts begin with it, BOS.
  std::vector<int32_t> ends() const;
};

/// The text of ids that come one by one.
class TextStream {
public:
  /// `before`: what was there already; tokens may be written together with it.
  TextStream(const Tokenizer &tokenizer, std::span<const int32_t> before);

  /// What is certain of the text since the last call: a character that is not
  /// complete is kept back, for a few tokens.
  std::string add(int32_t id);
  /// What was kept back.
  std::string finish();

private:
  std::string newText(bool atEnd);

  const Tokenizer &tokenizer;
  std::vector<int32_t> window; ///< Ids that are written, then those that are not.
  size_t written;
};

} // namespace tidegate::data
