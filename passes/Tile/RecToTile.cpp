//===- RecToTile.cpp - Statements of a block of threads ---------*- C++ -*-===//
// Implements -rec-to-tile. First what becomes a statement (`roots`), from how its
// value is used; then the new body, in the order of the old one: loads, copies of
// the states that products read, statements.
//===----------------------------------------------------------------------===//
#include "passes/Tile/Passes.h"

#include "ir/Nn/NnOps.h"
#include "ir/Nn/Storage.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"
#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/ADT/SetVector.h"

namespace tidegate::tile {
#define GEN_PASS_DEF_RECTOTILE
#include "passes/Tile/Passes.h.inc"
} // namespace tidegate::tile

using namespace mlir;
using namespace tidegate;
using namespace tidegate::tile;

namespace {
RankedTensorType tensorOf(Value value) { return cast<RankedTensorType>(value.getType()); }

//===----------------------------------------------------------------------===//
// Products under one decay for all channels, and solves
//===----------------------------------------------------------------------===//

bool decaysByRow(Value gate) { return !gate || tensorOf(gate).getDimSize(1) == 1; }

/// The identity: 1 where the row's number is the column's.
bool isIdentity(Value value) {
  auto equal = value.getDefiningOp<nn::EqualOp>();
  if (!equal)
    return false;
  auto isNumbers = [](Value v) {
    while (auto reshape = v.getDefiningOp<nn::ReshapeOp>())
      v = reshape.getInput();
    return bool(v.getDefiningOp<nn::IotaOp>());
  };
  return isNumbers(equal.getLhs()) && isNumbers(equal.getRhs()) && tensorOf(value).getRank() == 2;
}

Value identity(OpBuilder &b, Location loc, RankedTensorType type) {
  int64_t n = type.getDimSize(0);
  Value numbers = nn::IotaOp::create(b, loc, RankedTensorType::get({n}, type.getElementType()));
  Value column = nn::ReshapeOp::create(b, loc, RankedTensorType::get({n, 1}, type.getElementType()), numbers);
  return nn::EqualOp::create(b, loc, column, numbers);
}

/// scores => causal(product); mix => product of causal scores; solve => product with the inverse.
void expand(Block &body) {
  for (Operation &op : llvm::make_early_inc_range(body)) {
    OpBuilder b(&op);
    Location loc = op.getLoc();
    auto causal = [&](Value x, auto decay) -> Value {
      return CausalOp::create(b, loc, x.getType(), x, decay.getRowGate(), decay.getColGate(),
                              decay.getRowPositionsAttr(), decay.getColPositionsAttr());
    };
    Value with;
    if (auto scores = dyn_cast<rec::DecayScoresOp>(op)) {
      if (decaysByRow(scores.getRowGate()))
        with = causal(nn::DotOp::create(b, loc, scores.getRows(), scores.getCols(), {1}, {1}), scores);
    } else if (auto mix = dyn_cast<rec::DecayMixOp>(op)) {
      if (decaysByRow(mix.getRowGate()))
        with = nn::DotOp::create(b, loc, causal(mix.getScores(), mix), mix.getInput(), {mix.getTransposed() ? 0 : 1}, {0});
    } else if (auto solve = dyn_cast<rec::SolveUnitLowerOp>(op)) {
      if (isIdentity(solve.getRhs()))
        continue;
      auto type = solve.getMatrix().getType();
      Value inverse = rec::SolveUnitLowerOp::create(b, loc, type, solve.getMatrix(), identity(b, loc, type), false);
      with = nn::DotOp::create(b, loc, inverse, solve.getRhs(), {solve.getTransposed() ? 0 : 1}, {0});
    }
    if (!with)
      continue;
    op.getResult(0).replaceAllUsesWith(with);
    op.erase();
  }
}

//===----------------------------------------------------------------------===//
// What is computed where
//===----------------------------------------------------------------------===//

bool isProduct(Operation *op) { return isa<nn::DotOp, rec::DecayScoresOp, rec::DecayMixOp>(op); }
bool isElementwise(Operation *op) { return isa<ElementwiseOpInterface, CausalOp>(op); }
bool canInline(Operation *op) {
  return isElementwise(op) || isa<nn::BroadcastLikeOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::PadOp,
                                  nn::IotaOp, rec::StrictlyLowerOp>(op);
}

/// Cost of one element, in additions.
int64_t ownCost(Operation *op) {
  if (isa<nn::ExpOp, nn::LogOp, nn::SigmoidOp, nn::SoftplusOp, nn::TanhOp, nn::SinOp, nn::CosOp,
          nn::AngleOp, CausalOp>(op))
    return 12;
  if (isa<nn::DivOp, nn::SqrtOp, nn::RsqrtOp, nn::PadOp>(op))
    return 4;
  if (isa<nn::ConstantOp, nn::IotaOp, nn::ReshapeOp, nn::BroadcastLikeOp, nn::StopGradientOp>(op))
    return 0;
  return 1;
}
/// A value used more than once is stored from this cost on.
constexpr int64_t kStoreCost = 12;
/// Element-wise users of a product's operand compute it again up to this cost, and round it as it is for the product.
constexpr int64_t kAgainCost = 3;
/// Fragments of more numbers want eight warps.
constexpr int64_t kWideFragment = 64 * 64;
/// Accumulators of one thread in a statement at most, in numbers.
constexpr int64_t kMostAccumulators = 128;
/// Accumulators of one statement at most.
constexpr int kMostProducts = 3;
/// Operands of more numbers are streamed where products alone read them.
constexpr int64_t kLargeOperand = 128 * 128;
/// The same where shared memory is short.
constexpr int64_t kLargeWhereShort = 32 * 64;
/// Bytes along the contraction of a slice of a stream at most.
constexpr int64_t kSliceBytes = 128;

/// The same with TileOrder::Sparing, which would rather compute again.
constexpr int64_t kStoreCostSparing = 64;

/// How statements use a value that lies somewhere.
struct Needs {
  bool product = false;  ///< As operand of the tensor cores.
  bool tile = false;     ///< As a float matrix that a device function reads.
  bool elements = false; ///< Element by element.

