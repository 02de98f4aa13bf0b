//===- Commands.cpp - The command line in the process -----------*- C++ -*-===//
#include "compiler/tools/tidegate/Commands.h"
#include "frontends/python/module/Module.h"

#include <csignal>
#include <pybind11/functional.h>
#include <pybind11/stl.h>

namespace py = pybind11;
using namespace tidegate;

namespace {

int runTool(const std::vector<std::string> &args) {
  std::signal(SIGPIPE, SIG_DFL); // As any command, unlike Python.
  return tool::runProcess(args);
}

/// `tidegate train` with these arguments. `record` sees every record of the
/// metrics as JSON, `stop` is asked between steps.
std::optional<std::string> trainWith(const std::vector<std::string> &args, const std::function<void(std::string)> &record,
                                 const std::function<bool()> &stop) {
  py::gil_scoped_release release;
  tool::TrainHooks hooks;
  if (record)
    hooks.record = [&](const nlohmann::ordered_json &json) {
      py::gil_scoped_acquire acquire;
      record(json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    };
  if (stop)
    hooks.stop = [&] {
      py::gil_scoped_acquire acquire;
      return stop();
    };
  auto result = tool::trainRun(args, hooks);
  return result ? std::optional(result->dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace))
                : std::nullopt;
}

} // namespace

void python::bindCommands(py::module_ &module) {
  module.def("run_tool", &runTool, py::call_guard<py::gil_scoped_release>(),
             "The whole command line; returns its exit code.");
  module.def("train", &trainWith, py::arg("args"), py::arg("record") = nullptr, py::arg("stop") = nullptr);
  module.def("verify", [](const std::vector<std::string> &args) { return tool::verifyJson(args); },
             py::call_guard<py::gil_scoped_release>(), "`tidegate verify`: its JSON.");
}
