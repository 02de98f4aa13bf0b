//===- Lexer.cpp - Source text to tokens ------------------------*- C++ -*-===//
#include "frontends/dsl/Lexer.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

using namespace tidegate::dsl;

namespace {

struct Spelling {
  Tok kind;
  llvm::StringRef text;
};

// Longer spellings first where one begins with the other.
constexpr Spelling kPunctuation[] = {
    {Tok::Ellipsis, "..."},   {Tok::Arrow, "->"},       {Tok::Equal, "=="},        {Tok::NotEqual, "!="},
    {Tok::LessEqual, "<="},   {Tok::GreaterEqual, ">="}, {Tok::LParen, "("},       {Tok::RParen, ")"},
    {Tok::LBracket, "["},     {Tok::RBracket, "]"},     {Tok::LBrace, "{"},        {Tok::RBrace, "}"},
    {Tok::Comma, ","},        {Tok::Semicolon, ";"},    {Tok::Colon, ":"},         {Tok::Dot, "."},
    {Tok::Tilde, "~"},        {Tok::Assign, "="},       {Tok::Plus, "+"},          {Tok::Minus, "-"},
    {Tok::Star, "*"},         {Tok::Slash, "/"},        {Tok::Percent, "%"},       {Tok::Less, "<"},
    {Tok::Greater, ">"},
};

constexpr Spelling kKeywords[] = {
    {Tok::KwImport, "import"}, {Tok::KwParam, "param"}, {Tok::KwFn, "fn"},         {Tok::KwLayer, "layer"},
    {Tok::KwModel, "model"},   {Tok::KwScan, "scan"},   {Tok::KwRepeat, "repeat"}, {Tok::KwIf, "if"},
    {Tok::KwElse, "else"},     {Tok::KwReturn, "return"}, {Tok::KwAs, "as"},       {Tok::KwAnd, "and"},
    {Tok::KwOr, "or"},         {Tok::KwNot, "not"},     {Tok::KwTrue, "true"},     {Tok::KwFalse, "false"},
};

bool isNameStart(char c) { return llvm::isAlpha(c) || c == '_'; }
bool isNameChar(char c) { return llvm::isAlnum(c) || c == '_'; }

class Lexer {
public:
  Lexer(llvm::StringRef text, Diagnostics &diagnostics) : text(text), diagnostics(diagnostics) {}

  std::vector<Token> run() {
    while (true) {
      skipBlanks();
      if (at == text.size()) {
        push(Tok::End, at);
        return std::move(tokens);
      }
      lexToken();
    }
  }

private:
  char peek(size_t ahead = 0) const { return at + ahead < text.size() ? text[at + ahead] : '\0'; }

  void skipBlanks() {
    while (at < text.size()) {
      char c = text[at];
      if (c == '\n') {
        line = true;
      } else if (text.substr(at).starts_with("//")) {
        at = std::min(text.find('\n', at), text.size());
        space = true;
        continue;
      } else if (at == 0 && text.starts_with("\xEF\xBB\xBF")) {
        at += 2; // a byte order mark is no content
      } else if (c != ' ' && c != '\t' && c != '\r') {
        return;
      }
      space = true;
      ++at;
    }
  }

  void push(Tok kind, size_t end) {
    tokens.push_back({kind, text.substr(at, end - at), line || tokens.empty(), space || tokens.empty()});
    line = space = false;
    at = end;
  }

  void lexToken() {
    if (isNameStart(peek()))
      return lexName();
    if (llvm::isDigit(peek()))
      return lexNumber();
    if (peek() == '"')
      return lexString();
    for (const Spelling &p : kPunctuation)
      if (text.substr(at).starts_with(p.text))
        return push(p.kind, at + p.text.size());
    lexBadBytes();
  }

  void lexName() {
    size_t end = at;
    while (end < text.size() && isNameChar(text[end]))
      ++end;
    Tok kind = Tok::Name;
    for (const Spelling &k : kKeywords)
      if (text.slice(at, end) == k.text)
        kind = k.kind;
    push(kind, end);
  }