  /// Whether a copy in float is wanted. Element-wise readers of what a product takes get the rounded copy: the gradient
  /// of a gate sums differences that cancel when both products with it have the same numbers.
  bool exact() const { return tile || (elements && !product); }
};

bool isDecayed(Operation *op) { return isa<rec::DecayScoresOp, rec::DecayMixOp>(op); }
} // namespace

Role tile::roleOf(OpOperand &use) {
  Operation *op = use.getOwner();
  if (isa<nn::DotOp>(op))
    return Role::Product;
  if (isDecayed(op))
    return use.getOperandNumber() < 2 ? Role::Product : Role::Tile;
  if (isa<rec::SolveUnitLowerOp>(op))
    return Role::Tile;
  if (isa<rec::DecaySolveOp>(op)) // solved where its right side is
    return use.getOperandNumber() == 1 ? Role::Element : Role::Tile;
  return Role::Element;
}

namespace {
class TileFormer {
public:
  TileFormer(rec::ScanOp scan, bool bf16, TileOrder order, int64_t warps, int64_t stages)
      : scan(scan), old(scan.getBody().front()), order(order), fewestWarps(warps), stages(stages) {
    MLIRContext *context = scan.getContext();
    f32 = Float32Type::get(context);
    product = bf16 ? Type(BFloat16Type::get(context)) : f32;
  }

  LogicalResult run() {
    if (failed(check()))
      return failure();
    chooseRoots();
    mergeFragments();
    chooseStates();
    chooseStreams();
    collectNeeds();
    build();
    return success();
  }

private:
  LogicalResult check() {
    for (Operation &op : old.without_terminator())
      if (!isProduct(&op) && !canInline(&op) &&
          !isa<nn::ReduceSumOp, nn::ReduceMaxOp, rec::CumsumOp, rec::SolveUnitLowerOp, rec::DecaySolveOp>(op))
        return op.emitOpError("has no rule in a tile program");
    for (Operation &op : old.without_terminator())
      if (auto dot = dyn_cast<nn::DotOp>(op))
        if (!dot.getLhsBatch().empty() || dot.getLhs().getType().getRank() != 2 ||
            dot.getRhs().getType().getRank() != 2 || dot.getLhsContract().size() != 1)
          return op.emitOpError("has no rule in a tile program: expects a product of two matrices");
    return success();
  }

  bool isRoot(Value v) const { return roots.contains(v); }
  bool isLeaf(Value v) const { return isa<BlockArgument>(v) || isRoot(v); }
  bool isLeafAt(OpOperand &use) const {
    return isLeaf(use.get()) && !(again.contains(use.get()) && roleOf(use) == Role::Element);
  }
  /// An element-wise user that keeps the place of each element.
  static bool keepsPlace(OpOperand &use) {
    Operation *user = use.getOwner();
    return isElementwise(user) && user->getResult(0).getType() == use.get().getType() &&
           !(isa<CausalOp>(user) && use.getOperandNumber() != 0);
  }

