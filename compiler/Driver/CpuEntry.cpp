//===- CpuEntry.cpp - Any function of a program on the CPU ------*- C++ -*-===//
#include "compiler/Driver/Pipeline.h"
#include "compiler/Plan/CpuProgram.h"
#include "runtime/core/Error.h"
#include "runtime/train/Documents.h"

using namespace tidegate;
using mlir::func::FuncOp;
using runtime::Dtype;
using runtime::HostTensor;
using runtime::RuntimeError;

namespace {
mlir::RankedTensorType tensorOf(mlir::Type type) { return mlir::cast<mlir::RankedTensorType>(type); }

/// A tensor of the compiled function's interface: `?` is B, then T.
ValueSpec specOf(mlir::Type type, std::string name) {
  ValueSpec spec;
  spec.name = std::move(name);
  int dynamic = 0;
  for (int64_t size : tensorOf(type).getShape())
    spec.shape.push_back(!mlir::ShapedType::isDynamic(size) ? size
                         : dynamic++ == 0                   ? ValueSpec::kBatch
                                                            : ValueSpec::kTime);
  auto element = tensorOf(type).getElementType();
  spec.dtype = element.isF64() ? Dtype::F64 : element.isF32() ? Dtype::F32 : Dtype::I32;
  return spec;
}

std::string attributeOr(mlir::DictionaryAttr attributes, llvm::StringRef first, llvm::StringRef second,
                        std::string fallback) {
  for (llvm::StringRef key : {first, second})
    if (attributes)
      if (auto name = attributes.getAs<mlir::StringAttr>(key))
        return name.str();
  return fallback;
}

struct Sizes {
  int64_t B = 1, T = 1;

  std::vector<int64_t> of(const ValueSpec &spec) const {
    std::vector<int64_t> shape;
    for (int64_t size : spec.shape)
      shape.push_back(size == ValueSpec::kBatch ? B : size == ValueSpec::kTime ? T : size);
    return shape;
  }
};

class CpuEntry : public EntryProgram {
public:
  CpuEntry(const ProgramSource &source, const std::string &entry, const CompileOptions &options,
           const std::map<std::string, std::vector<int64_t>> &inputShapes, const std::map<std::string, int64_t> &sizes)
      : compilation(options), program(source) {
    generate.entry = entry;
    generate.inputShapes = inputShapes;
    if (options.documents && !program.takes(entry, kPositions))
      generate.inputShapes.erase(kPositions);
    generate.dims = sizes;
    auto module = compilation.generate(program, generate);
    FuncOp function = entryOf(*module);
    for (unsigned i = 0; i < function.getNumArguments(); ++i)
      in.push_back(specOf(function.getArgumentTypes()[i],
                          attributeOr(function.getArgAttrDict(i), "nn.weight", "nn.name", "arg" + std::to_string(i))));
    for (unsigned i = 0; i < function.getNumResults(); ++i)
      out.push_back(specOf(function.getResultTypes()[i],
                           attributeOr(function.getResultAttrDict(i), "nn.name", "nn.name",
                                       function.getNumResults() == 1 ? "result" : "result" + std::to_string(i))));
  }

  const std::vector<ValueSpec> &inputs() const override { return in; }
  const std::vector<ValueSpec> &outputs() const override { return out; }

  Tensors run(const Tensors &given) override {
    Sizes sizes = check(given);
    auto bindings = bind(given);
    Tensors results;
    for (const ValueSpec &spec : out)
      bindings.push_back(results.emplace(spec.name, HostTensor(spec.dtype, sizes.of(spec))).first->second.view().data);
    forward().run(sizes.B, sizes.T, bindings);
    return results;
  }

  Tensors vjp(const Tensors &given, const Tensors &cotangents) override {
    Sizes sizes = check(given);
    auto bindings = bind(given);
    Tensors seeds, results;
    for (const auto &[name, tensor] : cotangents)
      if (std::none_of(out.begin(), out.end(), [&, &n = name](const ValueSpec &spec) { return spec.name == n; }))
        throw RuntimeError(RuntimeError::Kind::NotFound, "no output is called '" + name + "'; outputs are " + names(out));
    for (const ValueSpec &spec : out) {
      auto shape = sizes.of(spec);
      auto it = cotangents.find(spec.name);
      HostTensor seed = it == cotangents.end() ? HostTensor(spec.dtype, shape) : it->second;
      expect(spec, seed, shape, "cotangent of");
      bindings.push_back(seeds.emplace(spec.name, std::move(seed)).first->second.view().data);
    }
    for (const ValueSpec &spec : in)
      if (runtime::isFloating(spec.dtype))
        bindings.push_back(
            results.emplace("grad." + spec.name, HostTensor(spec.dtype, sizes.of(spec))).first->second.view().data);
    backward().run(sizes.B, sizes.T, bindings);
    return results;
  }

private:
  static constexpr const char *kPositions = "positions";

