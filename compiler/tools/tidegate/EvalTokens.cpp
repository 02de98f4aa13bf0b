//===- EvalTokens.cpp - Text and shards as tokens of a run ------*- C++ -*-===//
// Bytes and shards are read where they are mapped; other texts are encoded whole.
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

EvalTokens ofShards(const std::string &path, const RunTokenizer &tokenizer) {
  auto shards = data::openShards(path);
  EvalTokens tokens;
  for (const auto &shard : shards) {
    if (tokenizer.named && shard->header().tokenizerHash != tokenizer.tokenizer->hash())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected shards of the tokenizer " +
                                                                  tokenizer.tokenizer->description() + ", but '" +
                                                                  shard->path() + "' was made by another one");
    tokens.bytes += static_cast<double>(shard->header().sourceBytes);
  }
  auto corpus = std::make_shared<const data::Corpus>(std::move(shards));
  tokens.stream = {corpus->tokens(),
                   [corpus](int64_t first, std::span<int32_t> out) { corpus->read(first, out); }};
  return tokens;
}

EvalTokens ofBytes(std::shared_ptr<const runtime::MappedFile> file) {
  const int64_t size = static_cast<int64_t>(file->bytes().size());
  return {{size,
           [file](int64_t first, std::span<int32_t> out) {
             const std::string_view text = file->text().substr(first, out.size());
             std::transform(text.begin(), text.end(), out.begin(),
                            [](char c) { return static_cast<unsigned char>(c); });
           }},
          static_cast<double>(size)};
}

EvalTokens ofText(const runtime::MappedFile &file, const RunTokenizer &tokenizer) {
  auto ids = std::make_shared<std::vector<int32_t>>(tokenizer.encode(file.text()));
  const std::vector<int32_t> suffix = tokenizer.tokenizer->suffix();
  ids->insert(ids->end(), suffix.begin(), suffix.end());
  return {{static_cast<int64_t>(ids->size()),
           [ids](int64_t first, std::span<int32_t> out) {
             std::copy_n(ids->begin() + first, out.size(), out.begin());
           }},
          static_cast<double>(file.bytes().size())};
}

} // namespace

std::vector<int32_t> RunTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids = tokenizer->encode(text);
  if (!bytes) {
    const std::vector<int32_t> prefix = tokenizer->prefix();
    ids.insert(ids.begin(), prefix.begin(), prefix.end());
  }
  return ids;
}

RunTokenizer tool::tokenizerOf(const CommandLine &line, const train::RunState &state) {
  const auto &settings = state.settings;
  const bool recorded = settings.contains("tokenizer") && settings["tokenizer"].is_string();
  const std::string spec =
      line.get<std::string>("tokenizer", recorded ? settings["tokenizer"].get<std::string>() : "bytes");
  return {data::openTokenizer(spec), line.has("tokenizer") || recorded, spec == "bytes"};
}

EvalTokens tool::openTokens(const std::string &path, const RunTokenizer &tokenizer, int64_t most) {
  EvalTokens tokens;
  if (std::filesystem::is_directory(path)) {
    tokens = ofShards(path, tokenizer);
  } else {
    auto file = std::make_shared<const runtime::MappedFile>(path);
    tokens = tokenizer.bytes ? ofBytes(file) : ofText(*file, tokenizer);
  }
  const int64_t all = tokens.stream.size;
  tokens.stream.size = std::min(all, most);
  if (tokens.stream.size < 2)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected at least 2 tokens in '" + path + "', but got " +
                                                                std::to_string(tokens.stream.size));
  tokens.bytes *= static_cast<double>(tokens.stream.size) / static_cast<double>(all);
  return tokens;
}
