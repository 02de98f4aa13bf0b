//===- Pipeline.cpp - The stages from source to fused module ----*- C++ -*-===//
#include "compiler/Driver/Pipeline.h"

#include "ir/InitAllDialects.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Autodiff/Gradient.h"
#include "passes/Autodiff/Passes.h"
#include "passes/Nn/AdamW.h"
#include "passes/Nn/Passes.h"
#include "passes/Rec/Passes.h"
#include "passes/Tile/Passes.h"

#include <thread>

using namespace mlir;
using namespace tidegate;

static CompileMessage messageOf(Diagnostic &diagnostic) {
  CompileMessage message;
  if (auto at = diagnostic.getLocation()->findInstanceOf<FileLineColLoc>()) {
    message.file = at.getFilename().str();
    message.line = at.getLine();
    message.column = at.getColumn();
  }
  message.text = diagnostic.str();
  for (Diagnostic &note : diagnostic.getNotes())
    message.notes.push_back(messageOf(note));
  return message;
}

/// "file:line:column: error: text", and its notes.
static void render(std::string &to, const CompileMessage &message, const char *kind) {
  if (!message.file.empty())
    to += message.file + ":" + std::to_string(message.line) + ":" + std::to_string(message.column) + ": ";
  to += std::string(kind) + ": " + message.text + "\n";
  for (const CompileMessage &note : message.notes)
    render(to, note, "note");
}

Compilation::Compilation(const CompileOptions &options) : options(options) {
  DialectRegistry registry;
  registerAllDialects(registry);
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
  context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() != DiagnosticSeverity::Error) { // MLIR would print errors only
      bool isWarning = diagnostic.getSeverity() == DiagnosticSeverity::Warning;
      std::string text;
      render(text, messageOf(diagnostic), isWarning ? "warning" : "remark");
      if (said.insert(text).second) // Layers are often alike.
        llvm::errs() << text;
      return success();
    }
    errors.push_back(messageOf(diagnostic));
    render(errorText, errors.back(), "error");
    return success();
  });
}

unsigned Compilation::threads() const {
  return options.threads > 0 ? unsigned(options.threads) : std::max(1u, std::thread::hardware_concurrency());
}

void Compilation::fail() {
  CompileError error(std::move(errors), std::move(errorText));
  errors.clear();
  errorText.clear();
  throw error;
}

OwningOpRef<ModuleOp> Compilation::generate(LoadedProgram &program, dsl::GenerateOptions generate) {
  generate.f64 = options.precision == Precision::F64;
  auto module = program.generate(context, generate);
  if (!options.documents)
    return module;
  PassManager pm(&context);
  pm.addPass(createCanonicalizerPass());
  pm.addPass(rec::createNnDocuments());
  check(pm.run(*module));
  return module;
}

void Compilation::simplify(ModuleOp module) {
  PassManager pm(&context);
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  check(pm.run(module));
}

void Compilation::lowerRecurrences(ModuleOp module, int64_t most) {
  PassManager pm(&context);
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  if (options.form == ScanForm::Chunk) {
    rec::RecToChunkOptions chunk;
    chunk.remarks = options.remarks;
    chunk.innerScales = options.target == Target::Cpu;
    chunk.halfProducts = options.precision == Precision::BF16;
    chunk.valuesFirst = chunk.vectors = options.target == Target::Cuda;
    if (options.chunk > 0)
      chunk.chunk = options.chunk;
    else if (options.target == Target::Cpu)
      chunk.narrowChunk = 32;
    if (most > 0)
      chunk.chunk = std::min<int64_t>(chunk.chunk, most);
    pm.addPass(rec::createRecToChunk(chunk));
    pm.addPass(createCanonicalizerPass());
    pm.addPass(createCSEPass());
    if (options.lowRank == LowRank::Fused) {
      pm.addPass(rec::createRecSinkLowRank());
      pm.addPass(createCanonicalizerPass());
      pm.addPass(createCSEPass());
    }
  }
  check(pm.run(module));
}

void Compilation::buildTraining(ModuleOp module) {
  auto model = module.lookupSymbol<func::FuncOp>("model");
  check(autodiff::buildLossAndGradients(model, {options.recomputedLayers}));
  Type element = options.precision == Precision::F64 ? Type(Float64Type::get(&context)) : Float32Type::get(&context);
  nn::buildAdamW(module, element);
}

