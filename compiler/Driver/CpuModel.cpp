//===- CpuModel.cpp - A compiled model on the CPU ---------------*- C++ -*-===//
#include "compiler/Driver/CompiledModel.h"
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

mlir::OwningOpRef<mlir::ModuleOp> tidegate::buildPart(Compilation &compilation, LoadedProgram &program,
                                                      ModelPart part) {
  auto module = compilation.generate(program);
  if (part == ModelPart::Decode)
    compilation.exposeStates(*module);
  else
    compilation.lowerRecurrences(*module);
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

  std::unique_ptr<train::Decoder> decoder(int64_t B) override;

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
  friend class CpuDecoder;

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

/// Carries the recurrent states of B rows from call to call.
class CpuDecoder : public train::Decoder {
public:
  CpuDecoder(CpuModel &model, int64_t B) : model(model), B(B), fed(B, 0) {
    // Bindings: ids, weights, positions if any, states; logits, new states.
    const runtime::Plan &plan = executor().plan();
    size_t arguments = 1 + model.order.size() + model.hasDocuments();
    size_t numStates = (plan.bindings - arguments - 1) / 2;
    for (const runtime::Buffer &buffer : plan.buffers)
      if (buffer.binding >= int(arguments) && buffer.binding < int(arguments + numStates)) {
        int64_t elements = buffer.elements.at(B, 1);
        states.emplace_back(model.type, std::vector<int64_t>{elements});
        next.emplace_back(model.type, std::vector<int64_t>{elements});
      }
  }

  HostTensor feed(std::span<const int32_t> ids, int64_t T, std::span<const int32_t> given) override {
    model.checkTokens(ids, B, T, "id", false);
    HostTensor logits(model.type, {B, T, model.vocabulary}), last(model.type, {B, model.vocabulary});
    const CpuModel::Positions positions = model.positionsOf(given, B, T, fed);
    auto bindings = model.inputs(ids, {}, positions);
    for (HostTensor &state : states)
      bindings.push_back(state.view().data);
    bindings.push_back(logits.view().data);
    for (HostTensor &state : next)
      bindings.push_back(state.view().data);
    executor().run(B, T, bindings);
    std::swap(states, next);
    for (int64_t b = 0; b < B && !positions.empty(); ++b)
      fed[b] = positions[(b + 1) * T - 1] + 1;
    size_t bytes = model.vocabulary * dtypeSize(model.type);
    for (int64_t b = 0; b < B; ++b)
      std::memcpy(last.bytes().data() + b * bytes, logits.bytes().data() + ((b + 1) * T - 1) * bytes, bytes);
    return last;
  }

private:
  runtime::Executor &executor() { return model.part(ModelPart::Decode).entry("model"); }

  CpuModel &model;
  int64_t B;
  CpuModel::Positions fed; ///< Tokens of each row's document so far.
  std::vector<HostTensor> states, next;
};

std::unique_ptr<train::Decoder> CpuModel::decoder(int64_t B) { return std::make_unique<CpuDecoder>(*this, B); }
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
