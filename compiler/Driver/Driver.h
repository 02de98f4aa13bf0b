//===- Driver.h - Source in, something executable out -----------*- C++ -*-===//
// The whole compiler as its users see it: the command-line tool, Python and
// tests. No MLIR type crosses this header.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/core/HostTensor.h"
#include "runtime/train/Model.h"

#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace tidegate {

/// BF16: memory and products in bfloat16 where training allows it, weights, sums, norms and gates in float; on the GPU only.
enum class Precision { F32, F64, BF16 };
/// Where programs run.
enum class Target { Cpu, Cuda };
/// How recurrences run: token by token as written, or the derived chunk form.
enum class ScanForm { Token, Chunk };

using ParamList = std::vector<std::pair<std::string, std::string>>;

struct SourceFile {
  std::string path, text;
};

/// A program and its compile-time parameters (later entries win).
struct ProgramSource {
  std::string path; ///< Of the main file; "-" is stdin.
  ParamList params;
  /// When not empty, the files as a checkpoint keeps them: the main file and
  /// its imports are looked up here by path and never on disk.
  std::vector<SourceFile> files;
};

/// Whether low-rank projections of a scan's operands are stored, or formed inside the scan.
enum class LowRank { Stored, Fused };

struct CompileOptions {
  Target target = Target::Cpu;
  Precision precision = Precision::F32;
  ScanForm form = ScanForm::Chunk;
  int64_t chunk = 0; ///< Rows of a chunk; 0: the compiler's choice.
  int threads = 0;   ///< 0: all cores.
  /// Rows hold several documents: nothing looks across their boundaries, and the
  /// program takes the positions of tokens in their documents (`positions`, B x T).
  bool documents = false;
  LowRank lowRank = LowRank::Stored;
  /// On the CPU too, scans over chunks of the language are loops over whole tensors of all rows and heads.
  bool chunkLoops = false;
  /// How many layers (iterations of `repeat`, from the first) keep only their
  /// inputs for the backward and are run again in it: less memory, more work.
  int64_t recomputedLayers = 0;
  static constexpr int64_t kAllLayers = std::numeric_limits<int64_t>::max();
  /// In f64: numbers that bf16 keeps in bfloat16 are rounded to it where they are stored.
  bool roundsStored = false;
  bool remarks = false; ///< Say on stderr how each decay of a chunked recurrence is evaluated.
};

/// One thing that is wrong in a program.
struct CompileMessage {
  std::string file;              ///< Empty where there is no place.
  unsigned line = 0, column = 0; ///< From 1; 0 where there is no place.
  std::string text;
  std::vector<CompileMessage> notes;
};

/// The program is wrong.
class CompileError : public std::exception {
public:
  /// `text` is all of it as people read it, with source lines.
  CompileError(std::vector<CompileMessage> messages, std::string text)
      : all(std::move(messages)), rendered(std::move(text)) {}

  const std::vector<CompileMessage> &messages() const { return all; }
  const char *what() const noexcept override { return rendered.c_str(); }

private:
  std::vector<CompileMessage> all;
  std::string rendered;
};

/// Every function below throws CompileError for errors in the program and
/// RuntimeError for files that cannot be read and arguments that do not fit.

/// The weights of the program's model, in a fixed order.
std::vector<train::ParameterSpec> modelParameters(const ProgramSource &source);

/// The program's params by name with their values, as `ProgramSource::params`
/// takes them: defaults where nothing is set.
ParamList programParams(const ProgramSource &source);

/// The main file and every file it imports (not the standard library), so that
/// `ProgramSource::files` can replay the program elsewhere.
std::vector<SourceFile> sourceFiles(const ProgramSource &source);

/// The program's parameters of a reference `config.json`, by the table `import` uses.
ParamList paramsFromConfig(const std::string &configPath);

/// The example program, with its text and parameters, that a reference `config.json` means.
ProgramSource programFromConfig(const std::string &configPath);
/// The reference's `config.json` of a program; `dtype` is its name of the weights' type (`float32`).
/// InvalidArgument, with the reason for each model type, unless the program computes what one of
/// the examples with a model type computes.
std::string configOfProgram(const ProgramSource &source, const std::string &dtype);