  void chooseRoots() {
    DenseMap<Value, int> products; // in the tree of a value that is no root
    DenseMap<Value, int64_t> costs;
    for (Operation &op : old.without_terminator()) {
      Value v = op.getResult(0);
      if (!isProduct(&op) && !canInline(&op)) {
        roots.insert(v);
        continue;
      }
      int count = isProduct(&op);
      int64_t cost = ownCost(&op), size = tensorOf(v).getNumElements();
      for (Value operand : op.getOperands()) {
        count += isProduct(&op) ? 0 : products.lookup(operand);
        if (!isLeaf(operand))
          cost += costs.lookup(operand);
      }
      if (count) {
        bool goesOn = v.hasOneUse() && keepsPlace(*v.getUses().begin()) && count < kMostProducts;
        if (goesOn)
          products[v] = count;
        else
          roots.insert(v);
        continue;
      }
      bool needed = false, repeated = false;
      int64_t uses = 0;
      for (OpOperand &use : v.getUses()) {
        ++uses;
        Operation *user = use.getOwner();
        needed |= roleOf(use) != Role::Element || user->hasTrait<OpTrait::IsTerminator>();
        repeated |= user->getNumResults() == 1 && tensorOf(user->getResult(0)).getNumElements() > size;
      }
      if (isIdentity(v) && llvm::all_of(v.getUsers(), [](Operation *user) { return isa<rec::SolveUnitLowerOp>(user); }))
        continue; // the inverse knows it
      if (isa<nn::ConstantOp>(op) && !needed)
        cost = 0;
      const int64_t storeCost = order == TileOrder::Sparing ? kStoreCostSparing : kStoreCost;
      if (needed || (uses > 1 && cost >= storeCost) || (repeated && cost > 1))
        roots.insert(v);
      if (needed && cost <= kAgainCost && !repeated && isElementwise(&op) && llvm::none_of(v.getUsers(), isDecayed))
        again.insert(v);
      costs[v] = cost;
    }
  }

  /// Whether a value is products and sums of products alone, which share accumulators.
  bool isSumOfProducts(Operation *op) const {
    auto isSum = [&](Value v) { return v.getDefiningOp() && !isRoot(v) && isSumOfProducts(v.getDefiningOp()); };
    if (auto add = dyn_cast<nn::AddOp>(op))
      return add.getLhs().getType() == add.getType() && add.getRhs().getType() == add.getType() &&
             isSum(add.getLhs()) && isSum(add.getRhs());
    return isProduct(op);
  }

  /// A root with products that others read only element for element, or to sum its rows, stays in registers: it and
  /// its readers become one statement.
  void mergeFragments() {
    if (scan.getNumStates() > 0)
      return;
    SmallVector<Value> candidates;
    for (Operation &op : old.without_terminator())
      if (isRoot(op.getResult(0)) && formOf(op.getResult(0)) == Form::Fragment)
        candidates.push_back(op.getResult(0));
    for (Value candidate : candidates) {
      llvm::SmallSetVector<Value, 4> readers;
      if (!findReaders(candidate, readers) || readers.empty())
        continue;
      roots.remove(candidate);
      llvm::SmallSetVector<Value, 4> all;
      for (Value reader : readers)
        all.insert_range(membersOf(reader));
      if (canBeOne(all))
        for (Value member : all)
          statements.unionSets(all.front(), member);
      else
        roots.insert(candidate);
    }
  }

  /// The roots that read a value in place. False if something reads it in another way.
  bool findReaders(Value v, llvm::SmallSetVector<Value, 4> &readers) {
    for (OpOperand &use : v.getUses()) {
      Operation *user = use.getOwner();
      if (auto sum = dyn_cast<nn::ReduceSumOp>(user)) {
        bool isStored = llvm::any_of(sum->getUses(), [](OpOperand &of) {
          return roleOf(of) != Role::Element || of.getOwner()->hasTrait<OpTrait::IsTerminator>();
        });
        if (tensorOf(v).getRank() != 2 || sum.getDims() != ArrayRef<int64_t>(1) || isStored)
          return false;
        readers.insert(sum);
        continue;
      }
      if (!isElementwise(user) || !keepsPlace(use))
        return false;
      if (isRoot(user->getResult(0)))
        readers.insert(user->getResult(0));
      else if (!findReaders(user->getResult(0), readers))
        return false;
    }
    return true;
  }

  /// The roots of the statement of a root.
  SmallVector<Value> membersOf(Value root) {
    if (!statements.contains(root))
      return {root};
    return llvm::to_vector(statements.members(root));
  }

  /// Whether registers hold the accumulators of these roots, and none needs another to be stored first.
  bool canBeOne(const llvm::SmallSetVector<Value, 4> &members) {
    llvm::SmallPtrSet<Operation *, 16> seen;
    int64_t accumulators = 0, widest = 0;
    std::function<void(Operation *)> count = [&](Operation *op) {
      if (!seen.insert(op).second)
        return;
      if (isSumOfProducts(op)) {
        const int64_t elements = tensorOf(op->getResult(0)).getNumElements();
        accumulators += elements;
        widest = std::max(widest, elements);
        return;
      }
      for (Value operand : op->getOperands())
        if (!isLeaf(operand))
          count(operand.getDefiningOp());
    };
    for (Value member : members)
      count(member.getDefiningOp());
    if (accumulators > kMostAccumulators * 32 * (widest > kWideFragment ? 8 : 4))
      return false;
    DenseSet<Value> visited;
    std::function<bool(Value)> needsMember = [&](Value root) {
      if (members.contains(root))
        return true;
      return visited.insert(root).second && llvm::any_of(membersOf(root), [&](Value other) {
               bool found = false;
               forLeaves(other, [&](OpOperand &use, bool) { found |= isRoot(use.get()) && needsMember(use.get()); });
               return found;
             });
    };
    bool isSound = true;
    for (Value member : members)
      forLeaves(member, [&](OpOperand &use, bool) { isSound &= !isRoot(use.get()) || !needsMember(use.get()); });
    return isSound;
  }

