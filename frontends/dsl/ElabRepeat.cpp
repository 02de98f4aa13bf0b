//===- ElabRepeat.cpp - Iterations as private functions ---------*- C++ -*-===//
// Every iteration is elaborated, since its counter may steer it; an iteration
// that comes out like an earlier one calls the earlier one's function. So the
// layers of a model are one function, called with their own weights. Inside a
// scan the iterations are unrolled in place.
//===----------------------------------------------------------------------===//
#include "frontends/dsl/Elaborator.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "mlir/IR/OperationSupport.h"

using namespace tidegate::dsl;

void Elaborator::execRepeat(const RepeatStmt &repeat) {
  std::optional<int64_t> count = evalInteger(*repeat.count, "the number of iterations", 0);
  if (!count)
    return;
  if (*count > kMaxIterations) {
    error(repeat.count->range,
          "expected at most " + llvm::Twine(kMaxIterations) + " iterations, but got " + llvm::Twine(*count));
    return;
  }
  for (int64_t i = 0; i < *count && !stopped; ++i)
    if (region->scan ? !execInPlace(repeat, i) : !execIteration(repeat, i))
      return;
}

/// In the body of a scan there are no weights to share: the iteration's ops join the body.
bool Elaborator::execInPlace(const RepeatStmt &repeat, int64_t iteration) {
  llvm::StringSet<> before;
  for (auto &entry : frame->env)
    before.insert(entry.first());
  size_t errors = diagnostics.errorCount();
  frame->env[repeat.variable.text] = Value::of(Number(iteration));
  execBlock(repeat.body);
  llvm::SmallVector<std::string> own;
  for (auto &entry : frame->env)
    if (!before.contains(entry.first()))
      own.push_back(entry.first().str());
  for (const std::string &name : own)
    frame->env.erase(name);
  return !stopped && diagnostics.errorCount() == errors;
}

bool Elaborator::execIteration(const RepeatStmt &repeat, int64_t iteration) {
  llvm::StringMap<Value> before = frame->env;
  mlir::OpBuilder builder = mlir::OpBuilder::atBlockEnd(module.getBody());
  auto func = mlir::func::FuncOp::create(builder, loc(repeat.range), "iteration", builder.getFunctionType({}, {}));
  func.setPrivate();
  RegionFrame body(&context);
  body.block = func.addEntryBlock();
  body.parent = region;
  body.builder.setInsertionPointToEnd(body.block);

  size_t errors = diagnostics.errorCount();
  frame->env[repeat.variable.text] = Value::of(Number(iteration));
  {
    Saved<RegionFrame *> scope(region, &body);
    execBlock(repeat.body);
  }
  // What the iteration leaves: names that were there before and are new now.
  llvm::StringMap<Value> after = std::move(frame->env);
  frame->env = std::move(before);
  llvm::SmallVector<llvm::StringRef> names;
  for (auto &entry : frame->env)
    names.push_back(entry.first());
  llvm::sort(names);
  bool failed = stopped || diagnostics.errorCount() != errors;
  llvm::SmallVector<llvm::StringRef> resultNames;
  llvm::SmallVector<mlir::Value> results;
  for (llvm::StringRef name : names) {
    Value &now = after[name];
    if (now.isTensor() && now.tensor.getParentBlock() == body.block) {
      resultNames.push_back(name);
      results.push_back(now.tensor);
    }
    // A failed iteration leaves nothing that can be relied on.
    frame->env[name] = failed && now.isTensor() && now.tensor.getParentBlock() == body.block ? Value() : now;
  }
  if (failed) {
    func.erase();
    return false;
  }
  mlir::func::ReturnOp::create(body.builder, loc(repeat.range), results);
  func.setFunctionType(mlir::FunctionType::get(&context, body.block->getArgumentTypes(), mlir::TypeRange(results)));
  func = finishIteration(func, body, results);

  llvm::SmallVector<mlir::Value> operands;
  for (auto &[outside, inside] : body.captured)
    operands.push_back(outside);
  for (const WeightArgument &weight : body.weights)
    operands.push_back(weightArgument(*region, weight.info));
  auto call = mlir::func::CallOp::create(region->builder, loc(repeat.range), func, operands);
  for (auto [name, result] : llvm::zip(resultNames, call.getResults()))
    frame->env[name].tensor = result;
  return true;
}

/// Segments that all paths share, leaving each at least one of its own.
static size_t commonPrefix(llvm::ArrayRef<llvm::SmallVector<llvm::StringRef>> paths) {
  if (paths.empty())
    return 0;
  size_t shared = paths.front().size() - 1;
  for (const auto &path : paths)
    for (size_t i = 0; i < shared; ++i)
      if (i + 1 >= path.size() || path[i] != paths.front()[i])
        shared = i;
  return shared;
}

/// Names the function and its weights, or returns an equal one made before.
mlir::func::FuncOp Elaborator::finishIteration(mlir::func::FuncOp func, RegionFrame &body, mlir::ValueRange results) {
  llvm::SmallVector<llvm::SmallVector<llvm::StringRef>> paths;
  for (const WeightArgument &weight : body.weights)
    llvm::StringRef(weight.info.name).split(paths.emplace_back(), '.');
  size_t shared = commonPrefix(paths);
  unsigned index = body.captured.size();
  for (const auto &path : paths)
    func.setArgAttr(index++, "nn.weight",
                    mlir::StringAttr::get(&context, llvm::join(llvm::ArrayRef(path).drop_front(shared), ".")));
  // model.layers.3 => model.layers
  llvm::ArrayRef<llvm::StringRef> stem;
  if (!paths.empty())
    stem = llvm::ArrayRef(paths.front()).take_front(shared);
  while (!stem.empty() && stem.back().find_first_not_of("0123456789") == llvm::StringRef::npos)
    stem = stem.drop_back();
  std::string name = stem.empty() ? "repeat" : llvm::join(stem, ".");

  std::vector<mlir::func::FuncOp> &known = iterations[name];
  for (mlir::func::FuncOp other : known) {
    if (other.getFunctionType() != func.getFunctionType() || other.getArgAttrsAttr() != func.getArgAttrsAttr())
      continue;
    if (!mlir::OperationEquivalence::isRegionEquivalentTo(&other.getBody(), &func.getBody(),
                                                          mlir::OperationEquivalence::IgnoreLocations))
      continue;
    func.erase();
    return other;
  }
  std::string symbol = name;
  for (int i = 1; module.lookupSymbol(symbol) && symbol != func.getName(); ++i)
    symbol = name + "_" + std::to_string(i);
  func.setName(symbol);
  known.push_back(func);
  return func;
}
