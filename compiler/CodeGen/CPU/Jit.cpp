//===- Jit.cpp - Machine code of kernels ------------------------*- C++ -*-===//
// Kernel module -> LLVM dialect -> one LLVM module per thread -> O3 -> object ->
// ORC. The objects are compiled here, outside ORC, so that they compile side by
// side and the vector library is known to the vectoriser.
//===----------------------------------------------------------------------===//
#include "compiler/CodeGen/CPU/Jit.h"
#include "compiler/CodeGen/CPU/Exponential.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/SystemLibraries.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/SmallVectorMemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/TargetParser/Host.h"

#include <dlfcn.h>
#include <mutex>
#include <thread>

using namespace mlir;
using namespace tidegate::cpu;

struct Jit::Impl {
  std::unique_ptr<llvm::orc::LLJIT> session;
};

Jit::Jit(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
Jit::~Jit() = default;

static void initializeOnce() {
  static std::once_flag flag;
  std::call_once(flag, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
  });
}

/// The C library's vector log, sin and so on, in a library of its own beside libm.
/// Where it is missing, loops with them stay scalar.
static bool hasVectorMath() {
  static const bool has = dlopen("libmvec.so.1", RTLD_NOW | RTLD_GLOBAL) != nullptr;
  return has;
}

static LogicalResult lowerToLLVMDialect(ModuleOp module) {
  expandExponentials(module);
  PassManager pm(module.getContext());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  return pm.run(module);
}

static std::unique_ptr<llvm::TargetMachine> hostMachine() {
  std::string error;
  llvm::Triple triple(llvm::sys::getDefaultTargetTriple());
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  std::string features;
  for (auto &[name, on] : llvm::sys::getHostCPUFeatures())
    features += (features.empty() ? "" : ",") + std::string(on ? "+" : "-") + name.str();
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Fast; // multiply-add in one rounding
  return std::unique_ptr<llvm::TargetMachine>(
      target->createTargetMachine(triple, llvm::sys::getHostCPUName(), features, options, llvm::Reloc::PIC_,
                                  std::nullopt, llvm::CodeGenOptLevel::Aggressive, /*JIT=*/true));
}

static void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  module.setTargetTriple(machine.getTargetTriple());
  module.setDataLayout(machine.createDataLayout());
  for (llvm::Function &f : module) {
    f.addFnAttr("target-cpu", machine.getTargetCPU());
    f.addFnAttr("target-features", machine.getTargetFeatureString());
    f.addFnAttr("prefer-vector-width", "512");
  }
  llvm::TargetLibraryInfoImpl library(machine.getTargetTriple());
  if (hasVectorMath())
    library.addVectorizableFunctionsFromVecLib(llvm::VectorLibrary::LIBMVEC, machine.getTargetTriple());

  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager calls;
  llvm::ModuleAnalysisManager modules;
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = tuning.SLPVectorization = tuning.LoopInterleaving = true;
  // Tiles are unrolled already. LLVM would take half of all compile time over it, and the code is no faster.
  tuning.LoopUnrolling = false;
  llvm::PassBuilder builder(&machine, tuning);
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(calls);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, calls, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3).run(module, modules);
}

static std::unique_ptr<llvm::MemoryBuffer> emitObject(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::SmallVector<char, 0> object;
  llvm::raw_svector_ostream stream(object);
  llvm::legacy::PassManager pm;
  if (machine.addPassesToEmitFile(pm, stream, nullptr, llvm::CodeGenFileType::ObjectFile))
    return nullptr;
  pm.run(module);
  return std::make_unique<llvm::SmallVectorMemoryBuffer>(std::move(object), /*RequiresNullTerminator=*/false);
}

