//===- BodyEmit.cpp - Loops of a body's statements --------------*- C++ -*-===//
#include "compiler/CodeGen/CPU/Body.h"
#include "compiler/CodeGen/CPU/Decay.h"
#include "compiler/CodeGen/CPU/Substitution.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cpu;

Value cpu::linearOffset(Code &code, ArrayRef<int64_t> shape, ArrayRef<Value> index) {
  Value offset;
  int64_t stride = 1;
  for (int64_t d = shape.size(); d-- > 0;) {
    if (shape[d] == 1)
      continue;
    Value term = code.mul(index[d], stride);
    offset = offset ? code.add(offset, term) : term;
    stride *= shape[d];
  }
  return offset ? offset : code.i64(0);
}

/// The index of an operand that broadcasts to a result: aligned at the end.
static SmallVector<Value> broadcastIndex(Code &code, ArrayRef<Value> index, RankedTensorType operand) {
  SmallVector<Value> own;
  int64_t offset = index.size() - operand.getRank();
  for (int64_t d = 0; d < operand.getRank(); ++d)
    own.push_back(operand.getDimSize(d) == 1 ? code.i64(0) : index[offset + d]);
  return own;
}

/// The index of a reshape's operand, where the result only splits its dimensions.
static SmallVector<Value> splitIndex(Code &code, ArrayRef<Value> index, RankedTensorType from, RankedTensorType to) {
  SmallVector<Value> own;
  int64_t at = 0;
  for (int64_t size : from.getShape()) {
    if (size == 1) {
      own.push_back(code.i64(0));
      continue;
    }
    int64_t first = at, product = 1;
    while (product < size)
      product *= to.getDimSize(at++);
    own.push_back(linearOffset(code, to.getShape().slice(first, at - first), index.slice(first, at - first)));
  }
  return own;
}

Value Body::pointer(Code &code, Value value) {
  Value &ptr = pointers[value];
  if (!ptr) {
    const Slot &slot = stored.find(value)->second;
    ptr = code.at(scratch, code.i64(slot.offset), code.b.getI8Type());
  }
  return ptr;
}

/// An element of a tensor in memory. One that stays the same in the innermost loop
/// is loaded before it: LLVM cannot know that the loop stores elsewhere, and would
/// neither move the load nor vectorise the loop.
static Value loadElement(Code &code, Value base, RankedTensorType type, ArrayRef<Value> index) {
  Block *block = code.b.getInsertionBlock();
  auto loop = dyn_cast<scf::ForOp>(block->getParentOp());
  auto isFixed = [&](int64_t size, Value at) {
    return size == 1 || at.getParentBlock() != block || Code::constantOf(at);
  };
  bool isSame = loop;
  for (auto [size, at] : llvm::zip(type.getShape(), index))
    isSame &= isFixed(size, at);
  OpBuilder::InsertionGuard guard(code.b);
  if (isSame && base.getParentBlock() != block)
    code.b.setInsertionPoint(loop);
  return code.load(type.getElementType(),
                   code.at(base, linearOffset(code, type.getShape(), index), type.getElementType()));
}

