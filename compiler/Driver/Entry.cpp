//===- Entry.cpp - Any function of a program --------------------*- C++ -*-===//
#include "compiler/Driver/CudaModel.h"
#include "compiler/Driver/Pipeline.h"
#include "compiler/Plan/CpuProgram.h"
#include "ir/Nn/Storage.h"
#include "passes/Rec/SteadyInputs.h"
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

std::string inputName(FuncOp function, unsigned i) {
  return attributeOr(function.getArgAttrDict(i), "nn.weight", "nn.name", "arg" + std::to_string(i));
}

/// The function that a generated module is for.
FuncOp entryOf(mlir::ModuleOp module) {
  for (auto function : module.getOps<FuncOp>())
    if (!function.isPrivate())
      return function;
  throw RuntimeError(RuntimeError::Kind::Internal, "no public function was generated");
}

TensorView viewOf(const HostTensor &tensor) {
  return {tensor.dtype(), tensor.shape(), const_cast<std::byte *>(tensor.bytes().data())};
}
EntryProgram::Views viewsOf(const EntryProgram::Tensors &tensors) {
  EntryProgram::Views views;
  for (const auto &[name, tensor] : tensors)
    views.emplace(name, viewOf(tensor));
  return views;
}

/// A function on either target.
class CompiledEntry : public EntryProgram {
public:
  CompiledEntry(const ProgramSource &source, const std::string &entry, const CompileOptions &options,
           const std::map<std::string, std::vector<int64_t>> &inputShapes, const std::map<std::string, int64_t> &sizes,
           const std::set<std::string> &half)
      : compilation(options), program(source) {
    generate.entry = entry;
    generate.inputShapes = inputShapes;
    if (options.documents && !program.takes(entry, kPositions))
      generate.inputShapes.erase(kPositions);
    generate.dims = sizes;
    auto module = compilation.generate(program, generate);
    FuncOp function = entryOf(*module);
    for (unsigned i = 0; i < function.getNumArguments(); ++i) {
      in.push_back(specOf(function.getArgumentTypes()[i], inputName(function, i)));
      in.back().init = attributeOr(function.getArgAttrDict(i), "nn.init", "nn.init", "");
      if (half.count(in.back().name))
        round(in.back(), function.getArgumentTypes()[i]);
    }
    const bool hasHalf = std::any_of(in.begin(), in.end(), [](auto &spec) { return spec.dtype == Dtype::BF16; });
    for (unsigned i = 0; i < function.getNumResults(); ++i) {
      out.push_back(specOf(function.getResultTypes()[i],
                           attributeOr(function.getResultAttrDict(i), "nn.name", "nn.name",
                                       function.getNumResults() == 1 ? "result" : "result" + std::to_string(i))));
      if (hasHalf)
        round(out.back(), function.getResultTypes()[i]);
    }
  }

  const std::vector<ValueSpec> &inputs() const override { return in; }
  const std::vector<ValueSpec> &outputs() const override { return out; }

  Tensors run(const Tensors &given) override {
    const Views inputs = viewsOf(given);
    const CallSizes sizes = sizesOf(inputs);
    Tensors results;
    for (const ValueSpec &spec : out)
      results.emplace(spec.name, HostTensor(spec.dtype, sizes.of(spec)));
    runOn(inputs, viewsOf(results), nullptr);
    return results;
  }

  Tensors vjp(const Tensors &given, const Tensors &cotangents) override {
    const Views inputs = viewsOf(given);
    const CallSizes sizes = sizesOf(inputs);
    Tensors results;
    Views gradients;
    for (const ValueSpec &spec : in)
      if (runtime::isFloating(spec.dtype))
        gradients[spec.name] =
            viewOf(results.emplace("grad." + spec.name, HostTensor(spec.dtype, sizes.of(spec))).first->second);
    vjpOn(inputs, viewsOf(cotangents), gradients, nullptr);
    return results;
  }

  void runOn(const Views &inputs, const Views &outputs, void *stream) override {
    const CallSizes sizes = sizesOf(inputs);
    auto arguments = bind(inputs);
    for (const ValueSpec &spec : out) {
      auto it = outputs.find(spec.name);
      if (it == outputs.end())
        throw RuntimeError(RuntimeError::Kind::NotFound,
                           "output '" + spec.name + "' is missing; outputs are " + names(out));
      expect(spec, it->second, sizes.of(spec), "output");
      arguments.push_back(argumentOf(it->second));
    }
    execute(forwardProgram, /*isVjp=*/false, {sizes, arguments, in.size(), stream});
  }

