//===- CudaModel.cpp - A compiled model on the GPU --------------*- C++ -*-===//
// Weights, gradients and moments live on the GPU; the host has copies of them for
// whoever asks, brought up to date when they are asked for. What was handed out may
// have been written, so it goes back before the next run.
//===----------------------------------------------------------------------===//
#include "compiler/Driver/CudaModel.h"

#include "compiler/CodeGen/CUDA/Kernels.h"
#include "compiler/Driver/CompiledDecoder.h"
#include "compiler/Driver/CudaMemory.h"
#include "compiler/Driver/KernelErrors.h"
#include "compiler/Plan/PlanBuilder.h"
#include "runtime/core/Error.h"
#include "runtime/device/Library.h"

#include <cmath>
#include <cstring>

using namespace tidegate;
using runtime::Dtype;
using runtime::HostSpan;
using runtime::HostTensor;
using runtime::RuntimeError;
using runtime::cuda::Blas;
using runtime::cuda::DeviceMemory;
using runtime::cuda::Engine;
using runtime::cuda::Event;
using runtime::cuda::KernelText;
using runtime::cuda::PinnedMemory;
using runtime::cuda::ProgramError;
using runtime::cuda::Stream;

Engine &tidegate::cudaEngine() {
  static Engine engine;
  return engine;
}

PlannedKernels tidegate::planKernels(Compilation &compilation, BuildModule build,
                                     llvm::ArrayRef<llvm::StringRef> entries) {
  constexpr int64_t kMostTokens = 64, kFewestTokens = 16; // of a chunk; rows of a tile
  const int64_t given = compilation.options.chunk, most = given ? given : kMostTokens,
                fewest = given ? given : kFewestTokens;
  for (bool cuts : {false, true}) // What fits uncut is faster.
    for (int64_t chunk = most; chunk >= fewest; chunk /= 2) {
      const bool isLast = cuts && chunk == fewest;
      PlannedKernels result{
          {}, cuda::KernelSet(compilation.options.precision == Precision::BF16, /*mayShrink=*/!isLast, cuts)};
      compilation.options.chunk = chunk;
      compilation.cutsScans = cuts;
      auto module = build();
      for (llvm::StringRef name : entries) {
        auto plan = buildPlan(module->lookupSymbol<mlir::func::FuncOp>(name), result.kernels);
        if (failed(plan))
          break;
        result.plans.push_back(std::move(*plan));
      }
      compilation.options.chunk = given;
      compilation.cutsScans = false;
      if (result.plans.size() == entries.size())
        return result;
      if (!result.kernels.wantsLess())
        compilation.fail();
    }
  llvm_unreachable("the last kernels that do not fit are an error");
}

CudaPlans tidegate::planForCuda(Compilation &compilation, BuildModule build, llvm::ArrayRef<llvm::StringRef> entries) {
  PlannedKernels planned = planKernels(compilation, build, entries);
  CudaPlans result;
  result.plans = std::move(planned.plans);
  for (const cuda::KernelSource &kernel : planned.kernels.kernels()) {
    KernelText &text = result.kernels.emplace_back();
    text.program.name = kernel.name;
    text.program.source = kernel.text;
    text.program.headers = device::libraryHeaders();
    text.name = kernel.name;
    text.threads = kernel.threads;
    text.sharedBytes = int(kernel.sharedBytes);
    text.itemsPerBlock = kernel.itemsPerBlock;
    text.maxBlocks = kernel.maxBlocks;
    result.origins.push_back(kernel.origin);
  }
  return result;
}

CudaProgram::CudaProgram(Compilation &compilation, Engine &engine, BuildModule build,
                         llvm::ArrayRef<llvm::StringRef> entries)
    : engine(engine) {
  CudaPlans made = planForCuda(compilation, build, entries);
  try {
    for (auto [name, plan] : llvm::zip(entries, made.plans))
      executors[name] = std::make_unique<runtime::cuda::CudaExecutor>(engine, std::move(plan), made.kernels);
  } catch (const ProgramError &error) {
    auto kernel = llvm::find_if(made.kernels, [&](const KernelText &text) { return text.name == error.program; });
    if (kernel == made.kernels.end()) // one of the device library
      throw;
    reportAtStatements(compilation.context, made.origins[kernel - made.kernels.begin()], error);
    compilation.fail();
  }
}

