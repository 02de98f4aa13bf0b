//===- Run.cpp - tidegate run -----------------------------------*- C++ -*-===//
// Executes an entry point on the tensors of a file. Outputs appear complete or
// not at all.
//===----------------------------------------------------------------------===//
#include "compiler/tools/tidegate/Commands.h"
#include "compiler/tools/tidegate/ProgramOptions.h"
#include "runtime/core/Error.h"
#include "runtime/core/Safetensors.h"
#include "runtime/core/Suggest.h"
#include "runtime/train/Documents.h"

#include <algorithm>
#include <iostream>
#include <optional>

using namespace tidegate;
using namespace tidegate::tool;
using runtime::RuntimeError;
using runtime::SafetensorsFile;

namespace {

[[noreturn]] void invalid(const std::string &message) {
  throw RuntimeError(RuntimeError::Kind::InvalidArgument, message);
}

/// "[B, T, 64]".
std::string specText(const ValueSpec &spec) {
  std::string text = "[";
  for (size_t i = 0; i < spec.shape.size(); ++i) {
    int64_t size = spec.shape[i];
    text += (i ? ", " : "") + (size == ValueSpec::kBatch  ? std::string("B")
                               : size == ValueSpec::kTime ? std::string("T")
                                                          : std::to_string(size));
  }
  return text + "]";
}

/// What B and T are, and which tensor said so first.
struct RowSizes {
  std::optional<int64_t> size[2];
  std::string source[2];

  void bind(const std::string &tensor, int64_t symbol, int64_t found) {
    const int which = symbol == ValueSpec::kBatch ? 0 : 1;
    if (!size[which]) {
      size[which] = found;
      source[which] = tensor;
    } else if (*size[which] != found) {
      invalid(std::string("expected ") + "BT"[which] + " = " + std::to_string(*size[which]) + " as in '" +
              source[which] + "', but tensor '" + tensor + "' has " + std::to_string(found));
    }
  }
};

/// The tensors a spec asks for, checked in shape and converted in type.
EntryProgram::Tensors gather(const SafetensorsFile &file, const std::vector<ValueSpec> &specs, RowSizes &rows,
                             bool allNeeded) {
  EntryProgram::Tensors tensors;
  for (const ValueSpec &spec : specs) {
    if (!allNeeded && !file.contains(spec.name))
      continue;
    runtime::HostTensor tensor = file.tensor(spec.name);
    const auto &shape = tensor.shape();
    bool fits = shape.size() == spec.shape.size();
    for (size_t i = 0; fits && i < shape.size(); ++i)
      if (spec.shape[i] < 0)
        rows.bind(spec.name, spec.shape[i], shape[i]);
      else
        fits = shape[i] == spec.shape[i];
    if (!fits)
      invalid("'" + file.path() + "': expected tensor '" + spec.name + "' of shape " + specText(spec) + ", but it is " +
              runtime::shapeText(shape));
    try {
      tensors.emplace(spec.name, tensor.to(spec.dtype));
    } catch (const RuntimeError &error) {
      invalid("'" + file.path() + "', tensor '" + spec.name + "': " + error.what());
    }
  }
  return tensors;
}

constexpr const char *kPositions = "positions", *kBoundaries = "cu_seqlens";

/// Which documents the rows hold: `positions` (B x T) as given, or from
/// `cu_seqlens`, the boundaries of one row; else one document a row.
runtime::HostTensor positionsOf(const SafetensorsFile &file, const ValueSpec &spec, RowSizes &rows) {
  if (file.contains(kPositions))
    return gather(file, {spec}, rows, true).at(kPositions);
  if (!file.contains(kBoundaries)) {
    const int64_t B = rows.size[0].value_or(1), T = rows.size[1].value_or(1);
    return runtime::HostTensor::of<int32_t>({B, T}, train::positionsOfRows(B, T));
  }
  const std::string where = "'" + file.path() + "', tensor '" + kBoundaries + "': ";
  try {
    const runtime::HostTensor boundaries = file.tensor(kBoundaries).to(runtime::Dtype::I64);
    if (boundaries.shape().size() != 1)
      invalid("expected a list of document boundaries, but its shape is " + runtime::shapeText(boundaries.shape()));
    if (rows.size[0].value_or(1) != 1)
      invalid("expected one row of tokens to cut, but '" + rows.source[0] + "' has B = " +
              std::to_string(*rows.size[0]) + "; give '" + kPositions + "' (B x T) instead");
    const auto cuts = boundaries.as<int64_t>();
    const int64_t T = rows.size[1] ? *rows.size[1] : cuts.empty() ? 0 : cuts.back();
    return runtime::HostTensor::of<int32_t>({1, T}, train::positionsOfBoundaries(cuts, T));
  } catch (const RuntimeError &error) {
    invalid(where + error.what());
  }
}

/// A tensor in the file that nothing takes is most likely a misspelt one.
void expectAllUsed(const SafetensorsFile &file, const std::vector<ValueSpec> &specs, const std::string &what) {
  std::vector<std::string> names;
  for (const ValueSpec &spec : specs)
    names.push_back(spec.name);
  for (const auto &[name, entry] : file.entries())
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      std::string valid;
      for (const std::string &known : names)
        valid += (valid.empty() ? "" : ", ") + known;
      invalid("'" + file.path() + "': tensor '" + name + "' is no " + what + runtime::didYouMean(name, names) +
              " (" + what + "s: " + valid + ")");
    }
}

} // namespace

