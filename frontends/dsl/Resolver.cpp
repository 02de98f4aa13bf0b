//===- Resolver.cpp - Names, arity and structure ----------------*- C++ -*-===//
#include "frontends/dsl/Resolver.h"
#include "frontends/dsl/Builtins.h"
#include "frontends/dsl/ConstEval.h"

using namespace tidegate::dsl;

namespace {

enum class LocalKind { Argument, Dim, Local, Weight, Counter, TimeIndex, HeadIndex, State };

struct Local {
  LocalKind kind;
  Range range; ///< Where it was introduced.
};

class Resolver {
public:
  Resolver(const Function &function, const Symbols &symbols, Diagnostics &diagnostics)
      : function(function), symbols(symbols), diagnostics(diagnostics) {}

  void run() {
    declareArguments();
    resolveBlock(function.body);
    if (function.lost.empty() && !alwaysReturns(function.body))
      diagnostics.error(function.name.range,
                        "expected '" + function.name.text + "' to end with 'return' on every path");
  }

private:
  // Declarations.
  void declareArguments();
  void bindDims(const ShapeType &type);
  void declare(const Ident &name, LocalKind kind);
  bool mayAssign(const Ident &name);

  // Statements.
  void resolveBlock(const Block &block);
  void resolveStmt(const Stmt &stmt);
  void resolveAssign(const AssignStmt &assign);
  void resolveTargetIndices(const Target &target);
  void resolveRepeat(const RepeatStmt &repeat);
  void resolveScan(const ScanStmt &scan);
  void resolveWeight(const WeightStmt &weight);
  void resolveState(const StateStmt &state);
  static bool alwaysReturns(const Block &block);

  // Expressions.
  void resolveExpr(const Expr &expr);
  void resolveName(const NameExpr &name);
  void resolveCall(const CallExpr &call);
  void resolveArguments(const CallExpr &call, const Function &callee);
  void resolveIndex(const IndexExpr &index);
  void resolveType(const ShapeType &type);
  void unknownName(const NameExpr &name);
  void unknownFunction(const CallExpr &call);

  const Function &function;
  const Symbols &symbols;
  Diagnostics &diagnostics;
  llvm::StringMap<Local> locals;
  const ScanStmt *scan = nullptr; ///< The scan we are in.
  unsigned repeats = 0;           ///< How many repeats we are in.
  bool inWeight = false;          ///< In the initialisation of a weight.
};

} // namespace

//===----------------------------------------------------------------------===//
// Declarations
//===----------------------------------------------------------------------===//

void Resolver::declareArguments() {
  for (const Argument &argument : function.args) {
    auto known = locals.find(argument.name.text);
    if (known != locals.end()) {
      diagnostics
          .error(argument.name.range, "expected another name: '" + argument.name.text + "' is already an argument")
          .note(known->second.range, "the first one is here");
      continue;
    }
    if (argument.name.text == "T") {
      diagnostics.error(argument.name.range, "expected another name: 'T' is the sequence length");
      continue;
    }
    // A default may use params and the arguments before it.
    if (argument.defaultValue)
      resolveExpr(*argument.defaultValue);
    if (!argument.isTensor && function.kind == FunctionKind::Model)
      diagnostics.error(argument.range, "expected only tensors as arguments of the model; use a param for '" +
                                            argument.name.text + "'");
    declare(argument.name, LocalKind::Argument);
  }
  for (const Argument &argument : function.args)
    if (argument.isTensor)
      bindDims(argument.type);
  for (const Argument &argument : function.args)
    if (argument.isTensor)
      resolveType(argument.type);
  for (const ShapeType &type : function.results)
    resolveType(type);
}

/// A dimension that is a lone unknown name is bound by the call.
void Resolver::bindDims(const ShapeType &type) {
  for (const Expr *dim : type.dims) {
    auto *name = llvm::dyn_cast<NameExpr>(dim);
    if (!name || name->name == "T" || locals.contains(name->name))
      continue;
    if (!function.inLibrary && symbols.findParam(name->name))
      continue;
    locals[name->name] = {LocalKind::Dim, name->range};
  }
}

void Resolver::declare(const Ident &name, LocalKind kind) { locals[name.text] = {kind, name.range}; }

