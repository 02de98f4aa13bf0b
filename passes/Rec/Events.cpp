//===- Events.cpp - The event normal form of a token body -------*- C++ -*-===//
// The chain of matrices from the state at the token's entry to the next one is
// cut where one of them is read; each piece is one `scale` and some `add`s.
// Matrices beside the chain (a bonus for the current token, say) are expanded
// where they are read. What only follows reads is left to the caller.
//===----------------------------------------------------------------------===//
#include "passes/Rec/Events.h"

#include "passes/Rec/AffineForm.h"
#include "passes/Rec/Lift.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"
#include "llvm/ADT/DenseSet.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

using Form = AffineForm;

namespace {
class EventReader {
public:
  EventReader(ScanOp scan, int64_t keyDim, Refusal &refusal, bool scaleReads)
      : scan(scan), body(scan.getBody().front()), reader(scan, keyDim), refusal(refusal), scaleReads(scaleReads) {
    program.keyDim = keyDim;
    program.keys = reader.keys, program.values = reader.values;
  }

  FailureOr<EventProgram> run() {
    Value next = body.getTerminator()->getOperands().back();
    if (failed(readBody(/*cuts=*/{})))
      return failure();
    const Form &form = reader.formOf(next);
    if (form.kind != Form::IsMatrix)
      return refuse(form.kind == Form::Other ? form.refusal
                                             : Refusal{scan.getLoc(), "the new state does not depend on the old one"});
    llvm::SmallDenseSet<Value> cuts = cutsOf(next);
    if (failed(readBody(cuts)) || failed(checkFreeOps()))
      return failure();
    for (Value output : body.getTerminator()->getOperands().drop_back())
      if (failed(collectReads(output)))
        return failure();
    return std::move(program);
  }

private:
  LogicalResult refuse(const Refusal &why) {
    refusal = why;
    return failure();
  }

  /// Reads every op; values in `cuts` become the next version of the state.
  LogicalResult readBody(const llvm::SmallDenseSet<Value> &cuts) {
    places = {0};
    reader.setForm(scan.getBodyStates().front(), stateForm(0));
    SmallVector<Operation *> ops; // reading appends ops
    for (Operation &op : body.without_terminator())
      ops.push_back(&op);
    for (Operation *op : ops) {
      if (auto reset = dyn_cast<ResetOp>(op); reset && reader.formOf(reset.getState()).kind != Form::Free) {
        if (failed(readReset(reset)))
          return failure();
        continue;
      }
      reader.read(*op);
      for (Value result : op->getResults())
        if (cuts.contains(result) && failed(commit(result)))
          return failure();
    }
    return success();
  }

  /// What the token starts from, under another name.
  LogicalResult readReset(ResetOp reset) {
    auto state = scan.getBodyStates().front();
    if (reset.getState() != state || !state.hasOneUse())
      return refuse({reset.getLoc(), "the state is reset behind another use of it"});
    auto init = dyn_cast_or_null<BlockArgument>(reset.getInit());
    if (bool(reset.getInit()) != bool(init) || (init && scan.kindOf(init.getArgNumber()) != OperandKind::Row &&
                                              scan.kindOf(init.getArgNumber()) != OperandKind::Head))
      return refuse({reset.getLoc(), "the state is reset to a value of the token"});
    program.reset = {reset.getFlag(), init};
    reader.setForm(reset.getResult(), stateForm(0));
    return success();
  }

  static Form stateForm(unsigned version) {
    Form form;
    form.kind = Form::IsMatrix;
    form.matrix.bases.push_back({Value(), version, Value()});
    return form;
  }

  /// The chain that ends in `next`, and of it the matrices that are more than a
  /// step towards the following one.
  llvm::SmallDenseSet<Value> cutsOf(Value next) {
    llvm::SmallDenseSet<Value> cuts{next};
    Value value = next;
    while (Operation *op = value.getDefiningOp()) {
      SmallVector<Value> carriers;
      for (Value operand : op->getOperands())
        if (!reader.formOf(operand).matrix.bases.empty())
          carriers.push_back(operand);
      bool isStep = carriers.size() == 1 && (isa<nn::AddOp, nn::MulOp>(op) ||
                                             (isa<nn::SubOp, nn::DivOp>(op) && carriers[0] == op->getOperand(0)));
      if (!isStep)
        break;
      value = carriers.front();
      bool isRead = !value.hasOneUse() || scalesValues(op, value);
      if (isRead && value.getDefiningOp() && !value.getDefiningOp<ResetOp>())
        cuts.insert(value);
    }
    return cuts;
  }

