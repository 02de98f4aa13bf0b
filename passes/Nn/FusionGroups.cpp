//===- FusionGroups.cpp - Which members share a map -------------*- C++ -*-===//
// Members of one stage and row space share a map if one uses the other's value,
// directly or through copies that take work. Maps of one stage never depend on
// each other, so any two may be merged; that is done where both read one large
// tensor, unless a barrier would have to wait for it.
//===----------------------------------------------------------------------===//
#include "passes/Nn/FusionGraph.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

#include <tuple>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

bool nn::isOuterAlias(FusionGraph &graph, Value value, unsigned rows) {
  FusionNode *node = graph.nodeOf(value);
  if (!node || node->role != FusionRole::Copy || node->rows != 0)
    return false;
  while (node && node->role == FusionRole::Copy && node->isReshape())
    node = graph.nodeOf(node->reads.front());
  if (!node || node->role == FusionRole::Barrier)
    return true;
  // A member without rows may belong to the map itself.
  return node->role == FusionRole::Member && (rows > 0 || node->isSummed);
}

namespace {
/// Disjoint sets that grow.
class Sets {
public:
  int64_t add() {
    parents.push_back(parents.size());
    return parents.back();
  }
  int64_t find(int64_t a) {
    while (parents[a] != a)
      a = parents[a] = parents[parents[a]];
    return a;
  }
  /// The smaller leader leads both, so that the order does not matter.
  void join(int64_t a, int64_t b) {
    a = find(a), b = find(b);
    parents[std::max(a, b)] = std::min(a, b);
  }

private:
  std::vector<int64_t> parents;
};

/// Members connected by values.
class Components {
public:
  explicit Components(FusionGraph &graph) : graph(graph) {
    for (size_t i = 0; i < graph.nodes.size(); ++i)
      sets.add();
    for (auto [i, node] : llvm::enumerate(graph.nodes))
      if (node.isLive && node.role == FusionRole::Member)
        connectReads(i, node.stage, node.rows, i);
  }
  int64_t leader(unsigned member) { return sets.find(member); }

private:
  static constexpr int64_t kNone = -1;

  FusionGraph &graph;
  Sets sets;
  llvm::DenseMap<std::pair<unsigned, int64_t>, int64_t> copies; ///< Set of a copy in a stage.

  /// Joins what node `i` reads in a map of that stage with `set`, and returns
  /// the set of them all; kNone if nothing in it connects.
  int64_t connectReads(unsigned i, int64_t stage, unsigned rows, int64_t set) {
    for (Value v : graph.nodes[i].reads) {
      int64_t producer = graph.indexOf(v);
      if (producer < 0)
        continue;
      FusionNode &from = graph.nodes[producer];
      int64_t other = kNone;
      if (from.role == FusionRole::Copy)
        other = connectCopy(producer, stage, rows);
      else if (from.role == FusionRole::Member && from.stage == stage && from.rows == rows && !from.isSummed)
        other = producer;
      if (other == kNone)
        continue;
      if (set != kNone)
        sets.join(set, other);
      set = other;
    }
    return set;
  }

  int64_t connectCopy(unsigned i, int64_t stage, unsigned rows) {
    FusionNode &node = graph.nodes[i];
    if (node.rows != rows)
      return kNone;
    if (auto it = copies.find({i, stage}); it != copies.end())
      return it->second;
    int64_t own = isCheapCopy(node.op) ? kNone : sets.add();
    int64_t set = connectReads(i, stage, rows, own);
    copies[{i, stage}] = set;
    return set;
  }
};

/// A map in the making, with the barriers around it by position in the block.
struct Candidate {
  FusionGroup group;
  int64_t lastDependency = -1;
  int64_t firstUse = FusionGraph::kNever;
  bool isSmall = true; ///< Every value fits a few cache lines.
};

class GroupBuilder {
public:
  explicit GroupBuilder(FusionGraph &graph) : graph(graph) {}

  std::vector<FusionGroup> run() {
    findNeighbours();
    collect();
    merge();
    std::vector<FusionGroup> groups;
    for (auto [i, candidate] : llvm::enumerate(candidates))
      if (merged.find(i) == int64_t(i))
        groups.push_back(std::move(candidate.group));
    return groups;
  }

private:
  static constexpr int64_t kLarge = 16;   ///< Elements of a row from which reading it once saves time.
  static constexpr int64_t kSmall = 1024; ///< Elements of a value without rows up to which maps are merged.

  FusionGraph &graph;
  std::vector<Candidate> candidates;
  std::vector<int64_t> lastDependency, firstUse; ///< By node: the barriers around it.
  Sets merged;                                   ///< Of candidates.

  void findNeighbours();
  void collect();
  void collectInputs(FusionGroup &group);
  void merge();
  bool tryMerge(int64_t a, int64_t b);
};
} // namespace