  /// States that are matrices stay in registers.
  void chooseStates() {
    for (Value state : scan.getBodyStates())
      if (tensorOf(state).getRank() == 2)
        registers.insert(state);
  }

  /// Calls f(leaf, role, keeps the place of the root's elements) for what a root's tree reads.
  void forLeaves(Value root, llvm::function_ref<void(OpOperand &, bool)> f) {
    std::function<void(Operation *, bool)> walk = [&](Operation *op, bool inPlace) {
      if (isa<rec::SolveUnitLowerOp>(op))
        return f(op->getOpOperand(0), false);
      for (OpOperand &operand : op->getOpOperands()) {
        bool keeps = inPlace && keepsPlace(operand);
        if (isLeafAt(operand))
          f(operand, keeps);
        else
          walk(operand.get().getDefiningOp(), keeps);
      }
    };
    walk(root.getDefiningOp(), true);
  }

  bool isInRegisters(OpOperand &use, bool keepsPlace) {
    return keepsPlace && registers.contains(use.get()) && roleOf(use) == Role::Element;
  }

  bool hasLateLoads() const { return order >= TileOrder::LateLoads; }

  /// Large operands of scans without states that are the right side of products: slices of them come when a product
  /// wants them. What reads single elements reads them in global memory.
  void chooseStreams() {
    if (scan.getNumStates() > 0)
      return;
    for (BlockArgument arg : scan.getBodyInputs()) {
      auto type = tensorOf(arg);
      const int64_t most = order >= TileOrder::Streams ? kLargeWhereShort : kLargeOperand;
      const Type stored = nn::operandStorage(scan, arg.getArgNumber());
      if (scan.kindOf(arg.getArgNumber()) != rec::OperandKind::Token && type.getRank() == 2 &&
          type.getNumElements() > most && type.getDimSize(0) % 16 == 0 && type.getDimSize(1) % 16 == 0 &&
          (stored == product || order == TileOrder::Sparing) && llvm::all_of(arg.getUses(), [](OpOperand &use) {
            return roleOf(use) == Role::Element || (isa<nn::DotOp>(use.getOwner()) && use.getOperandNumber() == 1);
          }))
        streams.insert(arg);
    }
  }
  bool isStreamed(OpOperand &use) { return streams.contains(use.get()) && roleOf(use) == Role::Product; }

  void collectNeeds() {
    for (Value root : roots)
      forLeaves(root, [&](OpOperand &use, bool keepsPlace) {
        if (isStreamed(use))
          return;
        if (isInRegisters(use, keepsPlace)) {
          fragments.insert(root);
          return;
        }
        Needs &n = needs[use.get()];
        switch (roleOf(use)) {
        case Role::Product:
          n.product = true;
          break;
        case Role::Tile:
          n.tile = true;
          break;
        case Role::Element:
          n.elements = true;
          break;
        }
      });
    for (Value v : old.getTerminator()->getOperands()) // copied from where they lie
      if (isa<BlockArgument>(v) && !registers.contains(v))
        needs[v].elements = true;
  }

  //===--------------------------------------------------------------------===//
  // The new body
  //===--------------------------------------------------------------------===//

  struct Kept {
    Value product, tile, exact;
  };

  PlaceAttr shared(Type element, bool swizzled) {
    return PlaceAttr::of(Space::Shared, element, swizzled);
  }
  static bool isMatrix(Value v) {
    Matrix m(tensorOf(v));
    return m.rows >= 16 && m.cols >= 16;
  }

  /// Of a root that is a statement of its own.
  Form formOf(Value root) {
    Operation *op = root.getDefiningOp();
    if (isa<nn::ReduceSumOp, nn::ReduceMaxOp>(op))
      return Form::Reduce;
    if (isa<rec::CumsumOp>(op))
      return Form::Cumsum;
    if (isa<rec::SolveUnitLowerOp>(op))
      return Form::Invert;
    if (isa<rec::DecaySolveOp>(op))
      return Form::Solve;
    if (fragments.contains(root))
      return Form::Fragment;
    bool hasProduct = false;
    std::function<void(Operation *)> walk = [&](Operation *at) {
      hasProduct |= isProduct(at);
      for (Value operand : at->getOperands())
        if (!isLeaf(operand))
          walk(operand.getDefiningOp());
    };
    walk(op);
    return hasProduct ? Form::Fragment : Form::Elements;
  }

