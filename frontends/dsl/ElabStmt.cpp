//===- ElabStmt.cpp - Assignments, branches, weights ------------*- C++ -*-===//
#include "frontends/dsl/Elaborator.h"

using namespace tidegate::dsl;

void Elaborator::execBlock(const Block &block) {
  for (const Stmt *stmt : block.stmts) {
    if (frame->returned || !spend(stmt->range))
      return;
    execStmt(*stmt);
  }
}

void Elaborator::execStmt(const Stmt &stmt) {
  Saved<unsigned> level(depth, depth + 1);
  switch (stmt.kind) {
  case StmtKind::Assign: return execAssign(llvm::cast<AssignStmt>(stmt));
  case StmtKind::Return: return execReturn(llvm::cast<ReturnStmt>(stmt));
  case StmtKind::If: return execIf(llvm::cast<IfStmt>(stmt));
  case StmtKind::Repeat: return execRepeat(llvm::cast<RepeatStmt>(stmt));
  case StmtKind::Weight: return execWeight(llvm::cast<WeightStmt>(stmt));
  case StmtKind::State: return execState(llvm::cast<StateStmt>(stmt));
  case StmtKind::Scan: return execScan(llvm::cast<ScanStmt>(stmt));
  }
}

void Elaborator::execAssign(const AssignStmt &stmt) {
  size_t count = stmt.targets.size();
  Value value = eval(*stmt.value);
  if (count == 1) {
    if (value.kind == ValueKind::Tuple) {
      error(stmt.value->range, "expected one value for '" + stmt.targets[0].name.text + "', but got " +
                                   llvm::Twine(value.elements.size()) + "; name them all: a, b = ...");
      value = {};
    }
    return assign(stmt.targets[0], std::move(value), *stmt.value);
  }
  if (!value.isPoison() && (value.kind != ValueKind::Tuple || value.elements.size() != count)) {
    error(stmt.value->range,
          "expected " + llvm::Twine(count) + " values for the " + llvm::Twine(count) + " names on the left, but got " +
              (value.kind == ValueKind::Tuple ? llvm::Twine(value.elements.size()) : llvm::Twine("one")))
        .note(Range(stmt.targets.front().range.Start, stmt.targets.back().range.End), "the names are here");
    value = {};
  }
  for (auto [i, target] : llvm::enumerate(stmt.targets))
    assign(target, value.isPoison() ? Value() : value.elements[i], *stmt.value);
}

void Elaborator::execReturn(const ReturnStmt &ret) {
  frame->returned = true;
  for (const Expr *expr : ret.values) {
    Value value = eval(*expr);
    // `return f(x)` passes on all values of f.
    if (value.kind == ValueKind::Tuple && ret.values.size() == 1) {
      frame->results = value.elements;
      frame->resultExprs.assign(value.elements.size(), expr);
      return;
    }
    if (value.kind == ValueKind::Tuple) {
      error(expr->range, "expected one value here, but got " + describe(value));
      value = {};
    }
    frame->results.push_back(std::move(value));
    frame->resultExprs.push_back(expr);
  }
}

void Elaborator::execIf(const IfStmt &branch) {
  Value condition = eval(*branch.condition);
  if (condition.isPoison())
    return;
  if (condition.kind != ValueKind::Bool) {
    auto builder =
        error(branch.condition->range, "expected a condition known when compiling, but got " + describe(condition));
    if (condition.isTensor())
      builder.note(branch.condition->range, "where(condition, x, y) chooses between tensors");
    return;
  }
  execBlock(condition.boolean ? branch.thenBlock : branch.elseBlock);
}

/// Declares a weight under the path of its layer.
void Elaborator::execWeight(const WeightStmt &stmt) {
  std::optional<Shape> shape = evalShape(stmt.type);
  Value init = eval(*stmt.init);
  Value decay = stmt.decay ? eval(*stmt.decay) : Value::of(true);
  frame->env[stmt.name.text] = {};
  if (!shape || init.isPoison() || decay.isPoison())
    return;
  if (llvm::is_contained(*shape, kTime)) {
    error(stmt.type.range,
          "expected compile-time dimensions for weight '" + stmt.name.text + "', but got " + str(*shape));
    return;
  }
  double elements = 1;
  for (int64_t dim : *shape)
    elements *= static_cast<double>(dim);
  if (elements > 1e15) {
    error(stmt.type.range,
          "expected at most 10^15 elements in weight '" + stmt.name.text + "', but got " + str(*shape));
    return;
  }
  if (init.kind != ValueKind::Init && !init.isNumber()) {
    error(stmt.init->range, "expected a number or a distribution such as normal(0.02) as the initialisation of '" +
                                stmt.name.text + "', but got " + describe(init));
    return;
  }
  if (decay.kind != ValueKind::Bool) {
    error(stmt.decay->range, "expected true or false for 'decay', but got " + describe(decay));
    return;
  }
  std::string path = (frame->prefix.empty() ? "" : frame->prefix + ".") + stmt.name.text.str();
  Range called = frame->call ? frame->call->range : Range();
  auto [place, isNew] = weightPlaces.try_emplace(path, WeightPlace{stmt.range, called});
  if (!isNew) {
    // Show both calls where two calls clash, both declarations within one.
    Range here = called.isValid() ? called : stmt.range;
    Range first = place->second.called.isValid() ? place->second.called : place->second.declared;
    auto builder = diagnostics.error(here, "expected a weight path of its own, but '" + path + "' is already taken");
    if (first.Start == here.Start)
      builder.note(first, "this call declares it in every iteration: put the counter into its name, 'as name[i]'");
    else
      builder.note(first, "it is declared by this; give one of the two another name with 'as'");
    return;
  }
  WeightInfo info{path, {shape->begin(), shape->end()}, init.text, decay.boolean};
  if (init.isNumber()) {
    double number = init.number.toDouble();
    info.init = number == 0 ? "zeros" : number == 1 ? "ones" : "constant(" + formatDouble(number) + ")";
  }
  weights.push_back(std::move(info));
  mlir::Value tensor = weightArgument(*region, weights.back());
  frame->env[stmt.name.text] = tensorValue(tensor, *shape, /*batched=*/false, stmt.range);
}
