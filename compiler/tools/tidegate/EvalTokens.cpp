//===- EvalTokens.cpp - Text and shards as tokens of a run ------*- C++ -*-===//
// Texts are encoded whole.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/EvalTokens.h"

#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/data/Corpus.h"
#include "runtime/data/DataSet.h"

#include <algorithm>
#include <filesystem>

using namespace tidegate;
using namespace tidegate::tool;
using runtime::RuntimeError;

namespace {

EvalTokens ofShards(const std::string &path, const RunTokenizer &tokenizer, bool documents) {
  auto shards = data::openShards(path, /*verify=*/true);
  EvalTokens tokens;
  for (const auto &shard : shards) {
    if (tokenizer.known && shard->header().tokenizerHash != tokenizer.codec.tokenizer->hash())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected shards of the tokenizer " +
                                                                  tokenizer.codec.tokenizer->description() + ", but '" +
                                                                  shard->path() + "' was made by another one");
    tokens.bytes += static_cast<double>(shard->header().sourceBytes);
  }
  auto corpus = std::make_shared<const data::Corpus>(std::move(shards));
  tokens.stream = {corpus->tokens(),
                   [corpus](int64_t first, std::span<int32_t> out) { corpus->read(first, out); },
                   {}};
  if (documents)
    tokens.stream.positions = [corpus](int64_t first, std::span<int32_t> out) {
      for (size_t t = 0; t < out.size();) {
        const int64_t document = corpus->documentOf(first + t), start = corpus->documentStart(document);
        for (const int64_t end = corpus->documentStart(document + 1); t < out.size() && int64_t(first + t) < end; ++t)
          out[t] = static_cast<int32_t>(first + t - start);
      }
    };
  return tokens;
}

EvalTokens ofBytes(std::shared_ptr<const runtime::MappedFile> file) {
  const int64_t size = static_cast<int64_t>(file->bytes().size());
  return {{size,
           [file](int64_t first, std::span<int32_t> out) {
             const std::string_view text = file->text().substr(first, out.size());
             std::transform(text.begin(), text.end(), out.begin(),
                            [](char c) { return static_cast<unsigned char>(c); });
           },
           {}},
          static_cast<double>(size)};
}

EvalTokens ofText(const runtime::MappedFile &file, const data::TextCodec &codec) {
  auto ids = std::make_shared<std::vector<int32_t>>(codec.encode(file.text()));
  const std::vector<int32_t> suffix = codec.tokenizer->suffix();
  ids->insert(ids->end(), suffix.begin(), suffix.end());
  return {{static_cast<int64_t>(ids->size()),
           [ids](int64_t first, std::span<int32_t> out) {
             std::copy_n(ids->begin() + first, out.size(), out.begin());
           },
           {}},
          static_cast<double>(file.bytes().size())};
}

} // namespace

EvalTokens tool::openTokens(const std::string &path, const RunTokenizer &tokenizer, int64_t most, bool documents) {
  EvalTokens tokens;
  if (std::filesystem::is_directory(path)) {
    tokens = ofShards(path, tokenizer, documents);
  } else {
    auto file = std::make_shared<const runtime::MappedFile>(path);
    // Plain bytes are read where they are mapped.
    const bool bytes = tokenizer.codec.tokenizer->hash() == data::makeByteTokenizer()->hash();
    tokens = bytes && !tokenizer.codec.prefixed ? ofBytes(file) : ofText(*file, tokenizer.codec);
  }
  const int64_t all = tokens.stream.size;
  tokens.stream.size = std::min(all, most);
  if (tokens.stream.size < 2)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected at least 2 tokens in '" + path + "', but got " +
                                                                std::to_string(tokens.stream.size));
  tokens.bytes *= static_cast<double>(tokens.stream.size) / static_cast<double>(all);
  return tokens;
}