  /// A statement that keeps `values[i]` of the new body, all copies of one value, at places.
  ComputeOp copy(Value from, Form form, ArrayRef<PlaceAttr> places) {
    SmallVector<Attribute> attributes(places.begin(), places.end());
    SmallVector<Type> types(places.size(), from.getType());
    auto compute = ComputeOp::create(b, from.getLoc(), types, form, b.getArrayAttr(attributes));
    OpBuilder::InsertionGuard guard(b);
    b.createBlock(&compute.getBody());
    YieldOp::create(b, from.getLoc(), SmallVector<Value>(places.size(), from));
    return compute;
  }

  void loadOperand(BlockArgument arg, BlockArgument now) {
    Kept &kept = keptAs[arg];
    auto it = needs.find(arg);
    if (it == needs.end())
      return;
    const Needs &n = it->second;
    unsigned i = arg.getArgNumber();
    auto type = tensorOf(arg);
    auto kind = scan.kindOf(i);
    bool isStill = kind == rec::OperandKind::Head || kind == rec::OperandKind::Shared || kind == rec::OperandKind::Row;
    if (streams.contains(arg) || isReadInPlace(arg) || (!n.product && !n.tile && (isStill || type.getNumElements() == 1))) {
      kept.exact = now; // read where it lies
      return;
    }
    Type stored = nn::operandStorage(scan, i);
    bool swizzled = n.product || n.tile || isMatrix(arg);
    Value load = LoadOp::create(b, arg.getLoc(), now, shared(stored, swizzled), stages);
    kept.exact = load;
  }

  /// Whether element-wise statements read rows in global memory, so that they take no shared memory.
  bool isReadInPlace(BlockArgument arg) {
    const Needs n = needs.lookup(arg);
    const auto kind = scan.kindOf(arg.getArgNumber());
    const bool isOfKind = kind == rec::OperandKind::Token ||
                          (kind == rec::OperandKind::Step && order == TileOrder::Sparing);
    return hasLateLoads() && scan.getNumStates() == 0 && !n.product && !n.tile && isOfKind && isMatrix(arg) &&
           tensorOf(arg).getRank() == 2 && tensorOf(arg).getDimSize(1) % 16 == 0;
  }

  /// The copies of a loaded operand in the types that statements want; after all loads, which run side by side.
  void convertOperand(BlockArgument arg) {
    auto it = needs.find(arg);
    if (it == needs.end())
      return;
    Kept &kept = keptAs[arg];
    Type stored = nn::operandStorage(scan, arg.getArgNumber());
    if (it->second.product)
      kept.product = stored == product ? kept.exact : copy(kept.exact, Form::Elements, shared(product, true)).getResult(0);
    if (it->second.tile)
      kept.tile = stored == f32 ? kept.exact : copy(kept.exact, Form::Elements, shared(f32, true)).getResult(0);
    if (it->second.product && !it->second.exact())
      kept.exact = kept.product;
  }

  void copyState(BlockArgument arg, BlockArgument now) {
    Kept &kept = keptAs[arg];
    bool inRegisters = registers.contains(arg);
    if (!inRegisters)
      kept.exact = now; // lies in shared memory of its own
    auto it = needs.find(arg);
    if (it == needs.end())
      return;
    const Needs &n = it->second;
    SmallVector<PlaceAttr> places;
    Form form = inRegisters ? Form::Fragment : Form::Elements;
    if (n.product)
      places.push_back(shared(product, true));
    bool needsExact = n.tile || (n.elements && inRegisters);
    bool isOne = needsExact && n.product && product == f32;
    if (needsExact && !isOne)
      places.push_back(shared(f32, true));
    if (places.empty())
      return;
    ComputeOp compute = copy(now, form, places);
    if (n.product)
      kept.product = compute.getResult(0);
    if (needsExact)
      kept.tile = kept.exact = compute.getResults().back();
  }

  /// Clones the tree of a root into the present place; leaves are what they are kept as.
  Value cloneTree(Operation *op, bool inPlace, DenseMap<Operation *, Value> &done) {
    if (Value v = done.lookup(op))
      return v;
    IRMapping mapping;
    for (OpOperand &operand : op->getOpOperands()) {
      Value v = operand.get();
      bool keeps = inPlace && keepsPlace(operand);
      if (isa<rec::SolveUnitLowerOp>(op) && operand.getOperandNumber() == 1) {
        DenseMap<Operation *, Value> own;
        mapping.map(v, cloneTree(v.getDefiningOp(), false, own));
      } else if (!isLeafAt(operand)) {
        mapping.map(v, asRead(v, cloneTree(v.getDefiningOp(), keeps, done)));
      } else if (isInRegisters(operand, keeps)) {
        mapping.map(v, newArgument(cast<BlockArgument>(v)));
      } else if (isStreamed(operand)) {
        mapping.map(v, streamOf.lookup(&operand));
      } else {
        const Kept &kept = keptAs[v];
        Role role = roleOf(operand);
        mapping.map(v, role == Role::Product ? kept.product : role == Role::Tile ? kept.tile : kept.exact);
      }
    }
    return done[op] = b.clone(*op, mapping)->getResult(0);
  }

