//===- ParseExpr.cpp - Expressions, types, weight paths ---------*- C++ -*-===//
#include "frontends/dsl/ParserImpl.h"

using namespace tidegate::dsl;

llvm::StringRef tidegate::dsl::spelling(BinaryOp op) {
  constexpr llvm::StringRef names[] = {"+", "-", "*", "/", "%", ".", "==", "!=", "<", "<=", ">", ">=", "and", "or"};
  return names[static_cast<int>(op)];
}

namespace {
struct OperatorInfo {
  Tok token;
  BinaryOp op;
  int precedence;
};
constexpr int kComparison = 3, kUnary = 6;
// From weak to strong; `not` stands between `and` and comparisons, unary minus
// between `*` and `.`, so that `-q . S` is `-(q . S)`.
constexpr OperatorInfo kOperators[] = {
    {Tok::KwOr, BinaryOp::Or, 1},
    {Tok::KwAnd, BinaryOp::And, 2},
    {Tok::Equal, BinaryOp::Equal, kComparison},
    {Tok::NotEqual, BinaryOp::NotEqual, kComparison},
    {Tok::Less, BinaryOp::Less, kComparison},
    {Tok::LessEqual, BinaryOp::LessEqual, kComparison},
    {Tok::Greater, BinaryOp::Greater, kComparison},
    {Tok::GreaterEqual, BinaryOp::GreaterEqual, kComparison},
    {Tok::Plus, BinaryOp::Add, 4},
    {Tok::Minus, BinaryOp::Sub, 4},
    {Tok::Star, BinaryOp::Mul, 5},
    {Tok::Slash, BinaryOp::Div, 5},
    {Tok::Percent, BinaryOp::Mod, 5},
    {Tok::Dot, BinaryOp::Contract, 7},
};

const OperatorInfo *findOperator(Tok kind) {
  for (const OperatorInfo &info : kOperators)
    if (info.token == kind)
      return &info;
  return nullptr;
}
} // namespace

/// Bounds the height of the tree: later stages walk it recursively.
Expr *Parser::withDepth(Expr *expr, unsigned depth) {
  expr->depth = depth + 1;
  if (expr->depth <= kMaxNesting)
    return expr;
  diagnostics.error(expr->range, "expected an expression of at most " + llvm::Twine(kMaxNesting) +
                                     " nested operations; name a part of it first");
  return nullptr;
}

Expr *Parser::parseBinary(int minPrecedence) {
  Nesting level(*this);
  if (level.tooDeep())
    return nullptr;
  Expr *lhs = parseUnary();
  while (lhs) {
    const OperatorInfo *info = findOperator(peek().kind);
    if (!info || info->precedence <= minPrecedence)
      return lhs;
    Token token = take();
    Expr *rhs = parseBinary(info->precedence);
    if (!rhs)
      return nullptr;
    auto *binary = make<BinaryExpr>();
    binary->op = info->op;
    binary->lhs = lhs;
    binary->rhs = rhs;
    binary->opRange = token.range();
    binary->range = Range(lhs->range.Start, rhs->range.End);
    lhs = withDepth(binary, std::max(lhs->depth, rhs->depth));
    const OperatorInfo *next = findOperator(peek().kind);
    if (lhs && info->precedence == kComparison && next && next->precedence == kComparison) {
      diagnostics.error(peek().range(), "expected one comparison, but got a chain of them; join two with 'and'");
      return nullptr;
    }
  }
  return nullptr;
}

Expr *Parser::parseUnary() {
  bool isNot = peek().is(Tok::KwNot);
  if (!isNot && !peek().is(Tok::Minus))
    return parsePostfix();
  Token token = take();
  Expr *operand = parseBinary(isNot ? kComparison - 1 : kUnary);
  if (!operand)
    return nullptr;
  auto *unary = make<UnaryExpr>();
  unary->op = isNot ? UnaryOp::Not : UnaryOp::Negate;
  unary->operand = operand;
  unary->range = Range(token.begin(), operand->range.End);
  return withDepth(unary, operand->depth);
}

Expr *Parser::parsePostfix() {
  Expr *expr = parsePrimary();
  while (expr && peek().is(Tok::LBracket) && !peek().lineBefore) {
    auto *index = make<IndexExpr>();
    index->base = expr;
    if (!parseIndices(index->indices))
      return nullptr;
    index->range = rangeFrom(expr->range.Start);
    unsigned depth = expr->depth;
    for (Expr *i : index->indices)
      depth = std::max(depth, i->depth);
    expr = withDepth(index, depth);
  }
  return expr;
}

