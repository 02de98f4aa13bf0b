//===- Cut.cpp - Scans for less shared memory -------------------*- C++ -*-===//
// Implements -tile-cut. The steps of a scan without states know nothing of each
// other, so a scan that is too large for a block may be several that run one after
// another. What the first ones hand on is one matrix a step in global memory.
//===----------------------------------------------------------------------===//
#include "passes/Tile/Passes.h"

#include "ir/Nn/NnOps.h"
#include "ir/Nn/Storage.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

namespace tidegate::tile {
#define GEN_PASS_DEF_TILECUT
#include "passes/Tile/Passes.h.inc"
} // namespace tidegate::tile

using namespace mlir;
using namespace tidegate;
using namespace tidegate::tile;
using rec::OperandKind;

namespace {
RankedTensorType tensorOf(Value v) { return cast<RankedTensorType>(v.getType()); }

bool isProduct(Operation *op) {
  return isa<nn::DotOp, rec::DecayScoresOp, rec::DecayMixOp, rec::SolveUnitLowerOp, rec::DecaySolveOp>(op);
}

/// As roleOf, but for scores under one decay for all channels: the decay comes between them and the tensor cores.
Role roleBefore(OpOperand &use) {
  auto mix = dyn_cast<rec::DecayMixOp>(use.getOwner());
  const bool decaysByRow = mix && (!mix.getRowGate() || tensorOf(mix.getRowGate()).getDimSize(1) == 1);
  return decaysByRow && use.getOperandNumber() == 0 ? Role::Element : roleOf(use);
}

class Cutter {
public:
  Cutter(rec::ScanOp scan, bool bf16, int64_t bytes)
      : scan(scan), body(scan.getBody().front()), b(scan), bf16(bf16), bytes(bytes) {}

  bool fits() { return fewestSharedBytes(scan, bf16, bytes) <= bytes; }

  /// The scan becomes a first part, the largest that fits, and the rest, which is returned: none if not even the
  /// smallest first part does, and the scan stays.
  rec::ScanOp run() {
    findWork();
    for (size_t count = work.size(); count > 1;) {
      chooseFirst(--count);
      if (isRest.empty() || isFirst.size() + passed.size() == 0) // what nobody reads is between them
        continue;
      rec::ScanOp first = build(isFirst, {}, {});
      if (fewestSharedBytes(first, bf16, bytes) > bytes) {
        first.erase();
        continue;
      }
      rec::ScanOp rest = build(isRest, passed.getArrayRef(), first);
      replaceBy(first, rest);
      return rest;
    }
    return {};
  }

private:
  OperandRange yields() { return body.getTerminator()->getOperands(); }
  bool isMade(Value v) const { return made.contains(v); }

  /// The products, and what sums what they have made: everything that takes shared memory of its own.
  void findWork() {
    for (Operation &op : body.without_terminator()) {
      const bool isOfProducts = llvm::any_of(op.getOperands(), [&](Value v) { return isMade(v); });
      if (isProduct(&op) || isOfProducts)
        made.insert_range(op.getResults());
      if (isProduct(&op) || (isOfProducts && isa<rec::CumsumOp, nn::ReduceSumOp, nn::ReduceMaxOp>(op)))
        work.insert(&op);
    }
  }

  /// The first `count` of the work, all that follows from it without more, and what of that the rest needs.
  void chooseFirst(size_t count) {
    DenseSet<Operation *> late(work.begin() + count, work.end());
    firstOps.clear();
    passed.clear();
    auto isThere = [&](Value v) { return isa<BlockArgument>(v) || firstOps.contains(v.getDefiningOp()); };
    for (Operation &op : body.without_terminator())
      if (!late.contains(&op) && llvm::all_of(op.getOperands(), isThere))
        firstOps.insert(&op);
    for (Operation &op : body.without_terminator())
      if (!firstOps.contains(&op))
        for (Value v : op.getOperands())
          if (isMade(v) && isThere(v))
            passed.insert(v);
    isFirst.clear();
    isRest.clear();
    for (auto [i, v] : llvm::enumerate(yields()))
      (isThere(v) ? isFirst : isRest).push_back(i);
  }

  /// As the whole scan would keep a value: what products read is rounded for them, and others read that.
  Type storageOf(Value v) {
    auto isUsedAs = [&](Role role) {
      return llvm::any_of(v.getUses(), [&](OpOperand &use) { return roleBefore(use) == role; });
    };
    const bool isRounded = bf16 && isUsedAs(Role::Product) && !isUsedAs(Role::Tile);
    return isRounded ? Type(BFloat16Type::get(scan.getContext())) : tensorOf(v).getElementType();
  }

