//===- SplitRows.cpp - Maps over matrices as maps over their rows ---------===//
// Implements -nn-split-rows. A value of a body is *row-wise* if its row i needs only
// rows i of the matrices that the map reads, and single numbers. Row-wise results go
// to a map over one row dimension more. The single numbers, and the results that are
// not row-wise, stay in a map as before; the numbers leave it repeated for each row.
//===----------------------------------------------------------------------===//
#include "passes/Nn/Passes.h"

#include "ir/Nn/NnOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"

#include <functional>

namespace tidegate::nn {
#define GEN_PASS_DEF_SPLITROWS
#include "passes/Nn/Passes.h.inc"
} // namespace tidegate::nn

using namespace mlir;
using namespace tidegate;
using namespace tidegate::nn;

namespace {
RankedTensorType tensorOf(Value v) { return cast<RankedTensorType>(v.getType()); }

class Splitter {
public:
  Splitter(MapOp map, int64_t elements) : map(map), body(map.getBody().front()), elements(elements), b(map) {}

  /// Whether the map is worth cutting: large matrices, all of them of as many rows.
  bool decide() {
    if (map.getRowRank() > 1)
      return false;
    for (Value v : body.getArguments())
      consider(v);
    for (Value v : yields())
      consider(v);
    if (height == 0)
      return false;
    for (auto [i, argument] : llvm::enumerate(body.getArguments()))
      if ((map.getOperandRows()[i] || map.getRowRank() == 0) && isMatrix(argument) && !isList(argument))
        rowWise.insert(argument);
    for (Operation &op : body.without_terminator())
      if (isRowWise(&op))
        rowWise.insert(op.getResult(0));
    for (auto [i, v] : llvm::enumerate(yields()))
      if ((map.getResultRows()[i] || map.getRowRank() == 0) && rowWise.contains(v) && v.getDefiningOp() && !isList(v))
        moved.push_back(i);
    if (!moved.empty())
      collect();
    return !moved.empty();
  }

  /// The map over the rows of the matrices.
  MapOp run() {
    MapOp before = numbers.empty() && moved.size() == yields().size() ? MapOp() : buildBefore();
    MapOp after = buildAfter(before);
    unsigned stay = 0, go = 0;
    for (auto [i, result] : llvm::enumerate(map.getResults()))
      result.replaceAllUsesWith(llvm::is_contained(moved, i) ? after.getResult(go++) : before.getResult(stay++));
    map.erase();
    return after;
  }

private:
  /// The matrices are as high as a large value is that the map reads or gives.
  void consider(Value v) {
    constexpr int64_t kFewest = 16; // numbers of a row
    auto type = tensorOf(v);
    if (type.getRank() > 1 && type.getNumElements() >= elements && type.getDimSize(0) > 1 &&
        type.getNumElements() >= kFewest * type.getDimSize(0))
      height = type.getDimSize(0);
  }
  OperandRange yields() { return body.getTerminator()->getOperands(); }
  /// A value of as many rows as the matrices have, or one that lists the numbers of these rows one after another.
  bool isMatrix(Value v) {
    auto type = tensorOf(v);
    return type.getRank() > 0 && type.getDimSize(0) % height == 0 && type.getNumElements() > (isList(v) ? height : 0);
  }
  bool isList(Value v) { return tensorOf(v).getRank() == 1 || tensorOf(v).getDimSize(0) != height; }
  RankedTensorType rowType(Value v) {
    SmallVector<int64_t> shape(tensorOf(v).getShape());
    if (isList(v))
      shape[0] /= height;
    else
      shape.erase(shape.begin());
    return RankedTensorType::get(shape, tensorOf(v).getElementType());
  }
  static bool isConstant(Value v) { return v.getDefiningOp<ConstantOp>() != nullptr; }
  /// Whether a value comes from constants alone.
  static bool isFree(Value v) {
    Operation *op = v.getDefiningOp();
    return op && llvm::all_of(op->getOperands(), isFree);
  }
  static bool isNumber(Value v) { return tensorOf(v).getNumElements() == 1; }

