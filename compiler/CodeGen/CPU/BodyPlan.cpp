//===- BodyPlan.cpp - What a body keeps in memory, and where ----*- C++ -*-===//
// A value is stored when an op needs it in memory (products, scans over rows),
// when it is yielded, or when computing it again costs more than reading it.
// Stored values share the scratch by their live ranges.
//===----------------------------------------------------------------------===//
#include "compiler/CodeGen/CPU/Body.h"
#include "compiler/CodeGen/CPU/Decay.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cpu;

namespace {
constexpr int64_t kAlignment = 64;
/// A value used more than once is stored from this cost on, about that of a
/// store and a load per use.
constexpr int64_t kStoreCost = 4;

int64_t bytesOf(RankedTensorType type) {
  int64_t bytes = type.getNumElements() * type.getElementTypeBitWidth() / 8;
  return llvm::alignTo(bytes, kAlignment);
}

/// Cost of one element, in additions.
int64_t ownCost(Operation *op) {
  if (isa<nn::ExpOp, nn::LogOp, nn::SigmoidOp, nn::SoftplusOp, nn::TanhOp, nn::SinOp, nn::CosOp,
          nn::AngleOp>(op))
    return 12;
  if (isa<nn::DivOp, nn::SqrtOp, nn::RsqrtOp, nn::SelectOp, nn::PlaceOp, nn::PadOp, rec::ResetOp>(op))
    return 4;
  if (isa<nn::ConstantOp, nn::IotaOp, nn::ReshapeOp, nn::BroadcastLikeOp, nn::StopGradientOp>(op))
    return 0;
  return 1;
}

/// A reshape that only splits dimensions or moves 1s: an index of the result
/// gives one of the operand without divisions.
bool splitsOnly(RankedTensorType from, RankedTensorType to) {
  int64_t at = 0;
  for (int64_t size : from.getShape()) {
    if (size == 1)
      continue;
    int64_t product = 1;
    while (product < size && at < to.getRank())
      product *= to.getDimSize(at++);
    if (product != size)
      return false;
  }
  return true;
}
} // namespace

bool Body::canInline(Operation *op) const {
  return isa<ElementwiseOpInterface>(op) ||
         isa<nn::BroadcastLikeOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::PadOp, nn::PickOp, nn::PlaceOp,
             nn::IsIndexOp, nn::ToFloatOp, nn::IotaOp, rec::StrictlyLowerOp>(op);
}

/// True if `op` reads its operands as memory, not element by element.
bool Body::mustBeStored(Operation *user) const {
  if (auto reshape = dyn_cast<nn::ReshapeOp>(user))
    return !splitsOnly(reshape.getInput().getType(), reshape.getType());
  return isa<nn::DotOp, nn::PickOp, rec::CumsumOp, rec::DecayScoresOp, rec::DecayMixOp, rec::DecaySolveOp,
             rec::SolveUnitLowerOp>(user);
}

int64_t Body::inlineCost(Value value) const { return costs.lookup(value); }

/// Makes `add` a sum of products if one of its sides is a product, or such a sum,
/// that nothing else reads.
void Body::collectSum(nn::AddOp add) {
  Sum sum;
  for (Value side : add->getOperands()) {
    if (side.getType() != add.getType())
      return;
    auto dot = side.getDefiningOp<nn::DotOp>();
    auto inner = sums.find(side);
    if (side.hasOneUse() && dot && canAccumulate(dot)) {
      sum.products.push_back(dot);
    } else if (side.hasOneUse() && inner != sums.end()) {
      llvm::append_range(sum.products, inner->second.products);
      llvm::append_range(sum.terms, inner->second.terms);
    } else {
      sum.terms.push_back(side);
    }
  }
  if (sum.products.empty())
    return;
  for (Value side : add->getOperands())
    if (!llvm::is_contained(sum.terms, side))
      stored.erase(side), sums.erase(side);
  stored[add.getResult()] = {};
  sums[add.getResult()] = std::move(sum);
}

