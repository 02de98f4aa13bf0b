//===- Parser.cpp - Items and statements ------------------------*- C++ -*-===//
#include "frontends/dsl/ParserImpl.h"

using namespace tidegate::dsl;

llvm::StringRef tidegate::dsl::spelling(FunctionKind kind) {
  constexpr llvm::StringRef names[] = {"fn", "layer", "model"};
  return names[static_cast<int>(kind)];
}

//===----------------------------------------------------------------------===//
// Tokens
//===----------------------------------------------------------------------===//

Token Parser::take() {
  Token token = peek();
  if (!token.is(Tok::End))
    ++at;
  return token;
}

bool Parser::consume(Tok kind) {
  if (!peek().is(kind))
    return false;
  take();
  return true;
}

static std::string describe(const Token &token) {
  if (token.is(Tok::End))
    return describe(Tok::End);
  llvm::StringRef text = token.text;
  return text.size() > 40 ? ("'" + text.take_front(37) + "...'").str() : ("'" + text + "'").str();
}

DiagnosticBuilder Parser::expected(const llvm::Twine &what) {
  return diagnostics.error(peek().range(), "expected " + what + ", but got " + ::describe(peek()));
}

bool Parser::expect(Tok kind, const llvm::Twine &where) {
  if (consume(kind))
    return true;
  expected(describe(kind) + where);
  return false;
}

bool Parser::parseName(Ident &name, const llvm::Twine &what) {
  if (peek().is(Tok::Name)) {
    Token token = take();
    name = {token.text, token.range()};
    return true;
  }
  if (peek().isKeyword()) {
    diagnostics.error(peek().range(), "expected " + what + ", but '" + peek().text + "' is a reserved word");
    return false;
  }
  expected(what);
  return false;
}

//===----------------------------------------------------------------------===//
// Items
//===----------------------------------------------------------------------===//

void Parser::parseItems() {
  while (!peek().is(Tok::End)) {
    bool parsed = false;
    switch (peek().kind) {
    case Tok::KwImport: parsed = parseImport(); break;
    case Tok::KwParam: parsed = parseParams(); break;
    case Tok::KwFn:
    case Tok::KwLayer:
    case Tok::KwModel: parsed = parseFunction(); break;
    case Tok::Semicolon:
      take();
      parsed = true;
      break;
    default: {
      const llvm::StringRef words[] = {"import", "param", "fn", "layer", "model"};
      std::string nearest = nearestName(peek().text, words);
      auto error = expected("'import', 'param', 'fn', 'layer', or 'model'");
      if (!nearest.empty())
        error.fix(peek().range(), nearest);
      take();
    }
    }
    if (!parsed)
      skipToItem();
  }
}

/// Goes on at an item word at the start of a line.
void Parser::skipToItem() {
  while (!peek().is(Tok::End) && !(peek().isItemStart() && peek().lineBefore))
    take();
}

bool Parser::parseImport() {
  take();
  if (!peek().is(Tok::String)) {
    expected("the path of a file in quotes after 'import'");
    return false;
  }
  Token path = take();
  file.imports.push_back({path.text.trim('"'), path.range()});
  return true;
}

bool Parser::parseParams() {
  take();
  do {
    ParamDecl param;
    if (!parseName(param.name, "the name of a param") || !expect(Tok::Assign, " and the param's value"))
      return false;
    param.value = parseExpr();
    bool good = param.value;
    if (!good)
      param.value = make<ErrorExpr>();
    file.params.push_back(param);
    if (!good)
      return false;
  } while (consume(Tok::Comma));
  return true;
}