bool Resolver::mayAssign(const Ident &name) {
  auto refuse = [&](llvm::StringRef what, Range range) {
    diagnostics.error(name.range, "expected another name to assign to: '" + name.text + "' is " + what)
        .note(range, "'" + name.text + "' is introduced here");
    return false;
  };
  if (name.text == "T")
    return refuse("the sequence length", Range());
  if (isWord(name.text))
    return refuse("a word", Range());
  auto local = locals.find(name.text);
  if (local == locals.end()) {
    const ParamDecl *param = function.inLibrary ? nullptr : symbols.findParam(name.text);
    return !param || refuse("a param", param->name.range);
  }
  switch (local->second.kind) {
  case LocalKind::Dim: return refuse("a dimension", local->second.range);
  case LocalKind::Counter: return refuse("the counter of a repeat", local->second.range);
  case LocalKind::TimeIndex:
  case LocalKind::HeadIndex: return refuse("an index of the scan", local->second.range);
  default: return true;
  }
}

//===----------------------------------------------------------------------===//
// Statements
//===----------------------------------------------------------------------===//

void Resolver::resolveBlock(const Block &block) {
  const Stmt *returned = nullptr;
  for (const Stmt *stmt : block.stmts) {
    if (returned)
      diagnostics.error(stmt->range, "expected nothing after 'return'").note(returned->range, "it returns here");
    returned = nullptr;
    resolveStmt(*stmt);
    if (stmt->kind == StmtKind::Return)
      returned = stmt;
  }
}

void Resolver::resolveStmt(const Stmt &stmt) {
  switch (stmt.kind) {
  case StmtKind::Assign: return resolveAssign(llvm::cast<AssignStmt>(stmt));
  case StmtKind::Return:
    if (scan || repeats)
      diagnostics.error(stmt.range, llvm::Twine("expected no 'return' inside a '") + (scan ? "scan" : "repeat") + "'");
    for (const Expr *value : llvm::cast<ReturnStmt>(stmt).values)
      resolveExpr(*value);
    return;
  case StmtKind::If: {
    auto &branch = llvm::cast<IfStmt>(stmt);
    resolveExpr(*branch.condition);
    resolveBlock(branch.thenBlock);
    resolveBlock(branch.elseBlock);
    return;
  }
  case StmtKind::Repeat: return resolveRepeat(llvm::cast<RepeatStmt>(stmt));
  case StmtKind::Scan: return resolveScan(llvm::cast<ScanStmt>(stmt));
  case StmtKind::Weight: return resolveWeight(llvm::cast<WeightStmt>(stmt));
  case StmtKind::State: return resolveState(llvm::cast<StateStmt>(stmt));
  }
}

void Resolver::resolveAssign(const AssignStmt &assign) {
  resolveExpr(*assign.value);
  for (const Target &target : assign.targets) {
    if (!mayAssign(target.name))
      continue;
    if (!target.indices.empty())
      resolveTargetIndices(target);
    auto known = locals.find(target.name.text);
    // A state keeps being a state when it is assigned.
    if (known == locals.end() || known->second.kind != LocalKind::State)
      declare(target.name, LocalKind::Local);
  }
}

/// An output of a scan is written at exactly the scan's indices.
void Resolver::resolveTargetIndices(const Target &target) {
  if (!scan) {
    diagnostics.error(target.range,
                      "expected a plain name to assign to: only a scan writes '" + target.name.text + "[...]'");
    return;
  }
  auto isIndex = [](const Expr *expr, const Ident &ident) {
    auto *name = llvm::dyn_cast<NameExpr>(expr);
    return name && name->name == ident.text;
  };
  bool hasHead = !scan->head.text.empty();
  bool fits = target.indices.size() == (hasHead ? 2 : 1) && isIndex(target.indices[0], scan->time) &&
              (!hasHead || isIndex(target.indices[1], scan->head));
  std::string indices = ("[" + scan->time.text + (hasHead ? ", " + scan->head.text : llvm::Twine()) + "]").str();
  auto known = locals.find(target.name.text);
  if (!fits)
    diagnostics.error(target.range, "expected '" + target.name.text + indices + "' as an output of this scan")
        .note(scan->headRange, "the scan's indices are introduced here");
  else if (known != locals.end() && known->second.kind == LocalKind::State)
    diagnostics.error(target.range, "expected '" + target.name.text + "' without indices: it is a state of the scan")
        .note(known->second.range, "the state is declared here");
}

void Resolver::resolveRepeat(const RepeatStmt &repeat) {
  resolveExpr(*repeat.count);
  if (!mayAssign(repeat.variable))
    return;
  llvm::StringMap<Local> before = locals;
  declare(repeat.variable, LocalKind::Counter);
  ++repeats;
  resolveBlock(repeat.body);
  --repeats;
  // Names first assigned in the body are local to an iteration.
  locals = std::move(before);
}

