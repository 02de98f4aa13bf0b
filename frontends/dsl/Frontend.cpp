//===- Frontend.cpp - Programs in the language ------------------*- C++ -*-===//
#include "frontends/dsl/Frontend.h"
#include "frontends/dsl/Elaborator.h"
#include "frontends/dsl/Parser.h"
#include "frontends/dsl/Resolver.h"
#include "ir/InitAllDialects.h"
#include "ir/SourcePlace.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace tidegate::dsl;

struct Program::Impl {
  std::vector<std::unique_ptr<SourceFile>> files;
  SourceFile overrides; ///< Owns the expressions of --set.
  Symbols symbols;
  llvm::StringMap<Value> params;
  std::vector<ParamInfo> paramInfos;
  std::vector<SourceText> texts;
  std::shared_ptr<llvm::SourceMgr> sources; ///< The nodes point into them.
};

Program::Program() : impl(std::make_unique<Impl>()) {}
Program::~Program() = default;

namespace {

/// Reads the main file and, once each, everything it imports.
class Loader {
public:
  Loader(const LoadOptions &options, Diagnostics &diagnostics) : options(options), diagnostics(diagnostics) {}

  bool loadMain() {
    std::unique_ptr<llvm::MemoryBuffer> buffer;
    std::string problem;
    if (options.text)
      buffer = llvm::MemoryBuffer::getMemBufferCopy(*options.text, options.path);
    else
      buffer = read(options.path, problem);
    if (!buffer) {
      diagnostics.error(Range(), "cannot read '" + options.path + "': " + problem);
      return false;
    }
    seen.insert(identity(options.path));
    add(std::move(buffer), options.path);
    return true;
  }

  std::vector<std::unique_ptr<SourceFile>> files; ///< Imports before their importers.
  std::vector<SourceText> texts;                  ///< The main file first.

private:
  /// One spelling per file, so that a file reached by two paths is read once.
  std::string identity(llvm::StringRef path) const {
    llvm::SmallString<128> real;
    if (options.files.empty() && !llvm::sys::fs::real_path(path, real))
      return real.str().str();
    real = path;
    llvm::sys::path::remove_dots(real, /*remove_dot_dot=*/true);
    return real.str().str();
  }

  std::unique_ptr<llvm::MemoryBuffer> read(llvm::StringRef path, std::string &problem) const {
    if (!options.files.empty()) {
      for (const SourceText &file : options.files)
        if (identity(file.path) == identity(path))
          return llvm::MemoryBuffer::getMemBufferCopy(file.text, path);
      problem = "it is not among the files given";
      return nullptr;
    }
    if (llvm::sys::fs::is_directory(path)) {
      problem = "it is a directory";
      return nullptr;
    }
    auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(path, /*IsText=*/false);
    if (buffer)
      return llvm::MemoryBuffer::getMemBufferCopy((*buffer)->getBuffer(), path == "-" ? "<stdin>" : path);
    problem = buffer.getError().message();
    return nullptr;
  }

  void add(std::unique_ptr<llvm::MemoryBuffer> buffer, llvm::StringRef path) {
    llvm::StringRef text = diagnostics.addBuffer(std::move(buffer));
    texts.push_back({path.str(), text.str()});
    std::unique_ptr<SourceFile> file = parseFile(text, /*inLibrary=*/false, diagnostics);
    for (const ImportDecl &import : file->imports) {
      llvm::SmallString<128> target;
      if (!llvm::sys::path::is_absolute(import.path))
        target = llvm::sys::path::parent_path(path);
      llvm::sys::path::append(target, import.path);
      if (!seen.insert(identity(target)).second)
        continue;
      std::string problem;
      if (auto imported = read(target, problem))
        add(std::move(imported), target.str().str());
      else
        diagnostics.error(import.range,
                          "expected a file to import, but '" + target.str() + "' cannot be read: " + problem);
    }
    files.push_back(std::move(file));
  }

  const LoadOptions &options;
  Diagnostics &diagnostics;
  llvm::StringSet<> seen;
};

} // namespace

