//===- RobustnessTest.cpp - No input crashes the front end ------*- C++ -*-===//
// Each input goes the whole way: parsing, resolution, weights, IR of every
// entry. A run either succeeds or reports an error; nothing else is accepted.
//===----------------------------------------------------------------------===//
#include "frontends/dsl/Frontend.h"
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <sstream>

using namespace tidegate::dsl;

namespace {

/// The messages of a whole run, of all entries or of one; "" if all went well.
std::string messages(const std::string &text, std::vector<std::pair<std::string, std::string>> params = {},
                     const std::string &only = "") {
  Diagnostics diagnostics;
  LoadOptions load;
  load.path = "test.tg";
  load.text = text;
  load.params = std::move(params);
  std::unique_ptr<Program> program = Program::load(load, diagnostics);
  EXPECT_EQ(program == nullptr, diagnostics.hasErrors());
  std::string all = diagnostics.str();
  if (!program)
    return all;
  if (program->hasModel()) {
    diagnostics.clear();
    EXPECT_EQ(program->weights(diagnostics).has_value(), !diagnostics.hasErrors());
    all += diagnostics.str();
  }
  for (const EntryInfo &entry : program->entries()) {
    if (entry.isLibrary || (!only.empty() && entry.name != only))
      continue;
    mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
    GenerateOptions options;
    options.entry = entry.name;
    diagnostics.clear();
    auto module = program->generate(context, options, diagnostics);
    EXPECT_EQ(!module, diagnostics.hasErrors());
    EXPECT_EQ(diagnostics.str().find("internal error"), std::string::npos) << text << diagnostics.str();
    all += diagnostics.str();
  }
  return all;
}

bool contains(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

std::string repeated(const std::string &text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i)
    all += text;
  return all;
}

std::string readFile(const std::string &path) {
  std::ifstream in(std::string(TIDEGATE_SOURCE_DIR) + "/" + path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(RobustnessTest, EmptyAndBlankFiles) {
  EXPECT_EQ(messages(""), "");
  EXPECT_EQ(messages("\n\n// nothing\n"), "");
}

TEST(RobustnessTest, DeepParentheses) {
  std::string text = "param A = " + repeated("(", 100000) + "1" + repeated(")", 100000);
  EXPECT_TRUE(contains(messages(text), "levels of nesting"));
}

TEST(RobustnessTest, DeepBlocksAndUnaries) {
  EXPECT_TRUE(contains(messages("fn f(x: [T, 4]) { " + repeated("if true { ", 50000)), "levels of nesting"));
  EXPECT_TRUE(contains(messages("param A = " + repeated("-", 100000) + "1"), "levels of nesting"));
  EXPECT_TRUE(contains(messages("fn f(x: [T, 4]) { if true { } " + repeated("else if true { } ", 50000) + "}"),
                       "levels of nesting"));
}

TEST(RobustnessTest, LongChains) {
  EXPECT_TRUE(contains(messages("param A = 1" + repeated(" + 1", 100000)), "nested operations"));
  EXPECT_TRUE(contains(messages("fn f(x: [T, 4]) { return x" + repeated("[1]", 100000) + " }"), "nested operations"));
}

TEST(RobustnessTest, LongStraightPrograms) {
  std::string text = "fn f(x: [T, 4]) {\n" + repeated("  x = x + 1\n", 20000) + "  return x\n}\n";
  EXPECT_EQ(messages(text), "");
}

TEST(RobustnessTest, HugeNumbers) {
  EXPECT_TRUE(contains(messages("param A = " + repeated("9", 5000)), "range of a double"));
  EXPECT_TRUE(contains(messages("fn f(x: [T, 99999999999]) { return x }"), "expected an integer as a dimension"));
  EXPECT_TRUE(contains(messages("param A = 1e308 * 1e308"), "expected a finite number"));
  EXPECT_TRUE(contains(messages("layer f(x: [T, 4]) { weight w: [2147483647, 2147483647] = 0; return x }"),
                       "at most 10^15 elements"));
  EXPECT_TRUE(
      contains(messages("fn f(x: [T, 100000, 100000]) { return flatten(x) }"), "expected a dimension of at most"));
}

TEST(RobustnessTest, NulAndForeignBytes) {
  EXPECT_TRUE(contains(messages(std::string("fn f\0(x: [T, 4]) { return x }", 29)), "byte 0x00"));
  std::string bytes;
  for (int i = 0; i < 256; ++i)
    bytes += char(i);
  EXPECT_NE(messages(bytes), "");
  EXPECT_NE(messages(repeated("\xff\xfe", 10000)), "");
}

TEST(RobustnessTest, EndlessRecursion) {
  EXPECT_TRUE(contains(messages("fn f(x: [T, 4]) { return f(x) }"), "calls nested at most"));
  EXPECT_TRUE(contains(messages("fn f(x: [T, 4]) { return g(x) } fn g(x: [T, 4]) { return f(x) }"), "calls nested"));
  EXPECT_TRUE(contains(messages("layer f(x: [T, 4]) { return f(f(x) as a) as b }"), "calls nested at most"));
}

TEST(RobustnessTest, ExplodingUnrolling) {
  std::string text = "fn f(x: [T, 4]) {\n  repeat i in 4000 { repeat j in 4000 { x = x + 1 } }\n  return x\n}\n";
  EXPECT_TRUE(contains(messages(text), "statements after unrolling"));
  std::string doubling = "fn f0(x: [T, 4]) { return x + 1 }\n";
  for (int i = 1; i < 40; ++i) // f39 would be 2^39 additions
    doubling += "fn f" + std::to_string(i) + "(x: [T, 4]) { return f" + std::to_string(i - 1) + "(f" +
                std::to_string(i - 1) + "(x)) }\n";
  EXPECT_TRUE(contains(messages(doubling, {}, "f39"), "statements after unrolling"));
}

TEST(RobustnessTest, ManyErrorsAreCapped) {
  std::string all = messages("fn f(x: [T, 4]) {\n" + repeated("  x = y + z\n", 200) + "  return x\n}\n");
  EXPECT_TRUE(contains(all, "more errors are not shown"));
}

TEST(RobustnessTest, ImportOfItself) {
  Diagnostics diagnostics;
  LoadOptions load;
  load.path = "a.tg";
  load.files = {{"a.tg", "import \"b.tg\"\nmodel M(ids: [T] int) { return g(embedding(ids, 4, 4)) }\n"},
                {"b.tg", "import \"a.tg\"\nimport \"b.tg\"\nfn g(x: [T, 4]) { return x }\n"}};
  auto program = Program::load(load, diagnostics);
  ASSERT_NE(program, nullptr) << diagnostics.str();
  EXPECT_EQ(program->sourceFiles().size(), 2u);
}

/// Deletes, doubles, and swaps pieces of the example and the library.
TEST(RobustnessTest, MutatedPrograms) {
  std::string base = readFile("examples/gla/gla.tg");
  ASSERT_FALSE(base.empty());
  std::mt19937 random(7);
  auto pick = [&](size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random); };
  const std::string pieces = "(){}[],;:.=+-*/<>~\"T01aS \n";
  int wrong = 0;
  for (int round = 0; round < 400; ++round) {
    std::string text = base;
    for (size_t edits = 1 + pick(3); edits > 0; --edits) {
      size_t at = pick(text.size()), length = std::min(text.size() - at, pick(12));
      switch (pick(4)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, text.substr(pick(text.size()), pick(20)));
        break;
      case 2:
        text[at] = pieces[pick(pieces.size())];
        break;
      case 3:
        text.insert(at, 1, pieces[pick(pieces.size())]);
        break;
      }
    }
    wrong += !messages(text, {{"D", "64"}, {"L", "2"}, {"H", "2"}}).empty();
  }
  // Most edits outside comments break something, and every one was reported.
  EXPECT_GT(wrong, 100);
}

TEST(RobustnessTest, TruncatedPrograms) {
  std::string base = readFile("examples/gla/gla.tg");
  for (size_t length = 0; length < base.size(); length += 17)
    messages(base.substr(0, length), {{"D", "64"}, {"L", "1"}, {"H", "2"}});
}

} // namespace