void Resolver::resolveScan(const ScanStmt &stmt) {
  if (scan) {
    diagnostics.error(stmt.headRange, "expected no 'scan' inside a 'scan'")
        .note(scan->headRange, "the outer one is here");
    return;
  }
  if (stmt.chunk)
    resolveExpr(*stmt.chunk);
  if (stmt.headCount)
    resolveExpr(*stmt.headCount);
  mayAssign(stmt.time);
  if (stmt.head.text == stmt.time.text)
    diagnostics.error(stmt.head.range, "expected two different indices, but got '" + stmt.time.text + "' twice");
  else if (!stmt.head.text.empty())
    mayAssign(stmt.head);
  llvm::StringMap<Local> before = locals;
  declare(stmt.time, LocalKind::TimeIndex);
  if (!stmt.head.text.empty())
    declare(stmt.head, LocalKind::HeadIndex);
  scan = &stmt;
  unsigned outer = std::exchange(repeats, 0);
  resolveBlock(stmt.body);
  repeats = outer;
  scan = nullptr;
  // Outputs and states are visible afterwards, plain locals are not.
  for (auto &entry : locals)
    if (entry.second.kind == LocalKind::State)
      before[entry.first()] = {LocalKind::Local, entry.second.range};
  llvm::SmallVector<const Block *> blocks{&stmt.body};
  while (!blocks.empty())
    for (const Stmt *inner : blocks.pop_back_val()->stmts) {
      if (auto *assign = llvm::dyn_cast<AssignStmt>(inner))
        for (const Target &target : assign->targets)
          if (!target.indices.empty())
            before[target.name.text] = {LocalKind::Local, target.name.range};
      if (auto *branch = llvm::dyn_cast<IfStmt>(inner))
        blocks.append({&branch->thenBlock, &branch->elseBlock});
      if (auto *repeat = llvm::dyn_cast<RepeatStmt>(inner))
        blocks.push_back(&repeat->body);
    }
  locals = std::move(before);
}

void Resolver::resolveWeight(const WeightStmt &weight) {
  if (function.kind == FunctionKind::Fn)
    diagnostics.error(weight.range, "expected no weight in a fn; make '" + function.name.text + "' a layer")
        .note(function.name.range, "'" + function.name.text + "' is a fn");
  else if (scan)
    diagnostics.error(weight.range, "expected no weight inside a 'scan'; declare it before");
  else if (repeats)
    diagnostics.error(weight.range,
                      "expected no weight inside a 'repeat'; put it in a layer that is called 'as name[i]'");
  resolveType(weight.type);
  if (weight.type.isInt)
    diagnostics.error(weight.type.range, "expected a real weight, but got an int shape");
  inWeight = true;
  resolveExpr(*weight.init);
  inWeight = false;
  if (weight.decay)
    resolveExpr(*weight.decay);
  // The weight may have the name of a compile-time argument (`bias`).
  auto known = locals.find(weight.name.text);
  if (known != locals.end() && known->second.kind == LocalKind::Argument)
    return declare(weight.name, LocalKind::Weight);
  if (mayAssign(weight.name))
    declare(weight.name, LocalKind::Weight);
}

void Resolver::resolveState(const StateStmt &state) {
  resolveType(state.type);
  if (state.init)
    resolveExpr(*state.init);
  if (!scan) {
    diagnostics.error(state.range, "expected 'state' only inside a 'scan'");
    return;
  }
  if (repeats) {
    diagnostics.error(state.range, "expected no 'state' inside a 'repeat'; declare it before");
    return;
  }
  auto known = locals.find(state.name.text);
  if (known != locals.end() && known->second.kind == LocalKind::State) {
    diagnostics.error(state.name.range, "expected one state '" + state.name.text + "', but got a second one")
        .note(known->second.range, "the first one is here");
    return;
  }
  if (mayAssign(state.name))
    declare(state.name, LocalKind::State);
}

bool Resolver::alwaysReturns(const Block &block) {
  return llvm::any_of(block.stmts, [](const Stmt *stmt) {
    if (auto *branch = llvm::dyn_cast<IfStmt>(stmt))
      return branch->hasElse && alwaysReturns(branch->thenBlock) && alwaysReturns(branch->elseBlock);
    return stmt->kind == StmtKind::Return;
  });
}

//===----------------------------------------------------------------------===//
// Expressions
//===----------------------------------------------------------------------===//

