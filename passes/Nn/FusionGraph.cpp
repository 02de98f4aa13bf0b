//===- FusionGraph.cpp - Roles and row spaces of a block's ops --*- C++ -*-===//
#include "passes/Nn/FusionGraph.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

bool nn::isFusible(Operation *op) {
  return isa<ElementwiseOpInterface, BroadcastLikeOp, ReshapeOp, TransposeOp, SliceOp, PadOp, ReduceSumOp, ReduceMaxOp,
             PickOp, PlaceOp, IsIndexOp, ToFloatOp, IotaOp>(op);
}

static bool isScalar(RankedTensorType type) { return type.hasStaticShape() && type.getNumElements() == 1; }

bool nn::isCheapCopy(Operation *op) {
  if (isa<ConstantOp, IotaOp, ReshapeOp>(op))
    return true;
  if (auto broadcast = dyn_cast<BroadcastLikeOp>(op))
    return storageCost(broadcast.getInput().getType()) < storageCost(broadcast.getType());
  return isa<ElementwiseOpInterface>(op) && isScalar(typeOf(op->getResult(0)));
}

double nn::storageCost(Type type) {
  constexpr double kRows = 4096; // a batch of a few sequences
  auto tensor = cast<RankedTensorType>(type);
  double cost = 1;
  for (int64_t size : tensor.getShape())
    cost *= ShapedType::isDynamic(size) ? 1 : double(size);
  return rowRank(tensor) > 0 ? cost * kRows : cost;
}

RankedTensorType nn::dropRows(Type type, unsigned rows) {
  auto tensor = cast<RankedTensorType>(type);
  return RankedTensorType::get(tensor.getShape().drop_front(rows), tensor.getElementType());
}

//===----------------------------------------------------------------------===//
// Row spaces
//===----------------------------------------------------------------------===//

namespace {
struct RowSpace {
  unsigned rows = 0;
  bool isSummed = false;
};
} // namespace

/// Reductions stay inside a row or sum over all rows.
static FailureOr<RowSpace> reductionSpace(Operation *op, Value input, ArrayRef<int64_t> dims, bool isSum) {
  auto type = typeOf(input);
  int64_t rows = rowRank(type);
  int64_t reduced = llvm::count_if(dims, [&](int64_t d) { return d < rows; });
  if (reduced == 0)
    return RowSpace{unsigned(rows), false};
  if (!isSum)
    return op->emitOpError("expects a maximum inside each row, but dimensions [")
           << dims << "] of " << type << " include row dimensions";
  if (reduced != rows)
    return op->emitOpError("expects a sum over all ")
           << rows << " row dimensions of " << type << " or over none, but got dimensions [" << dims << "]";
  return RowSpace{unsigned(rows), true};
}

/// Element-wise ops and broadcasts: operands have the rows of the result, or none.
static FailureOr<RowSpace> broadcastSpace(Operation *op) {
  auto result = typeOf(op->getResult(0));
  int64_t rows = rowRank(result);
  for (Value operand : op->getOperands()) {
    auto type = typeOf(operand);
    int64_t own = rowRank(type);
    if (own == 0 || (own == rows && type.getRank() == result.getRank()))
      continue;
    return op->emitOpError("expects operands with the ")
           << rows << " row dimensions of the result " << result << " or with none, but got " << type;
  }
  return RowSpace{unsigned(rows), false};
}

static FailureOr<RowSpace> rowSpace(Operation *op) {
  SmallVector<Value> values(op->getOperands());
  values.push_back(op->getResult(0));
  for (Value value : values) {
    auto type = typeOf(value);
    int64_t rows = rowRank(type);
    bool hasOtherDynamic = llvm::any_of(type.getShape().drop_front(rows), ShapedType::isDynamic);
    if (rows > 2 || hasOtherDynamic)
      return op->emitOpError("expects at most two ? dimensions, and these in front, but got ") << type;
  }
  if (auto reduce = dyn_cast<ReduceSumOp>(op))
    return reductionSpace(op, reduce.getInput(), reduce.getDims(), /*isSum=*/true);
  if (auto reduce = dyn_cast<ReduceMaxOp>(op))
    return reductionSpace(op, reduce.getInput(), reduce.getDims(), /*isSum=*/false);
  if (isa<ElementwiseOpInterface, BroadcastLikeOp>(op))
    return broadcastSpace(op);
  if (auto transpose = dyn_cast<TransposeOp>(op))
    for (int64_t d = 0; d < rowRank(transpose.getInput().getType()); ++d)
      if (transpose.getPermutation()[d] != d)
        return op->emitOpError("expects row dimensions to stay in place, but the permutation is [")
               << transpose.getPermutation() << "]";
  if (isa<IotaOp>(op))
    return RowSpace{};
  // Shapes and indices: the verifiers hold all rows equal.
  return RowSpace{unsigned(rowRank(typeOf(op->getOperand(0)))), false};
}