/// Checks --set names and gives every param its value, in order.
static void evaluateParams(const LoadOptions &options, const Symbols &symbols, SourceFile &owner,
                           llvm::StringMap<Value> &params, std::vector<ParamInfo> &infos, Diagnostics &diagnostics) {
  llvm::SmallVector<llvm::StringRef> names;
  for (const ParamDecl *param : symbols.allParams())
    names.push_back(param->name.text);
  llvm::StringMap<Expr *> overrides;
  llvm::StringMap<llvm::StringRef> overrideTexts;
  for (const auto &[name, value] : options.params) {
    auto buffer = llvm::MemoryBuffer::getMemBufferCopy(name + "=" + value, "--set");
    llvm::StringRef text = diagnostics.addBuffer(std::move(buffer));
    Range nameRange(llvm::SMLoc::getFromPointer(text.begin()), llvm::SMLoc::getFromPointer(text.begin() + name.size()));
    if (!symbols.findParam(name)) {
      std::string nearest = nearestName(name, names);
      std::string list = llvm::join(names, ", ");
      diagnostics.error(nameRange, "unknown param '" + name + "'" + didYouMean(nearest) +
                                       (names.empty() ? "; the program has none" : "; the program has " + list));
      continue;
    }
    overrideTexts[name] = text.drop_front(name.size() + 1);
    if (Expr *expr = parseExpression(text.drop_front(name.size() + 1), owner, diagnostics))
      overrides[name] = expr;
  }
  for (const ParamDecl *param : symbols.allParams()) {
    llvm::StringRef paramName = param->name.text;
    bool isSet = overrides.contains(paramName);
    auto report = [&](Range range, const llvm::Twine &message) { diagnostics.error(range, message); };
    auto lookup = [&](const NameExpr &name) -> Value {
      if (auto known = params.find(name.name); known != params.end())
        return known->second;
      if (isWord(name.name))
        return Value::word(name.name);
      const ParamDecl *later = symbols.findParam(name.name);
      std::string nearest = later ? "" : nearestName(name.name, names);
      auto error = diagnostics.error(name.range, later ? "expected a param declared before '" + paramName + "', but '" +
                                                             name.name + "' comes later"
                                                       : "unknown name '" + name.name + "'" + didYouMean(nearest));
      if (later)
        error.note(later->name.range, "it is declared here");
      else if (!nearest.empty())
        error.fix(name.range, nearest);
      return {};
    };
    // The default is checked even when it is overridden.
    Value value = evalConst(*param->value, lookup, report);
    if (value.kind == ValueKind::Init) {
      diagnostics.error(param->value->range,
                        "expected a number, a word or a string as a param, but got " + describe(value));
      value = {};
    }
    if (isSet) {
      // A param that chooses between strings takes the bare text.
      bool isText = value.kind == ValueKind::Word && llvm::isa<StringExpr>(param->value);
      value = isText && llvm::isa<NameExpr>(overrides[paramName]) ? Value::word(overrideTexts[paramName])
                                                                  : evalConst(*overrides[paramName], lookup, report);
    }
    params[paramName] = value;
    infos.push_back({paramName.str(), str(value), isSet});
  }
}

std::unique_ptr<Program> Program::load(const LoadOptions &options, Diagnostics &diagnostics) {
  std::unique_ptr<Program> program(new Program);
  Impl &impl = *program->impl;
  impl.sources = diagnostics.shareSources();
  size_t errors = diagnostics.errorCount();
  Loader loader(options, diagnostics);
  if (!loader.loadMain())
    return nullptr;
  impl.files = std::move(loader.files);
  impl.texts = std::move(loader.texts);

  auto library = llvm::MemoryBuffer::getMemBuffer(standardLibrary(), kLibraryFile);
  auto libraryFile = parseFile(diagnostics.addBuffer(std::move(library)), /*inLibrary=*/true, diagnostics);
  impl.symbols.add(*libraryFile, /*isLibrary=*/true, diagnostics);
  impl.files.push_back(std::move(libraryFile));
  for (const auto &file : llvm::ArrayRef(impl.files).drop_back())
    impl.symbols.add(*file, /*isLibrary=*/false, diagnostics);

  evaluateParams(options, impl.symbols, impl.overrides, impl.params, impl.paramInfos, diagnostics);
  for (const Function *function : impl.symbols.libraryFunctions())
    resolveFunction(*function, impl.symbols, diagnostics);
  for (const Function *function : impl.symbols.programFunctions())
    resolveFunction(*function, impl.symbols, diagnostics);
  return diagnostics.errorCount() != errors ? nullptr : std::move(program);
}