void Resolver::resolveExpr(const Expr &expr) {
  switch (expr.kind) {
  case ExprKind::Number:
  case ExprKind::String:
  case ExprKind::Bool:
  case ExprKind::Error: return;
  case ExprKind::Name: return resolveName(llvm::cast<NameExpr>(expr));
  case ExprKind::Unary: return resolveExpr(*llvm::cast<UnaryExpr>(expr).operand);
  case ExprKind::Binary:
    resolveExpr(*llvm::cast<BinaryExpr>(expr).lhs);
    return resolveExpr(*llvm::cast<BinaryExpr>(expr).rhs);
  case ExprKind::Call: return resolveCall(llvm::cast<CallExpr>(expr));
  case ExprKind::Index: return resolveIndex(llvm::cast<IndexExpr>(expr));
  }
}

void Resolver::resolveName(const NameExpr &name) {
  if (name.name == "T") {
    diagnostics.error(name.range, "expected a value, but 'T' is the sequence length, known only at run time");
    return;
  }
  if (locals.contains(name.name) || isWord(name.name))
    return;
  if (!function.inLibrary && symbols.findParam(name.name))
    return;
  unknownName(name);
}

void Resolver::unknownName(const NameExpr &name) {
  if (llvm::is_contained(function.lost, name.name))
    return;
  if (const Function *callee = symbols.findFunction(name.name, function.inLibrary)) {
    diagnostics
        .error(name.range,
               "expected a value, but '" + name.name + "' is a " + spelling(callee->kind) + "; call it with '('")
        .note(callee->name.range, "it is defined here");
    return;
  }
  if (const BuiltinInfo *info = findBuiltin(name.name)) {
    diagnostics.error(name.range, "expected a value, but '" + name.name + "' is a function; call " + info->signature);
    return;
  }
  llvm::SmallVector<llvm::StringRef> candidates;
  for (auto &entry : locals)
    candidates.push_back(entry.first());
  if (!function.inLibrary)
    for (const ParamDecl *param : symbols.allParams())
      candidates.push_back(param->name.text);
  candidates.append({"full", "none"});
  llvm::sort(candidates);
  std::string nearest = nearestName(name.name, candidates);
  auto error = diagnostics.error(name.range, "unknown name '" + name.name + "'" + didYouMean(nearest));
  if (nearest.empty())
    return;
  error.fix(name.range, nearest);
  if (auto local = locals.find(nearest); local != locals.end())
    error.note(local->second.range, "'" + nearest + "' is introduced here");
  else if (const ParamDecl *param = symbols.findParam(nearest))
    error.note(param->name.range, "'" + nearest + "' is declared here");
}

void Resolver::resolveCall(const CallExpr &call) {
  for (const CallArg &arg : call.args)
    resolveExpr(*arg.value);
  for (const PathSegment &segment : call.path.segments)
    for (const Expr *index : segment.indices)
      resolveExpr(*index);
  if (const Function *callee = symbols.findFunction(call.callee.text, function.inLibrary)) {
    resolveArguments(call, *callee);
    return;
  }
  const BuiltinInfo *info = findBuiltin(call.callee.text);
  if (!info)
    return unknownFunction(call);
  if (!call.path.empty())
    diagnostics.error(call.path.range, "expected no 'as' here: '" + info->name + "' has no weights");
  for (const CallArg &arg : call.args)
    if (!arg.name.text.empty()) {
      diagnostics.error(arg.name.range, "expected positional arguments in " + info->signature);
      return;
    }
  if (!info->takes(call.args.size()))
    diagnostics.error(call.range, "expected " + llvm::Twine(info->most > 2 ? "at least " : "") +
                                      llvm::Twine(info->arity) +
                                      (info->arity == 1 ? " argument" : " arguments") + " in " + info->signature +
                                      ", but got " + llvm::Twine(call.args.size()));
  else if (!inWeight && (info->id == Builtin::Normal || info->id == Builtin::Uniform))
    diagnostics.error(call.range, "expected '" + info->name + "' only in the initialisation of a weight");
}

void Resolver::unknownFunction(const CallExpr &call) {
  llvm::SmallVector<llvm::StringRef> candidates;
  for (const BuiltinInfo &info : allBuiltins())
    candidates.push_back(info.name);
  for (const Function *candidate : symbols.libraryFunctions())
    candidates.push_back(candidate->name.text);
  if (!function.inLibrary)
    for (const Function *candidate : symbols.programFunctions())
      candidates.push_back(candidate->name.text);
  std::string nearest = nearestName(call.callee.text, candidates);
  auto error =
      diagnostics.error(call.callee.range, "unknown function '" + call.callee.text + "'" + didYouMean(nearest));
  if (nearest.empty()) {
    if (auto local = locals.find(call.callee.text); local != locals.end())
      error.note(local->second.range, "'" + call.callee.text + "' is a value, not a function");
    return;
  }
  error.fix(call.callee.range, nearest);
  if (const Function *callee = symbols.findFunction(nearest, function.inLibrary))
    error.note(callee->name.range, "'" + nearest + "' is defined here");
}

