//===- Table.cpp - The results of a sweep -----------------------*- C++ -*-===//
#include "compiler/tools/tidegate/sweep/Table.h"

#include <algorithm>
#include <cmath>

using namespace tidegate::tool;
using nlohmann::ordered_json;

namespace {

using Cells = std::vector<std::string>;

const Cells kTitles = {"cell",       "state",         "parameters", "train loss", "held-out loss",
                       "perplexity", "bits per byte", "tokens/s",   "memory MiB"};

std::string number(const ordered_json &result, const char *key, const char *format, double factor = 1) {
  if (!result.is_object() || !result.contains(key) || !result[key].is_number())
    return "";
  char text[48];
  std::snprintf(text, sizeof text, format, result[key].get<double>() * factor);
  return text;
}

Cells cellsOf(const SweepRow &row) {
  const ordered_json &r = row.result;
  std::string perplexity;
  if (r.is_object() && r.contains("valid_loss") && r["valid_loss"].is_number())
    perplexity = number({{"p", std::exp(r["valid_loss"].get<double>())}}, "p", "%.4f");
  return {row.cell,
          row.state,
          number(r, "parameters", "%.0f"),
          number(r, "train_loss", "%.4f"),
          number(r, "valid_loss", "%.4f"),
          perplexity,
          number(r, "valid_bits_per_byte", "%.4f"),
          number(r, "tokens_per_second", "%.0f"),
          number(r, "peak_memory_bytes", "%.0f", 1.0 / (1 << 20))};
}

} // namespace

std::string tidegate::tool::markdownTable(const std::vector<SweepRow> &rows) {
  std::vector<Cells> table{kTitles};
  for (const SweepRow &row : rows)
    table.push_back(cellsOf(row));
  std::vector<size_t> widths(kTitles.size(), 0);
  for (const Cells &cells : table)
    for (size_t i = 0; i < cells.size(); ++i)
      widths[i] = std::max(widths[i], cells[i].size());
  constexpr size_t kTextColumns = 2; // The others are numbers: to the right.
  std::string text;
  for (size_t r = 0; r < table.size(); ++r) {
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string pad(widths[i] - table[r][i].size(), ' ');
      text += i < kTextColumns ? "| " + table[r][i] + pad + " " : "| " + pad + table[r][i] + " ";
    }
    text += "|\n";
    if (r > 0)
      continue;
    for (size_t i = 0; i < widths.size(); ++i)
      text += "|" + std::string(widths[i] + 1, '-') + (i < kTextColumns ? "-" : ":");
    text += "|\n";
  }
  return text;
}

std::string tidegate::tool::csvTable(const std::vector<SweepRow> &rows) {
  std::string text;
  auto add = [&](const Cells &cells) {
    for (size_t i = 0; i < cells.size(); ++i) {
      const bool quoted = cells[i].find_first_of(",\"\n") != std::string::npos;
      std::string cell = cells[i];
      for (size_t at = 0; quoted && (at = cell.find('"', at)) != cell.npos; at += 2)
        cell.insert(at, 1, '"');
      text += (i ? "," : "") + (quoted ? '"' + cell + '"' : cell);
    }
    text += "\n";
  };
  add(kTitles);
  for (const SweepRow &row : rows)
    add(cellsOf(row));
  return text;
}
