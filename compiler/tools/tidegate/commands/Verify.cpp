//===- Verify.cpp - tidegate verify -----------------------------*- C++ -*-===//
// With --golden against a reference's stored values, without it the program's
// compiled forms against each other.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "compiler/tools/tidegate/verify/Golden.h"
#include "compiler/tools/tidegate/verify/Ladder.h"

#include <iostream>

using namespace tidegate;
using namespace tidegate::tool;

namespace {

VerifyReport verifyGolden(const CommandLine &line, ProgramSource source, CompileOptions options) {
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

VerifyReport verifyForms(const CommandLine &line, const ProgramSource &source, const CompileOptions &options) {
  for (const char *name : {"precision", "form", "documents"})
    if (line.has(name))
      throw UsageError(std::string("option '--") + name + "' needs --golden: without it every precision and form is "
                                                          "compared, and packed documents");
  LadderSizes sizes;
  sizes.batch = line.integer("batch", sizes.batch, 1);
  sizes.seed = static_cast<uint64_t>(line.integer("seed", 1, 0));
  if (line.has("seq")) {
    std::erase_if(sizes.lengths, [&](int64_t T) { return T >= line.integer("seq", 1, 1); });
    sizes.lengths.push_back(line.integer("seq", 1, 1));
  }
  auto compile = [&](Precision precision, ScanForm form, bool documents = false) {
    CompileOptions one = options;
    one.precision = precision;
    one.form = form;
    one.remarks = precision == Precision::F32; // Once.
    one.documents = documents;
    return compileModel(source, one);
  };
  auto token64 = compile(Precision::F64, ScanForm::Token), chunk64 = compile(Precision::F64, ScanForm::Chunk),
       chunk32 = compile(Precision::F32, ScanForm::Chunk);
  std::unique_ptr<train::Model> documents64;
  if (separatesDocuments(source))
    documents64 = compile(Precision::F64, ScanForm::Chunk, /*documents=*/true);
  VerifyReport report;
  climbLadder({*token64, *chunk64, *chunk32, documents64.get()}, sizes, report);
  return report;
}

} // namespace

ExitCode tool::runVerify(std::span<const std::string> args) {
  CommandLine line("verify", "FILE",
                   "Checks a program's model. With --golden: logits, loss, every gradient and five AdamW losses\n"
                   "against a reference's, in f64 and f32. Without: token form, chunk form, derived gradients, finite\n"
                   "differences, decoding, packed documents and f32 against each other, on random weights. Exit code 0\n"
                   "only if everything holds.");
  addProgramOptions(line);
  line.option<std::string>("golden", "DIR", "folder of config.json, model.safetensors, golden.safetensors");
  line.option<int64_t>("batch", "B", "rows, without --golden (default 2)");
  line.option<int64_t>("seq", "T", "longest sequence, without --golden (default 130)");
  line.option<int64_t>("seed", "N", "of random weights and tokens, without --golden (default 1)");
  line.flag("all", "print every comparison, not the worst of each kind");
  addCompileOptions(line);
  addFormatOption(line);
  if (!line.parse(args))
    return kDone;
  const bool json = wantsJson(line);
  const ProgramSource source = programOf(line);
  const CompileOptions options = compileOptionsOf(line);
  VerifyReport report =
      line.has("golden") ? verifyGolden(line, source, options) : verifyForms(line, source, options);
  if (json)
    std::cout << report.json() << "\n";
  else
    report.print(std::cout, line.has("all"));
  return report.holds() ? kDone : kBadInput;
}