//===----------------------------------------------------------------------===//
// The graph
//===----------------------------------------------------------------------===//

int64_t FusionGraph::indexOf(Value value) const {
  auto it = index.find(value.getDefiningOp());
  return it == index.end() ? -1 : int64_t(it->second);
}

FusionNode *FusionGraph::nodeOf(Value value) {
  int64_t i = indexOf(value);
  return i < 0 ? nullptr : &nodes[i];
}

LogicalResult FusionGraph::addNode(Operation *op) {
  FusionNode node;
  node.op = op;
  index[op] = nodes.size();
  auto anchorOf = [&](Value v) {
    FusionNode *producer = nodeOf(v);
    return producer && producer->role != FusionRole::Barrier ? producer->anchor : v;
  };
  if (!isFusible(op)) {
    // Regions may use values of the block.
    op->walk([&](Operation *inner) { llvm::append_range(node.reads, inner->getOperands()); });
    llvm::erase_if(node.reads, [&](Value v) { return v.getParentBlock() != op->getBlock(); });
    // Of the first operand positions use the sizes alone.
    if (auto positions = dyn_cast<PositionsOp>(op)) {
      if (Value anchor = anchorOf(positions.getLike()))
        positions.getLikeMutable().assign(anchor);
      node.reads.front() = positions.getLike();
    }
    nodes.push_back(std::move(node));
    return success();
  }
  auto space = rowSpace(op);
  if (failed(space))
    return failure();
  node.role = FusionRole::Member;
  node.rows = space->rows;
  node.isSummed = space->isSummed;

  if (auto broadcast = dyn_cast<BroadcastLikeOp>(op)) {
    node.reads = {broadcast.getInput()};
    if (node.rows > 0) {
      node.anchor = anchorOf(broadcast.getLike());
      if (rowRank(broadcast.getInput().getType()) == 0)
        node.reads.push_back(node.anchor);
    }
  } else {
    node.reads.assign(op->operand_begin(), op->operand_end());
    for (Value operand : op->getOperands())
      if (!node.anchor && rowRank(typeOf(operand)) > 0)
        node.anchor = anchorOf(operand);
  }
  nodes.push_back(std::move(node));
  return success();
}

/// Users, liveness, and what is in memory in any case.
void FusionGraph::connect(Block &block) {
  users.resize(nodes.size());
  for (auto [i, node] : llvm::enumerate(nodes))
    for (Value v : node.reads)
      if (int64_t producer = indexOf(v); producer >= 0 && (users[producer].empty() || users[producer].back() != i))
        users[producer].push_back(i);

  for (int64_t i = int64_t(nodes.size()) - 1; i >= 0; --i) {
    FusionNode &node = nodes[i];
    if (node.role == FusionRole::Barrier) {
      node.isLive = true;
      continue;
    }
    for (unsigned u : users[i]) {
      FusionNode &user = nodes[u];
      node.isLive |= user.isLive;
      node.isOutside |= user.role == FusionRole::Barrier || (user.isReshape() && user.isOutside);
    }
    if (isCheapCopy(node.op) && (node.isReshape() || !node.isOutside))
      node.role = FusionRole::Copy;
  }

  // Row spaces that read a value, through copies; bit r stands for r row dimensions.
  std::vector<unsigned> readers(nodes.size(), 0);
  for (int64_t i = int64_t(nodes.size()) - 1; i >= 0; --i)
    for (unsigned u : users[i])
      if (nodes[u].isLive && nodes[u].role != FusionRole::Barrier)
        readers[i] |= nodes[u].role == FusionRole::Copy ? readers[u] : 1u << nodes[u].rows;
  for (auto [i, node] : llvm::enumerate(nodes))
    node.isStored =
        node.role == FusionRole::Barrier || node.isOutside || node.isSummed || (readers[i] & ~(1u << node.rows)) != 0;
}

FailureOr<FusionGraph> FusionGraph::build(Block &block) {
  FusionGraph graph;
  bool hasError = false;
  for (Operation &op : block)
    hasError |= failed(graph.addNode(&op));
  if (hasError)
    return failure();
  graph.connect(block);
  return graph;
}
