//===- FusionRewrite.cpp - Build the maps -----------------------*- C++ -*-===//
// Barriers keep their order. Each map is built just before the first barrier
// that needs it; one that only the return needs is built as soon as it can be,
// so that what it reads can be freed.
//===----------------------------------------------------------------------===//
#include "passes/Nn/FusionGraph.h"

#include "llvm/ADT/SetVector.h"

#include <functional>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

static bool hasRows(Value value) { return rowRank(cast<RankedTensorType>(value.getType())) > 0; }

//===----------------------------------------------------------------------===//
// Bodies
//===----------------------------------------------------------------------===//

namespace {
/// Writes the body of one map: ops on values without row dimensions.
class BodyBuilder {
public:
  BodyBuilder(FusionGraph &graph, unsigned rows, OpBuilder &builder) : graph(graph), rows(rows), builder(builder) {}

  void addArgument(Value outer, Value argument) { values[outer] = argument; }

  Value valueOf(Value outer) {
    if (Value known = values.lookup(outer))
      return known;
    Value inner = build(*graph.nodeOf(outer));
    values[outer] = inner;
    return inner;
  }

private:
  FusionGraph &graph;
  unsigned rows;
  OpBuilder &builder;
  llvm::DenseMap<Value, Value> values;

  /// The type of a result inside the body; copies without rows keep theirs.
  RankedTensorType innerType(const FusionNode &node) { return dropRows(node.result().getType(), node.rows); }
  Value reshape(Value value, ArrayRef<int64_t> shape) {
    auto type = cast<RankedTensorType>(value.getType());
    if (type.getShape() == shape)
      return value;
    auto to = RankedTensorType::get(shape, type.getElementType());
    return ReshapeOp::create(builder, value.getLoc(), to, value);
  }
  /// An operand without rows may have leading 1s where others have rows.
  Value dropLeading(Value value, int64_t rank) {
    auto shape = cast<RankedTensorType>(value.getType()).getShape();
    return int64_t(shape.size()) <= rank ? value : reshape(value, shape.take_back(rank));
  }
  SmallVector<int64_t> shift(ArrayRef<int64_t> dims) {
    SmallVector<int64_t> inner;
    for (int64_t d : dims)
      if (d >= int64_t(rows))
        inner.push_back(d - rows);
    return inner;
  }

  Value build(const FusionNode &node);
  Value buildReduction(const FusionNode &node, Value input, ArrayRef<int64_t> dims);
};
} // namespace

Value BodyBuilder::buildReduction(const FusionNode &node, Value input, ArrayRef<int64_t> dims) {
  SmallVector<int64_t> inner = node.rows > 0 ? shift(dims) : llvm::to_vector(dims);
  if (inner.empty())
    return input;
  if (isa<ReduceSumOp>(node.op))
    return ReduceSumOp::create(builder, node.op->getLoc(), input, inner);
  return ReduceMaxOp::create(builder, node.op->getLoc(), input, inner);
}

Value BodyBuilder::build(const FusionNode &node) {
  RankedTensorType type = innerType(node);
  int64_t shifted = node.rows;
  Location loc = node.op->getLoc();
  SmallVector<Value> operands;
  for (Value v : node.op->getOperands())
    operands.push_back(operands.empty() || !isa<BroadcastLikeOp>(node.op) ? valueOf(v) : Value());

  if (auto op = dyn_cast<ReduceSumOp>(node.op))
    return buildReduction(node, operands[0], op.getDims());
  if (auto op = dyn_cast<ReduceMaxOp>(node.op))
    return buildReduction(node, operands[0], op.getDims());
  if (isa<ReshapeOp>(node.op))
    return reshape(operands[0], type.getShape());
  if (isa<BroadcastLikeOp>(node.op)) {
    Value input = dropLeading(operands[0], type.getRank());
    if (input.getType() == type)
      return input;
    Value like = constant(builder, loc, 0.0, type.getElementType(), type.getShape());
    return BroadcastLikeOp::create(builder, loc, type, input, like);
  }
  if (auto op = dyn_cast<TransposeOp>(node.op)) {
    SmallVector<int64_t> permutation;
    for (int64_t d : op.getPermutation().drop_front(shifted))
      permutation.push_back(d - shifted);
    return TransposeOp::create(builder, loc, type, operands[0], permutation);
  }
  if (auto op = dyn_cast<SliceOp>(node.op))
    return SliceOp::create(builder, loc, type, operands[0], op.getDim() - shifted, op.getBegin(), op.getStride());
  if (auto op = dyn_cast<PadOp>(node.op))
    return PadOp::create(builder, loc, type, operands[0], op.getDim() - shifted, op.getBegin(), op.getStride());
  // Element-wise and index ops have no attribute that counts dimensions.
  if (isa<ElementwiseOpInterface>(node.op))
    for (Value &operand : operands)
      operand = dropLeading(operand, type.getRank());
  OperationState state(loc, node.op->getName());
  state.addOperands(operands);
  state.addTypes(type);
  state.addAttributes(node.op->getAttrDictionary().getValue());
  return builder.create(state)->getResult(0);
}