const std::vector<ParamInfo> &Program::params() const { return impl->paramInfos; }
const std::vector<SourceText> &Program::sourceFiles() const { return impl->texts; }
bool Program::hasModel() const { return impl->symbols.model(); }

/// What a caller must say besides the tensors' batch and time.
static std::vector<std::string> openSizes(const Function &function, const llvm::StringMap<Value> &params) {
  std::vector<std::string> open;
  auto add = [&](llvm::StringRef name) {
    if (!llvm::is_contained(open, name))
      open.push_back(name.str());
  };
  auto isArgument = [&](llvm::StringRef name) {
    return llvm::any_of(function.args, [&](const Argument &a) { return !a.isTensor && a.name.text == name; });
  };
  for (const Argument &argument : function.args) {
    if (!argument.isTensor && !argument.defaultValue)
      add(argument.name.text);
    for (const Expr *dim : argument.type.dims)
      if (auto *name = llvm::dyn_cast<NameExpr>(dim); name && name->name != "T" && !isArgument(name->name) &&
                                                      (function.inLibrary || !params.contains(name->name)))
        add(name->name);
  }
  return open;
}

std::vector<EntryInfo> Program::entries() const {
  std::vector<EntryInfo> entries;
  auto add = [&](const Function *function, bool isLibrary) {
    EntryInfo info;
    info.name = function->name.text.str();
    info.kind = spelling(function->kind).str();
    info.isLibrary = isLibrary;
    info.open = openSizes(*function, impl->params);
    for (const Argument &argument : function->args)
      if (argument.isTensor)
        info.tensors.push_back(argument.name.text.str());
    entries.push_back(std::move(info));
  };
  for (const Function *function : impl->symbols.programFunctions())
    add(function, false);
  for (const Function *function : impl->symbols.libraryFunctions())
    add(function, true);
  return entries;
}

/// The function of an entry name; "" and "model" are the model.
static const Function *findEntry(const Symbols &symbols, llvm::StringRef name, Diagnostics &diagnostics) {
  if (const Function *function = name.empty() ? nullptr : symbols.findFunction(name, false))
    return function;
  if (name.empty() || name == "model") {
    if (!symbols.model())
      diagnostics.error(Range(), "expected a model, but the program has none");
    return symbols.model();
  }
  llvm::SmallVector<llvm::StringRef> names;
  for (const Function *function : symbols.programFunctions())
    names.push_back(function->name.text);
  std::string nearest = nearestName(name, names);
  diagnostics.error(Range(), "unknown entry '" + name + "'" + didYouMean(nearest) + "; the program has " +
                                 (names.empty() ? std::string("no fn, layer or model") : llvm::join(names, ", ")));
  return nullptr;
}

mlir::OwningOpRef<mlir::ModuleOp> Program::generate(mlir::MLIRContext &context, const GenerateOptions &options,
                                                    Diagnostics &diagnostics) const {
  diagnostics.adoptSources(impl->sources);
  const Function *entry = findEntry(impl->symbols, options.entry, diagnostics);
  if (!entry)
    return nullptr;
  context.loadDialect<mlir::func::FuncDialect, nn::NnDialect, rec::RecDialect>();
  return Elaborator(context, impl->symbols, impl->params, diagnostics, options.f64).run(*entry, options);
}

std::optional<std::vector<WeightInfo>> Program::weights(Diagnostics &diagnostics) const {
  diagnostics.adoptSources(impl->sources);
  const Function *entry = findEntry(impl->symbols, "", diagnostics);
  if (!entry)
    return std::nullopt;
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<mlir::func::FuncDialect, nn::NnDialect, rec::RecDialect>();
  Elaborator elaborator(context, impl->symbols, impl->params, diagnostics, /*f64=*/false);
  auto module = elaborator.run(*entry, {});
  if (!module)
    return std::nullopt;
  return elaborator.takeWeights();
}
