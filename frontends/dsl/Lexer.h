//===- Lexer.h - Source text to tokens --------------------------*- C++ -*-===//
// Any bytes are accepted: what is not a token is reported once per run of bad
// bytes and left out, so the parser sees only good tokens.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_LEXER_H
#define TIDEGATE_FRONTENDS_DSL_LEXER_H

#include "frontends/dsl/Token.h"

namespace tidegate::dsl {

/// All tokens of `text`, the last one being Tok::End.
std::vector<Token> lex(llvm::StringRef text, Diagnostics &diagnostics);

/// The reserved words, for messages and tests.
llvm::ArrayRef<llvm::StringRef> reservedWords();

} // namespace tidegate::dsl
#endif
