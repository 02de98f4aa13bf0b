//===- SinkLowRank.cpp - Low-rank projections move into scans ---*- C++ -*-===//
// Implements -rec-sink-low-rank. A chunk scan whose operand is made from
//
//   y = t W^T     t: B x T x r, W: H K x r, r at most half of H K
//
// takes t, shared by all heads, and its head's rows of W instead, and forms y for
// the rows of a chunk in its body, with the row-wise work that stands between: so
// y is never in memory, nor, by the scan's own adjoint, its gradient.
//
// Values outside have one of two forms. `headed` ones are B x T x H x rest, as the
// scan's operands; `flat` ones are B x T x n, channels [h n / H, (h + 1) n / H)
// belonging to head h. Inside both are chunk x rest.
//===----------------------------------------------------------------------===//
#include "passes/Rec/Passes.h"

#include "ir/Nn/NnOps.h"
#include "ir/Rec/RecOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"

namespace tidegate::rec {
#define GEN_PASS_DEF_RECSINKLOWRANK
#include "passes/Rec/Passes.h.inc"
} // namespace tidegate::rec

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

namespace {

enum class Form { Headed, Flat };

RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// True for a value that differs from token to token.
bool hasTokens(Value value) { return typeOf(value).getRank() >= 2 && typeOf(value).isDynamicDim(0); }

SmallVector<int64_t> resized(ArrayRef<int64_t> shape, unsigned drop, ArrayRef<int64_t> front) {
  SmallVector<int64_t> result(front);
  llvm::append_range(result, shape.drop_front(drop));
  return result;
}

class Sinker {
public:
  explicit Sinker(ScanOp scan)
      : scan(scan), heads(scan.getHeads()), chunk(scan.getChunk()), outside(scan), inside(scan.getContext()) {}

  /// Rewrites the scan; false if there is nothing to sink.
  bool run() {
    collect();
    if (sunk.empty())
      return false;
    rebuild();
    return true;
  }

private:
  // What to sink
  void collect();
  void visit(Value value, Form form);
  bool isLowRank(nn::DotOp dot) const;
  bool canSink(Operation *op, Form form) const;
  /// The operands of a sunk op that differ from token to token, with their forms.
  SmallVector<std::pair<Value, Form>> tokenOperands(Operation *op, Form form) const;
  /// Every value that is outside a row has to keep its zeros beyond the last token.
  bool keepsZero(Value value) const;

  // The new scan
  void rebuild();
  void putTokensFirst();
  Value argument(Value value, OperandKind kind);
  Value leaf(Value value, Form form);
  Value constantLeaf(Value value, Operation *user, Form form);
  Value inBody(Value value, Form form);
  Value convolution(nn::ShortConvOp conv);
  Value masked(Value value);
  Value reshapedOutside(Value value, ArrayRef<int64_t> shape);
  Value reshapedInside(Value value, ArrayRef<int64_t> shape);
  SmallVector<int64_t> innerShape(Value value, Form form) const;

  ScanOp scan;
  int64_t heads, chunk;
  OpBuilder outside, inside;
  llvm::MapVector<Operation *, Form> sunk; // in the order of the search: users first

