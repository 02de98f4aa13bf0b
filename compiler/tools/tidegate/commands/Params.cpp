//===- Params.cpp - tidegate params -----------------------------*- C++ -*-===//
// Counts weights from the front end alone; nothing is compiled or allocated.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/ProgramOptions.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

using namespace tidegate;
using namespace tidegate::tool;

namespace {

void printTable(const std::vector<train::ParameterSpec> &parameters) {
  size_t width = 0;
  for (const auto &spec : parameters)
    width = std::max(width, spec.name.size());
  for (const auto &spec : parameters)
    std::printf("%-*s  %12lld  %-16s %s%s\n", static_cast<int>(width), spec.name.c_str(), (long long)spec.elements(),
                runtime::shapeText(spec.shape).c_str(), spec.init.c_str(), spec.decay ? "" : ", no decay");
  std::fflush(stdout);
}

} // namespace

ExitCode tool::runParams(std::span<const std::string> args) {
  CommandLine line("params", "FILE", "Counts the parameters of a program's model.");
  addProgramOptions(line);
  line.flag("tensors", "also every weight: name, parameters, shape, init");
  addFormatOption(line);
  if (!line.parse(args))
    return kDone;
  const bool json = wantsJson(line);
  auto parameters = modelParameters(programOf(line));
  int64_t total = 0;
  for (const auto &spec : parameters)
    total += spec.elements();
  if (json) {
    nlohmann::ordered_json object = {{"parameters", total}, {"tensors", parameters.size()}};
    if (line.has("tensors")) {
      object["tensors"] = nlohmann::ordered_json::array();
      for (const auto &spec : parameters)
        object["tensors"].push_back({{"name", spec.name},
                                     {"shape", spec.shape},
                                     {"parameters", spec.elements()},
                                     {"init", spec.init},
                                     {"decay", spec.decay}});
    }
    std::cout << object.dump() << "\n";
    return kDone;
  }
  if (line.has("tensors"))
    printTable(parameters);
  std::cout << total << " parameters in " << parameters.size() << " tensors\n";
  return kDone;
}
