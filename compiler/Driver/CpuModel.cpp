//===- CpuModel.cpp - A compiled model on the CPU ---------------*- C++ -*-===//
#include "compiler/Driver/CompiledDecoder.h"
#include "compiler/Driver/CudaModel.h"

#include "runtime/core/Error.h"

#include <cmath>
#include <cstring>
#include <sys/mman.h>

using namespace tidegate;
using runtime::Dtype;
using runtime::HostSpan;
using runtime::HostTensor;
using runtime::RuntimeError;

llvm::ArrayRef<llvm::StringRef> tidegate::entriesOf(ModelPart part) {
  static const llvm::StringRef train[] = {"loss_and_grads", "accumulate", "grad_norm", "adamw"}, loss[] = {"loss"},
                               scores[] = {"scores"}, model[] = {"model"};
  switch (part) {
  case ModelPart::Train:
    return train;
  case ModelPart::Loss:
    return loss;
  case ModelPart::Scores:
    return scores;
  case ModelPart::Logits:
  case ModelPart::Decode:
    return model;
  }
  llvm_unreachable("all parts are named");
}

/// Tokens of a chunk at most where mostly one token is fed: the rest is padding.
static constexpr int64_t kDecodingChunk = 16;

mlir::OwningOpRef<mlir::ModuleOp> tidegate::buildPart(Compilation &compilation, LoadedProgram &program,
                                                      ModelPart part, llvm::ArrayRef<int64_t> full) {
  auto module = compilation.generate(program);
  if (part != ModelPart::Decode) {
    compilation.lowerRecurrences(*module);
  } else {
    compilation.exposeStates(*module, full);
    if (compilation.options.target == Target::Cuda) // the CPU decodes token by token
      compilation.lowerRecurrences(*module, kDecodingChunk);
  }
  if (part == ModelPart::Train || part == ModelPart::Loss)
    compilation.buildTraining(*module);
  if (part == ModelPart::Scores)
    compilation.buildScores(*module);
  // What is not asked for is not compiled.
  auto entries = entriesOf(part);
  for (auto f : module->getOps<mlir::func::FuncOp>())
    if (!llvm::is_contained(entries, f.getName()))
      f.setPrivate();
  compilation.fuse(*module);
  return module;
}

FlatWeights::FlatWeights(const std::vector<train::ParameterSpec> &specs) {
  for (const train::ParameterSpec &spec : specs) {
    offsets.push_back(rows * kRow);
    rows += (spec.elements() + kRow - 1) / kRow;
  }
}

namespace {
/// Zero-filled memory in whole pages, which exist once they are touched.
class Array {
public:
  Array(int64_t elements, Dtype dtype) : dtype(dtype), bytes(std::max<size_t>(1, elements * dtypeSize(dtype))) {
    void *pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
      throw RuntimeError(RuntimeError::Kind::Io, "cannot allocate " + std::to_string(bytes) + " bytes for weights");
    memory = static_cast<std::byte *>(pages);
  }
  ~Array() { munmap(memory, bytes); }
  Array(const Array &) = delete;
  Array &operator=(const Array &) = delete;

  void *at(int64_t element) const { return memory + element * dtypeSize(dtype); }
  HostSpan span(int64_t first, int64_t elements) const { return {dtype, at(first), elements}; }

private:
  Dtype dtype;
  size_t bytes;
  std::byte *memory = nullptr;
};

class CpuModel : public CompiledModel {
public:
  CpuModel(const ProgramSource &source, const CompileOptions &options)
      : CompiledModel(source, options), weights(flat.rows * kRow, type), gradients(flat.rows * kRow, type),
        first(flat.rows * kRow, type), second(flat.rows * kRow, type), decay(flat.rows, type) {
    auto mask = decay.span(0, flat.rows);
    auto decays = decayOfRows();
    for (int64_t r = 0; r < mask.elements; ++r)
      mask.set(r, decays[r]);
  }

  HostSpan parameter(size_t i) override { return weights.span(flat.offsets[i], specs[i].elements()); }
  HostSpan gradient(size_t i) override { return gradients.span(flat.offsets[i], specs[i].elements()); }
  HostSpan moment(int k, size_t i) override {
    return (k == 0 ? first : second).span(flat.offsets[i], specs[i].elements());
  }