/// One module per shard, functions dealt round-robin in order of size; a kernel
/// and its body stay together, and every shard has the functions that bodies call.
static SmallVector<OwningOpRef<ModuleOp>> split(ModuleOp module, unsigned shards) {
  SmallVector<std::pair<int64_t, std::string>> kernels;
  module.walk([&](LLVM::LLVMFuncOp f) {
    if (!f.getName().ends_with("_body"))
      return;
    int64_t ops = 0;
    f.walk([&](Operation *) { ++ops; });
    kernels.push_back({-ops, f.getName().drop_back(StringRef("_body").size()).str()});
  });
  llvm::sort(kernels);
  llvm::StringMap<unsigned> home;
  SmallVector<int64_t> load(shards, 0);
  for (auto &[ops, name] : kernels) {
    unsigned shard = std::min_element(load.begin(), load.end()) - load.begin();
    load[shard] -= ops;
    home[name] = shard;
  }
  SmallVector<OwningOpRef<ModuleOp>> parts;
  for (unsigned shard = 0; shard < shards; ++shard) {
    parts.push_back(ModuleOp::create(module.getLoc()));
    OpBuilder b(parts.back()->getBodyRegion());
    b.setInsertionPointToEnd(parts.back()->getBody());
    for (auto f : module.getOps<LLVM::LLVMFuncOp>()) {
      StringRef name = f.getName();
      name.consume_back("_body");
      auto found = home.find(name);
      if (found == home.end() || found->second == shard)
        b.clone(*f);
    }
  }
  return parts;
}

FailureOr<std::unique_ptr<Jit>> Jit::compile(ModuleOp module, unsigned threads) {
  initializeOnce();
  Location loc = module.getLoc();
  if (failed(lowerToLLVMDialect(module)))
    return failure();
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());

  auto parts = split(module, std::max(1u, threads));
  SmallVector<std::unique_ptr<llvm::MemoryBuffer>> objects(parts.size());
  SmallVector<std::thread> workers;
  for (unsigned i = 0; i < parts.size(); ++i)
    workers.emplace_back([&, i] {
      llvm::LLVMContext context;
      auto machine = hostMachine();
      auto ir = translateModuleToLLVMIR(*parts[i], context);
      if (!machine || !ir)
        return;
      optimize(*ir, *machine);
      objects[i] = emitObject(*ir, *machine);
    });
  for (std::thread &worker : workers)
    worker.join();

  auto impl = std::make_unique<Impl>();
  auto report = [&](llvm::Error error) -> LogicalResult {
    return emitError(loc) << "cannot load compiled kernels: " << llvm::toString(std::move(error));
  };
  auto session = llvm::orc::LLJITBuilder().create();
  if (!session)
    return report(session.takeError());
  impl->session = std::move(*session);
  auto symbols = llvm::orc::DynamicLibrarySearchGenerator::GetForCurrentProcess(
      impl->session->getDataLayout().getGlobalPrefix());
  if (!symbols)
    return report(symbols.takeError());
  impl->session->getMainJITDylib().addGenerator(std::move(*symbols));
  for (auto &object : objects) {
    if (!object)
      return emitError(loc) << "cannot compile for this machine's processor";
    if (auto error = impl->session->addObjectFile(std::move(object)))
      return report(std::move(error));
  }
  return std::unique_ptr<Jit>(new Jit(std::move(impl)));
}

KernelFunction Jit::lookup(StringRef name) const {
  auto address = impl->session->lookup(name);
  if (!address) {
    llvm::consumeError(address.takeError());
    return nullptr;
  }
  return address->toPtr<KernelFunction>();
}

FailureOr<std::string> Jit::print(ModuleOp module) {
  initializeOnce();
  if (failed(lowerToLLVMDialect(module)))
    return failure();
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  llvm::LLVMContext context;
  auto machine = hostMachine();
  auto ir = translateModuleToLLVMIR(module, context);
  if (!machine || !ir)
    return failure();
  optimize(*ir, *machine);
  std::string text;
  llvm::raw_string_ostream os(text);
  os << *ir;
  return text;
}
