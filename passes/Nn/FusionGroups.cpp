//===- FusionGroups.cpp - Which members share a map -------------*- C++ -*-===//
// Members of one stage and row space share a map if one uses the other's value,
// directly or through copies that take work. Then maps are merged, across
// stages too, where one reads the other's result or both read one large tensor,
// unless a barrier stands between them.
//===----------------------------------------------------------------------===//
#include "passes/Nn/FusionGraph.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

#include <functional>

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

/// A map in the making.
struct Candidate {
  FusionGroup group;
  bool isSmall = true;                    ///< Every value fits a few cache lines.
  bool isLarge = false;                   ///< Leaves large rows in memory.
  int64_t lastDependency = -1;            ///< Stage of the last barrier that it reads itself.
  int64_t firstUse = FusionGraph::kNever; ///< Stage of the first barrier that reads it itself.
  SmallVector<unsigned> producers;        ///< Candidates that it reads.
  llvm::DenseSet<unsigned> summing;       ///< Those whose sums over rows it reads.
};

class GroupBuilder {
public:
  explicit GroupBuilder(FusionGraph &graph) : graph(graph) {}

  std::vector<FusionGroup> run() {
    collect();
    connect();
    merge();
    std::vector<FusionGroup> groups;
    for (auto [i, candidate] : llvm::enumerate(candidates)) {
      if (merged.find(i) != int64_t(i))
        continue;
      llvm::sort(candidate.group.members);
      collectInputs(candidate.group);
      groups.push_back(std::move(candidate.group));
    }
    return groups;
  }

private:
  static constexpr int64_t kNear = 8;     ///< Barriers for which large rows may be in memory early.
  static constexpr int64_t kSmall = 1024; ///< Elements of a value without rows up to which maps are merged.

  FusionGraph &graph;
  std::vector<Candidate> candidates;
  std::vector<unsigned> candidateOf;             ///< By node.
  Sets merged;                                   ///< Of candidates.
  std::vector<int64_t> lastDependency, firstUse; ///< By candidate, through other candidates too.

  void collect();
  void collectInputs(FusionGroup &group);
  void connect();
  void findReach();
  bool dependsThroughOthers(unsigned consumer, unsigned producer);
  bool isNear(unsigned a, unsigned b);
  void tryMerge(unsigned a, unsigned b);
  void merge();
};
} // namespace

