//===- Bpe.h - Byte-pair encoding of one word -------------------*- C++ -*-===//
// The pair that was learnt first is merged first, the leftmost of equals.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tidegate::data {

/// Source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016.
class Bpe {
public:
  /// `model` is that of a tokenizer.json. Errors: InvalidArgument that names the key.
  explicit Bpe(const nlohmann::json &model);

  /// Appends the ids of a word (valid UTF-8). Characters without an id become
  /// their bytes' tokens, the unknown token, or nothing, as the model says.
  void encode(std::string_view word, std::vector<int32_t> &ids) const;
  std::optional<int32_t> find(std::string_view token) const;
  const std::vector<std::string> &tokens() const { return texts; } ///< By id; "" for gaps.

private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  struct Merge {
    int32_t rank, id;
  };
  static uint64_t pairOf(int32_t left, int32_t right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }
  std::vector<int32_t> characters(std::string_view word) const;
  void merge(std::vector<int32_t> &ids) const;

  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> vocabulary;
  std::unordered_map<uint64_t, Merge> merges;
  std::vector<std::string> texts;
  std::vector<int32_t> byteIds; ///< Of <0x00> to <0xFF>; empty without byte fallback; -1: no such token.
  std::optional<int32_t> unknown;
  bool fuseUnknown, wholeWords;
};

} // namespace tidegate::data
