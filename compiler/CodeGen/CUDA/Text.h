//===- Text.h - Lines of generated CUDA C++ ---------------------*- C++ -*-===//
#pragma once

#include "mlir/IR/Location.h"
#include "llvm/ADT/Twine.h"

#include <string>

namespace tidegate::cuda {

/// Source text under construction: indented lines and names that are used once.
class Text {
public:
  void line(const llvm::Twine &text) {
    if (!text.isTriviallyEmpty())
      body.append(2 * depth, ' ');
    body += text.str();
    body += '\n';
  }
  /// A line that opens a block, the block, and its end.
  template <typename F>
  void block(const llvm::Twine &head, F inside, llvm::StringRef end = "}") {
    line(head + " {");
    ++depth;
    inside();
    --depth;
    line(end);
  }
  /// "x7": a name that no other call gave.
  std::string name(llvm::StringRef stem) { return (stem + llvm::Twine(next++)).str(); }

  std::string take() { return std::move(body); }

private:
  std::string body;
  int depth = 0;
  unsigned next = 0;
};

/// "model.tg:12" of the innermost source position; empty without one.
std::string sourceLine(mlir::Location loc);

} // namespace tidegate::cuda
