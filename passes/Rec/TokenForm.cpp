//===- TokenForm.cpp - A scan over chunks, one token at a time --*- C++ -*-===//
// The token scan's states are those of the chunk scan, a buffer of C rows for
// each operand that the update reads, and a mask that is 1 for the rows that are
// filled. A token that finds the mask full first updates the states from the
// buffers and empties them. Then it adds its row and reads the states, on its own
// row alone where the body treats all rows alike, else on the rows so far.
//===----------------------------------------------------------------------===//
#include "passes/Rec/TokenForm.h"

#include "ir/Nn/NnOps.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

bool rec::isChunkUpdate(ScanOp scan) {
  return scan.getChunk() > 1 && !scan.getBody().getOps<UnlessLastOp>().empty();
}

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// The type with another first dimension.
static RankedTensorType withRows(RankedTensorType type, int64_t rows) {
  SmallVector<int64_t> shape(type.getShape());
  shape.front() = rows;
  return RankedTensorType::get(shape, type.getElementType());
}

/// True if `op` computes each row of its result from the same row of the operands
/// in `rows`, which have their rows in the first dimension.
static bool treatsRowsAlike(Operation *op, const llvm::DenseSet<Value> &rows) {
  if (op->getNumResults() != 1)
    return false;
  auto result = typeOf(op->getResult(0));
  auto hasRows = [&](unsigned i) { return rows.contains(op->getOperand(i)); };
  if (isa<ElementwiseOpInterface, nn::BroadcastLikeOp>(op))
    return llvm::all_of(op->getOperands(), [&](Value operand) {
      auto type = typeOf(operand);
      bool whole = type.getRank() == result.getRank();
      return rows.contains(operand) ? whole : !whole || type.getDimSize(0) == 1;
    });
  if (auto reshape = dyn_cast<nn::ReshapeOp>(op))
    return result.getRank() > 0 && result.getDimSize(0) == reshape.getInput().getType().getDimSize(0);
  if (auto transpose = dyn_cast<nn::TransposeOp>(op))
    return transpose.getPermutation().front() == 0;
  if (auto slice = dyn_cast<nn::SliceOp>(op))
    return slice.getDim() != 0;
  if (auto pad = dyn_cast<nn::PadOp>(op))
    return pad.getDim() != 0;
  if (auto sum = dyn_cast<nn::ReduceSumOp>(op))
    return !llvm::is_contained(sum.getDims(), 0);
  if (auto maximum = dyn_cast<nn::ReduceMaxOp>(op))
    return !llvm::is_contained(maximum.getDims(), 0);
  if (auto dot = dyn_cast<nn::DotOp>(op))
    return hasRows(0) && !hasRows(1) && dot.getLhsBatch().empty() && !llvm::is_contained(dot.getLhsContract(), 0);
  return false;
}

std::optional<llvm::DenseSet<Value>> rec::rowsAlike(ScanOp scan, Block &read) {
  llvm::DenseSet<Value> rows;
  for (unsigned i = 0; i < scan.getInputs().size(); ++i)
    if (scan.kindOf(i) == OperandKind::Token)
      rows.insert(read.getArgument(i));
  for (Operation &op : read.without_terminator()) {
    if (llvm::none_of(op.getOperands(), [&](Value v) { return rows.contains(v); }))
      continue;
    if (!treatsRowsAlike(&op, rows))
      return std::nullopt;
    rows.insert(op.getResult(0));
  }
  if (!llvm::all_of(read.getTerminator()->getOperands(), [&](Value v) { return rows.contains(v); }))
    return std::nullopt;
  return rows;
}

void rec::cloneRows(OpBuilder &b, Block &read, const llvm::DenseSet<Value> &rows, int64_t count, IRMapping &mapping) {
  for (Operation &op : read.without_terminator()) {
    Operation *copy = b.clone(op, mapping);
    if (copy->getNumResults() == 1 && rows.contains(op.getResult(0)))
      copy->getResult(0).setType(withRows(typeOf(op.getResult(0)), count));
  }
}

