//===- ElabScan.cpp - scan over t, over chunks to rec.scan ------*- C++ -*-===//
// The body of a scan is elaborated into a block of its own, on the values of
// one token (the rows of one chunk) and head. An indexed tensor becomes an
// operand of the scan of the kind its indices say; a tensor without indices is
// shared. In a scan over chunks the last chunk only reads the states.
//
// What rec.scan does not take as it is (a tensor of a token for all heads, a
// head for several) is repeated to B x T x H x rest by a select that always
// takes the value, so that its gradient is a plain sum; values per batch row are
// repeated by a scan without states.
//===----------------------------------------------------------------------===//
#include "frontends/dsl/Elaborator.h"
#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"

using namespace tidegate;
using namespace tidegate::dsl;
using tidegate::rec::OperandKind;

namespace {
/// How an operand is indexed.
enum Mode { kWhole, kTimeOnly, kHeadOnly, kTimeHead };
} // namespace

struct Elaborator::ScanFrame {
  struct Input {
    mlir::Value outside; ///< In the parent region.
    OperandKind kind;
    /// The value lacks T: it is `B x H or 1 x rest`, to be repeated along T.
    bool lacksTime = false;
    Range use;
  };
  struct State {
    llvm::StringRef name;
    Shape shape;
    Value init; ///< In the parent region; poison: zero.
    Range declared, initRange;
    mlir::BlockArgument argument;
    bool startsAtZero() const { return init.isPoison() || (init.isNumber() && init.number.isZero()); }
  };
  struct Output {
    Value value;
    Range range;
  };

  const ScanStmt *stmt = nullptr;
  int64_t heads = 1, chunk = 1;
  bool hasHeads = false;
  RegionFrame *outside = nullptr;
  CallFrame *frame = nullptr; ///< Whose names are states and outputs: a fn called in the body has its own.
  std::vector<Input> inputs;  ///< Per-token ones first; parallel to the block's first arguments.
  std::map<std::tuple<void *, int, int64_t>, Value> known; ///< Inputs by value, mode, and group.
  std::vector<State> states;
  llvm::MapVector<llvm::StringRef, Output> outputs;
};

//===----------------------------------------------------------------------===//
// Inputs
//===----------------------------------------------------------------------===//

/// Repeats `value` to the shape it broadcasts to together with `like`.
mlir::Value Elaborator::broadcastTo(mlir::Value value, mlir::Value like) {
  mlir::Location place = value.getLoc();
  return nn::SelectOp::create(region->builder, place, constant(1, {}, place), value, like);
}