  /// True if a step of the chain changes the decay of the values. What it starts
  /// from is a state of its own, so that adds before it read without a factor.
  bool scalesValues(Operation *op, Value carrier) {
    auto decayOf = [&](Value v) { return reader.formOf(v).matrix.bases.front().valueDecay; };
    const Form &result = reader.formOf(op->getResult(0));
    return result.kind == Form::IsMatrix && decayOf(op->getResult(0)) != decayOf(carrier);
  }

  /// The sum of bases: one decay along the keys and one along the values.
  FailureOr<Form::Base> joined(ArrayRef<Form::Base> bases, Arithmetic a, Type element) {
    Form::Base joined = bases.front();
    for (const Form::Base &base : bases.drop_front()) {
      if (base.valueDecay != joined.valueDecay)
        return failure();
      Value one = a.number(1, element, 1);
      joined.decay = a.plus(joined.decay ? joined.decay : one, base.decay ? base.decay : one);
    }
    return joined;
  }

  LogicalResult commit(Value value) {
    const Form form = reader.formOf(value);
    Operation *op = value.getDefiningOp();
    if (form.kind != Form::IsMatrix)
      return refuse(form.refusal);
    unsigned current = places.size() - 1;
    if (form.matrix.bases.empty())
      return refuse({op->getLoc(), "the new state does not depend on the old one"});
    if (llvm::any_of(form.matrix.bases, [&](const Form::Base &base) { return base.version != current; }))
      return refuse({op->getLoc(), "this mixes the state of two places in the token"});
    auto base = joined(form.matrix.bases, reader.at(value.getLoc()), Arithmetic::elementType(value));
    if (failed(base))
      return refuse({op->getLoc(), "this adds states under different decays of their values"});
    if (base->decay)
      program.scales.push_back({place++, base->decay});
    if (base->valueDecay)
      program.scales.push_back({place++, base->valueDecay, /*onValues=*/true});
    for (const Form::Outer &outer : merged(form.matrix.outers))
      addEvents(outer);
    places.push_back(place);
    reader.setForm(value, stateForm(places.size() - 1));
    return success();
  }

  /// A key without its scalar factor.
  static std::pair<Value, Value> rootOf(Value key) {
    if (auto mul = key.getDefiningOp<nn::MulOp>())
      for (auto [factor, rest] : {std::pair(mul.getLhs(), mul.getRhs()), std::pair(mul.getRhs(), mul.getLhs())})
        if (cast<RankedTensorType>(factor.getType()).getNumElements() == 1 && rest.getType() == key.getType())
          return {rest, factor};
    return {key, Value()};
  }

  /// Outer products with proportional keys are one.
  SmallVector<Form::Outer> merged(ArrayRef<Form::Outer> outers) {
    SmallVector<Form::Outer> result;
    for (const Form::Outer &outer : outers) {
      auto [root, factor] = rootOf(outer.key);
      bool found = false;
      for (Form::Outer &other : result) {
        auto [otherRoot, otherFactor] = rootOf(other.key);
        if (otherRoot != root)
          continue;
        bool isSame = other.key == outer.key;
        Form::Vector mine = isSame || !factor ? outer.value : reader.scaled(outer.value, flat(factor));
        if (!isSame && otherFactor)
          other.value = reader.scaled(other.value, flat(otherFactor));
        if (!isSame)
          other.key = root;
        other.value = reader.sum(other.value, mine);
        found = true;
        break;
      }
      if (!found)
        result.push_back(outer);
    }
    return result;
  }

  Value flat(Value scalar) { return reader.at(scalar.getLoc()).reshaped(scalar, 1); }

  /// One add for each state that the value reads.
  void addEvents(const Form::Outer &outer) {
    if (outer.value.terms.empty() && outer.value.constant)
      program.adds.push_back({place++, outer.key, outer.value.constant, Value(), 0, Value()});
    Value constant = outer.value.constant;
    for (const auto &[term, version, factor] : outer.value.terms) {
      program.adds.push_back({place++, outer.key, constant, term, places[version], factor});
      constant = Value();
    }
  }