//===----------------------------------------------------------------------===//
// The block
//===----------------------------------------------------------------------===//

namespace {
class BlockRewriter {
public:
  BlockRewriter(Block &block, FusionGraph &graph, ArrayRef<FusionGroup> groups)
      : block(block), graph(graph), groups(groups), builder(block.getTerminator()) {}

  void run();

private:
  Block &block;
  FusionGraph &graph;
  ArrayRef<FusionGroup> groups;
  OpBuilder builder;
  llvm::DenseMap<Value, Value> results; ///< Results of maps by the members' old values; sums lack leading 1s.
  llvm::DenseMap<Value, Value> aliases; ///< New values of members and reshapes, in their old types.

  // Units are the groups, then one per node that is a barrier.
  std::vector<SmallVector<unsigned>> dependencies, waiting;
  std::vector<unsigned> missing; ///< Units that a waiting group still lacks.
  std::vector<bool> isEager, isDone;
  std::vector<unsigned> groupOf;    ///< By node.
  llvm::DenseSet<unsigned> yielded; ///< Nodes whose value leaves their map.

  unsigned unitOf(unsigned barrier) const { return groups.size() + barrier; }
  Value rootOf(Value value);
  void findDependencies();
  void findEager(std::vector<bool> &isNeeded);
  void emit(unsigned unit);
  void emitBarrier(Operation *op);
  void emitMap(unsigned group);
  Value newValue(Value old);
};
} // namespace

/// The value in memory behind reshapes.
Value BlockRewriter::rootOf(Value value) {
  FusionNode *node = graph.nodeOf(value);
  while (node && node->role == FusionRole::Copy) {
    value = node->reads.front();
    node = graph.nodeOf(value);
  }
  return value;
}

void BlockRewriter::findDependencies() {
  size_t units = groups.size() + graph.nodes.size();
  dependencies.resize(units);
  waiting.resize(units);
  missing.assign(units, 0);
  isEager.assign(units, false);
  isDone.assign(units, false);
  groupOf.assign(graph.nodes.size(), 0);
  for (auto [g, group] : llvm::enumerate(groups))
    for (unsigned member : group.members)
      groupOf[member] = g;

  std::vector<bool> isNeeded(groups.size(), false); // by a barrier other than the return
  auto depend = [&](unsigned unit, ArrayRef<Value> values, bool isReturn) {
    llvm::SetVector<unsigned> units;
    for (Value v : values) {
      int64_t i = graph.indexOf(rootOf(v));
      if (i < 0)
        continue;
      bool isBarrier = graph.nodes[i].role == FusionRole::Barrier;
      units.insert(isBarrier ? unitOf(i) : groupOf[i]);
      if (isBarrier)
        continue;
      yielded.insert(i);
      isNeeded[groupOf[i]] = isNeeded[groupOf[i]] || !isReturn;
    }
    dependencies[unit] = units.takeVector();
  };
  for (auto [i, node] : llvm::enumerate(graph.nodes))
    if (node.role == FusionRole::Barrier)
      depend(unitOf(i), node.reads, node.op->hasTrait<OpTrait::IsTerminator>());
  for (auto [g, group] : llvm::enumerate(groups))
    depend(g, group.inputs, /*isReturn=*/true);
  findEager(isNeeded);
}

