//===- KernelErrors.cpp - NVRTC's errors at the program's lines -*- C++ -*-===//
#include "compiler/Driver/KernelErrors.h"

#include "ir/SourcePlace.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <regex>

using namespace mlir;
using namespace tidegate;

namespace {

constexpr size_t kMostErrors = 8, kMostNotes = 8;

/// An error of NVRTC's log: the line of the kernel's text that it is at, or that asked for the template it is in.
struct LogError {
  int line = 0; ///< 0: none
  std::string text;
};

std::vector<LogError> errorsIn(const std::string &log, const std::string &program) {
  // NAME(LINE): error: TEXT, and behind errors in headers: ... instantiation of "..." at line LINE of NAME
  static const std::regex kError("^(.*)\\(([0-9]+)\\): (?:catastrophic )?error(?: #[0-9A-Z-]+)?: (.*)$"),
      kAsked("instantiation of .* at line ([0-9]+) of (.*)$");
  std::vector<LogError> errors;
  for (llvm::StringRef rest = log, line; !rest.empty();) {
    std::tie(line, rest) = rest.split('\n');
    std::smatch match;
    const std::string text = line.rtrim().str();
    if (std::regex_match(text, match, kError))
      errors.push_back({match[1] == program ? std::stoi(match[2]) : 0, match[3]});
    else if (!errors.empty() && !errors.back().line && std::regex_search(text, match, kAsked) && match[2] == program)
      errors.back().line = std::stoi(match[1]);
  }
  return errors;
}

/// The line of the program; unknown without one.
Location locationOf(LocationAttr from, MLIRContext &context) {
  const FileLineColLoc place = from ? sourcePlace(from) : FileLineColLoc();
  return place ? Location(place) : Location(UnknownLoc::get(&context));
}

} // namespace

void tidegate::reportAtStatements(MLIRContext &context, const cuda::KernelOrigin &origin,
                                  const runtime::cuda::ProgramError &error) {
  const std::string what =
      "kernel '" + error.program + "', generated for this, does not compile for " + error.architecture;
  std::vector<LogError> errors = errorsIn(error.log, error.program);
  const bool isMapped = llvm::any_of(errors, [](const LogError &one) { return one.line > 0; });
  llvm::erase_if(errors, [&](const LogError &one) { return isMapped && !one.line; });
  errors.resize(std::clamp<size_t>(errors.size(), 1, isMapped ? kMostErrors : 1));
  SmallVector<Location> told;
  for (const LogError &one : errors) {
    LocationAttr from = origin.at(one.line);
    const Location loc = locationOf(from, context);
    if (llvm::is_contained(told, loc))
      continue;
    InFlightDiagnostic diagnostic = emitError(loc) << what << (one.text.empty() ? "" : ": " + one.text);
    auto inside = from ? from.findInstanceOf<FileLineColLoc>() : FileLineColLoc();
    if (inside && Location(inside) != loc)
      diagnostic.attachNote(inside) << "by this line of the library";
    if (!isMapped)
      for (LocationAttr other : ArrayRef(origin.places).drop_front(!origin.places.empty()).take_front(kMostNotes))
        diagnostic.attachNote(locationOf(other, context)) << "'" << error.program << "' computes this too";
    if (told.empty())
      diagnostic.attachNote(UnknownLoc::get(&context)) << "NVRTC says:\n" << llvm::StringRef(error.log).rtrim();
    told.push_back(loc);
  }
}
