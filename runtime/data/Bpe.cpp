//===- Bpe.cpp - Merging with a heap and a linked list ----------*- C++ -*-===//
// O(n log n), since a "word" is the whole text where nothing splits it.
//===----------------------------------------------------------------------===//
#include "runtime/data/Bpe.h"

#include "runtime/core/Error.h"
#include "runtime/data/Utf8.h"

#include <cstdio>
#include <queue>

using namespace tidegate::data;
using nlohmann::json;
using tidegate::runtime::RuntimeError;

namespace {

[[noreturn]] void wrong(const std::string &what) {
  throw RuntimeError(RuntimeError::Kind::InvalidArgument, what);
}

/// "left right", or [left, right].
std::pair<std::string, std::string> sidesOf(const json &merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0], merge[1]};
  const std::string text = merge.is_string() ? merge.get<std::string>() : "";
  const size_t blank = text.find(' ');
  if (blank == std::string::npos)
    wrong("model.merges: expected pairs of tokens, but found " + merge.dump());
  return {text.substr(0, blank), text.substr(blank + 1)};
}

} // namespace

Bpe::Bpe(const json &model) {
  if (model.value("type", json("BPE")) != "BPE")
    wrong("model.type: expected BPE, but found " + model["type"].dump());
  for (const char *key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    if (const json value = model.value(key, json()); !value.is_null() && value != "" && value != 0.0)
      wrong(std::string("model.") + key + ": " + value.dump() + " is not supported");
  if (!model.contains("vocab") || !model["vocab"].is_object() || !model.contains("merges") || !model["merges"].is_array())
    wrong("model: expected an object 'vocab' and a list 'merges'");
  for (const auto &[token, id] : model["vocab"].items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > (1u << 30))
      wrong("model.vocab: expected an id for '" + token + "', but found " + id.dump());
    const auto number = id.get<int32_t>();
    vocabulary[token] = number;
    if (texts.size() <= size_t(number))
      texts.resize(number + 1);
    texts[number] = token;
  }
  int32_t rank = 0;
  for (const json &pair : model["merges"]) {
    const auto [left, right] = sidesOf(pair);
    const auto a = find(left), b = find(right), both = find(left + right);
    if (!a || !b || !both)
      wrong("model.merges: the tokens of pair " + std::to_string(rank) + " (" + pair.dump() + ") are not in the vocabulary");
    merges.emplace(pairOf(*a, *b), Merge{rank++, *both});
  }
  if (const json name = model.value("unk_token", json()); name.is_string()) {
    unknown = find(name.get<std::string>());
    if (!unknown)
      wrong("model.unk_token: " + name.dump() + " is not in the vocabulary");
  }
  fuseUnknown = model.value("fuse_unk", json()) == true;
  wholeWords = model.value("ignore_merges", json()) == true;
  if (model.value("byte_fallback", json()) == true)
    for (int byte = 0; byte < 256; ++byte) {
      char name[8];
      std::snprintf(name, sizeof name, "<0x%02X>", byte);
      byteIds.push_back(find(name).value_or(-1));
    }
}

std::optional<int32_t> Bpe::find(std::string_view token) const {
  const auto found = vocabulary.find(token);
  return found == vocabulary.end() ? std::nullopt : std::optional(found->second);
}

std::vector<int32_t> Bpe::characters(std::string_view word) const {
  std::vector<int32_t> ids;
  bool afterUnknown = false;
  for (size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, utf8::length(word[at]));
    at += character.size();
    if (const auto id = find(character)) {
      ids.push_back(*id);
      afterUnknown = false;
      continue;
    }
    bool asBytes = !byteIds.empty();
    for (char c : character)
      asBytes = asBytes && byteIds[static_cast<unsigned char>(c)] >= 0;
    if (asBytes) {
      for (char c : character)
        ids.push_back(byteIds[static_cast<unsigned char>(c)]);
      continue;
    }
    if (unknown && !(fuseUnknown && afterUnknown))
      ids.push_back(*unknown);
    afterUnknown = true;
  }
  return ids;
}

void Bpe::merge(std::vector<int32_t> &ids) const {
  struct Candidate {
    int32_t rank, at, id;
    uint64_t pair; ///< What stood there when it was found.
    bool operator>(const Candidate &o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
  };
  const auto n = static_cast<int32_t>(ids.size());
  std::vector<int32_t> next(n), previous(n);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  auto offer = [&](int32_t at) {
    if (at < 0 || next[at] >= n)
      return;
    const uint64_t pair = pairOf(ids[at], ids[next[at]]);
    if (const auto found = merges.find(pair); found != merges.end())
      queue.push({found->second.rank, at, found->second.id, pair});
  };
  for (int32_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
  }
  for (int32_t i = 0; i < n; ++i)
    offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    const int32_t right = next[best.at];
    if (ids[best.at] < 0 || right >= n || pairOf(ids[best.at], ids[right]) != best.pair)
      continue; // One side has been merged since.
    ids[best.at] = best.id;
    ids[right] = -1;
    next[best.at] = next[right];
    if (next[right] < n)
      previous[next[right]] = best.at;
    offer(previous[best.at]);
    offer(best.at);
  }
  std::erase(ids, -1);
}

void Bpe::encode(std::string_view word, std::vector<int32_t> &ids) const {
  if (wholeWords)
    if (const auto id = find(word)) {
      ids.push_back(*id);
      return;
    }
  std::vector<int32_t> symbols = characters(word);
  if (symbols.size() > 1)
    merge(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}
