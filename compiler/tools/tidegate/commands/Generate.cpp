//===- Generate.cpp - tidegate generate -------------------------*- C++ -*-===//
// Needs the checkpoint only: it holds the program's text, parameters and tokenizer.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "compiler/tools/tidegate/RunRecord.h"
#include "compiler/tools/tidegate/RunTokenizer.h"
#include "runtime/train/Generate.h"

#include <iostream>
#include <limits>

using namespace tidegate;
using namespace tidegate::tool;

ExitCode tool::runGenerate(std::span<const std::string> args) {
  CommandLine line("generate", "CHECKPOINT",
                   "Continues a prompt with a trained model. CHECKPOINT is a step-N directory, or a run's directory,\n"
                   "whose newest checkpoint is taken.");
  line.option<std::string>("prompt", "TEXT", "text to continue (default: empty, the start of a text or line)");
  line.option<int64_t>("max-tokens", "N", "tokens to write (default 256)");
  line.option<double>("temperature", "X", "0 always takes the likeliest token (default 0.8)");
  line.option<double>("top-p", "X", "keep the likeliest tokens up to this mass (default 0.95)");
  line.option<int64_t>("seed", "N", "of the draws (default 0)");
  addTokenizerOption(line);
  addCompileOptions(line);
  if (!line.parse(args))
    return kDone;
  const double anything = std::numeric_limits<double>::infinity();
  const train::SamplerConfig sampler{line.real("temperature", 0.8, 0, anything), line.real("top-p", 0.95, 1e-9, 1),
                                     static_cast<uint64_t>(line.integer("seed", 0, 0))};
  const int64_t count = line.integer("max-tokens", 256, 0);
  const CompileOptions options = compileOptionsOf(line);

  train::FoundCheckpoint found = findUsableCheckpoint(line.operand());
  const data::TextCodec codec = tokenizerOf(line, found).codec;
  auto model = compileModel(sourceOf(found.state.program), options);
  train::loadWeights(*found.path + "/model.safetensors", *model);
  const std::string prompt = line.get<std::string>("prompt", "");
  std::cout << prompt;
  train::generateText(*model, codec, prompt, count, sampler, [](std::string_view text) { std::cout << text << std::flush; });
  std::cout << "\n";
  return kDone;
}