Value Body::element(Code &code, Value value, const Index &index) {
  auto type = tensorOf(value);
  Operation *op = value.getDefiningOp();
  if (!op || stored.contains(value)) {
    return loadElement(code, pointer(code, value), type, index);
  }
  auto operandAt = [&](unsigned i, const Index &at) { return element(code, op->getOperand(i), at); };
  // The index of the ids beside a tensor: all dimensions but the last.
  auto idAt = [&] { return operandAt(op->getNumOperands() - 1, Index(ArrayRef<Value>(index).drop_back())); };
  if (auto elementwise = dyn_cast<ElementwiseOpInterface>(op)) {
    SmallVector<Value> scalars;
    for (Value operand : op->getOperands())
      scalars.push_back(element(code, operand, broadcastIndex(code, index, tensorOf(operand))));
    return elementwise.buildScalar(code.b, op->getLoc(), scalars);
  }
  auto extend = [&](Value id) -> Value { return arith::ExtSIOp::create(code.b, code.loc, code.b.getI64Type(), id); };
  auto choose = [&](Value condition, Value x, Value y) -> Value {
    return arith::SelectOp::create(code.b, code.loc, condition, x, y);
  };
  auto is = [&](arith::CmpIPredicate p, Value x, Value y) -> Value {
    return arith::CmpIOp::create(code.b, code.loc, p, x, y);
  };
  using P = arith::CmpIPredicate;
  Value zero = code.number(0, type.getElementType());
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](nn::BroadcastLikeOp b) { return operandAt(0, broadcastIndex(code, index, b.getInput().getType())); })
      .Case([&](nn::ReshapeOp r) -> Value {
        auto from = r.getInput().getType();
        if (!r.getInput().getDefiningOp() || stored.contains(r.getInput())) {
          Value offset = linearOffset(code, type.getShape(), index);
          return code.load(type.getElementType(),
                           code.at(pointer(code, r.getInput()), offset, type.getElementType()));
        }
        return operandAt(0, splitIndex(code, index, from, type));
      })
      .Case([&](nn::TransposeOp t) {
        Index own(index.size());
        for (auto [d, source] : llvm::enumerate(t.getPermutation()))
          own[source] = index[d];
        return operandAt(0, own);
      })
      .Case([&](nn::SliceOp s) {
        Index own(index);
        own[s.getDim()] = code.add(code.i64(s.getBegin()), code.mul(own[s.getDim()], s.getStride()));
        return operandAt(0, own);
      })
      .Case([&](nn::PadOp p) {
        // Position i holds element (i - begin) / stride, where that is whole and in range.
        Index own(index);
        Value shifted = code.sub(own[p.getDim()], code.i64(p.getBegin())), stride = code.i64(p.getStride());
        Value at = p.getStride() == 1 ? shifted : arith::DivSIOp::create(code.b, code.loc, shifted, stride).getResult();
        int64_t size = p.getInput().getType().getDimSize(p.getDim());
        Value inside = arith::AndIOp::create(code.b, code.loc, is(P::sge, shifted, code.i64(0)),
                                             is(P::slt, at, code.i64(size)));
        if (p.getStride() != 1)
          inside = arith::AndIOp::create(code.b, code.loc, inside, is(P::eq, code.mul(at, stride), shifted));
        own[p.getDim()] = choose(inside, at, code.i64(0));
        return choose(inside, operandAt(0, own), zero);
      })
      .Case([&](nn::PickOp p) {
        Value id = extend(idAt());
        int64_t size = p.getInput().getType().getShape().back();
        Value inside = is(P::ult, id, code.i64(size));
        Index own(index);
        own.back() = choose(inside, id, code.i64(0));
        return choose(inside, operandAt(0, own), zero);
      })
      .Case([&](nn::PlaceOp) {
        Index own(index);
        own.back() = code.i64(0);
        return choose(is(P::eq, extend(idAt()), index.back()), operandAt(0, own), zero);
      })
      .Case([&](nn::IsIndexOp) {
        Value id = idAt();
        Value none = arith::ConstantIntOp::create(code.b, code.loc, 0, 32);
        return choose(is(P::sge, id, none), code.number(1, type.getElementType()), zero);
      })
      .Case([&](nn::ToFloatOp) -> Value {
        return arith::SIToFPOp::create(code.b, code.loc, type.getElementType(), operandAt(0, index));
      })
      .Case([&](nn::IotaOp) -> Value {
        return arith::SIToFPOp::create(code.b, code.loc, type.getElementType(), index.front());
      })
      .Case([&](rec::StrictlyLowerOp) {
        return choose(is(P::sgt, index[0], index[1]), operandAt(0, index), zero);
      })
      .Default([](Operation *) { return Value(); });
}

void cpu::loopNest(Code &code, ArrayRef<int64_t> shape, SmallVectorImpl<Value> &index,
                   llvm::function_ref<void()> body) {
  if (index.size() == shape.size())
    return body();
  code.loop(shape[index.size()], [&](Value i) {
    index.push_back(i);
    loopNest(code, shape, index, body);
    index.pop_back();
  });
}

/// The two sides of a sum of pads that lie beside each other and fill the value:
/// what a concatenation and the adjoint of two slices are. Else none.
SmallVector<nn::PadOp, 2> Body::concatenated(Value value) const {
  auto sum = value.getDefiningOp<nn::AddOp>();
  if (!sum || stored.contains(value) || stored.contains(sum.getLhs()) || stored.contains(sum.getRhs()))
    return {};
  auto first = sum.getLhs().getDefiningOp<nn::PadOp>(), second = sum.getRhs().getDefiningOp<nn::PadOp>();
  if (!first || !second || first.getDim() != second.getDim() || first.getStride() != 1 || second.getStride() != 1 ||
      first.getType() != sum.getType() || second.getType() != sum.getType())
    return {};
  if (first.getBegin() > second.getBegin())
    std::swap(first, second);
  auto size = [](nn::PadOp pad) { return pad.getInput().getType().getDimSize(pad.getDim()); };
  bool fills = first.getBegin() == 0 && int64_t(second.getBegin()) == size(first) &&
               size(first) + size(second) == first.getType().getDimSize(first.getDim());
  return fills ? SmallVector<nn::PadOp, 2>{first, second} : SmallVector<nn::PadOp, 2>{};
}