  bool isRowWise(Operation *op) {
    Value result = op->getResult(0);
    if (!isMatrix(result))
      return false;
    const int64_t rank = tensorOf(result).getRank();
    auto isRow = [&](Value v) {
      return rowWise.contains(v) && tensorOf(v).getRank() == rank &&
             tensorOf(v).getDimSize(0) == tensorOf(result).getDimSize(0);
    };
    auto hasRows = [&](Value v) { return rowWise.contains(v) && !isList(v); };
    return llvm::TypeSwitch<Operation *, bool>(op)
        .Case<ElementwiseOpInterface>([&](auto) {
          return llvm::any_of(op->getOperands(), isRow) && llvm::all_of(op->getOperands(), [&](Value v) {
            return isRow(v) || isConstant(v) || isNumber(v) || (isFree(v) && tensorOf(v).getRank() < rank);
          });
        })
        .Case([&](ReshapeOp r) { return rowWise.contains(r.getInput()); }) // of whole rows, as isMatrix(result)
        .Case([&](TransposeOp t) { return hasRows(t.getInput()) && t.getPermutation()[0] == 0; })
        .Case<SliceOp, PadOp>([&](auto s) { return hasRows(s.getInput()) && s.getDim() != 0; })
        .Case<ReduceSumOp, ReduceMaxOp>([&](auto r) {
          return hasRows(r.getInput()) && !llvm::is_contained(r.getDims(), 0);
        })
        .Default([](Operation *) { return false; });
  }

  /// Operands and numbers that the moved results need.
  void collect() {
    DenseSet<Value> seen;
    std::function<void(Value)> visit = [&](Value v) {
      if (!seen.insert(v).second || isFree(v))
        return;
      Operation *op = v.getDefiningOp();
      if (!rowWise.contains(v))
        numbers.insert(v);
      else if (!op)
        matrices.insert(cast<BlockArgument>(v).getArgNumber());
      else
        llvm::for_each(op->getOperands(), visit);
    };
    for (unsigned i : moved)
      visit(yields()[i]);
  }

  /// The results that stay, then the numbers, one for each row of a matrix.
  MapOp buildBefore() {
    SmallVector<Type> types;
    SmallVector<bool> resultRows;
    for (auto [i, result] : llvm::enumerate(map.getResults()))
      if (!llvm::is_contained(moved, i)) {
        types.push_back(result.getType());
        resultRows.push_back(map.getResultRows()[i]);
      }
    for (Value number : numbers) {
      auto shape = llvm::to_vector(tensorOf(map.getResult(moved.front())).getShape().take_front(map.getRowRank()));
      shape.append({height, 1});
      types.push_back(RankedTensorType::get(shape, tensorOf(number).getElementType()));
      resultRows.push_back(true);
    }
    auto before = MapOp::create(b, map.getLoc(), types, map.getInputs(), map.getRowRankAttr(),
                                b.getDenseBoolArrayAttr(map.getOperandRows()), b.getDenseBoolArrayAttr(resultRows));
    IRMapping mapping;
    map.getBody().cloneInto(&before.getBody(), mapping);
    Block &block = before.getBody().front();
    OpBuilder inside(block.getTerminator());
    SmallVector<Value> yielded;
    for (auto [i, v] : llvm::enumerate(yields()))
      if (!llvm::is_contained(moved, i))
        yielded.push_back(mapping.lookup(v));
    for (Value number : numbers) {
      auto type = RankedTensorType::get({height, 1}, tensorOf(number).getElementType());
      Value one = ReshapeOp::create(inside, number.getLoc(), RankedTensorType::get({1}, type.getElementType()),
                                    mapping.lookup(number));
      Value zeros = constant(inside, number.getLoc(), 0, type.getElementType(), type.getShape());
      yielded.push_back(AddOp::create(inside, number.getLoc(), one, zeros));
    }
    YieldOp::create(inside, map.getLoc(), yielded);
    block.getTerminator()->erase();
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isOpTriviallyDead(&op))
        op.erase();
    dropUnusedInputs(before);
    return before;
  }

  static void dropUnusedInputs(MapOp map) {
    Block &block = map.getBody().front();
    SmallVector<bool> rows(map.getOperandRows());
    for (unsigned i = block.getNumArguments(); i-- > 0;)
      if (block.getArgument(i).use_empty() && block.getNumArguments() > 1) {
        block.eraseArgument(i);
        map->eraseOperand(i);
        rows.erase(rows.begin() + i);
      }
    map.setOperandRows(rows);
  }

