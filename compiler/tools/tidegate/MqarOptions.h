//===- MqarOptions.h - The recall task on the command line ------*- C++ -*-===//
// Shared by eval and train: which examples, and how they stand in run.json.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/tools/tidegate/CommandLine.h"
#include "runtime/eval/Mqar.h"

#include <nlohmann/json.hpp>

namespace tidegate::tool {

/// --pairs, --mqar-vocab, --mqar-power, --mqar-fill.
void addMqarOptions(CommandLine &line);

/// One task for each number of pairs. What the command line leaves open comes
/// from `record`, tasks as toJson wrote them (or null), and then from the
/// defaults: pairs 4, 8 and 16, all of the model's ids, T = max(64, 4 pairs).
/// Errors: UsageError for lists that are none, InvalidArgument for sizes that do not fit.
std::vector<eval::MqarTask> mqarTasksOf(const CommandLine &line, const nlohmann::ordered_json &record, int64_t vocab);

/// What run.json keeps of tasks that differ in pairs only.
nlohmann::ordered_json toJson(const std::vector<eval::MqarTask> &tasks);

} // namespace tidegate::tool
