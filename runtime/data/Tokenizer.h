//===- Tokenizer.h - Text to ids and back -----------------------*- C++ -*-===//
// One interface over bytes, SentencePiece models and tokenizer.json. A
// tokenizer is a function of its files: their hash goes into every shard, and
// copies of them into every data set and checkpoint.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tidegate::data {

/// Thread-safe: every method may be called from several threads at once.
class Tokenizer {
public:
  virtual ~Tokenizer() = default;

  /// The ids of `text`, without beginning or end of a document. Text that is
  /// not UTF-8 is encoded as if each invalid byte were U+FFFD, except by the
  /// byte tokenizer, which takes everything.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// Special tokens and unknown ids leave no text.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  /// Whether an id stands for text, and not for a boundary, padding, or nothing.
  virtual bool isText(int32_t id) const = 0;
  virtual int64_t vocab() const = 0; ///< Ids are below it.
  virtual std::optional<int32_t> bos() const { return std::nullopt; }
  virtual std::optional<int32_t> eos() const { return std::nullopt; }
  virtual uint64_t hash() const = 0;
  virtual std::string description() const = 0; ///< For people: kind and size.
  /// What defines it, as (name, content); a directory of these files is it again.
  virtual std::vector<std::pair<std::string, std::string>> files() const { return {}; }

  /// What stands before and after the ids of a document: BOS where there is
  /// one, nothing behind, unless the tokenizer's file says otherwise.
  virtual std::vector<int32_t> prefix() const;
  virtual std::vector<int32_t> suffix() const { return {}; }
};

/// "bytes"; a SentencePiece model (*.model); a tokenizer.json; or a directory
/// with one of these two files.
/// Errors: NotFound, Io; InvalidArgument that names the key of a tokenizer.json
///         that is not supported.
std::shared_ptr<const Tokenizer> openTokenizer(const std::string &spec);

/// The names that Tokenizer::files uses.
inline constexpr const char *kTokenizerFiles[] = {"tokenizer.json", "tokenizer_config.json", "tokenizer.model"};

/// FNV-1a with 64 bits, and as 16 hexadecimal digits.
uint64_t hashBytes(std::string_view bytes, uint64_t hash = 0xcbf29ce484222325u);
std::string hashText(uint64_t hash);

// The kinds; openTokenizer picks one.
std::shared_ptr<const Tokenizer> makeByteTokenizer();
std::shared_ptr<const Tokenizer> openSentencePiece(const std::string &path);
std::shared_ptr<const Tokenizer> openTokenizerJson(const std::string &path);

} // namespace tidegate::data