  void vjpOn(const Views &inputs, const Views &cotangents, const Views &gradients, void *stream) override {
    const CallSizes sizes = sizesOf(inputs);
    auto arguments = bind(inputs);
    for (const auto &[name, tensor] : cotangents)
      if (std::none_of(out.begin(), out.end(), [&, &n = name](const ValueSpec &spec) { return spec.name == n; }))
        throw RuntimeError(RuntimeError::Kind::NotFound, "no output is called '" + name + "'; outputs are " + names(out));
    std::vector<HostTensor> own; // Cotangents that are zero, gradients that nobody wants.
    own.reserve(out.size() + in.size());
    auto push = [&](const Views &given, const ValueSpec &spec, const char *what) {
      auto it = given.find(spec.name);
      if (it != given.end()) {
        expect(spec, it->second, sizes.of(spec), what);
        arguments.push_back(argumentOf(it->second));
      } else {
        arguments.push_back(isForGpu() ? Argument()
                                       : Argument{own.emplace_back(spec.dtype, sizes.of(spec)).view().data});
      }
    };
    for (const ValueSpec &spec : out)
      if (runtime::isFloating(spec.dtype))
        push(cotangents, spec, "cotangent of");
    const size_t read = arguments.size();
    for (const ValueSpec &spec : in)
      if (runtime::isFloating(spec.dtype))
        push(gradients, spec, "gradient of");
    execute(backwardProgram, /*isVjp=*/true, {sizes, arguments, read, stream});
  }

  /// B and T from the inputs; every input checked against them.
  CallSizes sizesOf(const Views &given) override {
    CallSizes sizes;
    bool hasBatch = false, hasTime = false;
    for (const ValueSpec &spec : in) {
      auto it = given.find(spec.name);
      if (it == given.end())
        throw RuntimeError(RuntimeError::Kind::NotFound,
                           "input '" + spec.name + "' is missing; inputs are " + names(in));
      const auto &shape = it->second.shape;
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
    if (compilation.options.documents && given.at(kPositions).isOnGpu)
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         "expected 'positions' in host memory, where they are checked, but got memory of the GPU");
    if (compilation.options.documents)
      train::checkPositions({static_cast<const int32_t *>(given.at(kPositions).data), size_t(sizes.B * sizes.T)},
                            sizes.B, sizes.T);
    return sizes;
  }

private:
  static constexpr const char *kPositions = "positions";

  /// Takes or returns rows in bfloat16 that a program of this precision keeps so.
  void round(ValueSpec &spec, mlir::Type type) const {
    if (compilation.options.precision == Precision::BF16 && spec.dtype == Dtype::F32 &&
        !nn::isKeptExact(tensorOf(type)))
      spec.dtype = Dtype::BF16;
  }

  /// Says in the entry, or its vector-Jacobian products, what the caller has and wants in bfloat16.
  void markStored(FuncOp function, bool isVjp) {
    auto half = mlir::TypeAttr::get(mlir::BFloat16Type::get(function.getContext()));
    unsigned argument = 0, result = 0;
    auto markArgument = [&](const ValueSpec &spec) {
      if (spec.dtype == Dtype::BF16)
        function.setArgAttr(argument, nn::kStored, half);
      ++argument;
    };
    for (const ValueSpec &spec : in)
      markArgument(spec);
    if (isVjp)
      for (const ValueSpec &spec : out) // cotangents
        if (runtime::isFloating(spec.dtype))
          markArgument(spec);
    for (const ValueSpec &spec : isVjp ? in : out) {
      if (isVjp && !runtime::isFloating(spec.dtype))
        continue;
      if (spec.dtype == Dtype::BF16)
        function.setResultAttr(result, nn::kStored, half);
      ++result;
    }
  }

  static std::string names(const std::vector<ValueSpec> &specs) {
    std::string text;
    for (const ValueSpec &spec : specs)
      text += (text.empty() ? "'" : ", '") + spec.name + "'";
    return text;
  }

  bool isForGpu() const { return compilation.options.target == Target::Cuda; }