void GroupBuilder::findNeighbours() {
  size_t count = graph.nodes.size();
  lastDependency.assign(count, -1);
  firstUse.assign(count, FusionGraph::kNever);
  auto isBarrier = [&](int64_t i) { return graph.nodes[i].role == FusionRole::Barrier; };
  for (size_t i = 0; i < count; ++i)
    for (Value v : graph.nodes[i].reads)
      if (int64_t producer = graph.indexOf(v); producer >= 0)
        lastDependency[i] =
            std::max(lastDependency[i], isBarrier(producer) ? producer : lastDependency[producer]);
  for (size_t i = count; i-- > 0;)
    for (unsigned u : graph.usersOf(i))
      if (graph.nodes[u].isLive)
        firstUse[i] = std::min(firstUse[i], isBarrier(u) ? int64_t(u) : firstUse[u]);
}

void GroupBuilder::collect() {
  Components components(graph);
  llvm::MapVector<int64_t, Candidate> byLeader;
  for (auto [i, node] : llvm::enumerate(graph.nodes)) {
    if (!node.isLive || node.role != FusionRole::Member)
      continue;
    Candidate &candidate = byLeader[components.leader(i)];
    candidate.group.stage = node.stage;
    candidate.group.rows = node.rows;
    candidate.group.members.push_back(i);
    candidate.lastDependency = std::max(candidate.lastDependency, lastDependency[i]);
    candidate.firstUse = std::min(candidate.firstUse, firstUse[i]);
    candidate.isSmall &= node.rows == 0 && cast<RankedTensorType>(node.result().getType()).getNumElements() <= kSmall;
  }
  for (auto &[leader, candidate] : byLeader) {
    collectInputs(candidate.group);
    candidates.push_back(std::move(candidate));
    merged.add();
  }
}

/// Walks back through copies to the values that the map takes from outside.
void GroupBuilder::collectInputs(FusionGroup &group) {
  llvm::SetVector<Value> inputs;
  llvm::DenseSet<unsigned> inside(group.members.begin(), group.members.end());
  SmallVector<Value> work;
  auto push = [&](const FusionNode &node) {
    auto reads = isa<BroadcastLikeOp>(node.op) ? ArrayRef<Value>(node.reads).take_front() : ArrayRef<Value>(node.reads);
    llvm::append_range(work, llvm::reverse(reads));
  };
  for (unsigned member : group.members) {
    push(graph.nodes[member]);
    while (!work.empty()) {
      Value v = work.pop_back_val();
      int64_t i = graph.indexOf(v);
      bool isCopy = i >= 0 && graph.nodes[i].role == FusionRole::Copy && !isOuterAlias(graph, v, group.rows);
      if (!isCopy) {
        if (i < 0 || !inside.contains(i))
          inputs.insert(v);
      } else if (inside.insert(i).second) {
        push(graph.nodes[i]);
      }
    }
  }
  auto hasRows = [](Value v) { return rowRank(cast<RankedTensorType>(v.getType())) > 0; };
  if (group.rows > 0 && llvm::none_of(inputs, hasRows))
    inputs.insert(graph.nodes[group.members.front()].anchor);
  group.inputs = inputs.takeVector();
}

bool GroupBuilder::tryMerge(int64_t a, int64_t b) {
  a = merged.find(a), b = merged.find(b);
  if (a == b)
    return true;
  Candidate &first = candidates[std::min(a, b)], &second = candidates[std::max(a, b)];
  int64_t dependency = std::max(first.lastDependency, second.lastDependency);
  int64_t use = std::min(first.firstUse, second.firstUse);
  if (dependency >= use)
    return false;
  first.lastDependency = dependency;
  first.firstUse = use;
  llvm::append_range(first.group.members, second.group.members);
  merged.join(a, b);
  return true;
}

void GroupBuilder::merge() {
  llvm::DenseMap<std::tuple<int64_t, unsigned, Value>, int64_t> readers;
  auto offer = [&](const FusionGroup &group, Value value, int64_t i) {
    auto [it, isNew] = readers.try_emplace({group.stage, group.rows, value}, i);
    if (!isNew && !tryMerge(it->second, i))
      it->second = i; // the next reader is nearer to this one
  };
  for (auto [i, candidate] : llvm::enumerate(candidates)) {
    for (Value v : candidate.group.inputs) {
      auto type = cast<RankedTensorType>(v.getType());
      int64_t rows = rowRank(type);
      if (rows > 0 && dropRows(type, rows).getNumElements() >= kLarge)
        offer(candidate.group, v, i);
    }
    if (candidate.isSmall)
      offer(candidate.group, Value(), i);
  }
  for (auto [i, candidate] : llvm::enumerate(candidates)) {
    if (merged.find(i) != int64_t(i))
      continue;
    llvm::sort(candidate.group.members);
    collectInputs(candidate.group);
  }
}

std::vector<FusionGroup> nn::formGroups(FusionGraph &graph) { return GroupBuilder(graph).run(); }