/// The model with zero weights; fill them by train::initialiseParameters or from a file.
std::unique_ptr<train::Model> compileModel(const ProgramSource &source, const CompileOptions &options);

/// Names that emitStage takes, in the order of compilation, each with one line of help.
std::vector<std::pair<std::string, std::string>> stages();
std::string emitStage(const ProgramSource &source, const std::string &stage, const CompileOptions &options);

/// An argument or result of an entry point.
struct ValueSpec {
  static constexpr int64_t kBatch = -1, kTime = -2;
  std::string name;
  std::vector<int64_t> shape; ///< Sizes, kBatch or kTime.
  runtime::Dtype dtype = runtime::Dtype::F32;
  std::string init = {}; ///< Of a weight, as ParameterSpec::init; else empty.
};

/// Row-major memory of the caller's; `data` may be null when there are no elements.
struct TensorView {
  runtime::Dtype dtype = runtime::Dtype::F32;
  std::vector<int64_t> shape;
  void *data = nullptr;
  bool isOnGpu = false; ///< `data` is an address of the GPU.
};

/// The sizes of a call.
struct CallSizes {
  int64_t B = 1, T = 1;
  std::vector<int64_t> of(const ValueSpec &spec) const;
};

/// A compiled function or layer; its weights are inputs by name.
class EntryProgram {
public:
  using Tensors = std::map<std::string, runtime::HostTensor>;
  using Views = std::map<std::string, TensorView>;

  virtual ~EntryProgram() = default;
  virtual const std::vector<ValueSpec> &inputs() const = 0;
  virtual const std::vector<ValueSpec> &outputs() const = 0;
  /// Inputs have the specs' dtypes and agree in B and T.
  virtual Tensors run(const Tensors &inputs) = 0;
  /// Vector-Jacobian products: cotangents by output name (a missing one is
  /// zero) in, "grad.NAME" for every floating input out.
  virtual Tensors vjp(const Tensors &inputs, const Tensors &cotangents) = 0;

  /// The same on the caller's memory, without a copy: every output by its name is written.
  ///
  /// Of a program for the GPU, `stream` is the caller's (a CUstream; null is the default one): the work comes after
  /// what is on it, and before what is put on it later. Tensors in host memory are copied to the GPU and back, and
  /// waited for; where there are none, this returns while the GPU works. Errors: InvalidArgument for memory of the
  /// GPU in a program for the CPU, and for positions in it.
  virtual void runOn(const Views &inputs, const Views &outputs, void *stream = nullptr) { noViews(); }
  /// `gradients` by the names of the inputs; those that are left out are not returned.
  virtual void vjpOn(const Views &inputs, const Views &cotangents, const Views &gradients, void *stream = nullptr) {
    noViews();
  }
  /// B and T of these inputs, all of which are checked. Errors: as run.
  virtual CallSizes sizesOf(const Views &inputs) { noViews(); }

private:
  [[noreturn]] static void noViews() { throw std::logic_error("this program does not run on the caller's memory"); }
};

/// A function, layer or model of a program.
struct EntryPoint {
  std::string name;
  std::string kind;              ///< "fn", "layer", "model"
  std::vector<std::string> open; ///< Sizes and compile-time arguments that its declaration leaves open.
  std::vector<std::string> tensors = {}; ///< Its tensor arguments, in order.
};
/// The program's own, not those of the standard library.
std::vector<EntryPoint> entryPoints(const ProgramSource &source);

/// Any function, layer or the model by name. `inputShapes` are those of the
/// tensors at hand, `sizes` are by name; both bind what the declaration leaves open. With
/// `options.documents` the entry has a further input `positions` (i32, B x T)
/// unless it declares one.
///
/// `half` names inputs that the caller has in bfloat16, where the precision is that: those that are rows of more than
/// 32 numbers a token are taken so, as the specs say, with their gradients, and such rows are returned so.
std::unique_ptr<EntryProgram> compileEntry(const ProgramSource &source, const std::string &entry,
                                           const CompileOptions &options,
                                           const std::map<std::string, std::vector<int64_t>> &inputShapes,
                                           const std::map<std::string, int64_t> &sizes = {},
                                           const std::set<std::string> &half = {});

