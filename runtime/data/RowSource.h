//===- RowSource.h - Rows in one global order -------------------*- C++ -*-===//
// The order of rows knows nothing of ranks: RankedBatches deals them out, and a
// rank walks over the rows of the others without reading them.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/BatchSource.h"

#include <span>

namespace tidegate::data {

/// Where one row of T tokens goes; `positions` is empty when nobody asked.
struct RowTarget {
  std::span<int32_t> ids, labels, positions;
};

class RowSource {
public:
  virtual ~RowSource() = default;
  /// The next row of T tokens; nullptr walks over it.
  virtual void row(int64_t T, const RowTarget *target) = 0;
  virtual nlohmann::json state() const = 0;
  virtual void restore(const nlohmann::json &state) = 0;
};

/// Deals the rows out: of each global batch of ranks * rows, rank r takes rows
/// [r * rows, (r + 1) * rows).
std::unique_ptr<BatchSource> makeRankedBatches(std::unique_ptr<RowSource> rows, int64_t rank, int64_t ranks,
                                               bool positions);

/// Each row from source i with probability weights[i], by a draw that depends
/// on the seed and the number of the row.
std::unique_ptr<RowSource> makeMixture(std::vector<std::unique_ptr<RowSource>> sources, std::vector<double> weights,
                                       uint64_t seed);

/// Reads batches ahead in a thread; the state stays that of what was handed out.
std::unique_ptr<BatchSource> makePrefetch(std::unique_ptr<BatchSource> source, size_t depth = 2);

/// Windows of a byte text that start anywhere, drawn with replacement.
std::unique_ptr<BatchSource> makeByteText(const std::string &path, int64_t end, uint64_t seed, int64_t rank,
                                          int64_t ranks);

} // namespace tidegate::data