/// Makes `outer` (a value of the parent region) an operand of the scan.
Value Elaborator::addScanInput(const Value &outer, int mode, int64_t group, Range use) {
  ScanFrame &scan = *region->scan;
  auto key = std::make_tuple(outer.tensor.getAsOpaquePointer(), mode, group);
  if (auto known = scan.known.find(key); known != scan.known.end())
    return known->second;

  size_t taken = mode == kTimeHead ? 2 : mode == kWhole ? 0 : 1;
  Shape rest(llvm::ArrayRef(outer.shape).drop_front(taken));
  ScanFrame::Input input{{}, OperandKind::Token, false, use};
  RegionFrame *body = region;
  {
    Saved<RegionFrame *> scope(region, scan.outside);
    Value value = materialize(outer, use);
    mlir::Location place = loc(use);
    auto shapeOf = [&](std::initializer_list<int64_t> front) {
      Shape shape(front);
      shape.append(rest);
      return shape;
    };
    auto ones = [&](std::initializer_list<int64_t> front) {
      Shape shape(front);
      shape.append(rest.size(), 1);
      return constant(0, shape, place);
    };
    if (!value.batched) {
      input.kind = mode == kHeadOnly ? OperandKind::Head : OperandKind::Shared;
      input.outside = value.tensor;
      if (group > 1) {
        mlir::Value grouped = reshape(value.tensor, shapeOf({scan.heads / group, 1}), place);
        input.outside = reshape(broadcastTo(grouped, ones({group})), shapeOf({scan.heads}), place);
      }
    } else if (mode == kTimeHead) {
      input.outside = value.tensor;
      if (group > 1) {
        mlir::Value grouped = reshape(value.tensor, shapeOf({kTime, kTime, scan.heads / group, 1}), place);
        input.outside = reshape(broadcastTo(grouped, ones({group})), shapeOf({kTime, kTime, scan.heads}), place);
      }
    } else if (mode == kTimeOnly) {
      input.outside = reshape(value.tensor, shapeOf({kTime, kTime, 1}), place);
      if (scan.heads > 1)
        input.outside = broadcastTo(input.outside, ones({scan.heads}));
    } else {
      input.lacksTime = true;
      int64_t heads = mode == kHeadOnly ? scan.heads / group : 1;
      mlir::Value grouped = reshape(value.tensor, shapeOf({kTime, 1, heads, 1}), place);
      if (group > 1)
        grouped = broadcastTo(grouped, ones({group}));
      input.outside = reshape(grouped, shapeOf({kTime, 1, heads * group}), place);
      if (scan.chunk > 1) {
        // Every step sees the value of its row; along tokens it would have to be repeated.
        input.kind = OperandKind::Row;
        input.lacksTime = false;
        mlir::Value perRow = reshape(grouped, shapeOf({kTime, heads * group}), place);
        input.outside = heads * group == scan.heads ? perRow : broadcastTo(perRow, ones({scan.heads}));
      }
    }
  }
  // The body sees all rows of its chunk.
  if (input.kind == OperandKind::Token && scan.chunk > 1)
    rest.insert(rest.begin(), scan.chunk);
  // Per-token operands stand first: the first one gives B, T, and H.
  size_t at = scan.inputs.size();
  if (input.kind == OperandKind::Token && !input.lacksTime)
    at = llvm::find_if(scan.inputs,
                       [](const ScanFrame::Input &i) { return i.kind != OperandKind::Token || i.lacksTime; }) -
         scan.inputs.begin();
  mlir::Value argument =
      body->block->insertArgument(unsigned(at), mlir::RankedTensorType::get(rest, elementType), outer.tensor.getLoc());
  scan.inputs.insert(scan.inputs.begin() + at, input);
  Value inside = tensorValue(argument, rest, /*batched=*/false, outer.origin);
  scan.known[key] = inside;
  return inside;
}

/// A tensor of an outer region used without indices.
Value Elaborator::captureInScan(const Value &value, Range use) {
  ScanFrame &scan = *region->scan;
  if (value.isInt || value.diagonal) {
    error(use, "expected a real tensor inside a scan, but got " + describe(value));
    return {};
  }
  if (!value.shape.empty() && value.shape.front() == kTime) {
    std::string indices =
        ("[" + scan.stmt->time.text + (scan.hasHeads ? ", " + scan.stmt->head.text : llvm::Twine()) + "]").str();
    error(use, "expected an index for this tensor of shape " + str(value.shape) +
                   ": it has one value per token, as in " +
                   llvm::StringRef(use.Start.getPointer(), use.End.getPointer() - use.Start.getPointer()) + indices)
        .note(scan.stmt->headRange, "the scan's indices are introduced here");
    return {};
  }
  return addScanInput(value, kWhole, 1, use);
}

