//===- Table.h - The results of a sweep -------------------------*- C++ -*-===//
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tidegate::tool {

struct SweepRow {
  std::string cell;
  std::string state;             ///< done, failed, or waiting
  nlohmann::ordered_json result; ///< What `train` printed; null unless done.
};

/// Parameters, losses (nats), perplexity, bits per byte, speed and memory.
std::string markdownTable(const std::vector<SweepRow> &rows);
std::string csvTable(const std::vector<SweepRow> &rows);

} // namespace tidegate::tool