  train::LossResult lossAndGradients(const train::TokenBatch &batch) override {
    return lossAndGradients(batch, gradients);
  }

  using train::Model::trainStep;
  train::StepResult trainStep(std::span<const train::TokenBatch> microBatches,
                              const train::StepConfig &config) override {
    train::StepResult result;
    result.loss = accumulate(microBatches);
    HostTensor squares(type, {1});
    void *norm[] = {gradients.at(0), squares.view().data};
    part(ModelPart::Train).entry("grad_norm").run(flat.rows, 1, norm);
    result.gradNorm = std::sqrt(squares.view().get(0));
    result.skipped = !std::isfinite(squares.view().get(0));
    update(config, squares);
    return result;
  }

  train::LossResult evalLoss(const train::TokenBatch &batch) override {
    checkBatch(batch);
    HostTensor sum(type, {1}), count(type, {1});
    const Positions positions = positionsOf(batch.positions, batch.B, batch.T);
    auto bindings = inputs(batch.ids, batch.labels, positions);
    bindings.push_back(sum.view().data);
    bindings.push_back(count.view().data);
    part(ModelPart::Loss).entry("loss").run(batch.B, batch.T, bindings);
    double n = count.view().get(0);
    return {n > 0 ? sum.view().get(0) / n : 0, int64_t(n)};
  }

  train::LabelScores scores(const train::TokenBatch &batch) override {
    checkBatch(batch);
    HostTensor logs(type, {batch.B, batch.T}), likeliest(type, {batch.B, batch.T});
    const Positions positions = positionsOf(batch.positions, batch.B, batch.T);
    auto bindings = inputs(batch.ids, batch.labels, positions);
    bindings.push_back(logs.view().data);
    bindings.push_back(likeliest.view().data);
    part(ModelPart::Scores).entry("scores").run(batch.B, batch.T, bindings);
    return scoresFrom(logs.view(), likeliest.view());
  }

  HostTensor logits(std::span<const int32_t> ids, int64_t B, int64_t T,
                    std::span<const int32_t> given) override {
    checkTokens(ids, B, T, "id", false);
    HostTensor out(type, {B, T, vocabulary});
    const Positions positions = positionsOf(given, B, T);
    auto bindings = inputs(ids, {}, positions);
    bindings.push_back(out.view().data);
    part(ModelPart::Logits).entry("model").run(B, T, bindings);
    return out;
  }

  std::unique_ptr<train::Decoder> decoder(int64_t B) override {
    return std::make_unique<HostDecoder>(
        *this, B, [this](const auto &) -> runtime::Executor & { return part(ModelPart::Decode).entry("model"); },
        [this](std::span<const int32_t> ids, const Positions &positions) { return inputs(ids, {}, positions); });
  }

  /// A part, compiled on first use.
  CpuProgram &part(ModelPart which) {
    auto &compiled = parts[int(which)];
    if (!compiled) {
      auto module = buildPart(compilation, program, which);
      auto result = CpuProgram::compile(*module, entriesOf(which), compilation.threads());
      if (failed(result))
        compilation.fail();
      compiled = std::move(*result);
    }
    return *compiled;
  }

private:
  train::LossResult lossAndGradients(const train::TokenBatch &batch, const Array &to) {
    checkBatch(batch);
    HostTensor loss(type, {1});
    const Positions positions = positionsOf(batch.positions, batch.B, batch.T);
    auto bindings = inputs(batch.ids, batch.labels, positions);
    bindings.push_back(loss.view().data);
    for (size_t i : order)
      bindings.push_back(to.at(flat.offsets[i]));
    part(ModelPart::Train).entry("loss_and_grads").run(batch.B, batch.T, bindings);
    int64_t count = std::count_if(batch.labels.begin(), batch.labels.end(), [](int32_t label) { return label >= 0; });
    return {loss.view().get(0), count};
  }