ExitCode tool::runEntry(std::span<const std::string> args) {
  CommandLine line("run", "FILE",
                   "Executes a function, a layer or the model on tensors by name; weights are inputs as well. With\n"
                   "--grad the outputs also hold grad.NAME, the vector-Jacobian product, of every floating input.\n"
                   "A row may hold several documents: the inputs then say where each begins, by 'positions' (B x T,\n"
                   "the place of a token in its document) or, for one row, by 'cu_seqlens' (0, ..., T).");
  addProgramOptions(line);
  line.option<std::string>("entry", "NAME", "function, layer or model to run");
  line.option<std::string>("inputs", "PATH", "safetensors file of the inputs");
  line.option<std::string>("outputs", "PATH", "safetensors file to write");
  line.option<std::string>("grad", "PATH", "safetensors file of cotangents, by output name");
  addCompileOptions(line);
  if (!line.parse(args))
    return kDone;
  const std::string entry = line.required("entry"), outputs = line.required("outputs");
  const SafetensorsFile inputs(line.required("inputs"));
  std::optional<SafetensorsFile> cotangents;
  if (line.has("grad"))
    cotangents.emplace(line.required("grad"));

  const ProgramSource source = programOf(line);
  CompileOptions options = compileOptionsOf(line);
  const bool ownPositions = entryTakes(source, entry, kPositions);
  const bool cuts = inputs.contains(kBoundaries) && !entryTakes(source, entry, kBoundaries);
  if (cuts && inputs.contains(kPositions))
    invalid("'" + inputs.path() + "': expected the tensor '" + kPositions + "' or '" + kBoundaries + "', but got both");
  options.documents |= cuts || (inputs.contains(kPositions) && !ownPositions);
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto &[name, tensor] : inputs.entries())
    if (!cuts || name != kBoundaries)
      shapes[name] = tensor.shape;
  auto program = compileEntry(source, entry, options, shapes);
  RowSizes rows;
  std::vector<ValueSpec> known = program->inputs(), fromFile = known;
  if (cuts)
    known.push_back({kBoundaries, {}, runtime::Dtype::I64});
  expectAllUsed(inputs, known, "input");
  if (options.documents)
    std::erase_if(fromFile, [](const ValueSpec &spec) { return spec.name == kPositions; });
  EntryProgram::Tensors given = gather(inputs, fromFile, rows, true), seeds;
  if (options.documents)
    for (const ValueSpec &spec : program->inputs())
      if (spec.name == kPositions)
        given.emplace(kPositions, positionsOf(inputs, spec, rows));
  if (cotangents) {
    expectAllUsed(*cotangents, program->outputs(), "output");
    seeds = gather(*cotangents, program->outputs(), rows, false);
  }

  EntryProgram::Tensors results = program->run(given);
  if (cotangents)
    results.merge(program->vjp(given, seeds));
  std::vector<runtime::NamedTensor> named;
  for (const auto &[name, tensor] : results)
    named.push_back(runtime::named(name, tensor));
  runtime::writeSafetensorsFile(outputs, named);
  std::cerr << "wrote " << named.size() << " tensors to " << outputs << "\n";
  return kDone;
}
