//===- ProgramOptions.cpp - Program and compile options ---------*- C++ -*-===//
// Shared by params, emit, run, verify, plan, train and generate.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/ProgramOptions.h"

#include <omp.h>

using namespace tidegate;
using namespace tidegate::tool;

void tool::addProgramOptions(CommandLine &line) {
  line.list("set", "NAME=VALUE", "value of a `param` of the program");
}

void tool::addCompileOptions(CommandLine &line) {
  line.option<std::string>("device", "NAME", "where to compute: cpu (default) or cuda");
  line.option<std::string>("precision", "P", "f32 (default), f64 (CPU), or bf16 (GPU)");
  line.option<std::string>("form", "F", "how recurrences run: chunk (default) or token");
  line.option<int64_t>("chunk", "C", "tokens of a chunk (default: the compiler's choice)");
  line.option<std::string>("low-rank", "HOW", "low-rank projections that a scan reads: stored (default), or fused "
                                              "into it, which saves memory");
  line.option<int64_t>("threads", "N", "CPU threads (default: all)");
  line.flag("documents", "rows may hold several documents: nothing looks across their boundaries");
}

void tool::addFormatOption(CommandLine &line) {
  line.option<std::string>("format", "F", "text (default) or json, one object");
}

ParamList tool::paramsOf(const CommandLine &line) {
  ParamList params;
  for (const std::string &setting : line.all("set")) {
    size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
      throw UsageError("option '--set' expects NAME=VALUE, but got '" + setting + "'");
    params.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  return params;
}

ProgramSource tool::programOf(const CommandLine &line) { return {line.operand(), paramsOf(line), {}}; }

CompileOptions tool::compileOptionsOf(const CommandLine &line) {
  CompileOptions options;
  options.target = line.choice<Target>("device", {{"cpu", Target::Cpu}, {"cuda", Target::Cuda}});
  options.precision = line.choice<Precision>(
      "precision", {{"f32", Precision::F32}, {"f64", Precision::F64}, {"bf16", Precision::BF16}});
  options.form = line.choice<ScanForm>("form", {{"chunk", ScanForm::Chunk}, {"token", ScanForm::Token}});
  options.documents = line.has("documents");
  options.chunk = line.integer("chunk", 0, line.has("chunk") ? 1 : 0);
  options.threads = static_cast<int>(line.integer("threads", 0, line.has("threads") ? 1 : 0));
  options.lowRank = line.choice<LowRank>("low-rank", {{"stored", LowRank::Stored}, {"fused", LowRank::Fused}});
  if (options.threads > 0)
    omp_set_num_threads(options.threads);
  return options;
}

bool tool::wantsJson(const CommandLine &line) {
  return line.choice<bool>("format", {{"text", false}, {"json", true}});
}

const char *tool::precisionName(Precision precision) { 
  return precision == Precision::F64 ? "f64" : precision == Precision::BF16 ? "bf16" : "f32";
}