  /// A value that is computed again, rounded as products read it.
  Value asRead(Value v, Value again) {
    const bool isRounded = this->again.contains(v) && needs.lookup(v).product && product != f32;
    return isRounded ? RoundOp::create(b, v.getLoc(), again).getResult() : again;
  }

  BlockArgument newArgument(BlockArgument arg) { return fresh->getArgument(arg.getArgNumber()); }

  /// The results of a statement, in the order in which roots ask for them.
  struct Results {
    SmallVector<PlaceAttr> places;
    SmallVector<Value> roots; ///< One per place.
  };
  /// Where a root is kept, as numbers of results.
  struct Copies {
    std::optional<unsigned> product, exact;
    SmallVector<std::pair<unsigned, unsigned>> outputs; ///< Yield operand, result.
  };

  /// Asks for the places of a root.
  Copies placesFor(Value root, Form &form, Results &results) {
    const Needs n = needs.lookup(root);
    Copies copies;
    auto &[productAt, exactAt, outputs] = copies;
    const bool isInPlace = form == Form::Cumsum || form == Form::Solve; // in float
    auto add = [&](PlaceAttr place) {
      results.places.push_back(place);
      results.roots.push_back(root);
      return unsigned(results.places.size() - 1);
    };
    bool needsFloat = n.exact() || isInPlace;
    if (n.product)
      productAt = add(shared(product, true));
    if (needsFloat && productAt && product == f32)
      exactAt = productAt;
    else if (needsFloat)
      exactAt = add(shared(f32, n.tile || form == Form::Invert || form == Form::Solve || isMatrix(root)));
    for (auto [i, v] : llvm::enumerate(old.getTerminator()->getOperands())) {
      if (v != root)
        continue;
      bool isState = i >= scan.getNumOutputs();
      unsigned s = i - scan.getNumOutputs();
      if (!isState) {
        Type stored = nn::resultStorage(scan, i);
        outputs.push_back({i, add(PlaceAttr::of(Space::Result, stored, false, i))});
      } else if (registers.contains(scan.getBodyStates()[s])) {
        form = form == Form::Elements ? Form::Fragment : form;
        outputs.push_back({i, add(PlaceAttr::of(Space::Registers, f32, false, s))});
      } else {
        outputs.push_back({i, exactAt ? *exactAt : add(shared(f32, isMatrix(root)))});
      }
    }
    return copies;
  }

  /// One statement for roots that share accumulators, or for a single one.
  void statement(ArrayRef<Value> members) {
    Form form = members.size() == 1 ? formOf(members.front()) : Form::Fragment;
    Results results;
    auto copies = llvm::map_to_vector(members, [&](Value root) { return placesFor(root, form, results); });
    if (results.places.empty())
      return; // nobody reads it
    for (Value root : members)
      forLeaves(root, [&](OpOperand &use, bool) {
        if (isStreamed(use) && !streamOf.contains(&use))
          streamOf[&use] = stream(use);
      });
    SmallVector<Attribute> attributes(results.places.begin(), results.places.end());
    auto types = llvm::map_to_vector(results.roots, [](Value root) { return root.getType(); });
    Location loc = members.front().getLoc();
    auto compute = ComputeOp::create(b, loc, types, form, b.getArrayAttr(attributes));
    {
      OpBuilder::InsertionGuard guard(b);
      b.createBlock(&compute.getBody());
      DenseMap<Operation *, Value> done;
      auto values = llvm::map_to_vector(
          results.roots, [&](Value root) { return cloneTree(root.getDefiningOp(), true, done); });
      YieldOp::create(b, loc, values);
    }
    for (auto [root, copy] : llvm::zip(members, copies)) {
      Kept &kept = keptAs[root];
      if (copy.product)
        kept.product = compute.getResult(*copy.product);
      if (copy.exact)
        kept.tile = compute.getResult(*copy.exact);
      kept.exact = copy.product && !needs.lookup(root).exact() ? kept.product : kept.tile;
      for (auto [i, r] : copy.outputs)
        yielded[i] = compute.getResult(r);
    }
  }

  void build() {
    fresh = new Block();
    for (BlockArgument arg : old.getArguments())
      fresh->addArgument(arg.getType(), arg.getLoc());
    b.setInsertionPointToEnd(fresh);
    yielded.resize(old.getTerminator()->getNumOperands());
    auto operands = old.getArguments().take_front(scan.getInputs().size());
    if (!hasLateLoads())
      load(SmallVector<BlockArgument>(operands));
    for (BlockArgument arg : old.getArguments().drop_front(operands.size()))
      copyState(arg, newArgument(arg));
    for (ArrayRef<Value> members : scheduled()) {
      SmallVector<BlockArgument> late;
      for (Value root : members)
        forLeaves(root, [&](OpOperand &use, bool) {
          if (auto arg = dyn_cast<BlockArgument>(use.get()))
            if (arg.getArgNumber() < operands.size() && !keptAs.contains(arg) && !llvm::is_contained(late, arg))
              late.push_back(arg);
        });
      load(late);
      statement(members);
    }
    SmallVector<BlockArgument> rest; // yielded as they are
    for (BlockArgument arg : operands)
      if (!keptAs.contains(arg))
        rest.push_back(arg);
    load(rest);
    for (auto [i, v] : llvm::enumerate(old.getTerminator()->getOperands()))
      if (!yielded[i])
        yielded[i] = passOn(cast<BlockArgument>(v), i);
    rec::YieldOp::create(b, scan.getLoc(), yielded);
    Region &region = scan.getBody();
    old.dropAllReferences();
    old.dropAllDefinedValueUses();
    region.getBlocks().clear();
    region.push_back(fresh);
    scan->setDiscardableAttr("tile.warps", b.getI64IntegerAttr(warps()));
  }

