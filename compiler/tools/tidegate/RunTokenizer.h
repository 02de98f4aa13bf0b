//===- RunTokenizer.h - The tokenizer of a run ------------------*- C++ -*-===//
// A checkpoint keeps copies of its tokenizer's files, so it is all that text in
// and text out need.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/tools/tidegate/CommandLine.h"
#include "runtime/data/TextCodec.h"
#include "runtime/train/Checkpoint.h"

namespace tidegate::tool {

train::TokenizerRecord recordOf(const data::Tokenizer &tokenizer, const std::string &name, bool prefixed);

/// --tokenizer of commands that read a checkpoint.
void addTokenizerOption(CommandLine &line);

struct RunTokenizer {
  data::TextCodec codec;
  bool known = false; ///< Recorded or named, and not just the default.
};

/// The checkpoint's; --tokenizer for a checkpoint that has none (imported), else bytes.
/// Errors: as data::openTokenizer; InvalidArgument when --tokenizer is another one
///         than the checkpoint's; Corrupt when the checkpoint's files are not what
///         was trained with.
RunTokenizer tokenizerOf(const CommandLine &line, const train::FoundCheckpoint &found);

} // namespace tidegate::tool