  /// The mean loss of the micro-batches; its gradients are in `gradients`.
  double accumulate(std::span<const train::TokenBatch> microBatches) {
    if (microBatches.empty())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected at least 1 micro-batch, but got none");
    double sum = lossAndGradients(microBatches.front(), gradients).loss;
    if (microBatches.size() == 1)
      return sum;
    if (!addend)
      addend = std::make_unique<Array>(flat.rows * kRow, type);
    for (size_t i = 1; i < microBatches.size(); ++i) {
      sum += lossAndGradients(microBatches[i], *addend).loss;
      addAndScale(i + 1 == microBatches.size() ? 1 / double(microBatches.size()) : 1);
    }
    return sum / double(microBatches.size());
  }

  /// gradients = (gradients + addend) * scale.
  void addAndScale(double scale) {
    auto apply = [&]<typename Real>(Real *to, const Real *from) {
      const int64_t elements = flat.rows * kRow;
      const Real factor = Real(scale);
#pragma omp parallel for simd num_threads(compilation.threads())
      for (int64_t i = 0; i < elements; ++i)
        to[i] = (to[i] + from[i]) * factor;
    };
    if (type == Dtype::F64)
      apply(static_cast<double *>(gradients.at(0)), static_cast<const double *>(addend->at(0)));
    else
      apply(static_cast<float *>(gradients.at(0)), static_cast<const float *>(addend->at(0)));
  }

  /// Leading bindings: ids, labels if any, weights, positions if any.
  std::vector<void *> inputs(std::span<const int32_t> ids, std::span<const int32_t> labels,
                             const Positions &positions) const {
    std::vector<void *> bindings{const_cast<int32_t *>(ids.data())};
    if (!labels.empty())
      bindings.push_back(const_cast<int32_t *>(labels.data()));
    for (size_t i : order)
      bindings.push_back(weights.at(flat.offsets[i]));
    if (!positions.empty())
      bindings.push_back(const_cast<int32_t *>(positions.data()));
    return bindings;
  }

  /// AdamW over blocks of rows: a block's results fit the cache, and go back
  /// where they came from.
  void update(const train::StepConfig &config, HostTensor &squares) {
    constexpr int64_t kBlock = 256;
    const auto scalars = adamwScalars(config);
    HostTensor values(type, {int64_t(std::size(scalars))});
    for (size_t i = 0; i < std::size(scalars); ++i)
      values.view().set(i, scalars[i]);
    runtime::Executor &adamw = part(ModelPart::Train).entry("adamw");
    const Array *arrays[] = {&weights, &first, &second};
    std::vector<HostTensor> next(3, HostTensor(type, {kBlock * kRow}));
    for (int64_t row = 0; row < flat.rows; row += kBlock) {
      int64_t rows = std::min(kBlock, flat.rows - row), at = row * kRow;
      std::vector<void *> bindings{weights.at(at), gradients.at(at), first.at(at), second.at(at), decay.at(row)};
      for (size_t i = 0; i < std::size(scalars); ++i)
        bindings.push_back(static_cast<std::byte *>(values.view().data) + i * dtypeSize(type));
      bindings.push_back(squares.view().data);
      for (HostTensor &tensor : next)
        bindings.push_back(tensor.view().data);
      adamw.run(rows, 1, bindings);
      for (int i = 0; i < 3; ++i)
        std::memcpy(arrays[i]->at(at), next[i].view().data, rows * kRow * dtypeSize(type));
    }
  }

  Array weights, gradients, first, second, decay;
  std::unique_ptr<Array> addend; ///< Gradients of a further micro-batch; made when there is one.
  std::unique_ptr<CpuProgram> parts[kModelParts];
};
} // namespace

std::unique_ptr<train::Model> tidegate::compileModel(const ProgramSource &source, const CompileOptions &options) {
  if (options.target == Target::Cuda)
    return compileCudaModel(source, options);
  if (options.precision == Precision::BF16)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected precision f32 or f64 on the CPU, but got bf16, which needs a GPU (device cuda)");
  return std::make_unique<CpuModel>(source, options);
}

CpuProgram &tidegate::cpuTraining(train::Model &model) {
  return static_cast<CpuModel &>(model).part(ModelPart::Train);
}
