//===- SourcePlace.h - Which line of a program an op is of ------*- C++ -*-===//
#pragma once

#include "mlir/IR/Location.h"

#include <string>

namespace tidegate {

/// The standard library's name in locations.
inline constexpr llvm::StringLiteral kLibraryFile = "std.tg";

/// The innermost position in the program: behind those in the standard library, whose caller is meant. The innermost of
/// all where there is none; null without any.
inline mlir::FileLineColLoc sourcePlace(mlir::LocationAttr loc) {
  mlir::FileLineColLoc found;
  loc.walk([&](mlir::LocationAttr inner) {
    auto place = mlir::dyn_cast<mlir::FileLineColLoc>(inner);
    if (!place)
      return mlir::WalkResult::advance();
    const bool isLibrary = place.getFilename() == kLibraryFile;
    if (!found || !isLibrary)
      found = place;
    return isLibrary ? mlir::WalkResult::advance() : mlir::WalkResult::interrupt();
  });
  return found;
}

/// "model.tg:12" of sourcePlace; empty without one.
inline std::string sourceLine(mlir::LocationAttr loc) {
  mlir::FileLineColLoc place = sourcePlace(loc);
  return place ? place.getFilename().str() + ":" + std::to_string(place.getLine()) : std::string();
}

} // namespace tidegate