void Compilation::buildScores(ModuleOp module) {
  check(autodiff::buildScores(module.lookupSymbol<func::FuncOp>("model")));
}

func::FuncOp Compilation::buildVjp(func::FuncOp entry) {
  auto gradient = autodiff::buildGradient(entry);
  check(gradient);
  auto isFloat = [](Type type) { return isa<FloatType>(cast<RankedTensorType>(type).getElementType()); };
  SmallVector<Type> arguments(entry.getArgumentTypes()), cotangents, results;
  llvm::copy_if(entry.getResultTypes(), std::back_inserter(cotangents), isFloat);
  llvm::append_range(arguments, cotangents);
  llvm::copy_if(entry.getArgumentTypes(), std::back_inserter(results), isFloat);

  OpBuilder b(&context);
  b.setInsertionPointAfter(entry);
  Location loc = entry.getLoc();
  auto vjp = func::FuncOp::create(b, loc, (entry.getName() + ".vjp").str(),
                                  FunctionType::get(&context, arguments, results));
  Block *body = vjp.addEntryBlock();
  b.setInsertionPointToEnd(body);
  auto args = body->getArguments().take_front(entry.getNumArguments());
  auto seeds = body->getArguments().drop_front(entry.getNumArguments());
  auto forward = func::CallOp::create(b, loc, gradient->forward, ValueRange(args));
  auto operands = gradient->backwardOperands(ValueRange(args), forward.getResults(), ValueRange(seeds));
  auto backward = func::CallOp::create(b, loc, gradient->backward, operands);
  func::ReturnOp::create(b, loc, backward.getResults());
  return vjp;
}

func::FuncOp Compilation::lowerEntry(ModuleOp module, bool isVjp) {
  lowerRecurrences(module);
  auto functions = module.getOps<func::FuncOp>();
  func::FuncOp entry = *llvm::find_if(functions, [](func::FuncOp f) { return !f.isPrivate(); });
  if (isVjp)
    entry = buildVjp(entry);
  for (auto other : functions)
    if (other != entry)
      other.setPrivate();
  return entry;
}

void Compilation::exposeStates(ModuleOp module, ArrayRef<int64_t> full) {
  PassManager pm(&context);
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(autodiff::createLastLogitsPass());
  rec::RecExposeStatesOptions expose;
  expose.pieces = options.target == Target::Cuda;
  expose.full.assign(full.begin(), full.end());
  pm.addPass(rec::createRecExposeStates(expose));
  check(pm.run(module));
}

void Compilation::toTiles(ModuleOp module) {
  PassManager pm(&context);
  tile::RecToTileOptions tiles;
  tiles.bf16 = options.precision == Precision::BF16;
  pm.addPass(tile::createRecToTile(tiles));
  pm.addPass(tile::createTilePlace());
  check(pm.run(module));
}

/// Numbers of a state at most in a chain where scans are cut: 16 x 256.
static constexpr int64_t kCutElements = 4096;

void Compilation::fuse(ModuleOp module) {
  PassManager pm(&context);
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createSymbolDCEPass());
  if (options.target == Target::Cuda || options.chunkLoops) {
    pm.addPass(rec::createRecToLoop());
    pm.addPass(createCanonicalizerPass());
    pm.addPass(createCSEPass());
  }
  if (options.target == Target::Cuda) {
    pm.addPass(rec::createRecSplit());
    pm.addPass(createCanonicalizerPass());
    pm.addPass(createCSEPass());
    rec::RecNarrowValuesOptions narrow;
    if (cutsScans)
      narrow.elements = kCutElements, narrow.thorough = true;
    pm.addPass(rec::createRecNarrowValues(narrow));
  }
  pm.addNestedPass<func::FuncOp>(nn::createFuseRows());
  if (options.target == Target::Cuda)
    pm.addNestedPass<func::FuncOp>(nn::createSplitRows());
  if (options.precision == Precision::BF16 || options.roundsStored)
    pm.addPass(nn::createStorage());
  if (options.roundsStored)
    pm.addPass(nn::createRoundStored());
  if (cutsScans) {
    tile::TileCutOptions cut;
    cut.bf16 = options.precision == Precision::BF16;
    pm.addPass(tile::createTileCut(cut));
  }
  if (options.target == Target::Cuda || options.chunkLoops)
    pm.addPass(rec::createRecLevelSteps());
  check(pm.run(module));
}
