//===- LexerTest.cpp - Source text to tokens --------------------*- C++ -*-===//
#include "frontends/dsl/Lexer.h"
#include <gtest/gtest.h>

using namespace tidegate::dsl;

namespace {

struct Lexed {
  Diagnostics diagnostics;
  std::vector<Token> tokens;
  explicit Lexed(llvm::StringRef text) {
    tokens = lex(diagnostics.addBuffer(llvm::MemoryBuffer::getMemBufferCopy(text, "test.tg")), diagnostics);
  }
  std::vector<std::string> texts() const {
    std::vector<std::string> all;
    for (const Token &token : tokens)
      if (!token.is(Tok::End))
        all.push_back(token.text.str());
    return all;
  }
};

using Texts = std::vector<std::string>;

TEST(LexerTest, DotBelongsToANumberOnlyBeforeADigit) {
  EXPECT_EQ(Lexed("1.5 q . S 0.weight 2.").texts(), (Texts{"1.5", "q", ".", "S", "0", ".", "weight", "2", "."}));
}

TEST(LexerTest, ExponentNeedsDigits) {
  Lexed good("1e-6 2.5E+3");
  EXPECT_EQ(good.texts(), (Texts{"1e-6", "2.5E+3"}));
  EXPECT_FALSE(good.diagnostics.hasErrors());
  Lexed bad("1e");
  EXPECT_EQ(bad.diagnostics.errorCount(), 1u);
}

TEST(LexerTest, LongestOperatorWins) {
  EXPECT_EQ(Lexed("...->==!=<=>=a").texts(), (Texts{"...", "->", "==", "!=", "<=", ">=", "a"}));
}

TEST(LexerTest, KnowsReservedWords) {
  for (llvm::StringRef word : reservedWords()) {
    Lexed lexed(word);
    EXPECT_TRUE(lexed.tokens.front().isKeyword()) << word.str();
    Lexed longer(word.str() + "s");
    EXPECT_TRUE(longer.tokens.front().is(Tok::Name)) << word.str();
  }
}

TEST(LexerTest, RecordsLinesAndSpaces) {
  Lexed lexed("a.b // comment\n  c");
  ASSERT_EQ(lexed.tokens.size(), 5u);
  EXPECT_FALSE(lexed.tokens[1].spaceBefore);
  EXPECT_FALSE(lexed.tokens[2].spaceBefore);
  EXPECT_TRUE(lexed.tokens[3].spaceBefore);
  EXPECT_TRUE(lexed.tokens[3].lineBefore);
  EXPECT_FALSE(lexed.tokens[2].lineBefore);
}

TEST(LexerTest, PositionsCountFromOne) {
  Lexed lexed("ab\n  cd");
  Position position = lexed.diagnostics.position(lexed.tokens[1].begin());
  EXPECT_EQ(position.line, 2u);
  EXPECT_EQ(position.column, 3u);
  EXPECT_EQ(position.file, "test.tg");
}

TEST(LexerTest, BadBytesAreOneErrorARun) {
  Lexed lexed(llvm::StringRef("a \0\0\xff b", 7));
  EXPECT_EQ(lexed.texts(), (Texts{"a", "b"}));
  EXPECT_EQ(lexed.diagnostics.errorCount(), 1u);
}

TEST(LexerTest, SkipsAByteOrderMark) {
  Lexed lexed("\xEF\xBB\xBFparam");
  EXPECT_EQ(lexed.texts(), (Texts{"param"}));
  EXPECT_FALSE(lexed.diagnostics.hasErrors());
}

TEST(SuggestTest, FindsTheNearestName) {
  EXPECT_EQ(nearestName("rnak", {"rank", "bias"}), "rank");
  EXPECT_EQ(nearestName("d", {"D", "L"}), "D");
  EXPECT_EQ(nearestName("sofplus", {"softmax", "softplus"}), "softplus");
  EXPECT_EQ(nearestName("x", {"y"}), "");
  EXPECT_EQ(nearestName("attention", {"silu"}), "");
}

} // namespace