bool Parser::parseFunction() {
  Token keyword = take();
  auto *function = make<Function>();
  function->inLibrary = inLibrary;
  function->kind = keyword.is(Tok::KwFn)      ? FunctionKind::Fn
                   : keyword.is(Tok::KwLayer) ? FunctionKind::Layer
                                              : FunctionKind::Model;
  if (!parseName(function->name, "the name of the " + keyword.text))
    return false;
  // Whatever follows, the name is declared, so that calls of it stay valid.
  file.functions.push_back(function);
  function->isBroken = true;
  if (!parseArguments(*function))
    return false;
  if (consume(Tok::Arrow)) {
    do {
      ShapeType type;
      if (!parseType(type))
        return false;
      function->results.push_back(std::move(type));
    } while (consume(Tok::Comma));
  }
  function->isBroken = false;
  function->range = rangeFrom(keyword.begin());
  current = function;
  return parseBlock(function->body, keyword.begin(), "the body of '" + function->name.text + "'");
}

bool Parser::parseArguments(Function &function) {
  if (!expect(Tok::LParen, " and the arguments of '" + function.name.text + "'"))
    return false;
  while (!peek().is(Tok::RParen)) {
    Argument argument;
    if (!parseArgument(argument))
      return false;
    function.args.push_back(std::move(argument));
    if (!consume(Tok::Comma) && !peek().is(Tok::RParen)) {
      expected("',' or ')' in the arguments of '" + function.name.text + "'");
      return false;
    }
  }
  take();
  return true;
}

bool Parser::parseArgument(Argument &argument) {
  llvm::SMLoc begin = peek().begin();
  if (!parseName(argument.name, "the name of an argument"))
    return false;
  if (consume(Tok::Colon)) {
    argument.isTensor = true;
    if (!parseType(argument.type))
      return false;
  }
  if (peek().is(Tok::Assign)) {
    if (argument.isTensor) {
      diagnostics
          .error(peek().range(), "expected no default for '" + argument.name.text +
                                     "': only compile-time arguments, written without a type, have one")
          .note(argument.type.range, "this type makes it a tensor");
      return false;
    }
    take();
    argument.defaultValue = parseExpr();
    if (!argument.defaultValue)
      return false;
  }
  argument.range = rangeFrom(begin);
  return true;
}

//===----------------------------------------------------------------------===//
// Statements
//===----------------------------------------------------------------------===//

bool Parser::parseBlock(Block &block, llvm::SMLoc owner, const llvm::Twine &ownerName) {
  Nesting level(*this);
  if (level.tooDeep())
    return false;
  if (!peek().is(Tok::LBrace)) {
    expected("'{' to begin " + ownerName);
    return false;
  }
  Token open = take();
  while (!peek().is(Tok::RBrace)) {
    if (peek().is(Tok::End) || (peek().isItemStart() && peek().lineBefore)) {
      expected("'}' to end " + ownerName).note(open.range(), "it begins here");
      return !peek().is(Tok::End);
    }
    if (consume(Tok::Semicolon))
      continue;
    size_t before = at;
    Stmt *stmt = parseStatement();
    if (!stmt) {
      if (at == before)
        take();
      skipToStatement();
      for (size_t i = before; i < at; ++i)
        if (tokens[i].is(Tok::Name))
          current->lost.push_back(tokens[i].text);
      continue;
    }
    block.stmts.push_back(stmt);
    if (!peek().lineBefore && !peek().is(Tok::Semicolon) && !peek().is(Tok::RBrace) && !last().is(Tok::RBrace)) {
      expected("';' or a new line after this statement");
      skipToStatement();
    }
  }
  take();
  block.range = rangeFrom(open.begin());
  return true;
}

/// Goes on at the next line, or the next statement of this line; brackets are
/// skipped whole, so that the inside of a broken call is not read as statements.
void Parser::skipToStatement() {
  int depth = 0;
  while (!peek().is(Tok::End)) {
    const Token &token = peek();
    if (token.isItemStart() && token.lineBefore)
      return;
    bool nameStarts = token.is(Tok::Name) || token.isKeyword();
    if (depth == 0 && (token.is(Tok::Semicolon) || token.is(Tok::RBrace) || (token.lineBefore && nameStarts)))
      return;
    // An assignment at the start of a line ends an unclosed parenthesis.
    if (token.lineBefore && token.is(Tok::Name) && peek(1).is(Tok::Assign) && depth == 1)
      return;
    if (token.is(Tok::LBrace) || token.is(Tok::LParen) || token.is(Tok::LBracket))
      ++depth;
    if ((token.is(Tok::RBrace) || token.is(Tok::RParen) || token.is(Tok::RBracket)) && depth > 0)
      --depth;
    take();
  }
}

