//===- SeparateStates.cpp - One matrix state a scan -------------*- C++ -*-===//
// Every op of the body that needs a state goes to the scan of the last state that
// it needs; ops that need none are in all of them, and leave them as usual.
//===----------------------------------------------------------------------===//
#include "passes/Rec/SeparateStates.h"

#include "ir/Nn/NnOps.h"
#include "passes/Rec/Arithmetic.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SmallBitVector.h"

#include <array>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

static RankedTensorType tensorOf(Value value) { return cast<RankedTensorType>(value.getType()); }
static RankedTensorType stateType(ScanOp scan, unsigned state) { return tensorOf(scan.getBodyStates()[state]); }

bool rec::hasStatesToSeparate(ScanOp scan) { return scan.getNumStates() > 1 || hasVectorsOnly(scan); }

bool rec::hasVectorsOnly(ScanOp scan) {
  return scan.getNumStates() > 0 &&
         llvm::all_of(scan.getBodyStates(), [](Value state) { return tensorOf(state).getRank() == 1; });
}

namespace {
/// Which states values of a body need, and in which scan each is computed.
class StateOrder {
public:
  explicit StateOrder(ScanOp scan) : scan(scan) {
    do
      findNeeds();
    while (distributeRead());
  }

  /// False if there is none: states need each other.
  bool find() {
    llvm::SmallBitVector done(scan.getNumStates());
    while (order.size() < scan.getNumStates()) {
      const size_t before = order.size();
      for (unsigned i = 0; i < scan.getNumStates(); ++i) {
        llvm::SmallBitVector missing = needs(next(i));
        missing.reset(done).reset(i);
        if (done[i] || missing.any())
          continue;
        done.set(i);
        order.push_back(i);
      }
      if (order.size() == before)
        return false;
    }
    return true;
  }

  /// The value of a state after the token.
  Value next(unsigned state) {
    return scan.getBody().front().getTerminator()->getOperand(scan.getNumOutputs() + state);
  }
  llvm::SmallBitVector needs(Value value) { return lookup(needed, value); }
  /// The place in `order` of the scan that computes a value; none if it needs no state.
  std::optional<size_t> placeOf(Value value) {
    const llvm::SmallBitVector all = needs(value);
    std::optional<size_t> last;
    for (auto [place, state] : llvm::enumerate(order))
      if (all[state])
        last = place;
    return last;
  }

  SmallVector<unsigned> order;

private:
  void findNeeds() {
    needed.clear(), carried.clear();
    for (auto [i, state] : llvm::enumerate(scan.getBodyStates()))
      needed[state] = carried[state] = only(i);
    for (Operation &op : scan.getBody().front().without_terminator()) {
      llvm::SmallBitVector all(scan.getNumStates()), matrices(scan.getNumStates());
      for (Value operand : op.getOperands()) {
        all |= needs(operand);
        matrices |= carries(operand);
      }
      for (Value result : op.getResults()) {
        needed[result] = all;
        if (tensorOf(result).getRank() > 1)
          carried[result] = matrices;
      }
    }
  }
  /// The states that a matrix is made of, and not only of what they are read for.
  llvm::SmallBitVector carries(Value value) { return lookup(carried, value); }

  /// Replaces a read of a sum of different states by a sum of reads; false if there is none.
  bool distributeRead() {
    for (auto dot : scan.getBody().getOps<nn::DotOp>())
      for (OpOperand &operand : dot->getOpOperands()) {
        Operation *sum = operand.get().getDefiningOp();
        if (!isa_and_nonnull<nn::AddOp, nn::SubOp>(sum) || sum->getOperand(0).getType() != sum->getOperand(1).getType())
          continue;
        const llvm::SmallBitVector one = carries(sum->getOperand(0)), other = carries(sum->getOperand(1));
        if (one.none() || other.none() || one == other)
          continue;
        OpBuilder builder(dot);
        SmallVector<Value, 2> reads;
        for (Value summand : sum->getOperands()) {
          Operation *read = builder.clone(*dot);
          read->setOperand(operand.getOperandNumber(), summand);
          reads.push_back(read->getResult(0));
        }
        OperationState state(dot.getLoc(), sum->getName(), reads, dot->getResultTypes(), {});
        dot.getResult().replaceAllUsesWith(builder.create(state)->getResult(0));
        dot->erase();
        if (sum->use_empty())
          sum->erase();
        return true;
      }
    return false;
  }