  /// 12, 0.02, 1e-6, 2.5e3. A dot belongs to the number only before a digit.
  void lexNumber() {
    size_t end = text.find_if_not(llvm::isDigit, at);
    end = std::min(end, text.size());
    Tok kind = Tok::Integer;
    auto digitAt = [&](size_t i) { return i < text.size() && llvm::isDigit(text[i]); };
    if (end < text.size() && text[end] == '.' && digitAt(end + 1)) {
      kind = Tok::Decimal;
      end = std::min(text.find_if_not(llvm::isDigit, end + 1), text.size());
    }
    if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
      size_t digits = end + 1;
      if (digits < text.size() && (text[digits] == '+' || text[digits] == '-'))
        ++digits;
      if (digitAt(digits)) {
        kind = Tok::Decimal;
        end = std::min(text.find_if_not(llvm::isDigit, digits), text.size());
      }
    }
    if (end < text.size() && isNameChar(text[end])) {
      size_t bad = std::min(text.find_if_not(isNameChar, end), text.size());
      diagnostics.error(rangeOf(at, bad), "expected a number or a name, but got '" + text.slice(at, bad) + "'");
      push(kind, end);
      at = bad;
      return;
    }
    push(kind, end);
  }

  void lexString() {
    size_t end = text.find_first_of("\"\n", at + 1);
    if (end == llvm::StringRef::npos || text[end] == '\n') {
      end = std::min(end, text.size());
      diagnostics.error(rangeOf(at, end), "expected '\"' at the end of this string");
      return push(Tok::String, end);
    }
    push(Tok::String, end + 1);
  }

  void lexBadBytes() {
    size_t end = at;
    auto isBad = [](char c) {
      unsigned char u = c;
      bool isControl = u < 0x20 && c != '\n' && c != '\t' && c != '\r';
      return isControl || u >= 0x7f || llvm::StringRef("!@#$^&|?'`\\").contains(c);
    };
    while (end < text.size() && isBad(text[end]))
      ++end;
    end = std::max(end, at + 1);
    llvm::StringRef bytes = text.slice(at, end);
    bool printable = llvm::all_of(bytes, llvm::isPrint);
    std::string shown = printable ? ("'" + bytes + "'").str()
                                  : "the byte 0x" + llvm::utohexstr(static_cast<unsigned char>(bytes[0]), true, 2);
    auto error = diagnostics.error(rangeOf(at, end), "expected a token, but got " + shown);
    if (bytes == "!")
      error.fix(rangeOf(at, end), "not");
    else if (bytes == "&&")
      error.fix(rangeOf(at, end), "and");
    else if (bytes == "||")
      error.fix(rangeOf(at, end), "or");
    space = true;
    at = end;
  }

  Range rangeOf(size_t from, size_t to) const {
    return Range(llvm::SMLoc::getFromPointer(text.data() + from), llvm::SMLoc::getFromPointer(text.data() + to));
  }

  llvm::StringRef text;
  Diagnostics &diagnostics;
  std::vector<Token> tokens;
  size_t at = 0;
  bool line = false, space = false;
};

} // namespace

std::vector<Token> tidegate::dsl::lex(llvm::StringRef text, Diagnostics &diagnostics) {
  return Lexer(text, diagnostics).run();
}

llvm::ArrayRef<llvm::StringRef> tidegate::dsl::reservedWords() {
  static const std::vector<llvm::StringRef> words = [] {
    std::vector<llvm::StringRef> all;
    for (const Spelling &k : kKeywords)
      all.push_back(k.text);
    return all;
  }();
  return words;
}

std::string tidegate::dsl::describe(Tok kind) {
  for (const Spelling &p : kPunctuation)
    if (p.kind == kind)
      return ("'" + p.text + "'").str();
  for (const Spelling &k : kKeywords)
    if (k.kind == kind)
      return ("'" + k.text + "'").str();
  switch (kind) {
  case Tok::Name: return "a name";
  case Tok::Integer: return "an integer";
  case Tok::Decimal: return "a number";
  case Tok::String: return "a string";
  default: return "the end of the file";
  }
}