Stmt *Parser::parseStatement() {
  const Token &token = peek();
  switch (token.kind) {
  case Tok::KwReturn: return parseReturn();
  case Tok::KwIf: return parseIf();
  case Tok::KwRepeat: return parseRepeat();
  case Tok::KwScan: return parseScan();
  case Tok::Name:
    // `weight` and `state` are ordinary names elsewhere: `weight weight: [n]`.
    if (token.isName("weight") && peek(1).is(Tok::Name))
      return parseWeight();
    if (token.isName("state") && peek(1).is(Tok::Name))
      return parseState();
    return parseAssign();
  default: {
    const llvm::Twine what = "a statement (an assignment, 'return', 'if', 'repeat', 'scan', 'weight', 'state')";
    expected(what);
    return nullptr;
  }
  }
}

/// o, S = f(x)   or, in a scan, o[t, h] = x
Stmt *Parser::parseAssign() {
  auto *assign = make<AssignStmt>();
  llvm::SMLoc begin = peek().begin();
  do {
    Target target;
    llvm::SMLoc targetBegin = peek().begin();
    if (!parseName(target.name, "a name to assign to"))
      return nullptr;
    if (peek().is(Tok::LBracket) && !parseIndices(target.indices))
      return nullptr;
    target.range = rangeFrom(targetBegin);
    assign->targets.push_back(std::move(target));
  } while (consume(Tok::Comma));
  if (!peek().is(Tok::Assign)) {
    if (peek().is(Tok::LParen)) {
      diagnostics.error(rangeFrom(begin),
                        "expected 'name = ' before this call: a value that is not used has no meaning");
      return nullptr;
    }
    expected("'=' after '" + assign->targets.back().name.text + "'");
    return nullptr;
  }
  take();
  assign->value = parseExpr();
  if (!assign->value) {
    // The names exist all the same: one error is enough.
    assign->value = make<ErrorExpr>();
    skipToStatement();
  }
  assign->range = rangeFrom(begin);
  return assign;
}

Stmt *Parser::parseReturn() {
  auto *ret = make<ReturnStmt>();
  Token keyword = take();
  do {
    Expr *value = parseExpr();
    if (!value)
      return nullptr;
    ret->values.push_back(value);
  } while (consume(Tok::Comma));
  ret->range = rangeFrom(keyword.begin());
  return ret;
}

Stmt *Parser::parseIf() {
  Nesting level(*this);
  if (level.tooDeep())
    return nullptr;
  auto *stmt = make<IfStmt>();
  Token keyword = take();
  stmt->condition = parseExpr();
  if (!stmt->condition)
    return nullptr;
  stmt->range = rangeFrom(keyword.begin());
  if (!parseBlock(stmt->thenBlock, keyword.begin(), "the branch of this 'if'"))
    return nullptr;
  if (!consume(Tok::KwElse))
    return stmt;
  stmt->hasElse = true;
  if (!peek().is(Tok::KwIf))
    return parseBlock(stmt->elseBlock, keyword.begin(), "the branch of this 'else'") ? stmt : nullptr;
  Stmt *nested = parseIf();
  if (!nested)
    return nullptr;
  stmt->elseBlock.stmts.push_back(nested);
  stmt->elseBlock.range = nested->range;
  return stmt;
}

/// repeat i in L { ... }
Stmt *Parser::parseRepeat() {
  auto *repeat = make<RepeatStmt>();
  Token keyword = take();
  if (!parseName(repeat->variable, "the counting variable of 'repeat'"))
    return nullptr;
  if (!peek().isName("in")) {
    expected("'in' after 'repeat " + repeat->variable.text + "'");
    return nullptr;
  }
  take();
  repeat->count = parseExpr();
  if (!repeat->count)
    return nullptr;
  repeat->range = rangeFrom(keyword.begin());
  return parseBlock(repeat->body, keyword.begin(), "the body of this 'repeat'") ? repeat : nullptr;
}

