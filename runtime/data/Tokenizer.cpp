//===- Tokenizer.cpp - Choosing a tokenizer; bytes --------------*- C++ -*-===//
// The byte tokenizer: ids 0 to 255 are bytes, 256 begins a document, 257 ends one.
//===----------------------------------------------------------------------===//
#include "runtime/data/Tokenizer.h"

#include "runtime/core/Error.h"

#include <cstdio>
#include <filesystem>

using namespace tidegate::data;
using tidegate::runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

class ByteTokenizer : public Tokenizer {
public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids(text.size());
    for (size_t i = 0; i < text.size(); ++i)
      ids[i] = static_cast<unsigned char>(text[i]);
    return ids;
  }
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (int32_t id : ids)
      if (isText(id))
        text += static_cast<char>(id);
    return text;
  }
  bool isText(int32_t id) const override { return id >= 0 && id < kBytes; }
  int64_t vocab() const override { return kBytes + 2; }
  std::optional<int32_t> bos() const override { return kBytes; }
  std::optional<int32_t> eos() const override { return kBytes + 1; }
  uint64_t hash() const override { return hashBytes("bytes"); }
  std::string description() const override { return "bytes"; }

private:
  static constexpr int32_t kBytes = 256;
};

bool endsWith(const std::string &text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

} // namespace

std::vector<int32_t> Tokenizer::prefix() const {
  if (const std::optional<int32_t> id = bos())
    return {*id};
  return {};
}

uint64_t tidegate::data::hashBytes(std::string_view bytes, uint64_t hash) {
  for (char c : bytes)
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

std::string tidegate::data::hashText(uint64_t hash) {
  char text[20];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::shared_ptr<const Tokenizer> tidegate::data::makeByteTokenizer() { return std::make_shared<ByteTokenizer>(); }

std::shared_ptr<const Tokenizer> tidegate::data::openTokenizer(const std::string &spec) {
  if (spec == "bytes")
    return makeByteTokenizer();
  if (!fs::exists(spec))
    throw RuntimeError(RuntimeError::Kind::NotFound,
                       "expected 'bytes' or the path of a tokenizer, but '" + spec + "' does not exist");
  if (fs::is_directory(spec)) {
    for (const char *name : {"tokenizer.json", "tokenizer.model"})
      if (fs::exists(fs::path(spec) / name))
        return openTokenizer((fs::path(spec) / name).string());
    throw RuntimeError(RuntimeError::Kind::NotFound,
                       "expected tokenizer.json or tokenizer.model, but directory '" + spec + "' has neither");
  }
  if (endsWith(spec, ".json"))
    return openTokenizerJson(spec);
  if (endsWith(spec, ".model"))
    return openSentencePiece(spec);
  throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                     "expected 'bytes', a *.model or a *.json as tokenizer, but got '" + spec + "'");
}
