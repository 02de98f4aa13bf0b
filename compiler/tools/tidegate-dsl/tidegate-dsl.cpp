//===- tidegate-dsl.cpp - The language front end for tests ------*- C++ -*-===//
// Checks a program and prints what the front end makes of it: its IR, its
// params, or its weights. With --split, the input holds several programs
// separated by lines `// -----`; each is checked, and the exit code is that of
// the worst.
//===----------------------------------------------------------------------===//
#include "frontends/dsl/Frontend.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/raw_ostream.h"

using namespace tidegate::dsl;
namespace cl = llvm::cl;

static cl::opt<std::string> input(cl::Positional, cl::desc("<program.tg>"), cl::init("-"));
static cl::list<std::string> sets("set", cl::desc("NAME=VALUE of a param"));
static cl::opt<std::string> entry("entry", cl::desc("fn or layer to generate (default: the model)"));
static cl::list<std::string> dims("dim", cl::desc("NAME=SIZE of a dimension that the entry leaves open"));
static cl::opt<bool> f64("f64", cl::desc("generate double precision"));
static cl::opt<bool> split("split", cl::desc("several programs, separated by '// -----'"));
static cl::opt<bool> locations("locations", cl::desc("print the locations of ops"));
enum class Print { IR, Params, Weights, Check };
static cl::opt<Print> what("print", cl::init(Print::IR), cl::desc("what to print"),
                           cl::values(clEnumValN(Print::IR, "ir", "the module"),
                                      clEnumValN(Print::Params, "params", "params with their values"),
                                      clEnumValN(Print::Weights, "weights", "weights of the model and their number"),
                                      clEnumValN(Print::Check, "check", "nothing: load only")));

static void printWeights(const std::vector<WeightInfo> &weights) {
  int64_t total = 0;
  for (const WeightInfo &weight : weights) {
    int64_t elements = 1;
    llvm::outs() << weight.name << " [";
    for (size_t i = 0; i < weight.shape.size(); ++i) {
      llvm::outs() << (i ? ", " : "") << weight.shape[i];
      elements *= weight.shape[i];
    }
    llvm::outs() << "] " << weight.init << (weight.decay ? "" : " no decay") << "\n";
    total += elements;
  }
  llvm::outs() << "total " << total << "\n";
}

/// One program; false after errors, which are printed.
static bool process(const LoadOptions &load) {
  Diagnostics diagnostics;
  std::unique_ptr<Program> program = Program::load(load, diagnostics);
  if (program && what == Print::Params) {
    for (const ParamInfo &param : program->params())
      llvm::outs() << param.name << " = " << param.value << (param.isSet ? " (set)" : "") << "\n";
  } else if (program && what == Print::Weights) {
    if (auto weights = program->weights(diagnostics))
      printWeights(*weights);
  } else if (program && what == Print::IR) {
    mlir::MLIRContext context;
    GenerateOptions options;
    options.entry = entry;
    options.f64 = f64;
    for (llvm::StringRef dim : dims) {
      auto [name, size] = dim.split('=');
      int64_t value = 0;
      if (size.getAsInteger(10, value)) {
        llvm::errs() << "error: expected --dim NAME=SIZE, but got '" << dim << "'\n";
        return false;
      }
      options.dims[name.str()] = value;
    }
    if (auto module = program->generate(context, options, diagnostics)) {
      mlir::OpPrintingFlags flags;
      if (locations)
        flags.enableDebugInfo(true, true);
      module->print(llvm::outs(), flags);
      llvm::outs() << "\n";
    }
  }
  diagnostics.print(llvm::errs());
  return !diagnostics.hasErrors();
}

int main(int argc, char **argv) {
  cl::ParseCommandLineOptions(argc, argv, "Tidegate language front end\n");
  LoadOptions load;
  load.path = input;
  for (llvm::StringRef set : sets) {
    auto [name, value] = set.split('=');
    load.params.emplace_back(name, value);
  }
  if (!split)
    return process(load) ? 0 : 1;
  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(input);
  if (!buffer) {
    llvm::errs() << "error: cannot read '" << input << "': " << buffer.getError().message() << "\n";
    return 1;
  }
  llvm::SmallVector<llvm::StringRef> parts;
  (*buffer)->getBuffer().split(parts, "// -----\n");
  bool good = true;
  for (llvm::StringRef part : parts) {
    // Lines keep their numbers in the whole file.
    size_t before = (*buffer)->getBuffer().take_front(part.data() - (*buffer)->getBufferStart()).count('\n');
    load.text = std::string(before, '\n') + part.str();
    good &= process(load);
  }
  return good ? 0 : 1;
}