/// x[t, h], x[t], x[h], x[t, h / G]
Value Elaborator::evalIndex(const IndexExpr &index) {
  auto &base = llvm::cast<NameExpr>(*index.base);
  if (!region->scan) {
    error(index.range, "expected no index here: tensors are indexed only inside a 'scan'");
    return {};
  }
  ScanFrame &scan = *region->scan;
  auto output = scan.outputs.find(base.name);
  Value value = output != scan.outputs.end() ? output->second.value : lookup(base.name);
  if (value.isPoison())
    return {};
  bool time = false, head = false;
  int64_t group = 1;
  for (const Expr *expr : index.indices) {
    auto *division = llvm::dyn_cast<BinaryExpr>(expr);
    auto *name = llvm::dyn_cast<NameExpr>(division && division->op == BinaryOp::Div ? division->lhs : expr);
    Value which = name ? lookup(name->name) : Value();
    if (which.kind == ValueKind::TimeIndex && !division && !time && !head) {
      time = true;
    } else if (which.kind == ValueKind::HeadIndex && !head) {
      head = true;
      if (division) {
        std::optional<int64_t> size = evalInteger(*division->rhs, "the size of a group of heads", 1);
        if (!size)
          return {};
        if (scan.heads % *size) {
          error(expr->range, "expected groups that divide the " + llvm::Twine(scan.heads) +
                                 " heads, but got groups of " + llvm::Twine(*size))
              .note(scan.stmt->headRange, "the heads are introduced here");
          return {};
        }
        group = *size;
      }
    } else {
      error(expr->range, "expected the scan's indices, in their order, as in x[" + scan.stmt->time.text +
                             (scan.hasHeads ? ", " + scan.stmt->head.text : llvm::Twine()) + "]")
          .note(scan.stmt->headRange, "they are introduced here");
      return {};
    }
  }
  if (output != scan.outputs.end()) {
    if (time && head == scan.hasHeads && group == 1)
      return value;
    error(index.range, "expected all indices of the scan: '" + base.name + "' is its output");
    return {};
  }
  if (!value.isTensor() || value.isInt || value.diagonal) {
    error(base.range, "expected a real tensor before '[', but got " + describe(value));
    return {};
  }
  if (value.tensor.getParentBlock() == region->block) {
    error(index.range, "expected no index: '" + base.name + "' is already a value of one " +
                           (scan.chunk > 1 ? "chunk" : "token"));
    return {};
  }
  size_t at = 0;
  std::string problem;
  if (time && (value.shape.empty() || value.shape[at++] != kTime))
    problem = ("expected T as the dimension of index '" + scan.stmt->time.text + "'").str();
  else if (head && (value.shape.size() <= at || value.shape[at] != scan.heads / group))
    problem = ("expected " + llvm::Twine(scan.heads / group) + " heads as the dimension of index '" +
               scan.stmt->head.text + "'")
                  .str();
  else if (!time && !value.shape.empty() && value.shape[0] == kTime)
    problem = ("expected index '" + scan.stmt->time.text + "' for the dimension T").str();
  if (!problem.empty()) {
    auto builder = error(index.range, problem + ", but '" + base.name + "' has shape " + str(value.shape));
    builder.note(scan.stmt->headRange, "the scan's indices are introduced here");
    describeOrigin(builder, "it", {&value, base.range});
    return {};
  }
  return addScanInput(value, time ? (head ? kTimeHead : kTimeOnly) : (head ? kHeadOnly : kWhole), group, index.range);
}

//===----------------------------------------------------------------------===//
// States and outputs
//===----------------------------------------------------------------------===//

/// state S: [K, V] = S0
void Elaborator::execState(const StateStmt &stmt) {
  ScanFrame &scan = *region->scan;
  frame->env[stmt.name.text] = {};
  std::optional<Shape> shape = evalShape(stmt.type);
  if (!shape)
    return;
  if (llvm::is_contained(*shape, kTime) || stmt.type.isInt) {
    error(stmt.type.range, "expected a real shape of compile-time dimensions for state '" + stmt.name.text +
                               "', but got " + str(*shape) + (stmt.type.isInt ? " int" : ""));
    return;
  }
  ScanFrame::State state{stmt.name.text, *shape, {}, stmt.range, {}, {}};
  if (stmt.init) {
    state.initRange = stmt.init->range;
    Saved<RegionFrame *> scope(region, scan.outside);
    state.init = eval(*stmt.init);
    if (state.init.isPoison())
      return;
    if (!state.init.isNumber() && !isReal(state.init, state.initRange, "or a number as the initial state"))
      return;
    Shape full = scan.hasHeads ? Shape{scan.heads} : Shape{};
    full.append(*shape);
    if (state.init.isTensor() && state.init.shape != full && state.init.shape != *shape) {
      auto builder = error(state.initRange,
                           "expected an initial state of shape " + str(full) + ", but got " + str(state.init.shape));
      builder.note(stmt.type.range, "the state is " + str(*shape) + (scan.hasHeads ? " for each head" : ""));
      describeOrigin(builder, "it", {&state.init, state.initRange});
      return;
    }
  }
  // The op wants the states that start at zero last.
  auto at = scan.states.end();
  if (!state.startsAtZero())
    at = llvm::find_if(scan.states, [](const ScanFrame::State &other) { return other.startsAtZero(); });
  state.argument = region->block->insertArgument(
      unsigned(scan.inputs.size() + (at - scan.states.begin())), mlir::RankedTensorType::get(*shape, elementType),
      mlir::NameLoc::get(mlir::StringAttr::get(&context, stmt.name.text), loc(stmt.range)));
  scan.states.insert(at, state);
  frame->env[stmt.name.text] = tensorValue(state.argument, *shape, false, stmt.range);
}