void Body::chooseStored() {
  for (Operation &op : block.without_terminator())
    for (Value value : op.getResults()) {
      if (!canInline(&op)) {
        stored[value] = {};
        continue;
      }
      int64_t cost = ownCost(&op), uses = 0, size = tensorOf(value).getNumElements();
      for (Value operand : op.getOperands())
        if (!stored.contains(operand))
          cost += inlineCost(operand);
      bool needed = false, repeated = false;
      for (OpOperand &use : value.getUses()) {
        Operation *user = use.getOwner();
        ++uses;
        needed |= mustBeStored(user);
        // A pick reads one element, whatever the shape of its operand.
        if (user->getNumResults() == 1 && !isa<nn::PickOp>(user))
          repeated |= tensorOf(user->getResult(0)).getNumElements() > size;
      }
      if (auto constant = dyn_cast<nn::ConstantOp>(op); constant && !needed)
        cost = 0;
      if (needed || (uses > 1 && cost >= kStoreCost) || (repeated && cost > 1))
        stored[value] = {};
      costs[value] = cost;
      if (auto add = dyn_cast<nn::AddOp>(op))
        collectSum(add);
    }
}

void Body::collectReads(Value value, SmallVectorImpl<Value> &reads) const {
  // Values in memory that computing `value` touches.
  llvm::SmallSetVector<Value, 8> work;
  for (Value operand : value.getDefiningOp()->getOperands())
    work.insert(operand);
  for (unsigned i = 0; i < work.size(); ++i) {
    Value v = work[i];
    if (!v.getDefiningOp())
      continue;
    if (stored.contains(v)) {
      reads.push_back(v);
      continue;
    }
    for (Value operand : v.getDefiningOp()->getOperands())
      work.insert(operand);
  }
}

void Body::addStatement(Value value, std::optional<unsigned> result) {
  Statement s{value, result, {}, 0};
  Operation *op = value.getDefiningOp();
  bool isCopy = result && (!op || stored.contains(value));
  if (isCopy && op)
    s.reads.push_back(value);
  else if (op && !isCopy)
    collectReads(value, s.reads);
  if (op && !isCopy) {
    if (auto product = dyn_cast<nn::DotOp>(op))
      s.workspace = dotWorkspace(product);
    else
      s.workspace = decayWorkspace(op);
    if (auto sum = sums.find(value); sum != sums.end())
      for (nn::DotOp product : sum->second.products)
        s.workspace = std::max(s.workspace, dotWorkspace(product));
  }
  statements.push_back(std::move(s));
}

void Body::listStatements() {
  auto yields = block.getTerminator()->getOperands();
  // A stored value that is yielded lives in its (first) result.
  for (auto [i, value] : llvm::enumerate(yields)) {
    auto it = stored.find(value);
    if (it != stored.end() && targets[i] == Target::Store && it->second.offset != Slot::kInResult)
      it->second = Slot{Slot::kInResult, unsigned(i)};
  }
  for (Operation &op : block.without_terminator())
    for (Value value : op.getResults())
      if (stored.contains(value))
        addStatement(value, std::nullopt);
  for (auto [i, value] : llvm::enumerate(yields)) {
    auto it = stored.find(value);
    if (it == stored.end() || it->second.offset != Slot::kInResult || it->second.result != i)
      addStatement(value, i);
  }
}

void Body::placeInScratch() {
  // Live from the statement that writes a value to the last that reads it.
  DenseMap<Value, unsigned> lastRead;
  for (auto [i, s] : llvm::enumerate(statements))
    for (Value v : s.reads)
      lastRead[v] = i;
  int64_t workspace = 0;
  for (const Statement &s : statements)
    workspace = std::max<int64_t>(workspace, llvm::alignTo(s.workspace * 8, kAlignment));

  struct Piece {
    int64_t offset, bytes;
    unsigned last;
  };
  SmallVector<Piece> live;
  for (auto [i, s] : llvm::enumerate(statements)) {
    llvm::erase_if(live, [&, at = i](const Piece &p) { return p.last < at; });
    if (s.result)
      continue;
    Slot &slot = stored[s.value];
    if (slot.offset == Slot::kInResult)
      continue;
    int64_t bytes = bytesOf(tensorOf(s.value)), offset = 0;
    for (const Piece &p : live) { // sorted by offset: first fit
      if (offset + bytes <= p.offset)
        break;
      offset = std::max(offset, p.offset + p.bytes);
    }
    slot.offset = offset;
    auto last = lastRead.find(s.value);
    Piece piece{offset, bytes, last == lastRead.end() ? unsigned(i) : last->second};
    live.insert(llvm::upper_bound(live, piece, [](const Piece &a, const Piece &b) { return a.offset < b.offset; }),
                piece);
    scratchSize = std::max(scratchSize, offset + bytes);
  }
  workspaceOffset = scratchSize;
  scratchSize += workspace;
}

Body::Body(Block &block, ArrayRef<Target> targets) : block(block), targets(targets) {
  chooseStored();
  listStatements();
  placeInScratch();
}
