//===- Token.h - Tokens of the language -------------------------*- C++ -*-===//
// A token keeps the text it was made from, hence its source range, and whether
// a line break or a space stands before it: statements end at line breaks, and
// `as q.w` is a path where `as q . w` is a contraction.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_TOKEN_H
#define TIDEGATE_FRONTENDS_DSL_TOKEN_H

#include "frontends/dsl/Diagnostics.h"

namespace tidegate::dsl {

enum class Tok {
  End, Error,
  Name, Integer, Decimal, String,
  // Reserved words.
  KwImport, KwParam, KwFn, KwLayer, KwModel, KwScan, KwRepeat, KwIf, KwElse, KwReturn, KwAs, KwAnd, KwOr, KwNot,
  KwTrue, KwFalse,
  // Punctuation.
  LParen, RParen, LBracket, RBracket, LBrace, RBrace, Comma, Semicolon, Colon, Dot, Ellipsis, Arrow, Tilde,
  Assign, Plus, Minus, Star, Slash, Percent, Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual,
};

struct Token {
  Tok kind = Tok::End;
  llvm::StringRef text;
  bool lineBefore = false;  ///< First token of its line.
  bool spaceBefore = false; ///< Space, comment or line break before it.

  bool is(Tok k) const { return kind == k; }
  bool isName(llvm::StringRef name) const { return kind == Tok::Name && text == name; }
  bool isKeyword() const { return kind >= Tok::KwImport && kind <= Tok::KwFalse; }
  bool isItemStart() const { return kind >= Tok::KwImport && kind <= Tok::KwModel; }
  llvm::SMLoc begin() const { return llvm::SMLoc::getFromPointer(text.begin()); }
  llvm::SMLoc end() const { return llvm::SMLoc::getFromPointer(text.end()); }
  Range range() const { return Range(begin(), end()); }
};

/// How a token is called in a message: `'('`, `name`, `end of file`.
std::string describe(Tok kind);

} // namespace tidegate::dsl
#endif