/// "4 x 8000 tokens".
static std::string sizesText(int64_t B, int64_t T) { return std::to_string(B) + " x " + std::to_string(T) + " tokens"; }

void CudaProgram::run(llvm::StringRef name, int64_t B, int64_t T, std::span<const Argument> arguments,
                      size_t numInputs, void *stream) {
  auto &executor = entry(name);
  std::vector<int64_t> bytes(arguments.size(), 0);
  for (const runtime::Buffer &buffer : executor.plan().buffers)
    if (buffer.isBound())
      bytes[buffer.binding] = buffer.elements.at(B, T) * buffer.elementBytes;
  int64_t copied = 0;
  for (auto [argument, size] : llvm::zip(arguments, bytes))
    copied += argument.isOnGpu ? 0 : size;
  if (const int64_t arena = executor.arenaBytes(B, T); copied > 0 || arena > engine.arenaBytes())
    expectFree("'" + name.str() + "' of " + sizesText(B, T), {{"arguments", copied}, {"activations", arena}},
               std::min(arena, engine.arenaBytes()), "use fewer rows or tokens at a time");

  const Stream caller = Stream::borrowed(stream);
  Event given, done;
  given.record(caller);
  engine.stream.wait(given);
  std::vector<DeviceMemory> copies; // of what is not on the GPU
  std::vector<void *> addresses;
  for (auto [i, argument] : llvm::enumerate(arguments)) {
    if (argument.isOnGpu) {
      addresses.push_back(argument.data);
      continue;
    }
    addresses.push_back(copies.emplace_back(std::max<int64_t>(bytes[i], 16), "an argument").data());
    if (i >= numInputs)
      continue;
    if (argument.data)
      engine.stream.toDevice(addresses[i], argument.data, bytes[i]);
    else
      engine.stream.fill(addresses[i], 0, bytes[i]);
  }
  executor.usesGraphs = false; // the memory is another one each time
  executor.run(B, T, addresses);
  for (size_t i = numInputs; i < arguments.size(); ++i)
    if (!arguments[i].isOnGpu && arguments[i].data)
      engine.stream.toHost(arguments[i].data, addresses[i], bytes[i]);
  done.record(engine.stream);
  caller.wait(done);
  if (!copies.empty())
    engine.stream.synchronize();
}

namespace {
/// Flat f32 numbers on the GPU with a copy on the host.
class Mirror {
public:
  Mirror(Engine &engine, int64_t elements, const std::string &what)
      : engine(engine), device(elements * 4, what), elements(elements), what(what) {
    engine.stream.fill(device.data(), 0, elements * 4);
  }

  /// For the GPU to read.
  char *read() {
    if (isHandedOut) {
      engine.stream.toDevice(device.data(), host.data(), elements * 4);
      engine.stream.synchronize();
      isHandedOut = false;
    }
    return static_cast<char *>(device.data());
  }
  /// For the GPU to write, and read.
  char *write() {
    char *address = read();
    isHostOld = true;
    return address;
  }
  /// For the host to read and write.
  HostSpan span(int64_t first, int64_t count) {
    if (host.empty())
      host.resize(elements);
    if (isHostOld) {
      engine.stream.toHost(host.data(), device.data(), elements * 4);
      engine.stream.synchronize();
      isHostOld = false;
    }
    isHandedOut = true;
    return {Dtype::F32, host.data() + first, count};
  }

private:
  Engine &engine;
  DeviceMemory device;
  int64_t elements;
  std::string what;
  std::vector<float> host; // made when first asked for
  bool isHostOld = true, isHandedOut = false;
};

class CudaModel : public CompiledModel {
public:
  CudaModel(const ProgramSource &source, const CompileOptions &options)
      : CompiledModel(source, options), engine(engineFor(flat)), weights(engine, flat.rows * kRow, "weights"),
        gradients(engine, flat.rows * kRow, "gradients"), first(engine, flat.rows * kRow, "first moments"),
        second(engine, flat.rows * kRow, "second moments"), decay(flat.rows * 4, "weight decay"),
        scalars(kStepNumbers * 4, "step") {
    std::vector<float> rows;
    for (double d : decayOfRows())
      rows.push_back(float(d));
    engine.stream.toDevice(decay.data(), rows.data(), flat.rows * 4);
    engine.stream.synchronize();
  }