  /// The slices of an operand that a product reads.
  Value stream(OpOperand &use) {
    const int64_t along = cast<nn::DotOp>(use.getOwner()).getRhsContract()[0];
    int64_t slice = kSliceBytes * 8 / product.getIntOrFloatBitWidth();
    while (tensorOf(use.get()).getDimSize(along) % slice)
      slice /= 2; // ends at 16
    return StreamOp::create(b, use.getOwner()->getLoc(), newArgument(cast<BlockArgument>(use.get())), along, slice,
                            shared(product, true));
  }

  void load(ArrayRef<BlockArgument> operands) {
    for (BlockArgument arg : operands)
      loadOperand(arg, newArgument(arg));
    for (BlockArgument arg : operands)
      convertOperand(arg);
  }

  /// Bytes in shared memory of a value's copies.
  int64_t bytesOf(Value v) {
    if (streams.contains(v))
      return 0;
    if (auto arg = dyn_cast<BlockArgument>(v); arg && arg.getArgNumber() < scan.getInputs().size() && isReadInPlace(arg))
      return 0;
    const Needs n = needs.lookup(v);
    auto type = tensorOf(v);
    Matrix m(type);
    int64_t padded = m.paddedRows() * m.paddedCols(), bytes = 0;
    if (n.product)
      bytes += padded * product.getIntOrFloatBitWidth() / 8;
    if (n.exact())
      bytes += (isMatrix(v) ? padded : type.getNumElements()) * 4;
    return bytes;
  }

  struct Statement {
    SmallVector<Value> members;
    llvm::SmallSetVector<Value, 4> leaves;
    bool isLazy = false; ///< Comes just before the first statement that needs it.
    bool isDone = false;
  };

  SmallVector<Statement> statementsAsWritten() {
    SmallVector<Statement> all;
    DenseSet<Value> placed;
    for (Operation &op : old.without_terminator()) {
      Value root = op.getResult(0);
      if (!isRoot(root) || !placed.insert(root).second)
        continue;
      Statement &statement = all.emplace_back();
      statement.members = membersOf(root);
      llvm::sort(statement.members, [](Value x, Value y) { return x.getDefiningOp()->isBeforeInBlock(y.getDefiningOp()); });
      int64_t bytes = 0;
      for (Value member : statement.members) {
        placed.insert(member);
        forLeaves(member, [&](OpOperand &use, bool) { statement.leaves.insert(use.get()); });
        bytes += bytesOf(member);
      }
      for (Value leaf : statement.leaves)
        bytes -= bytesOf(leaf);
      statement.isLazy = hasLateLoads() && bytes > 0 && formOf(root) == Form::Elements &&
                         llvm::none_of(root.getUsers(), [](Operation *user) { return user->hasTrait<OpTrait::IsTerminator>(); });
    }
    return all;
  }

  /// The statements, each as its roots, in an order in which what they need is there; the next is the first as written,
  /// or the one after which the fewest bytes live.
  SmallVector<SmallVector<Value>> scheduled() {
    SmallVector<Statement> all = statementsAsWritten();
    DenseMap<Value, Statement *> statementOf;
    DenseMap<Value, int> readers;
    for (Statement &statement : all) {
      for (Value member : statement.members)
        statementOf[member] = &statement;
      for (Value leaf : statement.leaves)
        ++readers[leaf];
    }
    SmallVector<SmallVector<Value>> result;
    DenseSet<Value> loaded;
    auto isDone = [&](Value leaf) { return !isRoot(leaf) || statementOf[leaf]->isDone; };
    std::function<bool(Statement &)> isReady = [&](Statement &statement) {
      return llvm::all_of(statement.leaves, [&](Value leaf) {
        return isDone(leaf) || (statementOf[leaf]->isLazy && isReady(*statementOf[leaf]));
      });
    };
    // Bytes that live after a statement, less those before.
    std::function<int64_t(Statement &)> bytesAfter = [&](Statement &statement) {
      int64_t bytes = 0;
      for (Value member : statement.members)
        bytes += bytesOf(member);
      for (Value leaf : statement.leaves) {
        if (!isDone(leaf))
          bytes += bytesAfter(*statementOf[leaf]);
        if (hasLateLoads() && isa<BlockArgument>(leaf) && !loaded.contains(leaf))
          bytes += bytesOf(leaf);
        if (readers[leaf] == 1)
          bytes -= bytesOf(leaf);
      }
      return bytes;
    };
    std::function<void(Statement &)> append = [&](Statement &statement) {
      for (Value leaf : statement.leaves)
        if (!isDone(leaf))
          append(*statementOf[leaf]);
      statement.isDone = true;
      result.push_back(statement.members);
      for (Value leaf : statement.leaves) {
        --readers[leaf];
        loaded.insert(leaf);
      }
    };
    while (result.size() < all.size()) {
      Statement *best = nullptr;
      int64_t bestBytes = 0;
      for (bool mayBeLazy : {false, true}) { // at the end those that nobody reads
        for (Statement &statement : all) {
          if (statement.isDone || (statement.isLazy && !mayBeLazy) || !isReady(statement))
            continue;
          int64_t bytes = bytesAfter(statement);
          if (best && (order == TileOrder::AsWritten || bytes >= bestBytes))
            continue;
          best = &statement;
          bestBytes = bytes;
        }
        if (best)
          break;
      }
      append(*best);
    }
    return result;
  }