/// scan over t { ... }   scan over t, h in H { ... }   scan over chunks c of C, h in H { ... }
Stmt *Parser::parseScan() {
  auto *scan = make<ScanStmt>();
  Token keyword = take();
  if (!peek().isName("over")) {
    expected("'over' after 'scan'");
    return nullptr;
  }
  take();
  // `chunks` is an ordinary name elsewhere: `scan over chunks { ... }` walks tokens.
  bool ofChunks = peek().isName("chunks") && peek(1).is(Tok::Name);
  if (ofChunks)
    take();
  if (ofChunks && peek().isName("of") && !peek(1).isName("of")) {
    expected("an index for the chunks, as in 'scan over chunks c of C'");
    return nullptr;
  }
  if (!parseName(scan->time, ofChunks ? "the chunk index of the scan" : "the time index of the scan"))
    return nullptr;
  if (ofChunks) {
    if (!peek().isName("of")) {
      expected("'of' and the number of tokens of a chunk after 'scan over chunks " + scan->time.text + "'");
      return nullptr;
    }
    take();
    scan->chunk = parseExpr();
    if (!scan->chunk)
      return nullptr;
  }
  if (consume(Tok::Comma)) {
    if (!parseName(scan->head, "the head index of the scan"))
      return nullptr;
    if (!peek().isName("in")) {
      expected("'in' and the number of heads after 'scan over " + scan->time.text + ", " + scan->head.text + "'");
      return nullptr;
    }
    take();
    scan->headCount = parseExpr();
    if (!scan->headCount)
      return nullptr;
  }
  scan->headRange = rangeFrom(keyword.begin());
  scan->range = scan->headRange;
  return parseBlock(scan->body, keyword.begin(), "the body of this 'scan'") ? scan : nullptr;
}

/// weight bias: [n] = 0, decay = false
Stmt *Parser::parseWeight() {
  auto *weight = make<WeightStmt>();
  Token keyword = take();
  if (!parseName(weight->name, "the name of a weight") ||
      !expect(Tok::Colon, " and the shape of weight '" + weight->name.text + "'") || !parseType(weight->type))
    return nullptr;
  if (!consume(Tok::Tilde) && !consume(Tok::Assign)) {
    expected("'~' and a distribution, or '=' and a number, to initialise weight '" + weight->name.text + "'");
    return nullptr;
  }
  weight->init = parseExpr();
  if (!weight->init)
    return nullptr;
  if (consume(Tok::Comma)) {
    if (!peek().isName("decay")) {
      expected("'decay = ' after the ',' of a weight");
      return nullptr;
    }
    take();
    if (!expect(Tok::Assign, " after 'decay'"))
      return nullptr;
    weight->decay = parseExpr();
    if (!weight->decay)
      return nullptr;
  }
  weight->range = rangeFrom(keyword.begin());
  return weight;
}

/// state S: [K, V] = 0
Stmt *Parser::parseState() {
  auto *state = make<StateStmt>();
  Token keyword = take();
  if (!parseName(state->name, "the name of a state") ||
      !expect(Tok::Colon, " and the shape of state '" + state->name.text + "'") || !parseType(state->type))
    return nullptr;
  if (consume(Tok::Assign)) {
    state->init = parseExpr();
    if (!state->init)
      return nullptr;
  }
  state->range = rangeFrom(keyword.begin());
  return state;
}

//===----------------------------------------------------------------------===//

std::unique_ptr<SourceFile> tidegate::dsl::parseFile(llvm::StringRef text, bool inLibrary, Diagnostics &diagnostics) {
  auto file = std::make_unique<SourceFile>();
  file->text = text;
  Parser(text, inLibrary, *file, diagnostics).parseItems();
  return file;
}

Expr *tidegate::dsl::parseExpression(llvm::StringRef text, SourceFile &owner, Diagnostics &diagnostics) {
  return Parser(text, false, owner, diagnostics).parseWholeExpression();
}