namespace {
class TokenForm {
public:
  explicit TokenForm(ScanOp scan) : scan(scan), chunk(scan.getChunk()), loc(scan.getLoc()), b(scan.getContext()) {
    element = typeOf(scan.getBodyStates().front()).getElementType();
  }

  FailureOr<ScanOp> build() {
    if (failed(check()))
      return failure();
    IRMapping toUpdate, toRead;
    Region update, read;
    scan.getBody().cloneInto(&update, toUpdate);
    scan.getBody().cloneInto(&read, toRead);
    update.front().getTerminator()->eraseOperands(0, scan.getNumOutputs());
    read.front().getTerminator()->eraseOperands(scan.getNumOutputs(), scan.getNumStates());
    specialiseBody(update.front(), {});
    specialiseBody(read.front(), {.isLast = true});
    auto rows = rowsAlike(scan, read.front());
    bool onOwnRow = rows.has_value();

    declareArguments(update.front(), read.front(), onOwnRow);
    updateStates(update.front());
    addRow();
    SmallVector<Value> yields = rows ? readOwnRow(read.front(), *rows) : readRowsSoFar(read.front());
    llvm::append_range(yields, states);
    for (Value buffer : buffers)
      if (buffer)
        yields.push_back(buffer);
    yields.push_back(mask);
    YieldOp::create(b, loc, yields);

    OpBuilder outside(scan);
    int64_t numStates = yields.size() - scan.getNumOutputs();
    auto token = ScanOp::create(outside, loc, scan.getInputs(), scan.getKinds(), scan.getInits(), /*chunk=*/1,
                                scan.getOutKinds(), numStates, /*reverse=*/false, /*saveStates=*/false, &region);
    for (auto [from, to] : llvm::zip(scan.getResults(), token.getResults()))
      from.replaceAllUsesWith(to);
    scan.erase();
    return token;
  }

private:
  LogicalResult check() {
    if (scan.getReverse() || scan.getSaveStates())
      return scan.emitOpError("runs backwards or saves its states, so it has no form token by token");
    auto perStep = [](int64_t kind) { return kind == int64_t(OperandKind::Step); };
    if (llvm::any_of(scan.getKinds(), perStep) || llvm::any_of(scan.getOutKinds(), perStep))
      return scan.emitOpError("has values of whole chunks, so it has no form token by token");
    return success();
  }

  bool isToken(unsigned input) { return scan.kindOf(input) == OperandKind::Token; }

  Value number(double value, ArrayRef<int64_t> shape = {}) { return nn::constant(b, loc, value, element, shape); }

  Value reshape(Value value, ArrayRef<int64_t> shape) {
    return nn::ReshapeOp::create(b, loc, RankedTensorType::get(shape, typeOf(value).getElementType()), value);
  }

  void declareArguments(Block &update, Block &read, bool onOwnRow) {
    body = b.createBlock(&region);
    for (auto [i, input] : llvm::enumerate(scan.getInputs()))
      tokens.push_back(body->addArgument(ScanOp::innerType(typeOf(input), scan.kindOf(i), 1), input.getLoc()));
    for (Value state : scan.getBodyStates())
      states.push_back(body->addArgument(state.getType(), state.getLoc()));
    for (auto [i, row] : llvm::enumerate(scan.getBodyInputs())) {
      bool isRead = !update.getArgument(i).use_empty() || (!onOwnRow && !read.getArgument(i).use_empty());
      buffers.push_back(isToken(i) && isRead ? Value(body->addArgument(row.getType(), row.getLoc())) : Value());
    }
    mask = body->addArgument(RankedTensorType::get({chunk}, element), loc);
    b.setInsertionPointToEnd(body);
  }