  /// Eight warps where the accumulators of a statement would fill the registers of four.
  int64_t warps() {
    int64_t most = 0;
    for (auto compute : fresh->getOps<ComputeOp>())
      if (compute.getForm() == Form::Fragment)
        for (Value result : compute.getResults())
          most = std::max(most, tensorOf(result).getNumElements());
    return std::max<int64_t>(fewestWarps, most > kWideFragment ? 8 : 4);
  }

  /// An argument of the body that is yielded as it is.
  Value passOn(BlockArgument arg, unsigned i) {
    unsigned outputs = scan.getNumOutputs();
    bool inRegisters = registers.contains(arg);
    Value from = inRegisters ? Value(newArgument(arg)) : keptAs[arg].exact;
    PlaceAttr place;
    if (i < outputs) {
      Type stored = nn::resultStorage(scan, i);
      place = PlaceAttr::of(Space::Result, stored, false, i);
    } else if (registers.contains(scan.getBodyStates()[i - outputs])) {
      place = PlaceAttr::of(Space::Registers, f32, false, i - outputs);
      inRegisters = true;
    } else {
      place = shared(f32, false);
    }
    return copy(from, inRegisters ? Form::Fragment : Form::Elements, place).getResult(0);
  }

  rec::ScanOp scan;
  Block &old;
  TileOrder order;
  int64_t fewestWarps, stages;
  Block *fresh = nullptr;
  OpBuilder b{scan.getContext()};
  Type f32, product;
  llvm::SetVector<Value> roots;
  DenseSet<Value> again;                       ///< Roots that element-wise users compute again.
  llvm::EquivalenceClasses<Value> statements; ///< Roots that share one.
  llvm::SmallPtrSet<Value, 4> registers; ///< States.
  llvm::SmallPtrSet<Value, 4> streams;   ///< Operands.
  DenseMap<OpOperand *, Value> streamOf;
  DenseSet<Value> fragments;             ///< Roots that read a state in registers.
  DenseMap<Value, Needs> needs;
  DenseMap<Value, Kept> keptAs;
  SmallVector<Value> yielded;
};
} // namespace

int64_t tile::fewestSharedBytes(rec::ScanOp scan, bool bf16, int64_t limit) {
  int64_t fewest = std::numeric_limits<int64_t>::max();
  for (auto order : {TileOrder::AsWritten, TileOrder::FewestBytes, TileOrder::LateLoads, TileOrder::Streams,
                     TileOrder::Sparing}) {
    auto copy = cast<rec::ScanOp>(scan->clone());
    if (succeeded(toTileForm(copy, bf16, order))) {
      placeInSharedMemory(copy);
      fewest = std::min(fewest, cast<IntegerAttr>(copy->getDiscardableAttr("tile.shared_bytes")).getInt());
    }
    copy->erase();
    if (fewest <= limit)
      break;
  }
  return fewest;
}

LogicalResult tile::toTileForm(rec::ScanOp scan, bool bf16, TileOrder order, int64_t warps, int64_t stages) {
  expand(scan.getBody().front());
  IRRewriter rewriter(scan.getContext());
  DominanceInfo dominance(scan);
  eliminateCommonSubExpressions(rewriter, dominance, scan);
  return TileFormer(scan, bf16, order, warps, stages).run();
}

namespace {
struct RecToTilePass : tile::impl::RecToTileBase<RecToTilePass> {
  using RecToTileBase::RecToTileBase;

  void runOnOperation() override {
    SmallVector<rec::ScanOp> scans;
    getOperation().walk([&](rec::ScanOp scan) { scans.push_back(scan); });
    for (rec::ScanOp scan : scans)
      if (failed(toTileForm(scan, bf16, order)))
        return signalPassFailure();
  }
};
} // namespace
