//===- Diagnostics.h - Errors with ranges, notes and fixes ------*- C++ -*-===//
// Every error of the language is collected here and printed in one way: the
// source line, the range underlined, a note at the other half of the
// disagreement, and replacement text where it is sure. Printing is
// llvm::SourceMgr's. The same error at the same place is kept once, because a
// layer that is elaborated 24 times is wrong only once.
//===----------------------------------------------------------------------===//
#ifndef TIDEGATE_FRONTENDS_DSL_DIAGNOSTICS_H
#define TIDEGATE_FRONTENDS_DSL_DIAGNOSTICS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/SourceMgr.h"
#include <memory>
#include <string>
#include <vector>

namespace tidegate::dsl {

using Range = llvm::SMRange;

/// A place in a source text, counted from 1.
struct Position {
  llvm::StringRef file;
  unsigned line = 0, column = 0;
};

/// One message; the notes belong to the error before them.
struct Diagnostic {
  llvm::SourceMgr::DiagKind kind;
  Range range;
  std::string message;
  Range fixRange;
  std::string fix;
  std::vector<Diagnostic> notes;
};

/// Adds notes and a fix to an error just reported. Does nothing when the error
/// was a repetition.
class DiagnosticBuilder {
public:
  DiagnosticBuilder &note(Range range, const llvm::Twine &message);
  /// `replacement` is certain to be what the user meant at `range`.
  DiagnosticBuilder &fix(Range range, const llvm::Twine &replacement);

private:
  friend class Diagnostics;
  explicit DiagnosticBuilder(std::vector<Diagnostic> *all) : all(all) {}
  std::vector<Diagnostic> *all; ///< Null for a repetition.
};

class Diagnostics {
public:
  /// Errors beyond this number are counted, not kept.
  static constexpr size_t kMaxErrors = 50;

  /// Takes over a source text; ranges of its tokens point into it.
  llvm::StringRef addBuffer(std::unique_ptr<llvm::MemoryBuffer> buffer);

  DiagnosticBuilder error(Range range, const llvm::Twine &message);

  bool hasErrors() const { return reports != 0; }
  /// All errors reported so far, repetitions included: what grew over a piece
  /// of work went wrong in it.
  size_t errorCount() const { return reports; }
  llvm::ArrayRef<Diagnostic> all() const { return diagnostics; }
  void print(llvm::raw_ostream &os) const;
  std::string str() const;
  /// Forgets what was reported, so that a program can be used again.
  void clear();

  Position position(llvm::SMLoc loc) const;

  /// The texts that ranges point into. A program keeps them alive, and lends
  /// them to a Diagnostics that has none of its own.
  std::shared_ptr<llvm::SourceMgr> shareSources() const { return sources; }
  void adoptSources(std::shared_ptr<llvm::SourceMgr> other);

private:
  void printOne(llvm::raw_ostream &os, const Diagnostic &diagnostic) const;

  std::shared_ptr<llvm::SourceMgr> sources = std::make_shared<llvm::SourceMgr>();
  std::vector<Diagnostic> diagnostics;
  llvm::StringSet<> seen;
  size_t reports = 0, dropped = 0;
};

/// The candidate nearest to a mistyped `name`, or "" when none is near.
std::string nearestName(llvm::StringRef name, llvm::ArrayRef<llvm::StringRef> candidates);

/// ", did you mean 'x'?" or nothing.
std::string didYouMean(llvm::StringRef nearest);

} // namespace tidegate::dsl
#endif
