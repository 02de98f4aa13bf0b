//===- FakeDriver.cpp - A stand-in for the compiler -------------*- C++ -*-===//
// A "program" is one line, `vocab N`; its model is the bigram of tests. N may
// be overridden by the parameter V. The program `crash` is a bug of ours. Links in place of TidegateDriver, so that
// the commands are tested without a compiler.
//===----------------------------------------------------------------------===//
#include "compiler/Driver/Driver.h"
#include "runtime/core/FileIo.h"
#include "tests/unit/runtime/BigramModel.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

using namespace tidegate;

namespace {

int64_t vocabOf(const ProgramSource &source) {
  std::string text = sourceFiles(source).front().text, word;
  int64_t vocab = 0;
  std::istringstream in(text);
  in >> word;
  if (word == "crash")
    std::abort();
  if (!(in >> vocab) || word != "vocab" || vocab <= 0) {
    std::fprintf(stderr, "%s:1:1: error: expected 'vocab N', but got '%s'\n", source.path.c_str(), word.c_str());
    throw CompileError({}, "");
  }
  for (const auto &[name, value] : source.params)
    if (name == "V")
      vocab = std::stoll(value);
  return vocab;
}

/// y = x * w, row by row.
struct ScaleRows : EntryProgram {
  std::vector<ValueSpec> in{{"x", {ValueSpec::kBatch, ValueSpec::kTime, 3}, runtime::Dtype::F64},
                            {"w", {3}, runtime::Dtype::F64}},
      out{{"y", {ValueSpec::kBatch, ValueSpec::kTime, 3}, runtime::Dtype::F64}};

  const std::vector<ValueSpec> &inputs() const override { return in; }
  const std::vector<ValueSpec> &outputs() const override { return out; }
  Tensors run(const Tensors &t) override { return {{"y", scaled(t.at("x"), t.at("w"))}}; }
  Tensors vjp(const Tensors &t, const Tensors &seeds) override {
    const auto &dy = seeds.at("y");
    runtime::HostTensor dw(runtime::Dtype::F64, {3});
    for (int64_t i = 0; i < dy.elements(); ++i)
      dw.as<double>()[i % 3] += dy.as<double>()[i] * t.at("x").as<double>()[i];
    return {{"grad.x", scaled(dy, t.at("w"))}, {"grad.w", dw}};
  }
  static runtime::HostTensor scaled(runtime::HostTensor x, const runtime::HostTensor &w) {
    for (int64_t i = 0; i < x.elements(); ++i)
      x.as<double>()[i] *= w.as<double>()[i % 3];
    return x;
  }
};

} // namespace

std::vector<SourceFile> tidegate::sourceFiles(const ProgramSource &source) {
  if (!source.files.empty())
    return source.files;
  return {{source.path, std::string(runtime::MappedFile(source.path).text())}};
}

std::vector<train::ParameterSpec> tidegate::modelParameters(const ProgramSource &source) {
  return test::BigramModel<float>(vocabOf(source)).parameters();
}

ParamList tidegate::programParams(const ProgramSource &source) {
  ParamList params{{"V", std::to_string(vocabOf(source))}, {"rank", "full"}};
  for (const auto &[name, value] : source.params)
    if (name == "rank")
      params.back().second = value;
  return params;
}

std::unique_ptr<train::Model> tidegate::compileModel(const ProgramSource &source, const CompileOptions &options) {
  if (options.precision == Precision::F64)
    return std::make_unique<test::BigramModel<double>>(vocabOf(source));
  return std::make_unique<test::BigramModel<float>>(vocabOf(source));
}

ParamList tidegate::paramsFromConfig(const std::string &configPath) {
  auto config = nlohmann::json::parse(runtime::MappedFile(configPath).text());
  return {{"V", std::to_string(config.at("vocab_size").get<int64_t>())}};
}

std::vector<EntryPoint> tidegate::entryPoints(const ProgramSource &) { return {{"M", "model", {}}}; }

ProgramSource tidegate::programFromConfig(const std::string &configPath) {
  return {"m.tg", paramsFromConfig(configPath), {{"m.tg", "vocab 272\n"}}};
}

std::string tidegate::configOfProgram(const ProgramSource &source, const std::string &dtype) {
  return nlohmann::json{{"vocab_size", vocabOf(source)}, {"torch_dtype", dtype}}.dump();
}

std::vector<std::pair<std::string, std::string>> tidegate::stages() {
  return {{"graph", "the program as a graph"}, {"plan", "what runs"}};
}

std::string tidegate::emitStage(const ProgramSource &source, const std::string &stage, const CompileOptions &) {
  return stage + " of vocab " + std::to_string(vocabOf(source)) + "\n";
}

bool tidegate::entryTakes(const ProgramSource &, const std::string &, const std::string &tensor) {
  return tensor == "x" || tensor == "w";
}

bool tidegate::separatesDocuments(const ProgramSource &) { return true; }

std::unique_ptr<EntryProgram> tidegate::compileEntry(const ProgramSource &, const std::string &, const CompileOptions &,
                                                     const std::map<std::string, std::vector<int64_t>> &,
                                                     const std::map<std::string, int64_t> &,
                                                     const std::set<std::string> &) {
  return std::make_unique<ScaleRows>();
}

std::map<std::string, DrawRange> tidegate::steadyRanges(const ProgramSource &, const std::string &,
                                                        const std::map<std::string, std::vector<int64_t>> &,
                                                        const std::map<std::string, int64_t> &) {
  return {};
}

PlanReport tidegate::planModel(const ProgramSource &source, int64_t B, int64_t T, const CompileOptions &options,
                               int64_t microBatches) {
  PlanReport report;
  report.layers = 4;
  const int64_t kept = report.layers - std::min(report.layers, options.recomputedLayers);
  report.peakBytes = vocabOf(source) * B * T * (1 + kept);
  report.classBytes = {{"weights", report.peakBytes}};
  report.memory = "  peak " + std::to_string(report.peakBytes) + "\n";
  report.flops = 2e9 * double(microBatches);
  report.steps = 3;
  report.table = "step  1";
  report.json = "{\"peak_bytes\":" + std::to_string(report.peakBytes) + "}";
  return report;
}

void tidegate::expectRoom(const ProgramSource &, int64_t, int64_t, const CompileOptions &, int64_t,
                          const PlanReport &) {}

int64_t tidegate::layersToRecompute(const ProgramSource &source, int64_t B, int64_t T, const CompileOptions &options,
                                    int64_t microBatches, int64_t bytes) {
  CompileOptions tried = options;
  for (tried.recomputedLayers = 0; tried.recomputedLayers < 4; ++tried.recomputedLayers)
    if (planModel(source, B, T, tried, microBatches).peakBytes <= bytes)
      break;
  return tried.recomputedLayers;
}

void tidegate::watchTraining(train::Model &, std::function<void(const StepPart &)>) {}

double tidegate::measureProductRate(const CompileOptions &) { return 1e12; }

BenchReport tidegate::benchModel(const ProgramSource &source, int64_t B, int64_t T, int repeats,
                                 const CompileOptions &) {
  BenchReport report;
  report.stepSeconds = 0.5;
  report.flops = double(vocabOf(source) * B * T);
  report.productsPerSecond = 4 * report.flops;
  report.rows = {{"product", "bigram.tg:1", repeats, 0.25, report.flops}};
  return report;
}