  HostSpan parameter(size_t i) override { return weights.span(flat.offsets[i], specs[i].elements()); }
  HostSpan gradient(size_t i) override { return gradients.span(flat.offsets[i], specs[i].elements()); }
  HostSpan moment(int k, size_t i) override {
    return (k == 0 ? first : second).span(flat.offsets[i], specs[i].elements());
  }

  train::LossResult lossAndGradients(const train::TokenBatch &batch) override {
    checkBatch(batch);
    expectTrainingRoom(batch.B, batch.T, false);
    enqueueGradients(batch, gradients.write());
    return {presentLoss(), counted(batch)};
  }

  using train::Model::trainStep;
  train::StepResult trainStep(std::span<const train::TokenBatch> microBatches,
                              const train::StepConfig &config) override {
    if (microBatches.empty())
      throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected at least 1 micro-batch, but got none");
    for (const train::TokenBatch &batch : microBatches) {
      checkBatch(batch);
      expectTrainingRoom(batch.B, batch.T, microBatches.size() > 1);
    }
    char *sum = gradients.write();
    train::StepResult result;
    for (size_t i = 0; i < microBatches.size(); ++i) {
      enqueueGradients(microBatches[i], i == 0 ? sum : addends());
      if (i > 0)
        accumulate(sum, i + 1 == microBatches.size() ? 1 / double(microBatches.size()) : 1);
      result.loss += presentLoss() / double(microBatches.size());
    }
    void *norm[] = {sum, scalar(kSquares)};
    part(ModelPart::Train).entry("grad_norm").run(flat.rows, 1, norm);
    update(config);
    float squares = 0;
    engine.stream.toHost(&squares, scalar(kSquares), 4);
    engine.stream.synchronize();
    result.gradNorm = std::sqrt(double(squares));
    result.skipped = !std::isfinite(squares);
    return result;
  }

  train::LossResult evalLoss(const train::TokenBatch &batch) override {
    checkBatch(batch);
    auto &executor = part(ModelPart::Loss).entry("loss");
    expectRoom("a loss", batch.B, batch.T, executor.arenaBytes(batch.B, batch.T));
    auto bindings = inputs(batch.ids, batch.labels, positionsOf(batch.positions, batch.B, batch.T), batch.B * batch.T);
    bindings.push_back(scalar(kLoss));
    bindings.push_back(scalar(kCount));
    executor.run(batch.B, batch.T, bindings);
    float both[2];
    engine.stream.toHost(&both[0], scalar(kLoss), 4);
    engine.stream.toHost(&both[1], scalar(kCount), 4);
    engine.stream.synchronize();
    return {both[1] > 0 ? double(both[0]) / both[1] : 0, int64_t(both[1])};
  }

  train::LabelScores scores(const train::TokenBatch &batch) override {
    checkBatch(batch);
    HostTensor logs(type, {batch.B, batch.T}), likeliest(type, {batch.B, batch.T});
    const int64_t bytes = logs.elements() * 4;
    auto &executor = part(ModelPart::Scores).entry("scores");
    expectRoom("scores", batch.B, batch.T, executor.arenaBytes(batch.B, batch.T), false, {{"result", 2 * bytes}});
    DeviceMemory results[] = {{bytes, "log-probabilities"}, {bytes, "likeliest labels"}};
    auto bindings = inputs(batch.ids, batch.labels, positionsOf(batch.positions, batch.B, batch.T), batch.B * batch.T);
    for (DeviceMemory &result : results)
      bindings.push_back(result.data());
    executor.usesGraphs = false; // the results are others each time
    executor.run(batch.B, batch.T, bindings);
    engine.stream.toHost(logs.view().data, results[0].data(), bytes);
    engine.stream.toHost(likeliest.view().data, results[1].data(), bytes);
    engine.stream.synchronize();
    return scoresFrom(logs.view(), likeliest.view());
  }