  /// A scan of the outputs with these numbers: the first part without `from`, and with `passed` as outputs behind the
  /// others; the rest with them as operands, the last results of `from`.
  rec::ScanOp build(ArrayRef<unsigned> outputs, ArrayRef<Value> given, rec::ScanOp from) {
    auto values = llvm::map_to_vector(outputs, [&](unsigned i) { return yields()[i]; });
    if (!from)
      llvm::append_range(values, passed);
    llvm::SmallSetVector<Operation *, 32> needed;
    llvm::SmallSetVector<unsigned, 8> operands;
    std::function<void(Value)> visit = [&](Value v) {
      if (llvm::is_contained(given, v))
        return;
      if (auto argument = dyn_cast<BlockArgument>(v)) {
        operands.insert(argument.getArgNumber());
        return;
      }
      if (needed.contains(v.getDefiningOp()))
        return;
      needed.insert(v.getDefiningOp());
      for (Value operand : v.getDefiningOp()->getOperands())
        visit(operand);
    };
    for (Value v : values)
      visit(v);

    Region region;
    Block *block = new Block();
    region.push_back(block);
    IRMapping mapping;
    SmallVector<Value> inputs;
    SmallVector<int64_t> kinds, outKinds, outHeads;
    SmallVector<Attribute> operandTypes, resultTypes;
    auto add = [&](Value inner, Value outer, OperandKind kind, Type stored) {
      inputs.push_back(outer);
      kinds.push_back(int64_t(kind));
      operandTypes.push_back(TypeAttr::get(stored));
      mapping.map(inner, block->addArgument(inner.getType(), outer.getLoc()));
    };
    for (unsigned i : order(operands))
      add(body.getArgument(i), scan.getInputs()[i], scan.kindOf(i), nn::operandStorage(scan, i));
    for (auto [i, v] : llvm::enumerate(given))
      add(v, from.getResult(from.getNumResults() - given.size() + i), OperandKind::Step, storageOf(v));
    OpBuilder inside(scan.getContext());
    inside.setInsertionPointToEnd(block);
    for (Operation &op : body.without_terminator())
      if (needed.contains(&op))
        inside.clone(op, mapping);
    for (unsigned i : outputs) {
      outKinds.push_back(scan.getOutKinds()[i]);
      outHeads.push_back(scan.headsOfOutput(i));
      resultTypes.push_back(TypeAttr::get(nn::resultStorage(scan, i)));
    }
    for (Value v : ArrayRef(values).drop_front(outputs.size())) {
      outKinds.push_back(int64_t(OperandKind::Step));
      outHeads.push_back(scan.getHeads());
      resultTypes.push_back(TypeAttr::get(storageOf(v)));
    }
    rec::YieldOp::create(inside, scan.getLoc(),
                         llvm::map_to_vector(values, [&](Value v) { return mapping.lookup(v); }));
    auto part = rec::ScanOp::create(b, scan.getLoc(), inputs, kinds, ValueRange(), scan.getChunk(), outKinds,
                                    /*numStates=*/0, scan.getReverse(), /*saveStates=*/false, &region, outHeads);
    if (scan->hasAttr(nn::kStorage)) {
      llvm::append_range(operandTypes, resultTypes);
      part->setAttr(nn::kStorage, b.getArrayAttr(operandTypes));
    }
    return part;
  }

  /// Operands of the scan with rows of tokens first, which give B and T; one with all heads is among them.
  SmallVector<unsigned> order(const llvm::SmallSetVector<unsigned, 8> &operands) {
    SmallVector<unsigned> result(operands.begin(), operands.end());
    llvm::sort(result);
    auto isToken = [&](unsigned i) { return scan.kindOf(i) == OperandKind::Token; };
    auto headsOf = [&](unsigned i) {
      const unsigned at = scan.kindOf(i) == OperandKind::Row ? 1 : scan.kindOf(i) == OperandKind::Head ? 0 : 2;
      return scan.kindOf(i) == OperandKind::Shared ? 1 : tensorOf(scan.getInputs()[i]).getDimSize(at);
    };
    auto hasAllHeads = [&](unsigned i) { return headsOf(i) == scan.getHeads(); };
    auto require = [&](auto holds) {
      if (llvm::none_of(result, holds))
        result.push_back(*llvm::find_if(llvm::seq<unsigned>(0, scan.getInputs().size()), holds));
    };
    require(hasAllHeads);
    require(isToken);
    llvm::stable_sort(result, [&](unsigned x, unsigned y) { return isToken(x) > isToken(y); });
    return result;
  }

  void replaceBy(rec::ScanOp first, rec::ScanOp rest) {
    for (auto [i, output] : llvm::enumerate(isFirst))
      scan.getResult(output).replaceAllUsesWith(first.getResult(i));
    for (auto [i, output] : llvm::enumerate(isRest))
      scan.getResult(output).replaceAllUsesWith(rest.getResult(i));
    scan.erase();
  }

  rec::ScanOp scan;
  Block &body;
  OpBuilder b;
  bool bf16;
  int64_t bytes;
  DenseSet<Value> made;                   ///< From products.
  llvm::SmallSetVector<Operation *, 16> work;
  DenseSet<Operation *> firstOps;
  llvm::SmallSetVector<Value, 8> passed; ///< From the first part to the rest.
  SmallVector<unsigned> isFirst, isRest; ///< Outputs.
};

struct TileCutPass : tile::impl::TileCutBase<TileCutPass> {
  using TileCutBase::TileCutBase;

  void runOnOperation() override {
    SmallVector<rec::ScanOp> scans;
    getOperation().walk([&](rec::ScanOp scan) {
      if (scan.getChunk() > 1 && scan.getNumStates() == 0)
        scans.push_back(scan);
    });
    for (rec::ScanOp rest : scans)
      while (rest) {
        Cutter cutter(rest, bf16, bytes);
        if (cutter.fits())
          break;
        rest = cutter.run();
      }
  }
};
} // namespace
