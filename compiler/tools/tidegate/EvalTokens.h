//===- EvalTokens.h - Text and shards as tokens of a run --------*- C++ -*-===//
// The tokens of what --data names.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/tools/tidegate/RunTokenizer.h"
#include "runtime/eval/Perplexity.h"

namespace tidegate::tool {

/// Tokens and the text they stand for.
struct EvalTokens {
  eval::TokenStream stream;
  double bytes = 0; ///< Of text; a share of the whole by tokens when --max-tokens cuts it.
};

/// The first `most` tokens of a directory of shards or of a text, which is one
/// document. With `documents` those of shards are kept apart.
/// Errors: NotFound, Io, Corrupt; InvalidArgument for fewer than 2 tokens, and
///         for shards of another tokenizer.
EvalTokens openTokens(const std::string &path, const RunTokenizer &tokenizer, int64_t most, bool documents);

} // namespace tidegate::tool
