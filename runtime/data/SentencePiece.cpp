//===- SentencePiece.cpp - Tokenizers of SentencePiece models ---*- C++ -*-===//
// The library does the work; a build without it says so.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/data/Tokenizer.h"

#ifdef TIDEGATE_SENTENCEPIECE
#include <sentencepiece_processor.h>
#endif

using namespace tidegate::data;
namespace runtime = tidegate::runtime;
using runtime::RuntimeError;

#ifdef TIDEGATE_SENTENCEPIECE
namespace {

class SentencePiece : public Tokenizer {
public:
  explicit SentencePiece(const std::string &path) {
    const runtime::MappedFile file(path);
    const auto status = processor.LoadFromSerializedProto(file.text());
    if (!status.ok() || file.text().empty())
      throw RuntimeError(RuntimeError::Kind::Corrupt, "'" + path + "' is not a SentencePiece model");
    model = file.text();
    fileHash = hashBytes(model);
  }
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int> ids;
    if (const auto status = processor.Encode(text, &ids); !status.ok())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "cannot encode a text: " + status.ToString());
    return {ids.begin(), ids.end()};
  }
  std::string decode(std::span<const int32_t> ids) const override {
    std::vector<int> known;
    for (int32_t id : ids)
      if (id >= 0 && id < processor.GetPieceSize() && !processor.IsControl(id))
        known.push_back(id);
    std::string text;
    if (const auto status = processor.Decode(known, &text); !status.ok())
      throw RuntimeError(RuntimeError::Kind::Internal, "cannot decode ids: " + status.ToString());
    return text;
  }
  bool isText(int32_t id) const override {
    return id >= 0 && id < processor.GetPieceSize() && !processor.IsControl(id) && !processor.IsUnknown(id) &&
           !processor.IsUnused(id);
  }
  int64_t vocab() const override { return processor.GetPieceSize(); }
  std::optional<int32_t> bos() const override { return special(processor.bos_id()); }
  std::optional<int32_t> eos() const override { return special(processor.eos_id()); }
  uint64_t hash() const override { return fileHash; }
  std::string description() const override {
    return "SentencePiece model with " + std::to_string(vocab()) + " pieces";
  }
  std::vector<std::pair<std::string, std::string>> files() const override { return {{"tokenizer.model", model}}; }

private:
  static std::optional<int32_t> special(int id) { return id < 0 ? std::nullopt : std::optional<int32_t>(id); }

  sentencepiece::SentencePieceProcessor processor;
  std::string model; ///< The file.
  uint64_t fileHash;
};

} // namespace

std::shared_ptr<const Tokenizer> tidegate::data::openSentencePiece(const std::string &path) {
  return std::make_shared<SentencePiece>(path);
}
#else
std::shared_ptr<const Tokenizer> tidegate::data::openSentencePiece(const std::string &path) {
  throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                     "'" + path + "' is a SentencePiece model, but this program was built without that library");
}
#endif