  FuncOp entryOf(mlir::ModuleOp module) {
    for (auto function : module.getOps<FuncOp>())
      if (!function.isPrivate())
        return function;
    throw RuntimeError(RuntimeError::Kind::Internal, "no public function was generated for '" + generate.entry + "'");
  }

  static std::string names(const std::vector<ValueSpec> &specs) {
    std::string text;
    for (const ValueSpec &spec : specs)
      text += (text.empty() ? "'" : ", '") + spec.name + "'";
    return text;
  }

  static void expect(const ValueSpec &spec, const HostTensor &tensor, const std::vector<int64_t> &shape,
                     const char *what) {
    if (tensor.dtype() == spec.dtype && tensor.shape() == shape)
      return;
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       std::string("expected ") + what + " '" + spec.name + "' as " +
                           std::string(dtypeName(spec.dtype)) + " " + runtime::shapeText(shape) + ", but got " +
                           std::string(dtypeName(tensor.dtype())) + " " + runtime::shapeText(tensor.shape()));
  }

  /// B and T from the inputs; every input checked against them.
  Sizes check(const Tensors &given) const {
    Sizes sizes;
    bool hasBatch = false, hasTime = false;
    for (const ValueSpec &spec : in) {
      auto it = given.find(spec.name);
      if (it == given.end())
        throw RuntimeError(RuntimeError::Kind::NotFound,
                           "input '" + spec.name + "' is missing; inputs are " + names(in));
      const auto &shape = it->second.shape();
      for (size_t d = 0; d < spec.shape.size() && d < shape.size(); ++d) {
        if (spec.shape[d] == ValueSpec::kBatch && !hasBatch)
          sizes.B = shape[d], hasBatch = true;
        if (spec.shape[d] == ValueSpec::kTime && !hasTime)
          sizes.T = shape[d], hasTime = true;
      }
    }
    if (sizes.B < 1 || sizes.T < 1)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected at least one row and one token, but got B = " +
                                                                  std::to_string(sizes.B) + " and T = " +
                                                                  std::to_string(sizes.T));
    for (const ValueSpec &spec : in)
      expect(spec, given.at(spec.name), sizes.of(spec), "input");
    if (compilation.options.documents)
      train::checkPositions(given.at(kPositions).as<int32_t>(), sizes.B, sizes.T);
    return sizes;
  }

  std::vector<void *> bind(const Tensors &given) const {
    std::vector<void *> bindings;
    for (const ValueSpec &spec : in)
      bindings.push_back(const_cast<std::byte *>(given.at(spec.name).bytes().data()));
    return bindings;
  }

  /// Compiles one function of the entry's module; the others only serve it.
  std::unique_ptr<CpuProgram> compile(bool isVjp, std::string &name) {
    auto module = compilation.generate(program, generate);
    compilation.lowerRecurrences(*module);
    FuncOp function = entryOf(*module);
    if (isVjp)
      function = compilation.buildVjp(function);
    name = function.getName().str();
    for (auto other : module->getOps<FuncOp>())
      if (other != function)
        other.setPrivate();
    compilation.fuse(*module);
    auto result = CpuProgram::compile(*module, {name}, compilation.threads());
    if (failed(result))
      compilation.fail();
    return std::move(*result);
  }

  runtime::Executor &forward() {
    if (!forwardProgram)
      forwardProgram = compile(false, forwardName);
    return forwardProgram->entry(forwardName);
  }
  runtime::Executor &backward() {
    if (!backwardProgram)
      backwardProgram = compile(true, backwardName);
    return backwardProgram->entry(backwardName);
  }

  Compilation compilation;
  LoadedProgram program;
  dsl::GenerateOptions generate;
  std::vector<ValueSpec> in, out;
  std::string forwardName, backwardName;
  std::unique_ptr<CpuProgram> forwardProgram, backwardProgram;
};
} // namespace

std::unique_ptr<EntryProgram>
tidegate::compileEntry(const ProgramSource &source, const std::string &entry, const CompileOptions &options,
                       const std::map<std::string, std::vector<int64_t>> &inputShapes,
                       const std::map<std::string, int64_t> &sizes) {
  return std::make_unique<CpuEntry>(source, entry, options, inputShapes, sizes);
}