  MapOp buildAfter(MapOp before) {
    SmallVector<Value> inputs;
    SmallVector<Type> types;
    for (unsigned i : matrices)
      inputs.push_back(map.getInputs()[i]);
    for (unsigned n = 0; n < numbers.size(); ++n)
      inputs.push_back(before.getResult(yields().size() - moved.size() + n));
    for (unsigned i : moved)
      types.push_back(map.getResult(i).getType());
    auto after = MapOp::create(b, map.getLoc(), types, inputs, b.getI64IntegerAttr(map.getRowRank() + 1),
                               b.getDenseBoolArrayAttr(SmallVector<bool>(inputs.size(), true)),
                               b.getDenseBoolArrayAttr(SmallVector<bool>(types.size(), true)));
    OpBuilder::InsertionGuard guard(b);
    Block *block = b.createBlock(&after.getBody());
    for (unsigned i : matrices)
      rows[body.getArgument(i)] = block->addArgument(rowType(body.getArgument(i)), map.getLoc());
    for (Value number : numbers)
      rows[number] = block->addArgument(RankedTensorType::get({1}, tensorOf(number).getElementType()), map.getLoc());
    SmallVector<Value> yielded;
    for (unsigned i : moved)
      yielded.push_back(rowOf(yields()[i]));
    YieldOp::create(b, map.getLoc(), yielded);
    return after;
  }

  /// A row of a row-wise value; a number as it is.
  Value rowOf(Value v) {
    if (Value known = rows.lookup(v))
      return known;
    return rows[v] = buildRow(v.getDefiningOp());
  }

  Value buildRow(Operation *op) {
    Location loc = op->getLoc();
    auto row = rowType(op->getResult(0));
    auto shifted = [](ArrayRef<int64_t> dims) { return llvm::map_to_vector(dims, [](int64_t d) { return d - 1; }); };
    return llvm::TypeSwitch<Operation *, Value>(op)
        .Case([&](ReshapeOp r) { return ReshapeOp::create(b, loc, row, rowOf(r.getInput())); })
        .Case([&](TransposeOp t) {
          return TransposeOp::create(b, loc, rowOf(t.getInput()), shifted(t.getPermutation().drop_front()));
        })
        .Case([&](SliceOp s) {
          return SliceOp::create(b, loc, row, rowOf(s.getInput()), s.getDim() - 1, s.getBegin(), s.getStride());
        })
        .Case([&](PadOp p) {
          return PadOp::create(b, loc, row, rowOf(p.getInput()), p.getDim() - 1, p.getBegin(), p.getStride());
        })
        .Case([&](ReduceSumOp r) { return ReduceSumOp::create(b, loc, rowOf(r.getInput()), shifted(r.getDims())); })
        .Case([&](ReduceMaxOp r) { return ReduceMaxOp::create(b, loc, rowOf(r.getInput()), shifted(r.getDims())); })
        .Default([&](Operation *) {
          OperationState state(loc, op->getName());
          for (Value v : op->getOperands())
            state.addOperands(isConstant(v) ? number(v, row) : isFree(v) ? copied(v) : rowOf(v));
          state.addTypes(row);
          state.addAttributes(op->getAttrDictionary().getValue());
          return b.create(state)->getResult(0);
        });
  }
  Value copied(Value v) {
    if (Value known = rows.lookup(v))
      return known;
    IRMapping mapping;
    for (Value operand : v.getDefiningOp()->getOperands())
      mapping.map(operand, copied(operand));
    return rows[v] = b.clone(*v.getDefiningOp(), mapping)->getResult(0);
  }
  Value number(Value constantValue, RankedTensorType type) {
    double x = constantValue.getDefiningOp<ConstantOp>().getValue().convertToDouble();
    return constant(b, constantValue.getLoc(), x, type.getElementType(), type.getShape());
  }

  MapOp map;
  Block &body;
  int64_t elements, height = 0;
  OpBuilder b;
  DenseSet<Value> rowWise;
  SmallVector<unsigned> moved;                 ///< Results that become row-wise.
  llvm::SetVector<unsigned> matrices;          ///< Operands of the new map.
  llvm::SetVector<Value> numbers;              ///< What it takes from the map before.
  DenseMap<Value, Value> rows;
};

struct SplitRowsPass : nn::impl::SplitRowsBase<SplitRowsPass> {
  using SplitRowsBase::SplitRowsBase;

  void runOnOperation() override {
    SmallVector<MapOp> maps(getOperation().getOps<MapOp>());
    while (!maps.empty())
      if (Splitter splitter(maps.pop_back_val(), elements); splitter.decide())
        maps.push_back(splitter.run());
  }
};
} // namespace