  /// State-free ops must be able to leave the scan.
  LogicalResult checkFreeOps() {
    for (Operation &op : body.without_terminator())
      if (!canLift(op, scan) && !op.use_empty() &&
          llvm::all_of(op.getResults(), [&](Value v) { return reader.formOf(v).kind == Form::Free; }))
        return refuse({op.getLoc(), ("'" + op.getName().getStringRef() + "' cannot move out of the scan").str()});
    return success();
  }

  /// Finds the ops that read the state and that `value` needs.
  LogicalResult collectReads(Value value) {
    const Form &form = reader.formOf(value);
    if (form.kind == Form::Free || !visited.insert(value).second)
      return success();
    Operation *op = value.getDefiningOp();
    if (form.kind == Form::Other && !form.isAfterReads)
      return refuse(form.refusal);
    if (form.kind == Form::IsMatrix)
      return refuse({op ? op->getLoc() : scan.getLoc(), "an output holds the whole state of every token"});
    bool readsState = llvm::any_of(op->getOperands(), [&](Value v) { return reader.formOf(v).kind == Form::IsMatrix; });
    if (readsState) {
      addRead(value, form.vector);
      return success();
    }
    if (auto scaled = asScaledRead(op)) {
      addRead(value, reader.formOf(scaled->first).vector, scaled->second);
      return success();
    }
    for (Value operand : op->getOperands())
      if (failed(collectReads(operand)))
        return failure();
    return success();
  }

  /// The read and the number, if `op` is a plain read that nothing else uses times (or over) one.
  std::optional<std::pair<Value, double>> asScaledRead(Operation *op) {
    if (!scaleReads || !isa<nn::MulOp, nn::DivOp>(op))
      return std::nullopt;
    for (unsigned i : {0, 1}) {
      Value read = op->getOperand(i);
      auto constant = op->getOperand(1 - i).getDefiningOp<nn::ConstantOp>();
      if (!constant || !read.hasOneUse() || read.getType() != op->getResult(0).getType() || (i == 1 && isa<nn::DivOp>(op)))
        continue;
      const Form &form = reader.formOf(read);
      auto dot = read.getDefiningOp<nn::DotOp>();
      if (!dot || form.kind != Form::IsVector || form.vector.constant || form.vector.terms.size() != 1)
        continue;
      double number = constant.getValue().convertToDouble();
      return std::pair(read, isa<nn::DivOp>(op) ? 1 / number : number);
    }
    return std::nullopt;
  }

  void addRead(Value result, const Form::Vector &vector, double scale = 1) {
    EventProgram::ReadResult read{result, vector.constant, {}};
    for (const auto &[query, version, factor] : vector.terms) {
      auto same = llvm::find_if(program.reads, [&, query = query, at = places[version]](const EventProgram::Read &r) {
        return r.query == query && r.place == at && r.scale == scale;
      });
      read.reads.push_back({unsigned(same - program.reads.begin()), factor});
      if (same == program.reads.end())
        program.reads.push_back({places[version], query, scale});
    }
    program.readResults.push_back(read);
  }

  ScanOp scan;
  Block &body;
  AffineReader reader;
  Refusal &refusal;
  bool scaleReads;
  EventProgram program;
  int64_t place = 0;
  SmallVector<int64_t> places; ///< Of each version of the state.
  llvm::SmallDenseSet<Value> visited;
};
} // namespace

FailureOr<EventProgram> rec::readEvents(ScanOp scan, Refusal &refusal, bool scaleReads) {
  auto program = EventReader(scan, /*keyDim=*/0, refusal, scaleReads).run();
  if (succeeded(program) || !refusal.isAffine)
    return program;
  Refusal ofTransposed;
  auto transposed = EventReader(scan, /*keyDim=*/1, ofTransposed, scaleReads).run();
  return succeeded(transposed) ? transposed : program;
}

OwningOpRef<ScanOp> rec::copyToRead(ScanOp scan) {
  OwningOpRef<ScanOp> copy = cast<ScanOp>(scan->clone());
  IRRewriter rewriter(scan.getContext());
  DominanceInfo dominance(*copy);
  eliminateCommonSubExpressions(rewriter, dominance, *copy);
  return copy;
}
