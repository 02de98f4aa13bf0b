//===- Export.cpp - tidegate export -----------------------------*- C++ -*-===//
// A checkpoint of ours as one that the reference library loads.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "compiler/tools/tidegate/RunRecord.h"
#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/train/WeightFiles.h"

#include <filesystem>
#include <iostream>

using namespace tidegate;
using namespace tidegate::tool;
using runtime::Dtype;
using runtime::HostTensor;
using runtime::NamedTensor;
using runtime::RuntimeError;

ExitCode tool::runExport(std::span<const std::string> args) {
  CommandLine line("export", "CHECKPOINT",
                   "Writes config.json, model.safetensors and the tokenizer as the reference library reads them, of\n"
                   "a step-N directory or the newest one of a run. The program must compute what one of the examples with a\n"
                   "model_type computes (gla, delta_net, ...).");
  line.option<std::string>("out", "DIR", "directory to write into");
  line.option<std::string>("dtype", "TYPE", "of the weights: f32 (default), bf16 or f16");
  if (!line.parse(args))
    return kDone;
  const std::string out = line.required("out");
  const auto [dtype, dtypeText] = line.choice<std::pair<Dtype, const char *>>(
      "dtype", {{"f32", {Dtype::F32, "float32"}}, {"bf16", {Dtype::BF16, "bfloat16"}}, {"f16", {Dtype::F16, "float16"}}});
  const train::FoundCheckpoint found = findUsableCheckpoint(line.operand());
  const ProgramSource source = sourceOf(found.state.program);
  const std::string config = configOfProgram(source, dtypeText);
  const train::TextPairs tokenizer = found.state.tokenizer ? found.state.tokenizer->files : train::TextPairs();
  const std::vector<train::ParameterSpec> parameters = modelParameters(source);
  const runtime::SafetensorsFile weights(*found.path + "/model.safetensors");

  std::vector<HostTensor> converted;
  std::vector<NamedTensor> tensors;
  converted.reserve(parameters.size()); // NamedTensor points into it
  for (const train::ParameterSpec &spec : parameters) {
    if (weights.contains(spec.name) && weights.entries().at(spec.name).dtype == dtype) {
      tensors.push_back({spec.name, dtype, spec.shape, weights.bytes(spec.name)});
      continue;
    }
    try {
      converted.push_back(weights.tensor(spec.name).to(dtype));
    } catch (const RuntimeError &error) {
      throw RuntimeError(error.kind(), "tensor '" + spec.name + "': " + error.what());
    }
    tensors.push_back(runtime::named(spec.name, converted.back()));
  }
  std::vector<std::string> names = {"config.json", "model.safetensors"};
  for (const auto &[name, content] : tokenizer)
    names.push_back(name);
  for (const std::string &name : names)
    if (std::filesystem::exists(out + "/" + name))
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "'" + out + "/" + name + "' already exists; pass another --out");
  runtime::makeWritableDirectory(out);
  runtime::writeSafetensorsFile(out + "/model.safetensors", tensors, {{"format", "pt"}});
  auto write = [&](const std::string &name, const std::string &text) {
    runtime::writeFileAtomically(out + "/" + name, [&](runtime::FileWriter &file) { file.write(text); });
  };
  for (const auto &[name, content] : tokenizer)
    write(name, content);
  write("config.json", config);
  std::cerr << "wrote " << tensors.size() << " tensors to " << out << "\n";
  return kDone;
}