  llvm::SmallBitVector only(unsigned state) {
    llvm::SmallBitVector bits(scan.getNumStates());
    bits.set(state);
    return bits;
  }

  using States = llvm::DenseMap<Value, llvm::SmallBitVector>;
  llvm::SmallBitVector lookup(const States &states, Value value) {
    auto found = states.find(value);
    return found == states.end() ? llvm::SmallBitVector(scan.getNumStates()) : found->second;
  }

  ScanOp scan;
  States needed, carried;
};

/// A vector of n numbers as a matrix: 1 x n, with decays of the values, so that a read is the vector; or n x 1, with
/// decays of the keys, where it is only read by products with other vectors.
class VectorForm {
public:
  /// `shared` is what the scan of the state hands on.
  VectorForm(ScanOp scan, Value next, Value state, ArrayRef<Value> shared) : size(tensorOf(state).getDimSize(0)) {
    SmallVector<Value> open{next};
    while (!open.empty())
      if (Operation *op = open.pop_back_val().getDefiningOp(); op && update.insert(op).second)
        llvm::append_range(open, op->getOperands());
    SmallVector<Value> own{state};
    for (Operation &op : scan.getBody().front().without_terminator())
      if (staysMatrix(op, [&](Value operand) { return llvm::is_contained(own, operand); }))
        own.push_back(op.getResult(0));
    isColumn = llvm::all_of(own, [&](Value vector) {
      return !llvm::is_contained(shared, vector) && llvm::all_of(vector.getUsers(), [&](Operation *user) {
        return isa<YieldOp>(user) || llvm::is_contained(own, user->getResult(0)) || readsByProduct(user);
      });
    });
  }

  /// Ops of the update that keep the vector one: those that events know.
  template <typename IsMatrix>
  bool staysMatrix(Operation &op, IsMatrix isMatrix) const {
    return update.contains(&op) && isa<nn::AddOp, nn::SubOp, nn::MulOp, nn::DivOp, nn::NegOp, ResetOp>(op) &&
           tensorOf(op.getResult(0)).getShape() == ArrayRef<int64_t>(size) && llvm::any_of(op.getOperands(), isMatrix);
  }

  /// The shape of the vector as a matrix, behind `leading` dimensions.
  SmallVector<int64_t> shape(ArrayRef<int64_t> leading = {}) const {
    SmallVector<int64_t> shape(leading);
    llvm::append_range(shape, isColumn ? std::array{size, int64_t(1)} : std::array{int64_t(1), size});
    return shape;
  }

  int64_t size = 0;
  bool isColumn = false;

private:
  static bool readsByProduct(Operation *op) {
    auto dot = dyn_cast<nn::DotOp>(op);
    return dot && dot.getType().getRank() == 0;
  }

  llvm::DenseSet<Operation *> update; ///< What the next value is made of.
};

/// Builds the body of the scan of one state.
class PartBody {
public:
  /// `copies` are ops of other scans that this one does again; `form` is that of a state that is a vector.
  PartBody(ScanOp scan, StateOrder &states, size_t place, const llvm::DenseSet<Operation *> &copies,
           const std::optional<VectorForm> &form)
      : scan(scan), states(states), place(place), copies(copies), form(form), builder(scan.getContext()) {
    region.push_back(block = new Block());
    builder.setInsertionPointToEnd(block);
    for (Value input : scan.getBodyInputs())
      mapping.map(input, block->addArgument(input.getType(), input.getLoc()));
  }

  /// An operand besides those of the scan.
  Value addInput(Type type, Location loc) { return block->addArgument(type, loc); }
  /// What a value of the body is; of a vector, in the form of the state.
  void setInput(Value value, Value argument) { mapping.map(value, argument); }
  void setMatrix(Value value, Value argument) { matrices[value] = argument; }

  void build(ArrayRef<Value> outputs) {
    const unsigned state = states.order[place];
    Value own = scan.getBodyStates()[state], next = states.next(state);
    if (form)
      matrices[own] = block->addArgument(matrixType(), own.getLoc());
    else
      mapping.map(own, block->addArgument(own.getType(), own.getLoc()));
    for (Operation &op : scan.getBody().front().without_terminator())
      if (auto at = states.placeOf(op.getResult(0)); !at || *at == place || copies.contains(&op))
        clone(op);
    SmallVector<Value> yields;
    for (Value output : outputs)
      yields.push_back(valueOf(output));
    yields.push_back(form ? matrixOf(next) : valueOf(next));
    YieldOp::create(builder, scan.getLoc(), yields);
  }

