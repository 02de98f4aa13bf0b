//===- Import.cpp - tidegate import -----------------------------*- C++ -*-===//
// A checkpoint of the reference library becomes a run at step 0. Everything is
// checked before anything is written.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "compiler/tools/tidegate/RunRecord.h"
#include "compiler/tools/tidegate/RunTokenizer.h"
#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/train/WeightFiles.h"

#include <filesystem>
#include <iostream>

using namespace tidegate;
using namespace tidegate::tool;
using runtime::RuntimeError;
namespace fs = std::filesystem;

namespace {

void writeText(const std::string &path, const std::string &text) {
  runtime::writeFileAtomically(path, [&](runtime::FileWriter &out) { out.write(text); });
}

/// The program and its parameters as files, for `train FILE --config FILE`.
void writeProgram(const std::string &directory, const ProgramSource &source) {
  for (const SourceFile &file : source.files)
    writeText(directory + "/" + file.path, file.text);
  std::string lines;
  for (const auto &[name, value] : source.params)
    lines += "set = " + name + "=" + value + "\n";
  writeText(directory + "/" + fs::path(source.path).stem().string() + ".cfg", lines);
}

/// The tokenizer beside the weights; none if there is none, or none that we read.
std::optional<train::TokenizerRecord> tokenizerBeside(const std::string &directory) {
  for (const char *name : {"/tokenizer.json", "/tokenizer.model"})
    try {
      if (fs::exists(directory + name))
        return recordOf(*data::openTokenizer(directory + name), directory + name, /*prefixed=*/true);
    } catch (const RuntimeError &error) {
      std::cerr << "note: a tokenizer is left out: " << error.what() << "\n";
    }
  return std::nullopt;
}

void expectNoRun(const std::string &directory) {
  if (!fs::is_directory(directory))
    return;
  train::FoundCheckpoint found = train::findCheckpoint(directory);
  if (found.path || !found.skipped.empty())
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "'" + directory + "' already holds checkpoints; pass another --out");
}

} // namespace

ExitCode tool::runImport(std::span<const std::string> args) {
  CommandLine line("import", "HF_DIR",
                   "Makes a run directory of a checkpoint of the reference library: config.json (model_type gla,\n"
                   "delta_net, ...) with model.safetensors or its shards, in f32, bf16 or f16. The run is at step 0;\n"
                   "generate, eval, export and train --resume read it. The program and its parameters are written\n"
                   "beside it: train DIR/NAME.tg --config DIR/NAME.cfg --resume DIR.");
  line.option<std::string>("out", "DIR", "directory of the run to write");
  if (!line.parse(args))
    return kDone;
  const std::string from = line.operand(), out = line.required("out");
  const train::WeightFiles weights(from);
  const ProgramSource source = programFromConfig(from + "/config.json");
  weights.check(modelParameters(source));
  expectNoRun(out);

  CompileOptions options;
  // A wider weight would not come back from f32.
  options.precision = weights.dtype() == runtime::Dtype::F64 ? Precision::F64 : Precision::F32;
  auto model = compileModel(source, options);
  int64_t count = 0;
  for (size_t i = 0; i < model->parameters().size(); ++i) {
    weights.readInto(model->parameters()[i], model->parameter(i));
    count += model->parameters()[i].elements();
  }
  train::RunState state;
  state.program = recordOf(source);
  state.tokenizer = tokenizerBeside(from);
  state.settings = {{"imported-from", from}, {"imported-type", std::string(dtypeName(weights.dtype()))}};
  train::CheckpointDirectory directory(out, /*keep=*/0);
  const std::string saved = directory.save(*model, state);
  writeProgram(out, source);
  std::cerr << "imported " << count << " parameters in " << model->parameters().size() << " tensors as "
            << fs::path(source.path).stem().string() << "\n";
  std::cout << saved << "\n";
  return kDone;
}
