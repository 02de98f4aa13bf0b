//===- RunTokenizer.cpp - The tokenizer of a run ----------------*- C++ -*-===//
// Hashes say whether two tokenizers are the same, wherever their files are.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/RunTokenizer.h"

#include "runtime/core/Error.h"

using namespace tidegate;
using namespace tidegate::tool;
using runtime::RuntimeError;

namespace {

RunTokenizer recorded(const train::TokenizerRecord &record, const std::string &checkpoint) {
  const auto tokenizer = data::openTokenizer(record.files.empty() ? record.name : checkpoint);
  if (const std::string hash = data::hashText(tokenizer->hash()); hash != record.hash)
    throw RuntimeError(RuntimeError::Kind::Corrupt, "checkpoint '" + checkpoint + "' was trained with tokenizer '" +
                                                        record.name + "' (" + record.hash + "), but the one in it is " +
                                                        hash);
  return {{tokenizer, record.prefixed}, true};
}

} // namespace

train::TokenizerRecord tool::recordOf(const data::Tokenizer &tokenizer, const std::string &name, bool prefixed) {
  return {name, data::hashText(tokenizer.hash()), prefixed, tokenizer.files()};
}

void tool::addTokenizerOption(CommandLine &line) {
  line.option<std::string>("tokenizer", "T", "for a checkpoint without one: bytes, a *.model, a tokenizer.json, or a "
                                             "directory with one (default: the checkpoint's, else bytes)");
}

RunTokenizer tool::tokenizerOf(const CommandLine &line, const train::FoundCheckpoint &found) {
  const auto &record = found.state.tokenizer;
  const std::string given = line.get<std::string>("tokenizer", "");
  if (record && line.has("tokenizer")) {
    const auto tokenizer = data::openTokenizer(given);
    if (const std::string hash = data::hashText(tokenizer->hash()); hash != record->hash)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "checkpoint '" + *found.path + "' was trained with tokenizer '" +
                                                                  record->name + "' (" + record->hash + "), but '" +
                                                                  given + "' is another one (" + hash + ")");
    return {{tokenizer, record->prefixed}, true};
  }
  if (record)
    return recorded(*record, *found.path);
  // Checkpoints from before tokenizers were kept name one in their settings.
  const std::string old = found.state.settings.value("tokenizer", "");
  const std::string spec = !given.empty() ? given : old.empty() ? "bytes" : old;
  return {{data::openTokenizer(spec), spec != "bytes"}, !given.empty() || !old.empty()};
}