  RankedTensorType matrixType() {
    return RankedTensorType::get(form->shape(), tensorOf(scan.getBodyStates().front()).getElementType());
  }

  Region region;

private:
  void clone(Operation &op) {
    auto isMatrix = [&](Value operand) { return matrices.contains(operand); };
    if (form && form->staysMatrix(op, isMatrix)) {
      OperationState copy(op.getLoc(), op.getName());
      for (Value operand : op.getOperands()) // numbers repeat along both sides
        copy.addOperands(isMatrix(operand) || tensorOf(operand).getNumElements() > 1 ? matrixOf(operand)
                                                                                      : valueOf(operand));
      copy.addTypes(matrixType());
      copy.addAttributes(op.getAttrs());
      matrices[op.getResult(0)] = builder.create(copy)->getResult(0);
    } else if (form && form->isColumn && llvm::any_of(op.getOperands(), isMatrix)) {
      auto dot = cast<nn::DotOp>(op);
      const bool isLhs = isMatrix(dot.getLhs());
      Arithmetic a(builder, op.getLoc());
      Value read = a.dot(valueOf(isLhs ? dot.getRhs() : dot.getLhs()), matrixOf(isLhs ? dot.getLhs() : dot.getRhs()),
                         {0}, {0});
      mapping.map(dot.getResult(), a.reshaped(read, {}));
    } else {
      for (Value operand : op.getOperands())
        valueOf(operand);
      builder.clone(op, mapping);
    }
  }

  /// A value as the body has it: of a row, what a read gives.
  Value valueOf(Value value) {
    if (!mapping.contains(value)) {
      Arithmetic a(builder, value.getLoc());
      Value row = matrices.lookup(value);
      mapping.map(value, a.dot(a.number(1, a.elementType(row), {1}), row, {0}, {0}));
    }
    return mapping.lookup(value);
  }
  Value matrixOf(Value value) {
    if (Value matrix = matrices.lookup(value))
      return matrix;
    return Arithmetic(builder, value.getLoc()).reshaped(mapping.lookup(value), form->shape());
  }

  ScanOp scan;
  StateOrder &states;
  size_t place;
  const llvm::DenseSet<Operation *> &copies;
  const std::optional<VectorForm> &form;
  OpBuilder builder;
  Block *block;
  IRMapping mapping;                     ///< To values of the same shape.
  llvm::DenseMap<Value, Value> matrices; ///< Of vectors that depend on the state.
};

/// The scans of a scan's states, or nothing.
class Separation : OpBuilder::Listener {
public:
  explicit Separation(ScanOp scan) : scan(scan), states(scan), builder(scan, this) {}

  FailureOr<SmallVector<ScanOp>> run(Refusal &refusal) {
    if (!states.find())
      return refusal = {scan.getLoc(), "its states need each other"}, failure();
    if (!findShared(refusal))
      return failure();
    for (size_t place = 0; place < states.order.size(); ++place)
      if (!build(place, refusal)) {
        for (Operation *op : llvm::reverse(created))
          op->erase();
        return failure();
      }
    for (auto [i, output] : llvm::enumerate(scan.getOutputs()))
      output.replaceAllUsesWith(outside.lookup(scan.getBody().front().getTerminator()->getOperand(i)));
    for (auto [i, final] : llvm::enumerate(scan.getFinalStates()))
      final.replaceAllUsesWith(finals[i]);
    scan.erase();
    return parts;
  }

private:
  void notifyOperationInserted(Operation *op, OpBuilder::InsertPoint) override { created.push_back(op); }

  /// Finds for each scan what it hands on: outputs, and values that a later scan needs.
  bool findShared(Refusal &refusal) {
    shared.resize(states.order.size());
    copies.resize(states.order.size());
    for (Operation &op : scan.getBody().front().without_terminator())
      if (auto user = states.placeOf(op.getResult(0)))
        for (Value operand : op.getOperands())
          if (!share(operand, *user))
            return refusal = {op.getLoc(), "this takes a matrix of another state"}, false;
    for (Value output : scan.getBody().front().getTerminator()->getOperands().take_front(scan.getNumOutputs())) {
      SmallVector<Value> &own = shared[states.placeOf(output).value_or(0)];
      if (!llvm::is_contained(own, output))
        own.push_back(output);
    }
    for (unsigned i = 0; i < scan.getNumStates(); ++i) // a state that takes what another one was
      if (!share(states.next(i), *states.placeOf(scan.getBodyStates()[i])))
        return refusal = {scan.getLoc(), "one of its states becomes a matrix of another"}, false;
    return true;
  }