/// Assigns to a name, a state, or an output of the scan.
void Elaborator::assign(const Target &target, Value value, const Expr &expr) {
  llvm::StringRef name = target.name.text;
  if (value.kind == ValueKind::Init || value.kind == ValueKind::TimeIndex || value.kind == ValueKind::HeadIndex) {
    error(expr.range, "expected a number or a tensor for '" + name + "', but got " + describe(value));
    value = {};
  }
  if (value.isTensor() && (llvm::isa<CallExpr, BinaryExpr, UnaryExpr>(expr)))
    nameResult(value, name);
  ScanFrame *scan = region->scan && region->scan->frame == frame ? region->scan : nullptr;
  auto isState = [&](const ScanFrame::State &state) { return state.name == name; };
  auto state = scan ? llvm::find_if(scan->states, isState) : std::vector<ScanFrame::State>::iterator();
  bool toState = scan && state != scan->states.end() && target.indices.empty();
  if (!scan || (target.indices.empty() && !toState)) {
    frame->env[name] = std::move(value);
    return;
  }
  // States and outputs are tensors, even when a number is assigned.
  if (value.isNumber()) {
    Shape shape = toState ? state->shape : scan->chunk > 1 ? Shape{scan->chunk} : Shape{};
    value = tensorValue(constant(value.number.toDouble(), shape, loc(expr.range)), shape, false, expr.range);
  }
  if (!value.isPoison() && !isReal(value, expr.range, ("as the value of '" + name + "'").str()))
    value = {};
  if (toState) {
    if (value.isTensor() && value.shape != state->shape) {
      auto builder = error(expr.range, "expected a value of shape " + str(state->shape) + " for state '" + name +
                                           "', but got " + str(value.shape));
      builder.note(state->declared, "the state is declared here");
      value = {};
    }
    frame->env[name] = std::move(value);
    return;
  }
  auto [known, isNew] = scan->outputs.insert({name, {value, target.range}});
  if (isNew)
    return;
  Value &old = known->second.value;
  if (old.isTensor() && value.isTensor() && old.shape != value.shape)
    error(expr.range,
          "expected a value of shape " + str(old.shape) + " for output '" + name + "', but got " + str(value.shape))
        .note(known->second.range, "its shape is that of the first assignment");
  old = std::move(value);
}

//===----------------------------------------------------------------------===//
// The scan
//===----------------------------------------------------------------------===//

