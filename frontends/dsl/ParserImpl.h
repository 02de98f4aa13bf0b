//===- ParserImpl.h - The parser's state ------------------------*- C++ -*-===//
// Shared by Parser.cpp (items, statements, recovery) and ParseExpr.cpp
// (expressions, types, paths). A parse function returns null or false after it
// has reported an error.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_PARSERIMPL_H
#define TIDEGATE_FRONTENDS_DSL_PARSERIMPL_H

#include "frontends/dsl/Lexer.h"
#include "frontends/dsl/Parser.h"

namespace tidegate::dsl {

class Parser {
public:
  Parser(llvm::StringRef text, bool inLibrary, SourceFile &file, Diagnostics &diagnostics)
      : file(file), inLibrary(inLibrary), diagnostics(diagnostics), tokens(lex(text, diagnostics)) {}

  void parseItems();
  Expr *parseWholeExpression();

private:
  // Tokens.
  const Token &peek(size_t ahead = 0) const { return tokens[std::min(at + ahead, tokens.size() - 1)]; }
  const Token &last() const { return tokens[at ? at - 1 : 0]; }
  Token take();
  bool consume(Tok kind);
  bool expect(Tok kind, const llvm::Twine &where);
  /// "expected WHAT, but got TOKEN" at the next token.
  DiagnosticBuilder expected(const llvm::Twine &what);
  bool parseName(Ident &name, const llvm::Twine &what);
  Range rangeFrom(llvm::SMLoc begin) const { return Range(begin, last().end()); }

  template <typename T>
  T *make() {
    auto node = std::make_unique<T>();
    T *raw = node.get();
    file.nodes.push_back(std::move(node));
    return raw;
  }

  // Items (Parser.cpp).
  bool parseImport();
  bool parseParams();
  bool parseFunction();
  bool parseArguments(Function &function);
  bool parseArgument(Argument &argument);
  void skipToItem();

  // Statements (Parser.cpp).
  bool parseBlock(Block &block, llvm::SMLoc owner, const llvm::Twine &ownerName);
  void skipToStatement();
  Stmt *parseStatement();
  Stmt *parseAssign();
  Stmt *parseReturn();
  Stmt *parseIf();
  Stmt *parseRepeat();
  Stmt *parseScan();
  Stmt *parseWeight();
  Stmt *parseState();

  // Expressions (ParseExpr.cpp).
  Expr *parseExpr() { return parseBinary(0); }
  Expr *parseBinary(int minPrecedence);
  Expr *parseUnary();
  Expr *parsePostfix();
  Expr *parsePrimary();
  Expr *parseCall(const Token &name);
  bool parsePath(Path &path);
  bool parseIndices(std::vector<Expr *> &indices);
  bool parseType(ShapeType &type);
  Expr *withDepth(Expr *expr, unsigned depth);

  /// Counts the nesting of the parser itself.
  struct Nesting {
    explicit Nesting(Parser &parser) : parser(parser) { ++parser.nesting; }
    ~Nesting() { --parser.nesting; }
    bool tooDeep() const {
      if (parser.nesting <= kMaxNesting)
        return false;
      parser.diagnostics.error(parser.peek().range(),
                               "expected at most " + llvm::Twine(kMaxNesting) + " levels of nesting here");
      return true;
    }
    Parser &parser;
  };

  SourceFile &file;
  bool inLibrary;
  Diagnostics &diagnostics;
  std::vector<Token> tokens;
  size_t at = 0;
  unsigned nesting = 0;
  Function *current = nullptr; ///< Whose body is parsed.
};

} // namespace tidegate::dsl
#endif
