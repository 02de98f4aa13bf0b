//===- EvalTokens.h - Text and shards as tokens of a run --------*- C++ -*-===//
// Which tokenizer a checkpoint is to be measured with, and the tokens of what
// --data names.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/tools/tidegate/CommandLine.h"
#include "runtime/data/Tokenizer.h"
#include "runtime/eval/Perplexity.h"
#include "runtime/eval/RequestScores.h"
#include "runtime/train/Checkpoint.h"

namespace tidegate::tool {

struct RunTokenizer {
  std::shared_ptr<const data::Tokenizer> tokenizer;
  bool named = false; ///< By --tokenizer or the run, and not just the default.
  bool bytes = false; ///< Texts of bytes start without the token that begins a document, as in training.

  /// The ids of a text with what stands before it.
  std::vector<int32_t> encode(std::string_view text) const;
};

/// --tokenizer, else the run's, else bytes. Errors: as data::openTokenizer.
RunTokenizer tokenizerOf(const CommandLine &line, const train::RunState &state);

/// Tokens and the text they stand for.
struct EvalTokens {
  eval::TokenStream stream;
  double bytes = 0; ///< Of text; a share of the whole by tokens when --max-tokens cuts it.
};

/// The first `most` tokens of a directory of shards or of a text, which is one document.
/// Errors: NotFound, Io, Corrupt; InvalidArgument for fewer than 2 tokens, and
///         for shards of another tokenizer.
EvalTokens openTokens(const std::string &path, const RunTokenizer &tokenizer, int64_t most);

} // namespace tidegate::tool
