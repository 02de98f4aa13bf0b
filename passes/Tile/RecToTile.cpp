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
#include "llvm/ADT/MapVector.h"
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
  if (isa<nn::ExpOp, nn::LogOp, nn::SigmoidOp, nn::SoftplusOp, nn::TanhOp, nn::SinOp, nn::CosOp, CausalOp>(op))
    return 12;
  if (isa<nn::DivOp, nn::SqrtOp, nn::RsqrtOp, nn::PadOp>(op))
    return 4;
  if (isa<nn::ConstantOp, nn::IotaOp, nn::ReshapeOp, nn::BroadcastLikeOp, nn::StopGradientOp>(op))
    return 0;
  return 1;
}
/// A value used more than once is stored from this cost on.
constexpr int64_t kStoreCost = 12;
/// Accumulators of one statement at most.
constexpr int kMostProducts = 3;

/// How statements use a value that lies somewhere.
struct Needs {
  bool product = false;  ///< As operand of the tensor cores.
  bool tile = false;     ///< As a float matrix that a device function reads.
  bool elements = false; ///< Element by element.
};

/// What an operand is to the op that uses it.
enum class Role { Product, Tile, Element };
Role roleOf(OpOperand &use) {
  Operation *op = use.getOwner();
  if (isa<nn::DotOp>(op))
    return Role::Product;
  if (isa<rec::DecayScoresOp, rec::DecayMixOp>(op))
    return use.getOperandNumber() < 2 ? Role::Product : Role::Tile;
  if (isa<rec::SolveUnitLowerOp>(op))
    return Role::Tile;
  return Role::Element;
}

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
    chooseStates();
    collectNeeds();
    build();
    return success();
  }