Expr *Parser::parsePrimary() {
  const Token token = peek();
  switch (token.kind) {
  case Tok::Integer:
  case Tok::Decimal: {
    take();
    auto *number = make<NumberExpr>();
    number->range = token.range();
    std::optional<Number> value = Number::parse(token.text);
    if (!value) {
      diagnostics.error(token.range(), "expected a number within the range of a double");
      return nullptr;
    }
    number->value = *value;
    return number;
  }
  case Tok::String: {
    take();
    auto *string = make<StringExpr>();
    string->range = token.range();
    string->value = token.text.trim('"');
    return string;
  }
  case Tok::KwTrue:
  case Tok::KwFalse: {
    take();
    auto *boolean = make<BoolExpr>();
    boolean->range = token.range();
    boolean->value = token.is(Tok::KwTrue);
    return boolean;
  }
  case Tok::LParen: {
    take();
    Expr *inner = parseExpr();
    if (!inner || !expect(Tok::RParen, " to close this parenthesis"))
      return nullptr;
    return inner;
  }
  case Tok::Name: {
    take();
    if (peek().is(Tok::LParen) && !peek().lineBefore)
      return parseCall(token);
    auto *name = make<NameExpr>();
    name->range = token.range();
    name->name = token.text;
    return name;
  }
  default:
    expected("an expression");
    return nullptr;
  }
}

/// name(a, b, rank = 8) as path
Expr *Parser::parseCall(const Token &name) {
  auto *call = make<CallExpr>();
  call->callee = {name.text, name.range()};
  Token open = take();
  unsigned depth = 1;
  while (!peek().is(Tok::RParen)) {
    CallArg arg;
    if (peek().is(Tok::Name) && peek(1).is(Tok::Assign)) {
      arg.name = {peek().text, peek().range()};
      at += 2;
    } else if (!call->args.empty() && !call->args.back().name.text.empty()) {
      diagnostics.error(peek().range(), "expected a named argument (name = value) after '" +
                                            call->args.back().name.text + "', but got a positional one");
      return nullptr;
    }
    arg.value = parseExpr();
    if (!arg.value)
      return nullptr;
    depth = std::max(depth, arg.value->depth);
    call->args.push_back(arg);
    if (!consume(Tok::Comma) && !peek().is(Tok::RParen)) {
      expected("',' or ')' in the arguments of '" + name.text + "'").note(open.range(), "the arguments begin here");
      return nullptr;
    }
  }
  take();
  call->range = rangeFrom(name.begin());
  if (consume(Tok::KwAs)) {
    if (!parsePath(call->path))
      return nullptr;
    call->range = rangeFrom(name.begin());
  }
  return withDepth(call, depth);
}

/// model.layers[i].attn, 0, gk_proj.1: dots and brackets stand without spaces.
bool Parser::parsePath(Path &path) {
  llvm::SMLoc begin = peek().begin();
  while (true) {
    const Token token = peek();
    if (token.is(Tok::Decimal) && token.text.find_first_not_of("0123456789.") == llvm::StringRef::npos) {
      auto [first, second] = token.text.split('.');
      path.segments.push_back({first, {}});
      path.segments.push_back({second, {}});
    } else if (token.is(Tok::Name) || token.is(Tok::Integer) || token.isKeyword()) {
      path.segments.push_back({token.text, {}});
    } else {
      expected("a name or an integer in the path after 'as'");
      return false;
    }
    take();
    while (peek().is(Tok::LBracket) && !peek().spaceBefore) {
      std::vector<Expr *> indices;
      if (!parseIndices(indices))
        return false;
      path.segments.back().indices.append(indices.begin(), indices.end());
    }
    if (!peek().is(Tok::Dot) || peek().spaceBefore || peek(1).spaceBefore)
      break;
    take();
  }
  path.range = rangeFrom(begin);
  return true;
}

bool Parser::parseIndices(std::vector<Expr *> &indices) {
  Token open = take();
  do {
    Expr *index = parseExpr();
    if (!index)
      return false;
    indices.push_back(index);
  } while (consume(Tok::Comma));
  if (peek().is(Tok::RBracket)) {
    take();
    return true;
  }
  expected("',' or ']' after this index").note(open.range(), "the indices begin here");
  return false;
}

/// [..., T, H*K] int
bool Parser::parseType(ShapeType &type) {
  llvm::SMLoc begin = peek().begin();
  if (!expect(Tok::LBracket, " to begin a shape"))
    return false;
  while (!peek().is(Tok::RBracket)) {
    if (peek().is(Tok::Ellipsis)) {
      if (type.ellipsis || !type.dims.empty()) {
        diagnostics.error(peek().range(), "expected '...' once, as the first entry of a shape");
        return false;
      }
      take();
      type.ellipsis = true;
    } else {
      Expr *dim = parseExpr();
      if (!dim)
        return false;
      type.dims.push_back(dim);
    }
    if (!consume(Tok::Comma) && !peek().is(Tok::RBracket)) {
      expected("',' or ']' in this shape");
      return false;
    }
  }
  take();
  if (peek().isName("int") && !peek().lineBefore) {
    take();
    type.isInt = true;
  }
  type.range = rangeFrom(begin);
  return true;
}

Expr *Parser::parseWholeExpression() {
  Expr *expr = parseExpr();
  if (!expr)
    return nullptr;
  if (!peek().is(Tok::End)) {
    expected("the end of the value");
    return nullptr;
  }
  return expr;
}