/// Groups that only the return reaches wait for what they read; those that read
/// arguments alone are left to their users.
void BlockRewriter::findEager(std::vector<bool> &isNeeded) {
  std::vector<unsigned> order; // what a group reads comes before it
  std::vector<bool> isSeen(groups.size(), false);
  std::function<void(unsigned)> visit = [&](unsigned g) {
    if (isSeen[g])
      return;
    isSeen[g] = true;
    for (unsigned unit : dependencies[g])
      if (unit < groups.size())
        visit(unit);
    order.push_back(g);
  };
  for (unsigned g = 0; g < groups.size(); ++g)
    visit(g);
  for (unsigned g : llvm::reverse(order))
    if (isNeeded[g])
      for (unsigned unit : dependencies[g])
        if (unit < groups.size())
          isNeeded[unit] = true;
  for (unsigned g : order) {
    if (isNeeded[g])
      continue;
    for (unsigned unit : dependencies[g]) {
      if (unit < groups.size() && !isNeeded[unit] && !isEager[unit])
        continue;
      isEager[g] = true;
      ++missing[g];
      waiting[unit].push_back(g);
    }
  }
}

/// Only members, and reshapes of values in memory, are asked for.
Value BlockRewriter::newValue(Value old) {
  FusionNode *node = graph.nodeOf(old);
  if (!node || node->role == FusionRole::Barrier)
    return old;
  if (Value known = aliases.lookup(old))
    return known;
  Value root = rootOf(old);
  if (Value result = results.lookup(root))
    root = result;
  Value value = root;
  if (root.getType() != old.getType())
    value = ReshapeOp::create(builder, root.getLoc(), old.getType(), root);
  aliases[old] = value;
  return value;
}

void BlockRewriter::emitBarrier(Operation *op) {
  op->walk([&](Operation *inner) {
    for (OpOperand &operand : inner->getOpOperands())
      if (operand.get().getParentBlock() == &block)
        operand.set(newValue(operand.get()));
  });
  if (op != block.getTerminator())
    op->moveBefore(block.getTerminator());
}

void BlockRewriter::emitMap(unsigned g) {
  const FusionGroup &group = groups[g];
  SmallVector<Value> inputs;
  SmallVector<bool> operandRows, resultRows;
  SmallVector<Location> locations;
  for (Value v : group.inputs) {
    inputs.push_back(newValue(v));
    operandRows.push_back(group.rows > 0 && hasRows(v));
  }
  SmallVector<Type> types;
  SmallVector<unsigned> leaving;
  for (unsigned member : group.members) {
    FusionNode &node = graph.nodes[member];
    locations.push_back(node.op->getLoc());
    if (!yielded.contains(member))
      continue;
    leaving.push_back(member);
    resultRows.push_back(!node.isSummed);
    types.push_back(node.isSummed ? dropRows(node.result().getType(), node.rows) : node.result().getType());
  }
  Location loc = builder.getFusedLoc(locations);
  auto map = MapOp::create(builder, loc, types, inputs, group.rows, operandRows, resultRows);

  OpBuilder::InsertionGuard guard(builder);
  Block *body = builder.createBlock(&map.getBody());
  BodyBuilder inside(graph, group.rows, builder);
  for (auto [i, v] : llvm::enumerate(group.inputs)) {
    Type type = operandRows[i] ? dropRows(v.getType(), group.rows) : v.getType();
    inside.addArgument(v, body->addArgument(type, v.getLoc()));
  }
  for (unsigned member : group.members)
    inside.valueOf(graph.nodes[member].result());
  SmallVector<Value> values;
  for (unsigned member : leaving)
    values.push_back(inside.valueOf(graph.nodes[member].result()));
  YieldOp::create(builder, loc, values);

  builder.setInsertionPoint(block.getTerminator());
  for (auto [i, member] : llvm::enumerate(leaving))
    results[graph.nodes[member].result()] = map.getResult(i);
}

void BlockRewriter::emit(unsigned unit) {
  if (isDone[unit])
    return;
  isDone[unit] = true;
  for (unsigned dependency : dependencies[unit])
    emit(dependency);
  if (unit < groups.size())
    emitMap(unit);
  else
    emitBarrier(graph.nodes[unit - groups.size()].op);
  for (unsigned g : waiting[unit])
    if (--missing[g] == 0)
      emit(g);
}

void BlockRewriter::run() {
  findDependencies();
  for (auto [i, node] : llvm::enumerate(graph.nodes))
    if (node.role == FusionRole::Barrier)
      emit(unitOf(i));
  for (FusionNode &node : llvm::reverse(graph.nodes))
    if (node.role != FusionRole::Barrier)
      node.op->erase();
}

void nn::rewriteAsMaps(Block &block, FusionGraph &graph, ArrayRef<FusionGroup> groups) {
  BlockRewriter(block, graph, groups).run();
}