/// Positional arguments first, then names; what has no default must be given.
void Resolver::resolveArguments(const CallExpr &call, const Function &callee) {
  if (callee.isBroken)
    return;
  llvm::StringRef name = callee.name.text;
  llvm::SmallVector<const CallArg *> given(callee.args.size(), nullptr);
  size_t position = 0;
  for (const CallArg &arg : call.args) {
    size_t index = position;
    if (arg.name.text.empty()) {
      if (position++ >= callee.args.size()) {
        diagnostics
            .error(arg.value->range, "expected at most " + llvm::Twine(callee.args.size()) +
                                         (callee.args.size() == 1 ? " argument" : " arguments") + " in this call of '" +
                                         name + "', but got " + llvm::Twine(call.args.size()))
            .note(callee.range, "'" + name + "' is defined here");
        return;
      }
    } else {
      llvm::SmallVector<llvm::StringRef> names;
      for (const Argument &candidate : callee.args)
        names.push_back(candidate.name.text);
      index = llvm::find(names, arg.name.text) - names.begin();
      if (index == names.size()) {
        std::string nearest = nearestName(arg.name.text, names);
        auto error = diagnostics.error(arg.name.range, "unknown argument '" + arg.name.text + "' of '" + name + "'" +
                                                           didYouMean(nearest));
        error.note(callee.range, "'" + name + "' is defined here");
        if (!nearest.empty())
          error.fix(arg.name.range, nearest);
        continue;
      }
    }
    if (given[index]) {
      diagnostics
          .error(arg.value->range, "expected one value for argument '" + callee.args[index].name.text + "' of '" +
                                       name + "', but got two")
          .note(given[index]->value->range, "the first one is here");
      continue;
    }
    given[index] = &arg;
  }
  for (auto [argument, value] : llvm::zip(callee.args, given))
    if (!value && !argument.defaultValue)
      diagnostics.error(call.range, "expected argument '" + argument.name.text + "' in this call of '" + name + "'")
          .note(argument.range, "it is declared here");
  if (callee.kind == FunctionKind::Fn) {
    if (!call.path.empty())
      diagnostics.error(call.path.range, "expected no 'as' here: '" + name + "' is a fn and has no weights")
          .note(callee.name.range, "it is defined here");
    return;
  }
  if (callee.kind == FunctionKind::Model)
    diagnostics.error(call.range, "expected a fn or a layer, but '" + name + "' is the model")
        .note(callee.name.range, "it is defined here");
  else if (function.kind == FunctionKind::Fn)
    diagnostics
        .error(call.range,
               "expected no layer in a fn: '" + name + "' has weights; make '" + function.name.text + "' a layer")
        .note(callee.name.range, "'" + name + "' is a layer");
  else if (scan)
    diagnostics
        .error(call.range, "expected no layer inside a 'scan': call '" + name + "' before it and index the result")
        .note(scan->headRange, "the scan begins here");
}

void Resolver::resolveIndex(const IndexExpr &index) {
  if (!scan) {
    diagnostics.error(index.range, "expected no index here: tensors are indexed only inside a 'scan'");
    return;
  }
  auto *base = llvm::dyn_cast<NameExpr>(index.base);
  if (!base) {
    diagnostics.error(index.base->range, "expected a name before '[': compute the tensor before the scan");
    return;
  }
  resolveName(*base);
  if (auto local = locals.find(base->name); local != locals.end() && local->second.kind == LocalKind::State)
    diagnostics.error(index.range, "expected '" + base->name + "' without indices: it is a state of the scan")
        .note(local->second.range, "the state is declared here");
  for (const Expr *expr : index.indices)
    resolveExpr(*expr);
}

void Resolver::resolveType(const ShapeType &type) {
  for (const Expr *dim : type.dims) {
    auto *name = llvm::dyn_cast<NameExpr>(dim);
    if (name && name->name == "T")
      continue;
    resolveExpr(*dim);
  }
}

void tidegate::dsl::resolveFunction(const Function &function, const Symbols &symbols, Diagnostics &diagnostics) {
  if (!function.isBroken)
    Resolver(function, symbols, diagnostics).run();
}