void Elaborator::execScan(const ScanStmt &stmt) {
  ScanFrame scan;
  scan.stmt = &stmt;
  scan.hasHeads = !stmt.head.text.empty();
  scan.outside = region;
  scan.frame = frame;
  if (region->scan) {
    error(stmt.headRange, "expected no 'scan' inside a 'scan', but this one is in a fn called there");
    return;
  }
  std::optional<int64_t> heads = scan.hasHeads ? evalInteger(*stmt.headCount, "the number of heads", 1) : 1;
  std::optional<int64_t> chunk = stmt.chunk ? evalInteger(*stmt.chunk, "the number of tokens of a chunk", 2) : 1;
  llvm::StringMap<Value> after = frame->env;
  mlir::Region body;
  RegionFrame inside(&context);
  inside.block = new mlir::Block;
  body.push_back(inside.block);
  inside.parent = region;
  inside.scan = &scan;
  inside.builder.setInsertionPointToEnd(inside.block);
  size_t errors = diagnostics.errorCount();
  if (heads && chunk) {
    scan.heads = *heads;
    scan.chunk = *chunk;
    Value index;
    index.kind = ValueKind::TimeIndex;
    index.origin = stmt.time.range;
    frame->env[stmt.time.text] = index;
    index.kind = ValueKind::HeadIndex;
    if (scan.hasHeads)
      frame->env[stmt.head.text] = index;
    Saved<RegionFrame *> scope(region, &inside);
    execBlock(stmt.body);
  }
  bool good = heads && chunk && !stopped && diagnostics.errorCount() == errors && buildScan(scan, inside, body, after);
  if (!good) {
    for (const auto &[name, output] : scan.outputs)
      after[name] = {};
    for (const ScanFrame::State &state : scan.states)
      after[state.name] = {};
    // What could not be reached is unknown, not undefined.
    for (const Stmt *inner : stmt.body.stmts) {
      if (auto *state = llvm::dyn_cast<StateStmt>(inner))
        after[state->name.text] = {};
      if (auto *assign = llvm::dyn_cast<AssignStmt>(inner))
        for (const Target &target : assign->targets)
          if (!target.indices.empty())
            after[target.name.text] = {};
    }
  }
  frame->env = std::move(after);
}

/// States before the first token, `B x H x rest` or, where all rows of the batch
/// start alike, `H x rest`.
std::vector<mlir::Value> Elaborator::buildInits(ScanFrame &scan) {
  std::vector<mlir::Value> inits;
  for (ScanFrame::State &state : scan.states) {
    if (state.startsAtZero())
      break;
    mlir::Location place = loc(state.declared);
    Value init = state.init.isTensor() ? materialize(state.init, state.initRange) : state.init;
    if (init.isNumber()) {
      Shape full{scan.heads};
      full.append(state.shape);
      inits.push_back(constant(init.number.toDouble(), full, place));
      continue;
    }
    bool perHead = init.shape.size() == state.shape.size() + scan.hasHeads;
    Shape own = init.batched ? Shape{mlir::ShapedType::kDynamic} : Shape{};
    own.push_back(perHead ? scan.heads : 1);
    own.append(state.shape);
    mlir::Value value = reshape(init.tensor, own, place);
    if (!perHead && scan.heads > 1) {
      Shape ones(state.shape.size() + 1, 1);
      ones.front() = scan.heads;
      value = broadcastTo(value, constant(0, ones, place));
    }
    inits.push_back(value);
  }
  return inits;
}

/// `B x 1 x heads or 1 x rest` for every token of `anchor`: B x T x heads x rest,
/// by a scan without states that hands its row's value on.
mlir::Value Elaborator::repeatedAlongTime(mlir::Value value, mlir::Value anchor, int64_t heads, mlir::Location place) {
  auto type = mlir::cast<mlir::RankedTensorType>(value.getType());
  llvm::ArrayRef<int64_t> rest = type.getShape().drop_front(3);
  if (type.getDimSize(2) != heads) {
    Shape ones(rest.size() + 1, 1);
    ones.front() = heads;
    value = broadcastTo(value, constant(0, ones, place));
  }
  Shape row{mlir::ShapedType::kDynamic, heads};
  row.append(rest.begin(), rest.end());
  value = reshape(value, row, place);
  mlir::Region bodyRegion;
  mlir::Block &block = bodyRegion.emplaceBlock();
  auto anchorType = mlir::cast<mlir::RankedTensorType>(anchor.getType());
  block.addArgument(rec::ScanOp::innerType(anchorType, OperandKind::Token, 1), place);
  mlir::Value inside = block.addArgument(mlir::RankedTensorType::get(rest, type.getElementType()), place);
  mlir::OpBuilder builder(&context);
  builder.setInsertionPointToEnd(&block);
  rec::YieldOp::create(builder, place, inside);
  const int64_t token = static_cast<int64_t>(OperandKind::Token), perRow = static_cast<int64_t>(OperandKind::Row);
  auto op = rec::ScanOp::create(region->builder, place, mlir::ValueRange{anchor, value}, {token, perRow}, {},
                                /*chunk=*/1, {token}, /*numStates=*/0, /*reverse=*/false, /*saveStates=*/false,
                                &bodyRegion);
  return op.getResult(0);
}