void Body::storeElements(Code &code, Value value, Value to, Target target) {
  auto type = tensorOf(value);
  auto storeAt = [&](Value x, ArrayRef<Value> index) {
    Value address = code.at(to, linearOffset(code, type.getShape(), index), type.getElementType());
    if (target == Target::Accumulate)
      x = code.accumulate(code.load(type.getElementType(), address), x);
    code.store(x, address);
  };
  auto sides = concatenated(value);
  for (nn::PadOp side : sides) { // loops without a choice in them
    Index index;
    loopNest(code, side.getInput().getType().getShape(), index, [&] {
      Index place(index);
      place[side.getDim()] = code.add(place[side.getDim()], code.i64(side.getBegin()));
      storeAt(element(code, side.getInput(), index), place);
    });
  }
  if (!sides.empty())
    return;
  Index index;
  loopNest(code, type.getShape(), index, [&] { storeAt(element(code, value, index), index); });
}

/// Sums and maxima. Where the last dimension is reduced the value is carried in
/// a register; otherwise rows are folded into the result in memory, so that the
/// inner loop stays contiguous.
void Body::reduce(Code &code, Value value, Value to) {
  Operation *op = value.getDefiningOp();
  bool isSum = isa<nn::ReduceSumOp>(op);
  auto dims = isSum ? cast<nn::ReduceSumOp>(op).getDims() : cast<nn::ReduceMaxOp>(op).getDims();
  Value input = op->getOperand(0);
  auto from = tensorOf(input), type = tensorOf(value);
  Type elt = type.getElementType();
  Value neutral = code.number(isSum ? 0.0 : -std::numeric_limits<double>::infinity(), elt);
  auto fold = [&](Value sum, Value x) -> Value {
    return isSum ? code.accumulate(sum, x) : arith::MaximumFOp::create(code.b, code.loc, sum, x).getResult();
  };
  // The innermost dimension that is not 1.
  int64_t last = from.getRank() - 1;
  while (last > 0 && from.getDimSize(last) == 1)
    --last;
  SmallVector<int64_t> outer, inner; // loops around the result, loops of the reduction
  for (int64_t d = 0; d < from.getRank(); ++d)
    (llvm::is_contained(dims, d) ? inner : outer).push_back(d);

  Index index(from.getRank(), code.i64(0));
  std::function<void(unsigned, llvm::function_ref<void()>)> around = [&](unsigned at,
                                                                         llvm::function_ref<void()> body) {
    if (at == outer.size())
      return body();
    code.loop(from.getDimSize(outer[at]), [&](Value i) {
      index[outer[at]] = i;
      around(at + 1, body);
    });
  };
  auto address = [&] {
    Index own(index);
    for (int64_t d : inner)
      own[d] = code.i64(0);
    return code.at(to, linearOffset(code, type.getShape(), own), elt);
  };
  if (llvm::is_contained(dims, last) || inner.empty()) {
    around(0, [&] {
      std::function<Value(unsigned, Value)> carry = [&](unsigned at, Value sum) -> Value {
        if (at == inner.size())
          return fold(sum, element(code, input, index));
        return code.loopReduce(code.i64(0), code.i64(from.getDimSize(inner[at])), 1, sum,
                               [&](Value i, ValueRange acc) {
                                 index[inner[at]] = i;
                                 return SmallVector<Value>{carry(at + 1, acc[0])};
                               })[0];
      };
      Value sum = carry(0, neutral);
      code.store(sum, address());
    });
    return;
  }
  around(0, [&] { code.store(neutral, address()); });
  SmallVector<int64_t> sizes;
  for (int64_t d : inner)
    sizes.push_back(from.getDimSize(d));
  Index reduced;
  loopNest(code, sizes, reduced, [&] {
    for (auto [d, i] : llvm::zip(inner, reduced))
      index[d] = i;
    around(0, [&] {
      Value x = element(code, input, index);
      Value target = address();
      code.store(fold(code.load(elt, target), x), target);
    });
    for (int64_t d : inner)
      index[d] = code.i64(0);
  });
}

//===----------------------------------------------------------------------===//
// Rows in order
//===----------------------------------------------------------------------===//

void Body::cumsum(Code &code, rec::CumsumOp op, Value to) {
  auto type = op.getType();
  Type elt = type.getElementType();
  int64_t rows = type.getDimSize(0), width = type.getNumElements() / rows;
  Value from = pointer(code, op.getInput());
  // Walk rows first to last (last to first): y = previous y + x, or the previous x if exclusive.
  auto row = [&](Value i) { return op.getReverse() ? code.sub(code.i64(rows - 1), i) : i; };
  auto at = [&](Value base, Value i, Value d) {
    return code.at(base, code.add(code.mul(row(i), width), d), elt);
  };
  code.loop(width, [&](Value d) {
    Value zero = code.number(0, elt);
    Value first = op.getExclusive() ? zero : code.load(elt, at(from, code.i64(0), d));
    code.store(first, at(to, code.i64(0), d));
  });
  code.loop(code.i64(1), code.i64(rows), 1, [&](Value i) {
    Value before = code.sub(i, code.i64(1));
    code.loop(width, [&](Value d) {
      Value sum = code.load(elt, at(to, before, d));
      Value x = code.load(elt, at(from, op.getExclusive() ? before : i, d));
      code.store(arith::AddFOp::create(code.b, code.loc, sum, x), at(to, i, d));
    });
  });
}