  HostTensor logits(std::span<const int32_t> ids, int64_t B, int64_t T, std::span<const int32_t> given) override {
    checkTokens(ids, B, T, "id", false);
    HostTensor out(type, {B, T, vocabulary});
    auto &executor = part(ModelPart::Logits).entry("model");
    expectRoom("logits", B, T, executor.arenaBytes(B, T), false, {{"result", out.elements() * 4}});
    DeviceMemory result(out.elements() * 4, "logits");
    auto bindings = inputs(ids, {}, positionsOf(given, B, T), B * T);
    bindings.push_back(result.data());
    executor.usesGraphs = false; // the result is another one each time
    executor.run(B, T, bindings);
    engine.stream.toHost(out.view().data, result.data(), out.elements() * 4);
    engine.stream.synchronize();
    return out;
  }

  std::unique_ptr<train::Decoder> decoder(int64_t B) override;

  CudaProgram &part(ModelPart which) {
    auto &compiled = parts[int(which)];
    if (!compiled) {
      compiled = std::make_unique<CudaProgram>(
          compilation, engine, [&] { return buildPart(compilation, program, which); }, entriesOf(which));
    }
    return *compiled;
  }

private:
  friend class CudaDecoder;

  /// ModelPart::Decode behind full chunks.
  runtime::cuda::CudaExecutor &decoding(const std::vector<int64_t> &full) {
    auto &compiled = decodings[full];
    if (!compiled)
      compiled = std::make_unique<CudaProgram>(
          compilation, engine, [&] { return buildPart(compilation, program, ModelPart::Decode, full); },
          entriesOf(ModelPart::Decode));
    return compiled->entry("model");
  }

  /// A scan over chunks in which tokens read rows of others is decoded token by token, which is the CPU's work: by a
  /// copy of the model there, with the weights of now.
  std::unique_ptr<train::Decoder> decoderOnHost(int64_t B) {
    if (!host) {
      CompileOptions options = compilation.options;
      options.target = Target::Cpu;
      options.precision = Precision::F32;
      host = compileModel(source(), options);
    }
    for (size_t i = 0; i < specs.size(); ++i) {
      auto from = parameter(i).bytes();
      std::memcpy(host->parameter(i).data, from.data(), from.size());
    }
    return host->decoder(B);
  }

  /// Numbers on the GPU beside the arrays: those of @adamw first.
  enum { kAdamw = 0, kSquares = 8, kLoss = 9, kCount = 10, kScale = 11 };
  void *scalar(int64_t i) { return static_cast<char *>(scalars.data()) + 4 * i; }

  ProgramSource source() {
    ProgramSource source;
    for (const auto &file : program.files())
      source.files.push_back({file.path, file.text});
    source.path = source.files.front().path;
    for (const auto &param : program.params())
      source.params.emplace_back(param.name, param.value);
    return source;
  }

  static int64_t counted(const train::TokenBatch &batch) {
    return std::count_if(batch.labels.begin(), batch.labels.end(), [](int32_t label) { return label >= 0; });
  }

