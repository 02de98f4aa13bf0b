//===- Elements.h - C++ expressions of tensor elements ----------*- C++ -*-===//
// The element-wise parts of maps and scan bodies, computed where they are used.
// Code is emitted for `lanes` neighbours along the last dimension at once: a value
// that differs between them is an array, any other a scalar.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/CodeGen/CUDA/Text.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "ir/Tile/TileOps.h"

#include "llvm/ADT/StringMap.h"

#include <functional>
#include <optional>

namespace tidegate::cuda {

inline mlir::RankedTensorType tensorOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType());
}

/// Position along one dimension: a C++ expression, or a number. With `isLane` lane j stands at `at` + j.
struct Index {
  std::string at = "0";
  std::optional<int64_t> number = 0;
  bool isLane = false;

  static Index of(int64_t n) { return {std::to_string(n), n, false}; }
  static Index of(std::string text) { return {std::move(text), std::nullopt, false}; }
  static Index lane(std::string text) { return {std::move(text), std::nullopt, true}; }
};
using Indices = llvm::SmallVector<Index, 4>;

/// Sums, products, quotients, remainders with the obvious simplifications.
Index plus(const Index &x, int64_t n);
Index times(const Index &x, int64_t n);
Index sum(const Index &x, const Index &y);

/// Row-major offset of an element; dimensions of size 1 do not count. `laneStride`
/// is how far neighbouring lanes are apart, 0 without a lane index.
struct Offset {
  Index at;
  int64_t laneStride = 0;
};
Offset offsetOf(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<Index> index);
/// The indices of an offset; the lane index stays in the last dimension that is not 1.
Indices indicesOf(llvm::ArrayRef<int64_t> shape, const Index &offset);

/// A value in the emitted code: a variable, an array of lanes if `isVector`.
struct Element {
  std::string name;
  bool isVector = false;
};

class ElementEmitter {
public:
  /// Emits the load of a value that is in memory or registers. None: it is computed here.
  using Leaf = std::function<std::optional<Element>(mlir::Value, llvm::ArrayRef<Index>)>;
  /// Whether a value is a leaf.
  using IsLeaf = std::function<bool(mlir::Value)>;

  ElementEmitter(Text &text, int lanes, IsLeaf isLeaf, Leaf leaf)
      : text(text), lanes(lanes), isLeaf(std::move(isLeaf)), leaf(std::move(leaf)) {}

  /// The element of a value at an index. Values already emitted in this scope are reused.
  Element emit(mlir::Value value, llvm::ArrayRef<Index> index);
  /// "name[j]" or "name".
  static std::string at(const Element &element, llvm::StringRef lane = "j") {
    return element.isVector ? element.name + "[" + lane.str() + "]" : element.name;
  }
  /// Defines a variable by a formula over lane j.
  Element define(llvm::StringRef type, bool isVector, const llvm::Twine &formula);
  /// `lanes` values from contiguous memory: `load` is a device function, `pointer` an expression.
  Element load(llvm::StringRef load, llvm::StringRef type, const llvm::Twine &pointer);

  /// True if `lanes` neighbours of `value` along its last dimension can be computed
  /// together: no op turns them into something that is neither one value nor neighbours.
  static bool canUseLanes(mlir::Value value, int lanes, const IsLeaf &isLeaf);
  /// The largest of 8, 4, 2, 1 that divides the last dimension of all `values` and is allowed by canUseLanes.
  static int lanesOf(llvm::ArrayRef<mlir::Value> values, int most, const IsLeaf &isLeaf);

private:
  Element compute(mlir::Value value, llvm::ArrayRef<Index> index);
  Element apply(mlir::Operation *op, mlir::RankedTensorType type, llvm::ArrayRef<Index> index);

  Text &text;
  int lanes;
  IsLeaf isLeaf;
  Leaf leaf;
  llvm::StringMap<Element> known;
};

/// "Places<0, 2>": the places of a token's events.
std::string placesType(llvm::ArrayRef<int64_t> positions);

/// True for ops whose elements are computed where they are used.
bool isElementwise(mlir::Operation *op);

} // namespace tidegate::cuda