  Region region;
  Block *body = nullptr;
  SmallVector<Value> inputs, pasts, nextPasts; // operands outside; states of convolutions inside
  SmallVector<int64_t> kinds;
  llvm::MapVector<std::pair<Value, int64_t>, Value> arguments;
  llvm::DenseMap<std::pair<Value, Type>, Value> reshaped; // outside
  llvm::DenseMap<Value, Value> made;                     // inside
  Value valid;
};

//===----------------------------------------------------------------------===//
// What to sink
//===----------------------------------------------------------------------===//

bool Sinker::isLowRank(nn::DotOp dot) const {
  auto lhs = dot.getLhs().getType(), rhs = dot.getRhs().getType();
  return hasTokens(dot.getLhs()) && !hasTokens(dot.getRhs()) && lhs.getRank() == 3 && rhs.getRank() == 2 &&
         dot.getLhsBatch().empty() && dot.getLhsContract() == ArrayRef<int64_t>{2} &&
         dot.getRhsContract() == ArrayRef<int64_t>{1} && rhs.getDimSize(0) % heads == 0 &&
         2 * rhs.getDimSize(1) <= rhs.getDimSize(0);
}

/// A static operand can be cut by heads if its dimensions beyond the scan's are 1s.
static bool canCut(RankedTensorType type, RankedTensorType result) {
  for (int64_t d = result.getRank() - type.getRank(); d < std::min<int64_t>(2, result.getRank()); ++d)
    if (d >= 0 && type.getDimSize(d - (result.getRank() - type.getRank())) != 1)
      return false;
  return type.getRank() <= result.getRank();
}

/// The operand that an op needs away from 0, if any.
static Value singularOperand(Operation *op) {
  if (isa<nn::RsqrtOp, nn::SqrtOp, nn::LogOp>(op))
    return op->getOperand(0);
  if (auto div = dyn_cast<nn::DivOp>(op))
    return div.getRhs();
  return {};
}

/// Rows beyond the last token are computed from zeros: a value that may then be 0
/// has no finite inverse there.
static bool isAwayFromZero(Value value) {
  if (!hasTokens(value))
    return true;
  Operation *op = value.getDefiningOp();
  auto isPositive = [](Value x) {
    auto constant = x.getDefiningOp<nn::ConstantOp>();
    return constant && constant.getValue().convertToDouble() > 0;
  };
  if (op && isa<nn::AddOp, nn::MaximumOp>(op))
    return llvm::any_of(op->getOperands(), isPositive);
  return op && isa<nn::ExpOp, nn::SigmoidOp, nn::SoftplusOp>(op);
}

bool Sinker::canSink(Operation *op, Form form) const {
  if (op->getNumResults() == 0 || !hasTokens(op->getResult(0)))
    return false;
  auto result = typeOf(op->getResult(0));
  int64_t size = result.getRank() > 2 ? result.getDimSize(2) : 0;
  if (Value operand = singularOperand(op); operand && !isAwayFromZero(operand))
    return false;
  if (form == Form::Headed ? size != heads : result.getRank() != 3 || size % heads != 0)
    return false;
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case([&](nn::DotOp dot) { return form == Form::Flat && isLowRank(dot); })
      .Case([&](nn::ShortConvOp conv) {
        return form == Form::Flat && !conv.getPast() && !conv.getPositions() && conv.getNext().use_empty();
      })
      .Case([&](nn::ReshapeOp reshape) {
        auto from = reshape.getInput().getType();
        if (!hasTokens(reshape.getInput()) || from.getRank() < 3 || form == Form::Flat)
          return false;
        return from.getDimSize(2) == heads ? true : from.getRank() == 3 && from.getDimSize(2) % heads == 0;
      })
      .Case<nn::ReduceSumOp, nn::ReduceMaxOp>([&](auto reduce) {
        return form == Form::Headed && llvm::all_of(reduce.getDims(), [](int64_t d) { return d >= 3; });
      })
      .Default([&](Operation *other) {
        if (!isa<ElementwiseOpInterface>(other) || other->getNumOperands() == 0)
          return false;
        return llvm::all_of(other->getOperands(), [&](Value operand) {
          auto type = typeOf(operand);
          if (!hasTokens(operand))
            return canCut(type, result);
          int64_t own = type.getRank() > 2 ? type.getDimSize(2) : 0;
          return type.getRank() == result.getRank() && (own == size || own == 1);
        });
      });
}

SmallVector<std::pair<Value, Form>> Sinker::tokenOperands(Operation *op, Form form) const {
  SmallVector<std::pair<Value, Form>> result;
  if (isa<nn::DotOp>(op)) // its left side stays in memory
    return result;
  auto reshape = dyn_cast<nn::ReshapeOp>(op);
  if (reshape && reshape.getInput().getType().getDimSize(2) != heads)
    form = Form::Flat;
  for (Value operand : op->getOperands())
    if (hasTokens(operand))
      result.push_back({operand, form});
  return result;
}

void Sinker::visit(Value value, Form form) {
  Operation *op = value.getDefiningOp();
  if (!op || op->getBlock() != scan->getBlock() || sunk.contains(op) || !canSink(op, form))
    return;
  sunk[op] = form;
  for (auto [operand, own] : tokenOperands(op, form))
    visit(operand, own);
}

void Sinker::collect() {
  for (auto [i, input] : llvm::enumerate(scan.getInputs()))
    if (scan.kindOf(i) == OperandKind::Token && hasTokens(input))
      visit(input, Form::Headed);
  // What others use as well stays, and what no low-rank product goes into.
  bool changed = true;
  while (changed) {
    changed = false;
    llvm::DenseSet<Operation *> useful;
    for (auto &[op, form] : llvm::reverse(sunk.getArrayRef()))
      if (isa<nn::DotOp>(op) || llvm::any_of(tokenOperands(op, form), [&](auto &operand) {
            return useful.contains(operand.first.getDefiningOp());
          }))
        useful.insert(op);
    // The order of the search is not topological where paths meet again: repeat.
    for (bool more = true; more;) {
      more = false;
      for (auto &[op, form] : sunk)
        if (!useful.contains(op) && llvm::any_of(tokenOperands(op, form), [&](auto &operand) {
              return useful.contains(operand.first.getDefiningOp());
            }))
          more = useful.insert(op).second;
    }
    llvm::SmallVector<Operation *> drop;
    for (auto &[op, form] : sunk)
      if (!useful.contains(op) || llvm::any_of(op->getUsers(), [&](Operation *user) {
            return user != scan && !sunk.contains(user);
          }))
        drop.push_back(op);
    for (Operation *op : drop)
      changed |= sunk.erase(op);
  }
}

//===----------------------------------------------------------------------===//
// The new scan
//===----------------------------------------------------------------------===//

Value Sinker::reshapedOutside(Value value, ArrayRef<int64_t> shape) {
  auto type = RankedTensorType::get(shape, typeOf(value).getElementType());
  Value &known = reshaped[{value, type}];
  if (!known)
    known = type == value.getType() ? value : nn::ReshapeOp::create(outside, value.getLoc(), type, value).getResult();
  return known;
}

Value Sinker::reshapedInside(Value value, ArrayRef<int64_t> shape) {
  auto type = RankedTensorType::get(shape, typeOf(value).getElementType());
  return type == value.getType() ? value : nn::ReshapeOp::create(inside, value.getLoc(), type, value).getResult();
}

/// The body's argument for an operand outside; equal operands share one.
Value Sinker::argument(Value value, OperandKind kind) {
  Value &known = arguments[{value, int64_t(kind)}];
  if (!known) {
    known = body->addArgument(ScanOp::innerType(typeOf(value), kind, chunk), value.getLoc());
    inputs.push_back(value);
    kinds.push_back(int64_t(kind));
  }
  return known;
}

SmallVector<int64_t> Sinker::innerShape(Value value, Form form) const {
  auto shape = typeOf(value).getShape();
  if (form == Form::Flat)
    return {chunk, shape[2] == 1 ? 1 : shape[2] / heads};
  return resized(shape, 3, {chunk});
}

/// A token operand as the body sees it.
Value Sinker::leaf(Value value, Form form) {
  auto shape = typeOf(value).getShape();
  if (form == Form::Headed)
    return argument(value, OperandKind::Token);
  int64_t own = shape[2] == 1 ? 1 : heads;
  return argument(reshapedOutside(value, {shape[0], shape[1], own, shape[2] / own}), OperandKind::Token);
}

/// An operand of `user` that is the same for every token.
Value Sinker::constantLeaf(Value value, Operation *user, Form form) {
  if (auto constant = value.getDefiningOp<nn::ConstantOp>(); constant && typeOf(value).getRank() == 0)
    return inside.clone(*constant)->getResult(0);
  auto shape = typeOf(value).getShape();
  int64_t rank = typeOf(user->getResult(0)).getRank(), missing = rank - int64_t(shape.size());
  // Without the batch's and the tokens' dimensions, which are 1.
  auto own = shape.drop_front(std::min<int64_t>(shape.size(), std::max<int64_t>(0, 2 - missing)));
  bool reachesHeads = int64_t(own.size()) == rank - 2;
  if (!reachesHeads || own[0] == 1)
    return argument(reshapedOutside(value, reachesHeads ? own.drop_front(form == Form::Headed) : own),
                    OperandKind::Shared);
  if (form == Form::Headed)
    return argument(reshapedOutside(value, own), OperandKind::Head);
  return argument(reshapedOutside(value, {heads, own[0] / heads}), OperandKind::Head);
}

/// Row i is the sum over j of weight[c, j] x'[i + j, c], x' the past's rows followed by those of the chunk.
Value Sinker::convolution(nn::ShortConvOp conv) {
  Location loc = conv.getLoc();
  Value x = inBody(conv.getInput(), Form::Flat);
  int64_t width = conv.getWeight().getType().getDimSize(1), channels = typeOf(x).getDimSize(1);
  Type element = typeOf(x).getElementType();
  auto matrix = [&](int64_t rows) { return RankedTensorType::get({rows, channels}, element); };
  Value weight = argument(reshapedOutside(conv.getWeight(), {heads, channels, width}), OperandKind::Head);
  Value past = body->addArgument(matrix(width - 1), loc); // moved behind the operands in the end
  pasts.push_back(past);
  int64_t rows = chunk + width - 1;
  Value before = nn::PadOp::create(inside, loc, matrix(rows), past, 0, 0, 1);
  Value own = nn::PadOp::create(inside, loc, matrix(rows), x, 0, width - 1, 1);
  Value all = nn::AddOp::create(inside, loc, before, own);
  nextPasts.push_back(nn::SliceOp::create(inside, loc, matrix(width - 1), all, 0, chunk, 1));
  Value sum;
  for (int64_t j = 0; j < width; ++j) {
    Value tap = nn::SliceOp::create(inside, loc, RankedTensorType::get({channels, 1}, element), weight, 1, j, 1);
    Value shifted = nn::SliceOp::create(inside, loc, matrix(chunk), all, 0, j, 1);
    Value term = nn::MulOp::create(inside, loc, shifted, reshapedInside(tap, {channels}));
    sum = sum ? nn::AddOp::create(inside, loc, sum, term).getResult() : term;
  }
  return sum;
}

Value Sinker::inBody(Value value, Form form) {
  if (Value known = made.lookup(value))
    return known;
  Operation *op = value.getDefiningOp();
  if (!op || !sunk.contains(op))
    return made[value] = leaf(value, form);
  Location loc = op->getLoc();
  Value result =
      llvm::TypeSwitch<Operation *, Value>(op)
          .Case([&](nn::DotOp dot) {
            auto t = dot.getLhs().getType().getShape();
            auto w = dot.getRhs().getType().getShape();
            Value rows = argument(reshapedOutside(dot.getLhs(), {t[0], t[1], 1, t[2]}), OperandKind::Token);
            Value own = argument(reshapedOutside(dot.getRhs(), {heads, w[0] / heads, w[1]}), OperandKind::Head);
            return nn::DotOp::create(inside, loc, rows, own, ArrayRef<int64_t>{1}, ArrayRef<int64_t>{1}).getResult();
          })
          .Case([&](nn::ShortConvOp conv) { return convolution(conv); })
          .Case([&](nn::ReshapeOp reshape) {
            auto [input, own] = tokenOperands(op, form).front();
            return reshapedInside(inBody(input, own), innerShape(value, form));
          })
          .Case([&](nn::ReduceSumOp reduce) {
            auto dims = llvm::map_to_vector(reduce.getDims(), [](int64_t d) { return d - 2; });
            return nn::ReduceSumOp::create(inside, loc, inBody(reduce.getInput(), form), dims).getResult();
          })
          .Case([&](nn::ReduceMaxOp reduce) {
            auto dims = llvm::map_to_vector(reduce.getDims(), [](int64_t d) { return d - 2; });
            return nn::ReduceMaxOp::create(inside, loc, inBody(reduce.getInput(), form), dims).getResult();
          })
          .Default([&](Operation *) {
            SmallVector<Value> operands;
            for (Value operand : op->getOperands())
              operands.push_back(hasTokens(operand) ? inBody(operand, form) : constantLeaf(operand, op, form));
            auto type = RankedTensorType::get(innerShape(value, form), typeOf(value).getElementType());
            OperationState state(loc, op->getName().getStringRef(), operands, {type}, op->getAttrs());
            return inside.create(state)->getResult(0);
          });
  return made[value] = result;
}

bool Sinker::keepsZero(Value value) const {
  Operation *op = value.getDefiningOp();
  if (!hasTokens(value))
    return false;
  if (!op || !sunk.contains(op))
    return true; // what the scan reads beyond the last token
  if (isa<nn::ShortConvOp>(op))
    return false; // it sees the tokens before
  if (isa<nn::DotOp>(op))
    return true;
  if (isa<nn::ReshapeOp, nn::NegOp, nn::AbsOp, nn::ReduceSumOp, nn::ReduceMaxOp>(op))
    return keepsZero(op->getOperand(0));
  if (isa<nn::MulOp, nn::DivOp>(op)) // what is sunk is finite
    return keepsZero(op->getOperand(0)) || (isa<nn::MulOp>(op) && keepsZero(op->getOperand(1)));
  if (isa<nn::AddOp, nn::SubOp>(op))
    return llvm::all_of(op->getOperands(), [&](Value operand) { return keepsZero(operand); });
  return false;
}

/// Zeros beyond the last token, as the scan would have read them.
Value Sinker::masked(Value value) {
  Location loc = value.getLoc();
  Type element = typeOf(value).getElementType();
  if (!valid) {
    Value narrow; // any operand of B and T
    for (auto [input, kind] : llvm::zip(inputs, kinds))
      if (kind == int64_t(OperandKind::Token) && typeOf(input).getElementType() == element)
        narrow = input;
    auto shape = typeOf(narrow).getShape();
    Value one = nn::constant(outside, loc, 1, element, {});
    for (int64_t d = 2; d < int64_t(shape.size()); ++d) {
      SmallVector<int64_t> sizes(typeOf(narrow).getShape());
      if (sizes[d] == 1)
        continue;
      sizes[d] = 1;
      narrow = nn::SliceOp::create(outside, loc, RankedTensorType::get(sizes, element), narrow, d, 0, 1);
    }
    Value like = reshapedOutside(narrow, {shape[0], shape[1], 1});
    Value ones = nn::BroadcastLikeOp::create(outside, loc, like.getType(), one, like);
    valid = argument(ones, OperandKind::Token);
  }
  SmallVector<int64_t> shape(typeOf(value).getRank(), 1);
  shape[0] = chunk;
  Value zero = nn::constant(inside, loc, 0, element, {});
  return nn::SelectOp::create(inside, loc, reshapedInside(valid, shape), value, zero);
}

/// The first operand of a scan is per token.
void Sinker::putTokensFirst() {
  unsigned at = llvm::find(kinds, int64_t(OperandKind::Token)) - kinds.begin();
  if (at == 0)
    return;
  BlockArgument first = body->insertArgument(0u, body->getArgument(at).getType(), body->getArgument(at).getLoc());
  body->getArgument(at + 1).replaceAllUsesWith(first);
  body->eraseArgument(at + 1);
  std::rotate(inputs.begin(), inputs.begin() + at, inputs.begin() + at + 1);
  std::rotate(kinds.begin(), kinds.begin() + at, kinds.begin() + at + 1);
}

void Sinker::rebuild() {
  body = inside.createBlock(&region);
  // The operands that stay come first; then what the sunk ones are made of.
  IRMapping mapping;
  SmallVector<unsigned> remade;
  for (auto [i, input] : llvm::enumerate(scan.getInputs())) {
    Operation *op = input.getDefiningOp();
    if (scan.kindOf(i) == OperandKind::Token && op && sunk.contains(op))
      remade.push_back(i);
    else
      mapping.map(scan.getBodyInputs()[i], argument(input, scan.kindOf(i)));
  }
  for (unsigned i : remade) {
    Value input = scan.getInputs()[i], value = inBody(input, Form::Headed);
    mapping.map(scan.getBodyInputs()[i], keepsZero(input) ? value : masked(value));
  }
  for (Value state : scan.getBodyStates())
    mapping.map(state, body->addArgument(state.getType(), state.getLoc()));
  for (Value &past : pasts) { // states stand behind the operands
    Value moved = body->addArgument(past.getType(), past.getLoc());
    past.replaceAllUsesWith(moved);
    body->eraseArgument(cast<BlockArgument>(past).getArgNumber());
    past = moved;
  }
  for (Operation &op : scan.getBody().front())
    inside.clone(op, mapping);
  Operation *yield = body->getTerminator();
  yield->insertOperands(yield->getNumOperands(), nextPasts);

  putTokensFirst();
  auto sunkScan = ScanOp::create(outside, scan.getLoc(), inputs, kinds, scan.getInits(), chunk, scan.getOutKinds(),
                                 int64_t(scan.getNumStates() + pasts.size()), scan.getReverse(), /*saveStates=*/false,
                                 &region, scan.getOutHeadsOrNone());
  sunkScan->setDiscardableAttrs(scan->getDiscardableAttrDictionary());
  for (auto [from, to] : llvm::zip(scan.getResults(), sunkScan.getResults()))
    from.replaceAllUsesWith(to);
  scan.erase();
  for (auto &[op, form] : sunk) // users first
    if (op->use_empty())
      op->erase();
}

struct RecSinkLowRankPass : rec::impl::RecSinkLowRankBase<RecSinkLowRankPass> {
  using RecSinkLowRankBase::RecSinkLowRankBase;

  void runOnOperation() override {
    SmallVector<ScanOp> scans;
    getOperation().walk([&](ScanOp scan) {
      if (scan.getChunk() > 1 && !scan.getReverse() && !scan.getSaveStates())
        scans.push_back(scan);
    });
    for (ScanOp scan : scans)
      Sinker(scan).run();
  }
};
} // namespace