  /// Copies tokens to the GPU; the leading bindings: ids, labels if any, weights, positions if any.
  std::vector<void *> inputs(std::span<const int32_t> ids, std::span<const int32_t> labels, const Positions &positions,
                             int64_t count) {
    const int64_t bytes = tokenBytes(count);
    if (tokens.bytes() < 3 * bytes) {
      engine.stream.synchronize();
      tokens = {}; // first, so that both are never there at once
      tokens = DeviceMemory(3 * bytes, "tokens");
      staged = PinnedMemory(3 * bytes, "tokens");
    }
    // The copy before may be under way.
    engine.stream.synchronize();
    auto place = [&](int64_t which, std::span<const int32_t> from) -> void * {
      char *to = static_cast<char *>(tokens.data()) + which * bytes,
           *by = static_cast<char *>(staged.data()) + which * bytes;
      std::memcpy(by, from.data(), from.size() * 4);
      engine.stream.toDevice(to, by, from.size() * 4);
      return to;
    };
    std::vector<void *> bindings{place(0, ids)};
    if (!labels.empty())
      bindings.push_back(place(1, labels));
    char *base = weights.read();
    for (size_t i : order)
      bindings.push_back(base + flat.offsets[i] * 4);
    if (!positions.empty())
      bindings.push_back(place(2, positions));
    return bindings;
  }

  /// The one GPU, once its free memory is known to hold the arrays of a model.
  static Engine &engineFor(const FlatWeights &flat) {
    Engine &engine = cudaEngine();
    expectFree("a model", cudaMemory(flat, {}), Blas::kWorkspaceBytes, "use a smaller model");
    return engine;
  }

  /// Before anything of a run is copied or launched: that the GPU has room for what the run allocates. `extra`: what
  /// is its own. Errors: those of expectFree.
  void expectRoom(const char *what, int64_t B, int64_t T, int64_t arena, bool accumulates = false,
                  const MemoryTable &extra = {}) {
    const int64_t present = tokens.bytes() / (3 * 4), count = B * T;
    accumulates |= addend.bytes() > 0;
    if (count <= present && arena <= engine.arenaBytes() && accumulates == (addend.bytes() > 0) && extra.empty())
      return;
    MemoryTable need = cudaMemory(flat, {std::max(count, present), std::max(arena, engine.arenaBytes()), accumulates});
    need.insert(need.end(), extra.begin(), extra.end());
    const MemoryTable held = cudaMemory(flat, {present, engine.arenaBytes(), addend.bytes() > 0});
    expectFree(what + (" of " + sizesText(B, T)), need, totalOf(held),
               "use fewer rows or tokens at a time, or run layers again in the backward");
  }

  void expectTrainingRoom(int64_t B, int64_t T, bool accumulates) {
    const int64_t arena = trainingArena(flat, B, T, [&](size_t i, int64_t b, int64_t t) {
      return part(ModelPart::Train).entry(entriesOf(ModelPart::Train)[i]).arenaBytes(b, t);
    });
    expectRoom("a training step", B, T, arena, accumulates);
  }

  void enqueueGradients(const train::TokenBatch &batch, char *to) {
    auto bindings = inputs(batch.ids, batch.labels, positionsOf(batch.positions, batch.B, batch.T), batch.B * batch.T);
    bindings.push_back(scalar(kLoss));
    for (size_t i : order)
      bindings.push_back(to + flat.offsets[i] * 4);
    part(ModelPart::Train).entry("loss_and_grads").run(batch.B, batch.T, bindings);
  }
  double presentLoss() {
    float loss = 0;
    engine.stream.toHost(&loss, scalar(kLoss), 4);
    engine.stream.synchronize();
    return loss;
  }

  char *addends() {
    if (!addend.bytes()) {
      addend = DeviceMemory(flat.rows * kRow * 4, "gradients of a micro-batch");
      engine.stream.fill(addend.data(), 0, addend.bytes());
    }
    return static_cast<char *>(addend.data());
  }

  void accumulate(char *sum, double scale) {
    float factor = float(scale);
    engine.stream.toDevice(scalar(kScale), &factor, 4);
    engine.stream.synchronize();
    void *bindings[] = {sum, addends(), scalar(kScale), sum};
    part(ModelPart::Train).entry("accumulate").run(flat.rows, 1, bindings);
  }

