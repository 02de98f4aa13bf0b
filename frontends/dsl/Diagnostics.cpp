//===- Diagnostics.cpp - Errors with ranges, notes and fixes ----*- C++ -*-===//
#include "frontends/dsl/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace tidegate::dsl;

DiagnosticBuilder &DiagnosticBuilder::note(Range range, const llvm::Twine &message) {
  if (all && range.isValid())
    all->back().notes.push_back({llvm::SourceMgr::DK_Note, range, message.str(), {}, {}, {}});
  return *this;
}

DiagnosticBuilder &DiagnosticBuilder::fix(Range range, const llvm::Twine &replacement) {
  if (all && range.isValid()) {
    all->back().fixRange = range;
    all->back().fix = replacement.str();
  }
  return *this;
}

llvm::StringRef Diagnostics::addBuffer(std::unique_ptr<llvm::MemoryBuffer> buffer) {
  llvm::StringRef text = buffer->getBuffer();
  sources->AddNewSourceBuffer(std::move(buffer), llvm::SMLoc());
  return text;
}

DiagnosticBuilder Diagnostics::error(Range range, const llvm::Twine &message) {
  ++reports;
  std::string text = message.str();
  std::string key = std::to_string(reinterpret_cast<uintptr_t>(range.Start.getPointer())) + ":" + text;
  if (!seen.insert(key).second)
    return DiagnosticBuilder(nullptr);
  if (diagnostics.size() >= kMaxErrors) {
    ++dropped;
    return DiagnosticBuilder(nullptr);
  }
  diagnostics.push_back({llvm::SourceMgr::DK_Error, range, std::move(text), {}, {}, {}});
  return DiagnosticBuilder(&diagnostics);
}

void Diagnostics::clear() {
  diagnostics.clear();
  seen.clear();
  reports = dropped = 0;
}

void Diagnostics::adoptSources(std::shared_ptr<llvm::SourceMgr> other) {
  if (sources->getNumBuffers() == 0)
    sources = std::move(other);
}

Position Diagnostics::position(llvm::SMLoc loc) const {
  unsigned buffer = loc.isValid() ? sources->FindBufferContainingLoc(loc) : 0;
  if (!buffer)
    return {};
  auto [line, column] = sources->getLineAndColumn(loc, buffer);
  return {sources->getMemoryBuffer(buffer)->getBufferIdentifier(), line, column};
}

void Diagnostics::printOne(llvm::raw_ostream &os, const Diagnostic &diagnostic) const {
  llvm::SmallVector<Range, 1> ranges;
  llvm::SmallVector<llvm::SMFixIt, 1> fixes;
  // A message without a place (an unknown entry, a missing model) stands alone.
  if (!diagnostic.range.isValid() || !sources->FindBufferContainingLoc(diagnostic.range.Start)) {
    os << (diagnostic.kind == llvm::SourceMgr::DK_Note ? "note: " : "error: ") << diagnostic.message << "\n";
  } else {
    ranges.push_back(diagnostic.range);
    if (diagnostic.fixRange.isValid())
      fixes.emplace_back(diagnostic.fixRange, diagnostic.fix);
    sources->PrintMessage(os, diagnostic.range.Start, diagnostic.kind, diagnostic.message, ranges, fixes,
                          /*ShowColors=*/false);
  }
  for (const Diagnostic &note : diagnostic.notes)
    printOne(os, note);
}

void Diagnostics::print(llvm::raw_ostream &os) const {
  // Parsing, name resolution, and elaboration report one after the other; the
  // reader goes through a file from top to bottom.
  std::vector<const Diagnostic *> order;
  for (const Diagnostic &diagnostic : diagnostics)
    order.push_back(&diagnostic);
  auto bufferOf = [&](const Diagnostic *d) {
    return d->range.isValid() ? sources->FindBufferContainingLoc(d->range.Start) : 0;
  };
  llvm::stable_sort(order, [&](const Diagnostic *a, const Diagnostic *b) {
    return std::pair(bufferOf(a), a->range.Start.getPointer()) < std::pair(bufferOf(b), b->range.Start.getPointer());
  });
  for (const Diagnostic *diagnostic : order)
    printOne(os, *diagnostic);
  if (dropped)
    os << "note: " << dropped << " more errors are not shown\n";
}

std::string Diagnostics::str() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  print(os);
  return text;
}

std::string tidegate::dsl::nearestName(llvm::StringRef name, llvm::ArrayRef<llvm::StringRef> candidates) {
  // A third of the letters may differ; in a short name one, or two exchanged.
  auto sorted = [](llvm::StringRef text) {
    std::string letters = text.lower();
    llvm::sort(letters);
    return letters;
  };
  unsigned limit = std::max<unsigned>(1, std::min<size_t>(name.size(), 60) / 3);
  unsigned bestDistance = limit + 1;
  std::string best, letters = sorted(name);
  for (llvm::StringRef candidate : candidates) {
    size_t shorter = std::min(name.size(), candidate.size()), longer = std::max(name.size(), candidate.size());
    if (candidate == name || longer - shorter > limit)
      continue;
    unsigned distance =
        name.size() > 1 && sorted(candidate) == letters ? 1 : name.edit_distance(candidate, true, limit);
    // 'd' for 'D' is a slip of the shift key, not a change of the letter.
    if (candidate.equals_insensitive(name))
      distance = 0;
    // Every letter replaced is no likeness.
    if (distance >= bestDistance || distance >= longer)
      continue;
    best = candidate.str();
    bestDistance = distance;
  }
  return best;
}

std::string tidegate::dsl::didYouMean(llvm::StringRef nearest) {
  return nearest.empty() ? std::string() : (", did you mean '" + nearest + "'?").str();
}