  void expect(const ValueSpec &spec, const TensorView &tensor, const std::vector<int64_t> &shape,
              const char *what) const {
    if (tensor.isOnGpu && !isForGpu())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                         std::string("expected ") + what + " '" + spec.name +
                             "' in host memory, since the program is compiled for the CPU, but got memory of the GPU");
    if (tensor.dtype == spec.dtype && tensor.shape == shape)
      return;
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       std::string("expected ") + what + " '" + spec.name + "' as " +
                           std::string(dtypeName(spec.dtype)) + " " + runtime::shapeText(shape) + ", but got " +
                           std::string(dtypeName(tensor.dtype)) + " " + runtime::shapeText(tensor.shape));
  }

  using Argument = CudaProgram::Argument;
  static Argument argumentOf(const TensorView &tensor) { return {tensor.data, tensor.isOnGpu}; }

  std::vector<Argument> bind(const Views &given) const {
    std::vector<Argument> arguments;
    for (const ValueSpec &spec : in)
      arguments.push_back(argumentOf(given.at(spec.name)));
    return arguments;
  }

  std::string entryName(bool isVjp) {
    auto module = compilation.generate(program, generate);
    return entryOf(*module).getName().str() + (isVjp ? ".vjp" : "");
  }

  struct Call {
    const CallSizes &sizes;
    std::span<const Argument> arguments;
    size_t inputs; ///< So many of them are read, the others written.
    void *stream;
  };
  /// A compiled function.
  using Runner = std::function<void(const Call &)>;

  void execute(Runner &runner, bool isVjp, const Call &call) {
    if (!runner)
      runner = compile(isVjp);
    runner(call);
  }

  /// Compiles one function of the entry's module; the others only serve it.
  Runner compile(bool isVjp) {
    std::string name;
    auto build = [&] {
      auto module = compilation.generate(program, generate);
      FuncOp function = compilation.lowerEntry(*module, isVjp);
      name = function.getName().str();
      markStored(function, isVjp);
      compilation.fuse(*module);
      return module;
    };
    if (isForGpu()) {
      // The name is known beforehand: that of the entry, and what buildVjp makes of it.
      const std::string entry = entryName(isVjp);
      auto cuda = std::make_shared<CudaProgram>(compilation, cudaEngine(), build, llvm::StringRef(entry));
      name = entry;
      return [cuda, name](const Call &call) {
        cuda->run(name, call.sizes.B, call.sizes.T, call.arguments, call.inputs, call.stream);
      };
    }
    auto module = build();
    auto result = CpuProgram::compile(*module, {name}, compilation.threads());
    if (failed(result))
      compilation.fail();
    return [cpu = std::shared_ptr<CpuProgram>(std::move(*result)), name](const Call &call) {
      std::vector<void *> bindings;
      for (const Argument &argument : call.arguments)
        bindings.push_back(argument.data);
      cpu->entry(name).run(call.sizes.B, call.sizes.T, bindings);
    };
  }

  Compilation compilation;
  LoadedProgram program;
  dsl::GenerateOptions generate;
  std::vector<ValueSpec> in, out;
  Runner forwardProgram, backwardProgram;
};
} // namespace

std::vector<int64_t> CallSizes::of(const ValueSpec &spec) const {
  std::vector<int64_t> result;
  for (int64_t size : spec.shape)
    result.push_back(size == ValueSpec::kBatch ? B : size == ValueSpec::kTime ? T : size);
  return result;
}

std::unique_ptr<EntryProgram>
tidegate::compileEntry(const ProgramSource &source, const std::string &entry, const CompileOptions &options,
                       const std::map<std::string, std::vector<int64_t>> &inputShapes,
                       const std::map<std::string, int64_t> &sizes, const std::set<std::string> &half) {
  return std::make_unique<CompiledEntry>(source, entry, options, inputShapes, sizes, half);
}

std::map<std::string, DrawRange>
tidegate::steadyRanges(const ProgramSource &source, const std::string &entry,
                       const std::map<std::string, std::vector<int64_t>> &inputShapes,
                       const std::map<std::string, int64_t> &sizes) {
  Compilation compilation({});
  LoadedProgram program(source);
  dsl::GenerateOptions generate;
  generate.entry = entry;
  generate.inputShapes = inputShapes;
  generate.dims = sizes;
  auto module = compilation.generate(program, generate);
  compilation.simplify(*module);
  FuncOp function = entryOf(*module);
  std::map<std::string, DrawRange> result;
  for (auto [i, range] : llvm::enumerate(rec::steadyRanges(function)))
    result[inputName(function, i)] = {range.low, range.high};
  return result;
}