/// Ends the body and makes the op; its results go to `after`. Fails, perhaps
/// silently, if a value that was reported before reaches a state or an output.
bool Elaborator::buildScan(ScanFrame &scan, RegionFrame &body, mlir::Region &bodyRegion,
                           llvm::StringMap<Value> &after) {
  const ScanStmt &stmt = *scan.stmt;
  for (const auto &[name, output] : scan.outputs)
    if (!output.value.isTensor())
      return false;
  for (const ScanFrame::State &state : scan.states)
    if (!frame->env[state.name].isTensor())
      return false;
  for (const auto &[name, output] : scan.outputs)
    if (scan.chunk > 1 && (output.value.shape.empty() || output.value.shape.front() != scan.chunk)) {
      auto builder = error(output.range, "expected one row per token of the chunk, [" + llvm::Twine(scan.chunk) +
                                             ", ...], for output '" + name + "', but got " + str(output.value.shape));
      builder.note(stmt.headRange, "the chunks are introduced here");
      describeOrigin(builder, "it", {&output.value, output.range});
      return false;
    }
  if (scan.outputs.empty() && scan.states.empty()) {
    error(stmt.headRange, "expected a scan with a state or an output, but got neither");
    return false;
  }
  if (scan.inputs.empty() || scan.inputs.front().kind != OperandKind::Token || scan.inputs.front().lacksTime) {
    error(stmt.headRange,
          "expected a tensor indexed by '" + stmt.time.text + "' in this scan: nothing says how long it is");
    return false;
  }
  mlir::Location place = loc(stmt.headRange);
  mlir::Value anchor = scan.inputs.front().outside;
  llvm::SmallVector<mlir::Value> operands;
  llvm::SmallVector<int64_t> kinds;
  for (ScanFrame::Input &input : scan.inputs) {
    if (input.lacksTime)
      input.outside = repeatedAlongTime(input.outside, anchor, scan.heads, place);
    operands.push_back(input.outside);
    kinds.push_back(static_cast<int64_t>(input.kind));
  }
  std::vector<mlir::Value> inits = buildInits(scan);
  llvm::SmallVector<mlir::Value> yields;
  for (const auto &[name, output] : scan.outputs)
    yields.push_back(output.value.tensor);
  for (const ScanFrame::State &state : scan.states) {
    mlir::Value next = frame->env[state.name].tensor;
    // The last chunk, full or partial, only reads: an update never sees missing rows.
    if (scan.chunk > 1 && next != state.argument)
      next = rec::UnlessLastOp::create(body.builder, place, next, state.argument);
    yields.push_back(next);
  }
  llvm::SmallVector<int64_t> outKinds(scan.outputs.size(), static_cast<int64_t>(OperandKind::Token));
  rec::YieldOp::create(body.builder, place, yields);
  auto op = rec::ScanOp::create(region->builder, place, operands, kinds, inits, scan.chunk, outKinds,
                                int64_t(scan.states.size()), /*reverse=*/false, /*saveStates=*/false, &bodyRegion);
  // Without heads the op's one head is taken away again.
  size_t result = 0;
  auto bind = [&](llvm::StringRef name, Shape shape, Range origin) {
    mlir::Value tensor = op.getResult(result++);
    Value value = tensorValue(tensor, shape, /*batched=*/true, origin);
    if (!scan.hasHeads)
      value.tensor = reshape(tensor, tensorType(shape, true).getShape(), place);
    after[name] = value;
  };
  for (const auto &[name, output] : scan.outputs) {
    Shape shape{kTime};
    if (scan.hasHeads)
      shape.push_back(scan.heads);
    shape.append(output.value.shape.begin() + (scan.chunk > 1), output.value.shape.end());
    bind(name, shape, output.range);
  }
  for (const ScanFrame::State &state : scan.states) {
    Shape shape;
    if (scan.hasHeads)
      shape.push_back(scan.heads);
    shape.append(state.shape);
    bind(state.name, shape, state.declared);
  }
  return true;
}
