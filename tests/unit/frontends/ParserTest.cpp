//===- ParserTest.cpp - Precedence, paths, recovery -------------*- C++ -*-===//
#include "frontends/dsl/Parser.h"
#include <gtest/gtest.h>

using namespace tidegate::dsl;

namespace {

/// The tree of an expression with all its parentheses.
std::string print(const Expr *expr) {
  if (auto *number = llvm::dyn_cast<NumberExpr>(expr))
    return number->value.str();
  if (auto *name = llvm::dyn_cast<NameExpr>(expr))
    return name->name.str();
  if (auto *unary = llvm::dyn_cast<UnaryExpr>(expr))
    return (unary->op == UnaryOp::Not ? "(not " : "(-") + print(unary->operand) + ")";
  if (auto *binary = llvm::dyn_cast<BinaryExpr>(expr))
    return "(" + print(binary->lhs) + " " + spelling(binary->op).str() + " " + print(binary->rhs) + ")";
  if (auto *index = llvm::dyn_cast<IndexExpr>(expr)) {
    std::string text = print(index->base) + "[";
    for (const Expr *i : index->indices)
      text += (text.back() == '[' ? "" : ", ") + print(i);
    return text + "]";
  }
  auto *call = llvm::dyn_cast<CallExpr>(expr);
  if (!call)
    return "?";
  std::string text = call->callee.text.str() + "(";
  for (const CallArg &arg : call->args)
    text += (text.back() == '(' ? "" : ", ") + print(arg.value);
  text += ")";
  for (const PathSegment &segment : call->path.segments) {
    text += (&segment == &call->path.segments.front() ? " as " : ".") + segment.text.str();
    for (const Expr *i : segment.indices)
      text += "[" + print(i) + "]";
  }
  return text;
}

std::string tree(llvm::StringRef text) {
  Diagnostics diagnostics;
  SourceFile file;
  auto buffer = llvm::MemoryBuffer::getMemBufferCopy(text, "test.tg");
  Expr *expr = parseExpression(diagnostics.addBuffer(std::move(buffer)), file, diagnostics);
  return expr ? print(expr) : "error: " + diagnostics.all().front().message;
}

TEST(ParserTest, Precedence) {
  EXPECT_EQ(tree("a + b * c . d"), "(a + (b * (c . d)))");
  EXPECT_EQ(tree("q . S / sqrt(K)"), "((q . S) / sqrt(K))");
  EXPECT_EQ(tree("a - b - c"), "((a - b) - c)");
  EXPECT_EQ(tree("-q . S"), "(-(q . S))");
  EXPECT_EQ(tree("-a * b"), "((-a) * b)");
  EXPECT_EQ(tree("a * -b"), "(a * (-b))");
  EXPECT_EQ(tree("not a == b and c or d"), "(((not (a == b)) and c) or d)");
  EXPECT_EQ(tree("diag(a[t, h]) . S + outer(k, v)"), "((diag(a[t, h]) . S) + outer(k, v))");
  EXPECT_EQ(tree("(a + b) * c"), "((a + b) * c)");
}

TEST(ParserTest, PathsAreWrittenWithoutSpaces) {
  EXPECT_EQ(tree("f(x) as model.layers[i].attn"), "f(x) as model.layers[i].attn");
  EXPECT_EQ(tree("f(x) as 0"), "f(x) as 0");
  EXPECT_EQ(tree("f(x) as gk.0.1"), "f(x) as gk.0.1");
  EXPECT_EQ(tree("f(x) as q . S"), "(f(x) as q . S)");
  EXPECT_EQ(tree("f(x) as q * g"), "(f(x) as q * g)");
}

TEST(ParserTest, WholeExpressionMustBeUsed) {
  EXPECT_EQ(tree("1 2"), "error: expected the end of the value, but got '2'");
  EXPECT_EQ(tree(""), "error: expected an expression, but got the end of the file");
}

std::unique_ptr<SourceFile> parse(llvm::StringRef text, Diagnostics &diagnostics) {
  auto buffer = llvm::MemoryBuffer::getMemBufferCopy(text, "test.tg");
  return parseFile(diagnostics.addBuffer(std::move(buffer)), false, diagnostics);
}

TEST(ParserTest, WordsOfStatementsAreOrdinaryNames) {
  Diagnostics diagnostics;
  auto file = parse("layer f(x: [T, n]) {\n"
                    "  weight weight: [n] = 1, decay = false\n"
                    "  state = x * weight\n"
                    "  over = state\n"
                    "  return over\n"
                    "}\n",
                    diagnostics);
  EXPECT_EQ(diagnostics.str(), "");
  ASSERT_EQ(file->functions.size(), 1u);
  EXPECT_EQ(file->functions[0]->body.stmts.size(), 4u);
  EXPECT_EQ(file->functions[0]->body.stmts[0]->kind, StmtKind::Weight);
  EXPECT_EQ(file->functions[0]->body.stmts[1]->kind, StmtKind::Assign);
}

TEST(ParserTest, ExpressionsContinueOnTheNextLine) {
  Diagnostics diagnostics;
  auto file = parse("fn f(x: [T, n]) {\n  y = x\n    + x\n    - x\n  return y\n}\n", diagnostics);
  EXPECT_FALSE(diagnostics.hasErrors());
  EXPECT_EQ(file->functions[0]->body.stmts.size(), 2u);
}

TEST(ParserTest, GoesOnAfterAnError) {
  Diagnostics diagnostics;
  auto file = parse("param A = , B = 3\n"
                    "fn f(x: [T, 4]) {\n"
                    "  y = (x + ]\n"
                    "  z = x\n"
                    "  w = * x; v = x\n"
                    "  return z\n"
                    "}\n"
                    "fn g(x: [T, ) { return x }\n"
                    "fn h(x: [T, 4]) { return x }\n",
                    diagnostics);
  EXPECT_EQ(diagnostics.errorCount(), 4u) << diagnostics.str();
  ASSERT_EQ(file->functions.size(), 3u);
  EXPECT_EQ(file->functions[0]->body.stmts.size(), 5u);
  EXPECT_TRUE(file->functions[1]->isBroken);
  EXPECT_FALSE(file->functions[2]->isBroken);
}

} // namespace