  /// Sees to it that the scan of place `user` has a value. A matrix is made again there from what does not need one:
  /// for every token it would be as large as all states. False if it cannot be.
  bool share(Value value, size_t user) {
    const std::optional<size_t> place = states.placeOf(value);
    Operation *op = value.getDefiningOp();
    if (!place || *place == user || copies[user].contains(op))
      return true;
    if (tensorOf(value).getRank() > 1) {
      if (!op || !llvm::all_of(op->getOperands(), [&](Value operand) { return share(operand, user); }))
        return false;
      copies[user].insert(op);
    } else if (!llvm::is_contained(shared[*place], value)) {
      shared[*place].push_back(value);
    }
    return true;
  }

  /// Builds a scan if it has events.
  bool build(size_t place, Refusal &refusal) {
    const unsigned state = states.order[place];
    const int64_t rank = stateType(scan, state).getRank();
    if (rank != 1 && rank != 2)
      return refusal = {scan.getLoc(), "one of its states has rank " + std::to_string(rank)}, false;
    std::optional<VectorForm> form;
    if (rank == 1)
      form.emplace(scan, states.next(state), scan.getBodyStates()[state], shared[place]);
    PartBody body(scan, states, place, copies[place], form);
    SmallVector<Value> inputs(scan.getInputs());
    SmallVector<int64_t> kinds(scan.getKinds());
    auto add = [&](Value outer, OperandKind kind, Type inner, Location loc) {
      inputs.push_back(outer);
      kinds.push_back(int64_t(kind));
      return body.addInput(inner, loc);
    };
    for (size_t before = 0; before < place; ++before)
      for (Value value : shared[before])
        body.setInput(value, add(outside.lookup(value), OperandKind::Token, value.getType(), value.getLoc()));
    if (form)
      for (ResetOp reset : scan.getBody().getOps<ResetOp>())
        if (reset.getState() == scan.getBodyStates()[state] && reset.getInit()) {
          auto from = cast<BlockArgument>(reset.getInit());
          Value outer = asMatrix(scan.getInputs()[from.getArgNumber()], *form);
          body.setMatrix(from, add(outer, scan.kindOf(from.getArgNumber()), body.matrixType(), from.getLoc()));
        }
    body.build(shared[place]);

    SmallVector<Value> inits;
    if (state < scan.getInits().size())
      inits.push_back(form ? asMatrix(scan.getInits()[state], *form) : scan.getInits()[state]);
    auto part = ScanOp::create(builder, scan.getLoc(), inputs, kinds, inits, /*chunk=*/1,
                               SmallVector<int64_t>(shared[place].size(), int64_t(OperandKind::Token)),
                               /*numStates=*/1, /*reverse=*/false, /*saveStates=*/false, &body.region);
    parts.push_back(part);
    for (auto [value, output] : llvm::zip(shared[place], part.getOutputs()))
      outside[value] = output;
    finals[state] = part.getFinalStates().front();
    if (form)
      finals[state] =
          nn::ReshapeOp::create(builder, scan.getLoc(), scan.getFinalStates()[state].getType(), finals[state]);

    OwningOpRef<ScanOp> copy = copyToRead(part);
    return succeeded(readEvents(*copy, refusal));
  }

  /// A vector, with dimensions before it, in the form of a state.
  Value asMatrix(Value outer, const VectorForm &form) {
    const RankedTensorType type = tensorOf(outer);
    return nn::ReshapeOp::create(builder, scan.getLoc(), type.clone(form.shape(type.getShape().drop_back())), outer);
  }

  ScanOp scan;
  StateOrder states;
  OpBuilder builder;
  SmallVector<Operation *> created;
  SmallVector<SmallVector<Value>> shared;          ///< By place: values of the body that the scan hands on.
  llvm::DenseMap<Value, Value> outside;            ///< Of those, B x T x H x rest.
  SmallVector<llvm::DenseSet<Operation *>> copies; ///< By place: ops of other scans that it does again.
  llvm::DenseMap<unsigned, Value> finals;          ///< By state.
  SmallVector<ScanOp> parts;
};
} // namespace

FailureOr<SmallVector<ScanOp>> rec::separateStates(ScanOp scan, Refusal &refusal) {
  return Separation(scan).run(refusal);
}