  void update(const train::StepConfig &config) {
    std::vector<float> values;
    for (double x : adamwScalars(config))
      values.push_back(float(x));
    engine.stream.toDevice(scalar(kAdamw), values.data(), int64_t(values.size()) * 4);
    char *p = weights.write(), *m = first.write(), *v = second.write();
    std::vector<void *> bindings{p, gradients.read(), m, v, decay.data()};
    for (size_t i = 0; i < values.size(); ++i)
      bindings.push_back(scalar(kAdamw + i));
    bindings.push_back(scalar(kSquares));
    for (char *to : {p, m, v}) // in place
      bindings.push_back(to);
    part(ModelPart::Train).entry("adamw").run(flat.rows, 1, bindings);
    engine.stream.synchronize(); // `values` goes
  }

  Engine &engine;
  Mirror weights, gradients, first, second;
  DeviceMemory decay, scalars, tokens, addend;
  PinnedMemory staged;
  std::unique_ptr<CudaProgram> parts[kModelParts];
  std::map<std::vector<int64_t>, std::unique_ptr<CudaProgram>> decodings; ///< By the chunks that are full.
  std::unique_ptr<train::Model> host;                                     ///< See decoderOnHost.
};

/// Carries states on the GPU: a call reads one array of them and writes the other.
class CudaDecoder : public CompiledDecoder {
public:
  CudaDecoder(CudaModel &model, int64_t B) : CompiledDecoder(model, B), cuda(model) {
    auto &executor = cuda.decoding({});
    int64_t bytes = 0;
    for (int64_t own : stateBytes(executor.plan())) {
      offsets.push_back(bytes);
      bytes += (own + kAlignment - 1) / kAlignment * kAlignment;
    }
    const int64_t logitBytes = B * model.vocab() * 4;
    cuda.expectRoom("decoding", B, 1, executor.arenaBytes(B, 1), false,
                    {{"states", 2 * bytes}, {"result", logitBytes}});
    for (DeviceMemory *memory : {&states, &next})
      *memory = DeviceMemory(std::max(bytes, kAlignment), "states");
    logits = DeviceMemory(logitBytes, "logits");
    cuda.engine.stream.fill(states.data(), 0, states.bytes());
  }

protected:
  void expectRoom(const Piece &piece) override {
    cuda.expectRoom("decoding", B, piece.T, cuda.decoding(piece.full).arenaBytes(B, piece.T));
  }

  void run(const Piece &piece) override {
    auto bindings = cuda.inputs(piece.ids, {}, piece.positions, B * piece.T);
    auto bind = [&](const DeviceMemory &memory) {
      for (int64_t offset : offsets)
        bindings.push_back(static_cast<char *>(memory.data()) + offset);
    };
    bind(states);
    bindings.push_back(logits.data());
    bind(next);
    cuda.decoding(piece.full).run(B, piece.T, bindings);
    std::swap(states, next);
  }

  HostTensor lastLogits() override {
    HostTensor out(model.dtype(), {B, model.vocab()});
    cuda.engine.stream.toHost(out.view().data, logits.data(), out.elements() * 4);
    cuda.engine.stream.synchronize();
    return out;
  }

private:
  static constexpr int64_t kAlignment = 256;

  CudaModel &cuda;
  std::vector<int64_t> offsets; ///< Of each state, in bytes.
  DeviceMemory states, next, logits;
};

std::unique_ptr<train::Decoder> CudaModel::decoder(int64_t B) {
  return runsInPieces ? std::make_unique<CudaDecoder>(*this, B) : decoderOnHost(B);
}
} // namespace

void tidegate::checkForCuda(const CompileOptions &options) {
  if (options.precision == Precision::F64)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected precision f32 or bf16 on the GPU, but got f64, which runs on the CPU");
  if (options.form == ScanForm::Token)
    throw RuntimeError(RuntimeError::Kind::InvalidArgument,
                       "expected recurrences in chunk form on the GPU, but got the token form, which runs on the CPU");
}

std::unique_ptr<train::Model> tidegate::compileCudaModel(const ProgramSource &source, const CompileOptions &options) {
  checkForCuda(options);
  return std::make_unique<CudaModel>(source, options);
}

CudaProgram *tidegate::cudaTraining(train::Model &model) {
  auto *cuda = dynamic_cast<CudaModel *>(&model);
  return cuda ? &cuda->part(ModelPart::Train) : nullptr;
}
