//===- Verify.cpp - tidegate verify -----------------------------*- C++ -*-===//
// With --golden against a reference's stored values, without it the program's
// compiled forms against each other.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "compiler/tools/tidegate/verify/EntryLadder.h"
#include "compiler/tools/tidegate/verify/Golden.h"
#include "compiler/tools/tidegate/verify/Ladder.h"

#include "runtime/core/Error.h"
#include "runtime/core/Safetensors.h"

#include <algorithm>
#include <charconv>
#include <iostream>
#include <optional>

using namespace tidegate;
using namespace tidegate::tool;

namespace {

VerifyReport verifyGolden(const CommandLine &line, ProgramSource source, CompileOptions options) {
  if (line.has("precision") && options.precision == Precision::BF16)
    throw UsageError("option '--golden' compares in f64 and f32, not in bf16");
  const std::string directory = line.get<std::string>("golden", "");
  // The folder's parameters first, so that those of --set count.
  ParamList params = paramsFromConfig(directory + "/config.json");
  params.insert(params.end(), source.params.begin(), source.params.end());
  source.params = std::move(params);
  const bool orthogonalises = std::any_of(source.params.begin(), source.params.end(), [](const auto &param) {
    return param.first == "muon" && param.second == "true";
  });
  const GoldenBounds bounds = orthogonalises ? GoldenBounds::ofNewtonSchulz() : GoldenBounds();
  VerifyReport report;
  for (Precision precision : {Precision::F64, Precision::F32}) {
    if (line.has("precision") && precision != options.precision)
      continue;
    CompileOptions one = options;
    one.precision = precision;
    auto model = compileModel(source, one);
    checkGolden(*model, directory, precisionName(precision), report, bounds);
  }
  return report;
}

LadderSizes sizesOf(const CommandLine &line) {
  LadderSizes sizes;
  sizes.batch = line.integer("batch", sizes.batch, 1);
  sizes.seed = static_cast<uint64_t>(line.integer("seed", 1, 0));
  if (line.has("seq")) {
    std::erase_if(sizes.lengths, [&](int64_t T) { return T >= line.integer("seq", 1, 1); });
    sizes.lengths.push_back(line.integer("seq", 1, 1));
  }
  return sizes;
}

CompileOptions formOf(CompileOptions options, Precision precision, ScanForm form, bool documents = false) {
  options.precision = precision;
  options.form = form;
  if (precision == Precision::F64) // the oracle and what is held to it in fp64 run on the CPU
    options.target = Target::Cpu;
  options.remarks = precision == Precision::F32; // Once.
  options.documents = documents;
  return options;
}

/// Without --precision everything is compared.
bool compares(const CommandLine &line, const CompileOptions &options, Precision precision) {
  if (precision == Precision::BF16 && options.target != Target::Cuda)
    return false;
  return !line.has("precision") || options.precision == precision;
}

VerifyReport verifyModel(const CommandLine &line, const ProgramSource &source, const CompileOptions &options) {
  auto compile = [&](Precision precision, ScanForm form, bool documents = false) {
    return compileModel(source, formOf(options, precision, form, documents));
  };
  const bool documents = separatesDocuments(source);
  auto chunk64 = compile(Precision::F64, ScanForm::Chunk);
  std::unique_ptr<train::Model> token64, documents64, chunk32, documents32, chunk16, rounded64;
  if (compares(line, options, Precision::F64)) {
    token64 = compile(Precision::F64, ScanForm::Token);
    if (documents)
      documents64 = compile(Precision::F64, ScanForm::Chunk, documents);
  }
  if (compares(line, options, Precision::F32)) {
    chunk32 = compile(Precision::F32, ScanForm::Chunk);
    if (documents)
      documents32 = compile(Precision::F32, ScanForm::Chunk, documents);
  }
  if (compares(line, options, Precision::BF16)) {
    chunk16 = compile(Precision::BF16, ScanForm::Chunk);
    CompileOptions rounded = formOf(options, Precision::F64, ScanForm::Chunk);
    rounded.roundsStored = rounded.chunkLoops = true;
    rounded64 = compileModel(source, rounded);
  }
  VerifyReport report;
  climbLadder({*chunk64, token64.get(), chunk32.get(), documents64.get(), documents32.get(), chunk16.get(),
               rounded64.get()},
              sizesOf(line), report);
  return report;
}

/// What the options say of an entry's open sizes, and small different ones for the others.
std::map<std::string, int64_t> sizesOfEntry(const CommandLine &line, const EntryPoint &entry) {
  std::map<std::string, int64_t> sizes;
  for (const std::string &setting : line.all("size")) {
    const size_t equals = setting.find('=');
    int64_t size = 0;
    const char *begin = setting.data() + std::min(equals, setting.size()) + 1, *end = setting.data() + setting.size();
    if (equals == std::string::npos || begin >= end || std::from_chars(begin, end, size).ptr != end || size < 1)
      throw UsageError("option '--size' expects NAME=N with N of at least 1, but got '" + setting + "'");
    sizes[setting.substr(0, equals)] = size;
  }
  int64_t next = 2;
  for (const std::string &name : entry.open) {
    sizes.try_emplace(name, next);
    next = std::min<int64_t>(2 * next, 16);
  }
  return sizes;
}

/// Where random inputs of an entry are drawn; says which are kept to one side of 0.
std::map<std::string, DrawRange> drawRanges(const ProgramSource &source, const EntryPoint &entry,
                                            const std::map<std::string, int64_t> &sizes) {
  auto ranges = steadyRanges(source, entry.name, {}, sizes);
  for (const auto &[name, range] : ranges)
    if (range.low == 0 || range.high == 0)
      std::cerr << entry.name << ": '" << name << "' is drawn " << (range.low == 0 ? "above" : "below")
                << " 0, where no state grows by it\n";
  return ranges;
}

void verifyEntry(const CommandLine &line, const ProgramSource &source, const CompileOptions &options,
                 const EntryPoint &entry, VerifyReport &report) {
  std::map<std::string, std::vector<int64_t>> shapes;
  std::optional<runtime::SafetensorsFile> file;
  if (line.has("inputs")) {
    file.emplace(line.get<std::string>("inputs", ""));
    for (const auto &[name, tensor] : file->entries())
      shapes[name] = tensor.shape;
  }
  const auto sizes = file ? std::map<std::string, int64_t>() : sizesOfEntry(line, entry);
  auto compile = [&](Precision precision, ScanForm form) {
    return compileEntry(source, entry.name, formOf(options, precision, form), shapes, sizes);
  };
  auto token64 = compile(Precision::F64, ScanForm::Token);
  auto compared = [&](Precision precision) {
    return compares(line, options, precision) ? compile(precision, ScanForm::Chunk) : nullptr;
  };
  auto chunk64 = compared(Precision::F64), chunk32 = compared(Precision::F32), chunk16 = compared(Precision::BF16);
  LadderInputs inputs;
  if (file)
    for (const ValueSpec &spec : token64->inputs())
      inputs.given.emplace(spec.name, file->tensor(spec.name).to(spec.dtype));
  else
    inputs.ranges = drawRanges(source, entry, sizes);
  climbEntryLadder(entry.name, {*token64, chunk64.get(), chunk32.get(), chunk16.get()}, sizesOf(line), inputs, report);
}

VerifyReport verifyForms(const CommandLine &line, const ProgramSource &source, const CompileOptions &options) {
  for (const char *name : {"form", "documents"})
    if (line.has(name))
      throw UsageError(std::string("option '--") + name + "' needs --golden: without it both forms are compared, and "
                                                          "packed documents");
  if (line.has("precision") && options.precision == Precision::BF16 && options.target != Target::Cuda)
    throw UsageError("option '--precision bf16' needs --device cuda: bf16 runs on a GPU");
  if (line.has("inputs") && !line.has("entry"))
    throw UsageError("option '--inputs' needs --entry: it holds the tensors of one function");
  const std::vector<EntryPoint> entries = entryPoints(source);
  const bool hasModel = std::any_of(entries.begin(), entries.end(), [](const auto &e) { return e.kind == "model"; });
  VerifyReport report;
  if (line.has("entry")) {
    const std::string name = line.get<std::string>("entry", "");
    auto found = std::find_if(entries.begin(), entries.end(), [&](const auto &e) { return e.name == name; });
    // A name that is not there is the compiler's to report.
    verifyEntry(line, source, options, found == entries.end() ? EntryPoint{name, "fn", {}} : *found, report);
    return report;
  }
  if (hasModel)
    return verifyModel(line, source, options);
  for (const EntryPoint &entry : entries)
    try {
      verifyEntry(line, source, options, entry, report);
    } catch (const CompileError &error) {
      // Random sizes may not suit a function; one that is named with --entry must do.
      std::cerr << "not checked: '" << entry.name << "' (use --entry and --size): " << error.what() << "\n";
    }
  if (report.rows.empty())
    throw runtime::RuntimeError(runtime::RuntimeError::Kind::InvalidArgument,
                                "expected a model, or a fn or layer that can be checked, in '" + source.path + "'");
  return report;
}

/// Nothing when only help was asked for.
std::optional<VerifyReport> reportOf(CommandLine &line, std::span<const std::string> args) {
  addProgramOptions(line);
  line.option<std::string>("golden", "DIR", "folder of config.json, model.safetensors, golden.safetensors");
  line.option<std::string>("entry", "NAME", "check one fn or layer");
  line.list("size", "NAME=N", "an open size of an entry (default: 2, 4, 8, 16, ... in order of appearance)");
  line.option<std::string>("inputs", "PATH", "safetensors file of --entry's inputs, instead of random ones");
  line.option<int64_t>("batch", "B", "rows, without --golden (default 2)");
  line.option<int64_t>("seq", "T", "longest sequence, without --golden (default 130)");
  line.option<int64_t>("seed", "N", "of random weights and tokens, without --golden (default 1)");
  line.flag("all", "print every comparison, not the worst of each kind");
  addCompileOptions(line);
  addFormatOption(line);
  if (!line.parse(args))
    return std::nullopt;
  wantsJson(line); // Refused before the work, not after it.
  const ProgramSource source = programOf(line);
  const CompileOptions options = compileOptionsOf(line);
  return line.has("golden") ? verifyGolden(line, source, options) : verifyForms(line, source, options);
}

CommandLine commandLine() {
  return CommandLine("verify", "FILE",
                     "Checks a program's model. With --golden: logits, loss, every gradient and five AdamW losses\n"
                     "against a reference's, in f64 and f32. Without: token form, chunk form, derived gradients,\n"
                     "finite differences, decoding, packed documents and f32 against each other, on random\n"
                     "weights; with --device cuda f32 and bf16 run on the GPU, bf16 within the share of bfloat16,\n"
                     "by tensor and by row. --precision leaves out what is not of that precision. Of a program\n"
                     "without a model every fn and layer is checked so, on random inputs. Exit code 0 only if\n"
                     "everything holds.");
}

} // namespace

std::string tool::verifyJson(std::span<const std::string> args) {
  CommandLine line = commandLine();
  const auto report = reportOf(line, args);
  return report ? report->json() : "";
}

ExitCode tool::runVerify(std::span<const std::string> args) {
  CommandLine line = commandLine();
  const auto report = reportOf(line, args);
  if (!report)
    return kDone;
  if (wantsJson(line))
    std::cout << report->json() << "\n";
  else
    report->print(std::cout, line.has("all"));
  return report->holds() ? kDone : kBadInput;
}