private:
  LogicalResult check() {
    for (Operation &op : old.without_terminator())
      if (!isProduct(&op) && !canInline(&op) &&
          !isa<nn::ReduceSumOp, nn::ReduceMaxOp, rec::CumsumOp, rec::SolveUnitLowerOp>(op))
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
      if (needed || (uses > 1 && cost >= kStoreCost) || (repeated && cost > 1))
        roots.insert(v);
      costs[v] = cost;
    }
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
        if (isLeaf(operand.get()))
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

  void collectNeeds() {
    for (Value root : roots)
      forLeaves(root, [&](OpOperand &use, bool keepsPlace) {
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

  Form formOf(Value root) {
    Operation *op = root.getDefiningOp();
    if (isa<nn::ReduceSumOp, nn::ReduceMaxOp>(op))
      return Form::Reduce;
    if (isa<rec::CumsumOp>(op))
      return Form::Cumsum;
    if (isa<rec::SolveUnitLowerOp>(op))
      return Form::Invert;
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
    if (!n.product && !n.tile && (isStill || type.getNumElements() == 1)) {
      kept.exact = now; // read where it lies
      return;
    }
    Type stored = nn::operandStorage(scan, i);
    bool swizzled = n.product || n.tile || isMatrix(arg);
    Value load = LoadOp::create(b, arg.getLoc(), now, shared(stored, swizzled), stages);
    kept.exact = load;
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
      } else if (!isLeaf(v)) {
        mapping.map(v, cloneTree(v.getDefiningOp(), keeps, done));
      } else if (isInRegisters(operand, keeps)) {
        mapping.map(v, newArgument(cast<BlockArgument>(v)));
      } else {
        const Kept &kept = keptAs[v];
        Role role = roleOf(operand);
        mapping.map(v, role == Role::Product ? kept.product : role == Role::Tile ? kept.tile : kept.exact);
      }
    }
    return done[op] = b.clone(*op, mapping)->getResult(0);
  }

  BlockArgument newArgument(BlockArgument arg) { return fresh->getArgument(arg.getArgNumber()); }

  void statement(Value root) {
    const Needs n = needs.lookup(root);
    Form form = formOf(root);
    SmallVector<PlaceAttr> places;
    std::optional<unsigned> productAt, exactAt;
    auto add = [&](PlaceAttr place) {
      places.push_back(place);
      return unsigned(places.size() - 1);
    };
    bool needsFloat = n.tile || n.elements;
    if (n.product)
      productAt = add(shared(product, true));
    if (needsFloat && productAt && product == f32)
      exactAt = productAt;
    else if (needsFloat)
      exactAt = add(shared(f32, n.tile || form == Form::Invert || isMatrix(root)));
    auto yields = old.getTerminator()->getOperands();
    SmallVector<std::pair<unsigned, unsigned>> outputs; // yield operand, result
    for (auto [i, v] : llvm::enumerate(yields)) {
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
    if (places.empty())
      return; // nobody reads it
    SmallVector<Attribute> attributes(places.begin(), places.end());
    SmallVector<Type> types(places.size(), root.getType());
    auto compute = ComputeOp::create(b, root.getLoc(), types, form, b.getArrayAttr(attributes));
    {
      OpBuilder::InsertionGuard guard(b);
      b.createBlock(&compute.getBody());
      DenseMap<Operation *, Value> done;
      Value v = cloneTree(root.getDefiningOp(), true, done);
      YieldOp::create(b, root.getLoc(), SmallVector<Value>(places.size(), v));
    }
    Kept &kept = keptAs[root];
    if (productAt)
      kept.product = compute.getResult(*productAt);
    if (exactAt)
      kept.tile = kept.exact = compute.getResult(*exactAt);
    for (auto [i, r] : outputs)
      yielded[i] = compute.getResult(r);
  }

  void build() {
    fresh = new Block();
    for (BlockArgument arg : old.getArguments())
      fresh->addArgument(arg.getType(), arg.getLoc());
    b.setInsertionPointToEnd(fresh);
    yielded.resize(old.getTerminator()->getNumOperands());
    auto operands = old.getArguments().take_front(scan.getInputs().size());
    if (order != TileOrder::LateLoads)
      load(SmallVector<BlockArgument>(operands));
    for (BlockArgument arg : old.getArguments().drop_front(operands.size()))
      copyState(arg, newArgument(arg));
    for (Value root : scheduled()) {
      SmallVector<BlockArgument> late;
      forLeaves(root, [&](OpOperand &use, bool) {
        if (auto arg = dyn_cast<BlockArgument>(use.get()))
          if (arg.getArgNumber() < operands.size() && !keptAs.contains(arg) && !llvm::is_contained(late, arg))
            late.push_back(arg);
      });
      load(late);
      statement(root);
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

  void load(ArrayRef<BlockArgument> operands) {
    for (BlockArgument arg : operands)
      loadOperand(arg, newArgument(arg));
    for (BlockArgument arg : operands)
      convertOperand(arg);
  }

  /// Bytes in shared memory of a value's copies.
  int64_t bytesOf(Value v) {
    const Needs n = needs.lookup(v);
    auto type = tensorOf(v);
    Matrix m(type);
    int64_t padded = m.paddedRows() * m.paddedCols(), bytes = 0;
    if (n.product)
      bytes += padded * product.getIntOrFloatBitWidth() / 8;
    if (n.tile || n.elements)
      bytes += (isMatrix(v) ? padded : type.getNumElements()) * 4;
    return bytes;
  }

  /// The statements in an order in which what they need is there; the next is the one
  /// after which the fewest bytes live.
  SmallVector<Value> scheduled() {
    SmallVector<Value> written;
    for (Operation &op : old.without_terminator())
      if (isRoot(op.getResult(0)))
        written.push_back(op.getResult(0));
    if (order == TileOrder::AsWritten)
      return written;
    DenseMap<Value, llvm::SmallSetVector<Value, 4>> leaves;
    DenseMap<Value, int> readers;
    for (Value root : written) {
      forLeaves(root, [&](OpOperand &use, bool) { leaves[root].insert(use.get()); });
      for (Value leaf : leaves[root])
        ++readers[leaf];
    }
    SmallVector<Value> result;
    DenseSet<Value> done, loaded;
    while (result.size() < written.size()) {
      Value best;
      int64_t bestBytes = 0;
      for (Value root : written) {
        if (done.contains(root) ||
            llvm::any_of(leaves[root], [&](Value leaf) { return isRoot(leaf) && !done.contains(leaf); }))
          continue;
        int64_t bytes = bytesOf(root);
        for (Value leaf : leaves[root]) {
          if (order == TileOrder::LateLoads && isa<BlockArgument>(leaf) && !loaded.contains(leaf))
            bytes += bytesOf(leaf);
          if (readers[leaf] == 1)
            bytes -= bytesOf(leaf);
        }
        if (!best || bytes < bestBytes)
          best = root, bestBytes = bytes;
      }
      result.push_back(best);
      done.insert(best);
      for (Value leaf : leaves[best]) {
        --readers[leaf];
        loaded.insert(leaf);
      }
    }
    return result;
  }

  /// Eight warps where the accumulators of a statement would fill the registers of four.
  int64_t warps() {
    int64_t most = 0;
    for (auto compute : fresh->getOps<ComputeOp>())
      if (compute.getForm() == Form::Fragment)
        most = std::max(most, tensorOf(compute.getResult(0)).getNumElements());
    return std::max<int64_t>(fewestWarps, most > 64 * 64 ? 8 : 4);
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
  llvm::SmallPtrSet<Value, 4> registers; ///< States.
  DenseSet<Value> fragments;             ///< Roots that read a state in registers.
  DenseMap<Value, Needs> needs;
  DenseMap<Value, Kept> keptAs;
  SmallVector<Value> yielded;
};
} // namespace

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
      if (failed(toTileForm(scan, bf16)))
        return signalPassFailure();
  }
};
} // namespace
