//===- Text.h - Lines of generated CUDA C++ ---------------------*- C++ -*-===//
#pragma once

#include "mlir/IR/Location.h"
#include "llvm/ADT/Twine.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace tidegate::cuda {

/// From this line of a text on, counted from 1, it was made for an op at `from`; null: for none.
struct TextMark {
  int line;
  mlir::LocationAttr from;
};

/// Source text under construction: indented lines and names that are used once.
class Text {
public:
  void line(const llvm::Twine &text) {
    if (marks.empty() || marks.back().from != from)
      marks.push_back({lines + 1, from});
    const size_t begin = body.size();
    if (!text.isTriviallyEmpty())
      body.append(2 * depth, ' ');
    body += text.str();
    body += '\n';
    lines += int(std::count(body.begin() + begin, body.end(), '\n'));
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
  /// What `emit` writes is of an op at `loc`, but for what it writes of others. Returns what `emit` does.
  template <typename F>
  auto of(mlir::Location loc, F emit) {
    struct Restore {
      Text &text;
      mlir::LocationAttr outer;
      ~Restore() { text.from = outer; }
    } restore{*this, std::exchange(from, mlir::LocationAttr(loc))};
    return emit();
  }
  /// "x7": a name that no other call gave.
  std::string name(llvm::StringRef stem) { return (stem + llvm::Twine(next++)).str(); }

  const std::string &written() const { return body; }
  /// In the order of lines; each line is of the last mark that is not behind it.
  const std::vector<TextMark> &lineMarks() const { return marks; }

private:
  std::string body;
  std::vector<TextMark> marks;
  mlir::LocationAttr from;
  int lines = 0, depth = 0;
  unsigned next = 0;
};

} // namespace tidegate::cuda