//===----------------------------------------------------------------------===//
// Statements
//===----------------------------------------------------------------------===//

/// The terms that are no products, element by element, then each product on top.
void Body::addUp(Code &code, Value value, const Sum &sum, Value to, Value workspace) {
  auto type = tensorOf(value);
  if (!sum.terms.empty()) {
    Index index;
    loopNest(code, type.getShape(), index, [&] {
      Value total;
      for (Value term : sum.terms) {
        Value x = element(code, term, index);
        total = total ? arith::AddFOp::create(code.b, code.loc, total, x).getResult() : x;
      }
      code.store(total, code.at(to, linearOffset(code, type.getShape(), index), type.getElementType()));
    });
  }
  for (auto [i, product] : llvm::enumerate(sum.products))
    dot(code, product, to, workspace, /*accumulate=*/i > 0 || !sum.terms.empty());
}

LogicalResult Body::statement(Code &outer, const Statement &s, ArrayRef<Value> results) {
  Operation *op = s.value.getDefiningOp();
  Code code{outer.b, op ? op->getLoc() : outer.loc};
  if (s.result) { // computed on the way out, or copied
    storeElements(code, s.value, results[*s.result], targets[*s.result]);
    return success();
  }
  Value to = pointer(code, s.value);
  Value workspace = code.at(scratch, code.i64(workspaceOffset), code.b.getI8Type());
  if (auto sum = sums.find(s.value); sum != sums.end())
    return addUp(code, s.value, sum->second, to, workspace), success();
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<nn::ReduceSumOp, nn::ReduceMaxOp>([&](auto) { return reduce(code, s.value, to), success(); })
      .Case([&](nn::DotOp d) { return dot(code, d, to, workspace, /*accumulate=*/false), success(); })
      .Case([&](rec::CumsumOp c) { return cumsum(code, c, to), success(); })
      .Case([&](rec::SolveUnitLowerOp o) {
        auto type = o.getType();
        emitSubstitution(code, type.getElementType(), type.getDimSize(0), type.getDimSize(1), o.getTransposed(),
                         pointer(code, o.getMatrix()), pointer(code, o.getRhs()), to);
        return success();
      })
      .Case([&](rec::DecayScoresOp d) {
        DecayPointers p{pointer(code, d.getRows()), pointer(code, d.getCols()), {}, {}, {}};
        if (d.getRowGate())
          p.rowGate = pointer(code, d.getRowGate()), p.colGate = pointer(code, d.getColGate());
        return emitDecayScores(code, d, p, to, workspace), success();
      })
      .Case([&](rec::DecayMixOp d) {
        DecayPointers p;
        (d.getTransposed() ? p.rows : p.cols) = pointer(code, d.getInput());
        p.scores = pointer(code, d.getScores());
        if (d.getRowGate())
          p.rowGate = pointer(code, d.getRowGate()), p.colGate = pointer(code, d.getColGate());
        return emitDecayMix(code, d, p, to, workspace), success();
      })
      .Case([&](rec::DecaySolveOp d) {
        DecayPointers p;
        p.scores = pointer(code, d.getMatrix());
        if (d.getRowGate())
          p.rowGate = pointer(code, d.getRowGate()), p.colGate = pointer(code, d.getColGate());
        Value factor = d.getFactor() ? pointer(code, d.getFactor()) : Value();
        return emitDecaySolve(code, d, p, pointer(code, d.getRhs()), factor, to, workspace), success();
      })
      .Default([&](Operation *o) -> LogicalResult {
        if (!canInline(o))
          return o->emitOpError("has no CPU rule inside a body");
        // The slot is being filled: compute the elements, do not read them.
        auto slot = stored.lookup(s.value);
        stored.erase(s.value);
        storeElements(code, s.value, to, Target::Store);
        stored[s.value] = slot;
        return success();
      });
}

LogicalResult Body::emit(Code &code, ArrayRef<Value> arguments, ArrayRef<Value> results, Value scratchBase,
                         Beside beside) {
  pointers.clear();
  scratch = scratchBase;
  for (auto [argument, ptr] : llvm::zip(block.getArguments(), arguments))
    pointers[argument] = ptr;
  for (auto &[value, slot] : stored)
    if (slot.offset == Slot::kInResult)
      pointers[value] = results[slot.result];
  for (auto [i, s] : llvm::enumerate(statements)) {
    if (beside)
      beside(i, statements.size());
    if (failed(statement(code, s, results)))
      return failure();
  }
  return success();
}