  /// What `block` yields with the rows in the buffers and the present states.
  SmallVector<Value> run(Block &block) {
    IRMapping mapping;
    for (auto [i, token] : llvm::enumerate(tokens))
      mapping.map(block.getArgument(i), isToken(i) ? buffers[i] : token);
    for (auto [i, state] : llvm::enumerate(states))
      mapping.map(block.getArgument(tokens.size() + i), state);
    for (Operation &op : block.without_terminator())
      b.clone(op, mapping);
    SmallVector<Value> values;
    for (Value value : block.getTerminator()->getOperands())
      values.push_back(mapping.lookup(value));
    return values;
  }

  /// The last row is filled: the chunk is complete. Else no code of the update runs.
  void updateStates(Block &update) {
    Value last = nn::SliceOp::create(b, loc, RankedTensorType::get({1}, element), mask, 0, chunk - 1, 1);
    full = reshape(last, {});
    SmallVector<Value> next = run(update);
    for (auto [state, value] : llvm::zip(states, next))
      if (state != value)
        state = WhenOp::create(b, loc, mask, value, state);
  }

  /// Empties full buffers, then puts the token's row at the first free place.
  void addRow() {
    Value filled = nn::SelectOp::create(b, loc, full, number(0), mask);
    Value before = nn::SliceOp::create(b, loc, RankedTensorType::get({chunk - 1}, element), filled, 0, 0, 1);
    Value shifted = nn::PadOp::create(b, loc, mask.getType(), before, 0, 1, 1);
    Value first = nn::PadOp::create(b, loc, mask.getType(), number(1, {1}), 0, 0, 1);
    mask = nn::AddOp::create(b, loc, shifted, first);
    place = nn::SubOp::create(b, loc, mask, filled);
    for (auto [buffer, token] : llvm::zip(buffers, tokens))
      if (buffer) {
        Value kept = nn::SelectOp::create(b, loc, full, number(0), buffer);
        buffer = nn::SelectOp::create(b, loc, placeFor(typeOf(buffer)), token, kept);
      }
  }

  /// The place as a column that broadcasts over rows of `type`.
  Value placeFor(RankedTensorType type) {
    SmallVector<int64_t> shape(type.getRank(), 1);
    shape.front() = chunk;
    return reshape(place, shape);
  }

  SmallVector<Value> readRowsSoFar(Block &read) {
    SmallVector<Value> rows = run(read);
    for (Value &value : rows) {
      auto type = typeOf(value);
      Value own = nn::SelectOp::create(b, loc, placeFor(type), value, number(0));
      value = reshape(nn::ReduceSumOp::create(b, loc, own, ArrayRef<int64_t>{0}), type.getShape().drop_front());
    }
    return rows;
  }

  /// `read` on one row.
  SmallVector<Value> readOwnRow(Block &read, const llvm::DenseSet<Value> &rows) {
    IRMapping mapping;
    for (auto [i, token] : llvm::enumerate(tokens)) {
      Value argument = read.getArgument(i);
      mapping.map(argument, isToken(i) ? reshape(token, withRows(typeOf(argument), 1).getShape()) : token);
    }
    for (auto [i, state] : llvm::enumerate(states))
      mapping.map(read.getArgument(tokens.size() + i), state);
    cloneRows(b, read, rows, 1, mapping);
    SmallVector<Value> outputs;
    for (Value value : read.getTerminator()->getOperands())
      outputs.push_back(reshape(mapping.lookup(value), typeOf(value).getShape().drop_front()));
    return outputs;
  }

  ScanOp scan;
  int64_t chunk;
  Location loc;
  OpBuilder b;
  Type element;
  Region region;
  Block *body = nullptr;
  SmallVector<Value> tokens, states, buffers; ///< Of the token's body, as far as it is built.
  Value mask, full, place;
};
} // namespace

FailureOr<ScanOp> rec::toTokenForm(ScanOp scan) { return TokenForm(scan).build(); }