/// Numbers that an input may be drawn from.
struct DrawRange {
  double low = -1, high = 1;
};
/// Of each input of an entry, the numbers in [-1, 1] with which its recurrences stay bounded: all, or those on one
/// side of 0, so that log decays are at most 0 and delta rules contract, as far as its text shows it.
std::map<std::string, DrawRange> steadyRanges(const ProgramSource &source, const std::string &entry,
                                              const std::map<std::string, std::vector<int64_t>> &inputShapes,
                                              const std::map<std::string, int64_t> &sizes = {});

/// True if the entry's declaration has a tensor argument of this name.
bool entryTakes(const ProgramSource &source, const std::string &entry, const std::string &tensor);

/// False if the model has a scan over chunks, which goes on across documents.
bool separatesDocuments(const ProgramSource &source);

/// Bytes by what they are for, in the order in which they are reported.
using MemoryTable = std::vector<std::pair<std::string, int64_t>>;

/// One training step's memory and work at given B and T, before running it.
struct PlanReport {
  int64_t peakBytes = 0; ///< The sum of classBytes; on the GPU without the process's context.
  int64_t layers = 0; ///< That could be run again in the backward.
  MemoryTable classBytes; ///< weights, gradients, moments, activations, ...
  std::string memory; ///< For people: one row a class, and the peak.
  double flops = 0;  ///< Of the matrix products of one training step, those done twice included.
  int64_t steps = 0; ///< Launches, library calls and copies.
  std::string table; ///< For people: one row a step or group.
  std::string json;  ///< An object: everything above and the rows of the table.
};
/// `microBatches`: of B x T each in a step; the work is of all of them.
PlanReport planModel(const ProgramSource &source, int64_t B, int64_t T, const CompileOptions &options,
                     int64_t microBatches = 1);

/// Nothing on the CPU, and where the GPU's free memory holds a training step. Errors: RuntimeError Device with what is
/// needed and what is free, the report's table, and the batch, length and policy that would fit.
void expectRoom(const ProgramSource &source, int64_t B, int64_t T, const CompileOptions &options, int64_t microBatches,
                const PlanReport &planned);

/// The fewest layers that must be run again for a step to need at most `bytes`.
/// InvalidArgument when running all of them again is not enough.
int64_t layersToRecompute(const ProgramSource &source, int64_t B, int64_t T, const CompileOptions &options,
                          int64_t microBatches, int64_t bytes);

/// FLOP/s of one large square product on this machine, measured now.
double measureProductRate(const CompileOptions &options);

/// A part of a training step that has run.
struct StepPart {
  std::string entry; ///< The function it belongs to: loss_and_grads, adamw, ...
  std::string what;  ///< As in BenchReport: a kernel's name, "product 32 x 64 x 16", ...
  std::string where; ///< Position in the program, if it has one.
  double seconds;
};
/// Calls `sink` with every part of the training steps of a model that compileModel made, in order, on the GPU after the
/// run that holds it. Null ends that. Steps are a little slower meanwhile: on the GPU no graphs are replayed.
void watchTraining(train::Model &model, std::function<void(const StepPart &)> sink);

/// Measured times of one training step.
struct BenchReport {
  struct Row {
    std::string what;  ///< "product 4096 x 512 x 512", a kernel's name
    std::string where; ///< its first source position
    int64_t calls = 0; ///< in one step
    double seconds = 0;
    double flops = 0; ///< 0 where not counted
  };
  double stepSeconds = 0;     ///< median of a whole step: loss, gradients, norm, update
  double flops = 0;           ///< of matrix products in the step
  double productsPerSecond = 0; ///< FLOP/s of one large square product on this machine
  double compileSeconds = 0;
  std::vector<Row> rows; ///< slowest first
  /// The GPU's memory in bytes; zeros on the CPU.
  struct DeviceBytes {
    int64_t driver = 0; ///< the most that the driver says the process took beside its context
    int64_t plan = 0;   ///< PlanReport::peakBytes
    int64_t before = 0; ///< what was taken once the context stood: by it, and by other processes
  } device;
  /// The step's share of what products alone would allow.
  double share() const { return flops / stepSeconds / productsPerSecond; }
};
/// Runs `repeats` steps on random tokens after one to warm up. Errors: those of expectRoom.
BenchReport benchModel(const ProgramSource &source, int64_t B, int64_t T, int repeats, const CompileOptions &options);

} // namespace tidegate
