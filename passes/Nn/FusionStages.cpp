//===- FusionStages.cpp - When each op runs ---------------------*- C++ -*-===//
// Barriers keep their order. A stage ends with a barrier, or where a value goes
// into another row space: a map's result reaches such a user in the next stage.
// Ops start as early as possible; one that is needed only later moves to its
// first use if that keeps no more in memory. What several stages need is
// computed again in each if reading its sources costs no more than writing it
// once and reading it back.
//===----------------------------------------------------------------------===//
#include "passes/Nn/FusionGraph.h"

#include <array>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

namespace {
constexpr unsigned kMaxLeaves = 12; ///< Sources of a recomputed value; more are not worth it.
constexpr unsigned kMaxWork = 32;   ///< Ops of a recomputed value.
/// What storing costs, in sizes of the value: a write, a read, and a little for
/// the memory it holds.
constexpr double kStoring = 2.5;

/// What it takes to have a value in a later stage.
struct Sources {
  SmallVector<Value, 4> leaves; ///< Values in memory, or to be put there.
  unsigned work = 0;
  bool isTooMany = false;
};

class StageAssignment {
public:
  explicit StageAssignment(FusionGraph &graph)
      : graph(graph), ready(graph.nodes.size()), sources(graph.nodes.size()), uses(graph.nodes.size()) {}

  void run() {
    assignEarliest();
    findSources();
    for (size_t i = graph.nodes.size(); i-- > 0;)
      settle(i);
  }

private:
  /// Index of barriers beside the row spaces 0, 1, 2.
  static constexpr unsigned kBarrier = 3;

  /// First and last stage in which maps of some row space need a value.
  struct Uses {
    int64_t first = FusionGraph::kNever, last = -1;
  };

  FusionGraph &graph;
  std::vector<std::array<int64_t, 4>> ready; ///< Earliest stage of a user, by its row space.
  std::vector<Sources> sources;
  std::vector<std::array<Uses, 3>> uses; ///< By the row space of the producer.

  void assignEarliest();
  void findSources();
  void settle(size_t i);
  Uses usesOf(size_t i, unsigned rows) const;
  double costOfStoring(const Sources &sources) const;
  bool paysToRecompute(const FusionNode &node, const Sources &sources) const;
};
} // namespace

void StageAssignment::assignEarliest() {
  int64_t next = 0; // no barrier is earlier
  for (auto [i, node] : llvm::enumerate(graph.nodes)) {
    std::array<int64_t, 4> from{};
    for (Value v : node.reads)
      if (int64_t producer = graph.indexOf(v); producer >= 0)
        for (unsigned k = 0; k < 4; ++k)
          from[k] = std::max(from[k], ready[producer][k]);
    switch (node.role) {
    case FusionRole::Barrier:
      node.stage = next = std::max(next, from[kBarrier]);
      ++next;
      ready[i].fill(node.stage + 1);
      break;
    case FusionRole::Member:
      node.stage = from[node.rows];
      ready[i].fill(node.stage + 1);
      ready[i][kBarrier] = node.stage;
      if (!node.isSummed)
        ready[i][node.rows] = node.stage;
      break;
    case FusionRole::Copy:
      ready[i] = from;
      break;
    }
  }
}

bool StageAssignment::paysToRecompute(const FusionNode &node, const Sources &from) const {
  if (node.isStored || from.isTooMany || from.work > kMaxWork || isa<ReduceSumOp, ReduceMaxOp>(node.op))
    return false;
  double reads = 0;
  for (Value leaf : from.leaves)
    reads += storageCost(leaf.getType());
  return reads + costOfStoring(from) <= kStoring * storageCost(node.result().getType());
}

void StageAssignment::findSources() {
  for (auto [i, node] : llvm::enumerate(graph.nodes)) {
    Sources &own = sources[i];
    if (node.role == FusionRole::Barrier)
      continue;
    own.work = 1;
    auto addLeaf = [&](Value leaf) {
      if (llvm::is_contained(own.leaves, leaf))
        return;
      own.isTooMany |= own.leaves.size() == kMaxLeaves;
      if (!own.isTooMany)
        own.leaves.push_back(leaf);
    };
    for (Value v : node.reads) {
      int64_t producer = graph.indexOf(v);
      FusionNode *from = graph.nodeOf(v);
      bool again = from && (from->role == FusionRole::Copy ||
                            (from->role == FusionRole::Member && paysToRecompute(*from, sources[producer])));
      if (!again) {
        addLeaf(v);
        continue;
      }
      own.work = std::min(own.work + sources[producer].work, kMaxWork + 1);
      own.isTooMany |= sources[producer].isTooMany;
      llvm::for_each(sources[producer].leaves, addLeaf);
    }
  }
}

/// Cost of the leaves that nothing else puts into memory.
double StageAssignment::costOfStoring(const Sources &from) const {
  double cost = 0;
  for (Value leaf : from.leaves)
    if (int64_t i = graph.indexOf(leaf); i >= 0 && !graph.nodes[i].isStored)
      cost += storageCost(leaf.getType());
  return cost;
}

StageAssignment::Uses StageAssignment::usesOf(size_t i, unsigned rows) const {
  Uses all;
  for (unsigned u : graph.usersOf(i)) {
    const FusionNode &user = graph.nodes[u];
    if (!user.isLive)
      continue;
    Uses one;
    if (user.role == FusionRole::Copy)
      one = uses[u][rows];
    else if (user.role == FusionRole::Member && user.rows == rows)
      one = {user.stage, user.stage};
    else if (user.role == FusionRole::Member)
      one.first = user.stage - 1;
    else if (!user.op->hasTrait<OpTrait::IsTerminator>())
      one.first = user.stage;
    all.first = std::min(all.first, one.first);
    all.last = std::max(all.last, one.last);
  }
  return all;
}

/// Fixes stage and role of a node whose users are all fixed.
void StageAssignment::settle(size_t i) {
  FusionNode &node = graph.nodes[i];
  if (!node.isLive || node.role == FusionRole::Barrier)
    return;
  for (unsigned rows = 0; rows < 3; ++rows)
    uses[i][rows] = usesOf(i, rows);
  if (node.role == FusionRole::Copy || node.isSummed)
    return;
  auto [first, last] = uses[i][node.rows];
  if (first < last && paysToRecompute(node, sources[i])) {
    node.role = FusionRole::Copy;
    return;
  }
  if (!node.isStored && !sources[i].isTooMany && costOfStoring(sources[i]) <= storageCost(node.result().getType()))
    node.stage = std::max(node.stage, first);
}

void nn::assignStages(FusionGraph &graph) { StageAssignment(graph).run(); }
