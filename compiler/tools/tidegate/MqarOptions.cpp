//===- MqarOptions.cpp - The recall task on the command line ----*- C++ -*-===//
#include "compiler/tools/tidegate/MqarOptions.h"

#include <algorithm>
#include <charconv>
#include <limits>

using namespace tidegate;
using namespace tidegate::tool;
using nlohmann::ordered_json;

namespace {

std::vector<int64_t> pairsOf(const std::string &list) {
  std::vector<int64_t> pairs;
  for (size_t at = 0; at <= list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    int64_t value = 0;
    auto [end, error] = std::from_chars(list.data() + at, list.data() + comma, value);
    if (error != std::errc() || end != list.data() + comma || value < 1)
      throw UsageError("option '--pairs' expects positive integers separated by commas, but got '" + list + "'");
    pairs.push_back(value);
    at = comma + 1;
  }
  return pairs;
}

} // namespace

void tool::addMqarOptions(CommandLine &line) {
  line.option<std::string>("pairs", "K,...", "mqar: numbers of pairs (default: the run's, else 4,8,16)");
  line.option<int64_t>("mqar-vocab", "N", "mqar: ids in use (default: the run's, else the model's vocabulary)");
  line.option<double>("mqar-power", "X", "mqar: of the weights of query slots, 1 is uniform (default 0.01)");
  line.option<std::string>("mqar-fill", "F", "mqar: what stands between queries, zero (default) or random ids");
}

std::vector<eval::MqarTask> tool::mqarTasksOf(const CommandLine &line, const ordered_json &record, int64_t vocab) {
  const ordered_json trained = record.is_object() ? record : ordered_json::object();
  eval::MqarTask task;
  task.vocab = line.integer("mqar-vocab", trained.value("vocab", vocab), 4);
  task.power = line.real("mqar-power", trained.value("power", task.power), std::numeric_limits<double>::min(),
                         std::numeric_limits<double>::infinity());
  task.randomFill = trained.value("fill", "zero") == "random";
  if (line.has("mqar-fill"))
    task.randomFill = line.choice<bool>("mqar-fill", {{"zero", false}, {"random", true}});
  const std::vector<int64_t> pairs = line.has("pairs") ? pairsOf(line.required("pairs"))
                                                       : trained.value("pairs", std::vector<int64_t>{4, 8, 16});
  std::vector<eval::MqarTask> tasks;
  for (int64_t K : pairs) {
    task.pairs = K;
    task.T = line.integer("seq", std::max<int64_t>(64, 4 * K), 1);
    task.validate();
    tasks.push_back(task);
  }
  return tasks;
}

ordered_json tool::toJson(const std::vector<eval::MqarTask> &tasks) {
  std::vector<int64_t> pairs;
  for (const eval::MqarTask &task : tasks)
    pairs.push_back(task.pairs);
  return {{"pairs", pairs},
          {"vocab", tasks.front().vocab},
          {"power", tasks.front().power},
          {"fill", tasks.front().randomFill ? "random" : "zero"}};
}