/// True for rows so long that reading them once instead of twice saves time.
static bool isLargeRow(Value value) {
  constexpr int64_t kLarge = 16;
  auto type = cast<RankedTensorType>(value.getType());
  int64_t rows = rowRank(type);
  return rows > 0 && dropRows(type, rows).getNumElements() >= kLarge;
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
    candidate.isLarge |= node.isOutside && !node.isSummed && isLargeRow(node.result());
    candidate.isSmall &= node.rows == 0 && cast<RankedTensorType>(node.result().getType()).getNumElements() <= kSmall;
  }
  candidateOf.assign(graph.nodes.size(), 0);
  for (auto &[leader, candidate] : byLeader) {
    collectInputs(candidate.group);
    for (unsigned member : candidate.group.members)
      candidateOf[member] = candidates.size();
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

/// The graph of candidates and barriers.
void GroupBuilder::connect() {
  auto rootOf = [&](Value v) {
    FusionNode *node = graph.nodeOf(v);
    for (; node && node->role == FusionRole::Copy; node = graph.nodeOf(v))
      v = node->reads.front();
    return graph.indexOf(v);
  };
  for (Candidate &candidate : candidates) {
    for (Value v : candidate.group.inputs) {
      int64_t root = rootOf(v);
      if (root < 0)
        continue;
      FusionNode &from = graph.nodes[root];
      if (from.role == FusionRole::Barrier) {
        candidate.lastDependency = std::max(candidate.lastDependency, from.stage);
        continue;
      }
      candidate.producers.push_back(candidateOf[root]);
      if (from.isSummed)
        candidate.summing.insert(candidateOf[root]);
      else
        candidates[candidateOf[root]].isLarge |= isLargeRow(v);
    }
  }
  for (FusionNode &node : graph.nodes)
    if (node.role == FusionRole::Barrier)
      for (Value v : node.reads)
        if (int64_t root = rootOf(v); root >= 0 && graph.nodes[root].role == FusionRole::Member) {
          Candidate &from = candidates[candidateOf[root]];
          from.firstUse = std::min(from.firstUse, node.stage);
        }
}

/// Barriers around each candidate, through other candidates too.
void GroupBuilder::findReach() {
  size_t count = candidates.size();
  std::vector<unsigned> order; // producers first
  std::vector<bool> isSeen(count, false);
  std::function<void(unsigned)> visit = [&](unsigned i) {
    if (isSeen[i])
      return;
    isSeen[i] = true;
    for (unsigned p : candidates[i].producers)
      visit(merged.find(p));
    order.push_back(i);
  };
  for (size_t i = 0; i < count; ++i)
    visit(merged.find(i));

  lastDependency.resize(count);
  firstUse.resize(count);
  for (unsigned i : order) {
    lastDependency[i] = candidates[i].lastDependency;
    firstUse[i] = candidates[i].firstUse;
  }
  for (unsigned i : order)
    for (unsigned p : candidates[i].producers)
      lastDependency[i] = std::max(lastDependency[i], lastDependency[merged.find(p)]);
  for (unsigned i : llvm::reverse(order))
    for (unsigned p : candidates[i].producers)
      firstUse[merged.find(p)] = std::min(firstUse[merged.find(p)], firstUse[i]);
}

/// True if `consumer` needs `producer` other than by reading its rows.
bool GroupBuilder::dependsThroughOthers(unsigned consumer, unsigned producer) {
  for (unsigned p : candidates[consumer].summing)
    if (merged.find(p) == producer)
      return true;
  SmallVector<unsigned> work;
  llvm::DenseSet<unsigned> seen;
  auto push = [&](unsigned i) {
    for (unsigned p : candidates[i].producers) {
      unsigned leader = merged.find(p);
      if (i == consumer && leader == producer)
        continue;
      if (leader == producer)
        return true;
      if (seen.insert(leader).second)
        work.push_back(leader);
    }
    return false;
  };
  if (push(consumer))
    return true;
  while (!work.empty())
    if (push(work.pop_back_val()))
      return true;
  return false;
}

/// False if merging would compute large rows long before their first use.
bool GroupBuilder::isNear(unsigned a, unsigned b) {
  a = merged.find(a), b = merged.find(b);
  if (firstUse[a] > firstUse[b])
    std::swap(a, b);
  return !candidates[b].isLarge || firstUse[b] - firstUse[a] <= kNear;
}

void GroupBuilder::tryMerge(unsigned a, unsigned b) {
  a = merged.find(a), b = merged.find(b);
  if (a > b)
    std::swap(a, b);
  Candidate &first = candidates[a], &second = candidates[b];
  if (a == b || first.group.rows != second.group.rows)
    return;
  bool isApart = firstUse[a] <= lastDependency[b] || firstUse[b] <= lastDependency[a];
  if (isApart || dependsThroughOthers(a, b) || dependsThroughOthers(b, a))
    return;
  merged.join(a, b);
  llvm::append_range(first.group.members, second.group.members);
  first.isSmall &= second.isSmall;
  first.isLarge |= second.isLarge;
  first.lastDependency = std::max(first.lastDependency, second.lastDependency);
  first.firstUse = std::min(first.firstUse, second.firstUse);
  llvm::append_range(first.producers, second.producers);
  first.summing.insert(second.summing.begin(), second.summing.end());
  llvm::erase_if(first.producers, [&](unsigned p) { return merged.find(p) == int64_t(a); });
  findReach();
}

void GroupBuilder::merge() {
  findReach();
  llvm::MapVector<Value, unsigned> lastReader; // the key is null for small candidates without rows
  auto offer = [&](Value value, unsigned i) {
    auto [it, isNew] = lastReader.insert({value, i});
    if (isNew)
      return;
    if (isNear(it->second, i))
      tryMerge(it->second, i);
    it->second = i;
  };
  for (auto [i, candidate] : llvm::enumerate(candidates)) {
    if (candidate.isSmall)
      offer(Value(), i);
    for (Value v : candidate.group.inputs) {
      if (!isLargeRow(v))
        continue;
      FusionNode *from = graph.nodeOf(v);
      if (from && from->role == FusionRole::Member)
        tryMerge(candidateOf[graph.indexOf(v)], i);
      offer(v, i);
    }
  }
}

std::vector<FusionGroup> nn::formGroups(FusionGraph &graph) { return GroupBuilder(graph).run(); }
