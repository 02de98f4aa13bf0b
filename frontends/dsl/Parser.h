//===- Parser.h - Tokens to the program as written --------------*- C++ -*-===//
// Recursive descent with one token of look-ahead (two where a statement
// begins). After an error the parser goes on at the next statement or item.
// No input makes it recurse deeper than kMaxNesting.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_PARSER_H
#define TIDEGATE_FRONTENDS_DSL_PARSER_H

#include "frontends/dsl/Ast.h"
#include "frontends/dsl/Token.h"

namespace tidegate::dsl {

/// Blocks, parentheses, and operators may nest this deep.
constexpr unsigned kMaxNesting = 200;

/// Parses a whole file; `inLibrary` marks its functions as the library's.
std::unique_ptr<SourceFile> parseFile(llvm::StringRef text, bool inLibrary, Diagnostics &diagnostics);

/// Parses one expression that takes up all of `text` (the value of a --set);
/// its nodes go to `owner`. Null after an error.
Expr *parseExpression(llvm::StringRef text, SourceFile &owner, Diagnostics &diagnostics);

} // namespace tidegate::dsl
#endif
