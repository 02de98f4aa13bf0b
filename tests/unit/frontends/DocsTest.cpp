//===- DocsTest.cpp - The examples of docs/language.md ----------*- C++ -*-===//
// Blocks marked `tg` compile, every function of them, with the sizes given
// after the mark. Blocks marked `tg-error` give exactly the text of the block
// that follows.
//===----------------------------------------------------------------------===//
#include "frontends/dsl/Builtins.h"
#include "frontends/dsl/Frontend.h"
#include "frontends/dsl/Lexer.h"
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

using namespace tidegate::dsl;

namespace {

struct CodeBlock {
  std::string mark, text;
  int line;
};

std::vector<CodeBlock> readBlocks() {
  std::ifstream in(TIDEGATE_SOURCE_DIR "/docs/language.md");
  std::vector<CodeBlock> blocks;
  std::string line;
  bool inside = false;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.rfind("```", 0) == 0) {
      inside = !inside;
      if (inside)
        blocks.push_back({line.substr(3), "", number});
    } else if (inside) {
      blocks.back().text += line + "\n";
    }
  }
  return blocks;
}

std::unique_ptr<Program> load(const std::string &text, Diagnostics &diagnostics) {
  LoadOptions options;
  options.path = "example.tg";
  options.text = text;
  return Program::load(options, diagnostics);
}

/// Generates all functions of a program.
void generateAll(const Program &program, std::map<std::string, int64_t> dims, Diagnostics &diagnostics) {
  for (const EntryInfo &entry : program.entries()) {
    if (entry.isLibrary)
      continue;
    mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
    GenerateOptions options;
    options.entry = entry.name;
    options.dims = dims;
    program.generate(context, options, diagnostics);
  }
}

TEST(DocsTest, ExamplesCompile) {
  int examples = 0;
  for (const CodeBlock &block : readBlocks()) {
    std::stringstream mark(block.mark);
    std::string word;
    mark >> word;
    if (word != "tg")
      continue;
    std::map<std::string, int64_t> dims = {{"n", 8}, {"K", 8}, {"V", 8}};
    while (mark >> word)
      dims[word.substr(0, word.find('='))] = std::stoll(word.substr(word.find('=') + 1));
    Diagnostics diagnostics;
    auto program = load(block.text, diagnostics);
    if (program)
      generateAll(*program, dims, diagnostics);
    EXPECT_FALSE(diagnostics.hasErrors()) << "docs/language.md:" << block.line << "\n" << diagnostics.str();
    ++examples;
  }
  EXPECT_GE(examples, 6);
}

TEST(DocsTest, ErrorsReadAsShown) {
  std::vector<CodeBlock> blocks = readBlocks();
  int examples = 0;
  for (size_t i = 0; i + 1 < blocks.size(); ++i) {
    if (blocks[i].mark != "tg-error")
      continue;
    Diagnostics diagnostics;
    auto program = load(blocks[i].text, diagnostics);
    if (program)
      generateAll(*program, {}, diagnostics);
    EXPECT_EQ(diagnostics.str(), blocks[i + 1].text) << "docs/language.md:" << blocks[i].line;
    ++examples;
  }
  EXPECT_EQ(examples, 2);
}

TEST(DocsTest, WeightsAreAsListed) {
  std::vector<CodeBlock> blocks = readBlocks();
  int examples = 0;
  for (size_t i = 0; i + 1 < blocks.size(); ++i) {
    if (blocks[i].mark != "tg" || blocks[i + 1].mark != "text")
      continue;
    Diagnostics diagnostics;
    auto program = load(blocks[i].text, diagnostics);
    ASSERT_NE(program, nullptr);
    auto weights = program->weights(diagnostics);
    ASSERT_TRUE(weights.has_value()) << diagnostics.str();
    std::stringstream list;
    for (const WeightInfo &weight : *weights) {
      list << weight.name << " [";
      for (size_t d = 0; d < weight.shape.size(); ++d)
        list << (d ? ", " : "") << weight.shape[d];
      list << "] " << weight.init << (weight.decay ? "" : " no decay") << "\n";
    }
    EXPECT_EQ(list.str(), blocks[i + 1].text);
    ++examples;
  }
  EXPECT_EQ(examples, 1);
}

/// Nothing of the language is missing from its page.
TEST(DocsTest, EveryWordIsMentioned) {
  std::ifstream in(TIDEGATE_SOURCE_DIR "/docs/language.md");
  std::stringstream page;
  page << in.rdbuf();
  for (llvm::StringRef word : reservedWords())
    EXPECT_NE(page.str().find(word.str()), std::string::npos) << word.str();
  for (const BuiltinInfo &info : allBuiltins())
    EXPECT_NE(page.str().find(info.name.str()), std::string::npos) << info.name.str();
  Diagnostics diagnostics;
  auto library = load("", diagnostics);
  ASSERT_NE(library, nullptr);
  for (const EntryInfo &entry : library->entries())
    EXPECT_NE(page.str().find(entry.kind + " " + entry.name + "("), std::string::npos) << entry.name;
}

} // namespace
