//===- Elements.cpp - C++ expressions of tensor elements --------*- C++ -*-===//
#include "compiler/CodeGen/CUDA/Elements.h"

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Format.h"

#include <cmath>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cuda;
using llvm::Twine;

//===----------------------------------------------------------------------===//
// Indices
//===----------------------------------------------------------------------===//

Index cuda::plus(const Index &x, int64_t n) {
  if (n == 0)
    return x;
  if (x.number)
    return {std::to_string(*x.number + n), *x.number + n, x.isLane};
  return {"(" + x.at + (n < 0 ? " - " : " + ") + std::to_string(std::abs(n)) + ")", std::nullopt, x.isLane};
}

Index cuda::times(const Index &x, int64_t n) {
  if (n == 1)
    return x;
  if (x.number)
    return Index::of(*x.number * n);
  return Index::of("(" + x.at + " * " + std::to_string(n) + ")");
}

Index cuda::sum(const Index &x, const Index &y) {
  if (x.number)
    return plus(y, *x.number);
  if (y.number)
    return plus(x, *y.number);
  return {"(" + x.at + " + " + y.at + ")", std::nullopt, x.isLane || y.isLane};
}

Offset cuda::offsetOf(ArrayRef<int64_t> shape, ArrayRef<Index> index) {
  Offset result{Index::of(0), 0};
  int64_t stride = 1;
  for (int64_t d = shape.size(); d-- > 0;) {
    if (shape[d] == 1)
      continue;
    if (index[d].isLane)
      result.laneStride = stride;
    Index own = index[d];
    own.isLane = false;
    result.at = sum(times(own, stride), result.at);
    stride *= shape[d];
  }
  return result;
}

Indices cuda::indicesOf(ArrayRef<int64_t> shape, const Index &offset) {
  Indices index(shape.size(), Index::of(0));
  SmallVector<unsigned> dims; // those that are not 1
  for (unsigned d = 0; d < shape.size(); ++d)
    if (shape[d] != 1)
      dims.push_back(d);
  int64_t stride = 1;
  for (unsigned i = dims.size(); i-- > 0;) {
    int64_t size = shape[dims[i]];
    Index own = offset;
    own.isLane = false;
    if (own.number) {
      own = Index::of(*own.number / stride % size);
    } else {
      if (stride != 1)
        own.at = "(" + own.at + " / " + std::to_string(stride) + ")";
      if (i != 0)
        own.at = "(" + own.at + " % " + std::to_string(size) + ")";
    }
    own.isLane = offset.isLane && i + 1 == dims.size();
    index[dims[i]] = own;
    stride *= size;
  }
  return index;
}

/// The index of an operand that broadcasts to a result: aligned at the end.
static Indices broadcast(ArrayRef<Index> index, RankedTensorType operand) {
  Indices own;
  int64_t offset = int64_t(index.size()) - operand.getRank();
  for (int64_t d = 0; d < operand.getRank(); ++d)
    own.push_back(operand.getDimSize(d) == 1 ? Index::of(0) : index[offset + d]);
  return own;
}

//===----------------------------------------------------------------------===//
// Lanes
//===----------------------------------------------------------------------===//

bool cuda::isElementwise(Operation *op) {
  return isa<ElementwiseOpInterface>(op) ||
         isa<nn::BroadcastLikeOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::PadOp, nn::PickOp, nn::PlaceOp,
             nn::IsIndexOp, nn::ToFloatOp, nn::IotaOp, rec::StrictlyLowerOp, tile::CausalOp, tile::RoundOp>(op);
}

std::string cuda::placesType(ArrayRef<int64_t> positions) {
  std::string type = "Places<";
  for (auto [i, p] : llvm::enumerate(positions))
    type += (i ? ", " : "") + std::to_string(p);
  return type + ">";
}

/// The last dimension that is not 1, or -1.
static int64_t lastDim(RankedTensorType type) {
  int64_t d = type.getRank() - 1;
  while (d >= 0 && type.getDimSize(d) == 1)
    --d;
  return d;
}

/// Whether lanes along dimension `lane` (-1: none) of `value` work; see canUseLanes.
static bool lanesWork(Value value, int64_t lane, int lanes, const ElementEmitter::IsLeaf &isLeaf) {
  auto type = tensorOf(value);
  if (lane >= 0 && type.getDimSize(lane) == 1)
    lane = -1;
  Operation *op = value.getDefiningOp();
  if (!op || isLeaf(value)) // neighbours in memory, aligned; or one value; or gathered
    return lane != lastDim(type) || lane < 0 || type.getDimSize(lane) % lanes == 0;
  auto all = [&](auto laneOf) {
    return llvm::all_of(op->getOperands(), [&](Value operand) {
      return lanesWork(operand, lane < 0 ? -1 : laneOf(tensorOf(operand)), lanes, isLeaf);
    });
  };
  auto broadcastLane = [&](RankedTensorType operand) { return std::max<int64_t>(lane - (type.getRank() - operand.getRank()), -1); };
  if (auto b = dyn_cast<nn::BroadcastLikeOp>(op))
    return lanesWork(b.getInput(), lane < 0 ? -1 : broadcastLane(b.getInput().getType()), lanes, isLeaf);
  if (isa<ElementwiseOpInterface>(op))
    return all(broadcastLane);
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case([&](nn::ReshapeOp r) {
        if (lane < 0)
          return lanesWork(r.getInput(), -1, lanes, isLeaf);
        auto from = r.getInput().getType();
        int64_t last = lastDim(from);
        return lane == lastDim(type) && last >= 0 && from.getDimSize(last) % lanes == 0 &&
               type.getDimSize(lane) % lanes == 0 && lanesWork(r.getInput(), last, lanes, isLeaf);
      })
      .Case([&](nn::TransposeOp t) {
        return lanesWork(t.getInput(), lane < 0 ? -1 : t.getPermutation()[lane], lanes, isLeaf);
      })
      .Case([&](nn::SliceOp s) {
        bool isFine = lane != int64_t(s.getDim()) || (s.getStride() == 1 && s.getBegin() % lanes == 0);
        return isFine && lanesWork(s.getInput(), lane, lanes, isLeaf);
      })
      .Case([&](nn::PadOp p) {
        bool isFine = lane != int64_t(p.getDim()) || (p.getStride() == 1 && p.getBegin() % lanes == 0 &&
                                                      p.getInput().getType().getDimSize(lane) % lanes == 0);
        return isFine && lanesWork(p.getInput(), lane, lanes, isLeaf);
      })
      .Case([&](nn::PlaceOp p) { return lane < 0 || lane == type.getRank() - 1; })
      .Case([&](rec::StrictlyLowerOp l) { return lanesWork(l.getInput(), lane, lanes, isLeaf); })
      .Case([&](tile::RoundOp r) { return lanesWork(r.getInput(), lane, lanes, isLeaf); })
      .Case([&](tile::CausalOp c) {
        auto gateWorks = [&](Value gate, int64_t dim) {
          return !gate || lanesWork(gate, lane == dim ? 0 : -1, lanes, isLeaf);
        };
        return lanesWork(c.getInput(), lane, lanes, isLeaf) && gateWorks(c.getRowGate(), 0) &&
               gateWorks(c.getColGate(), 1);
      })
      .Case([&](nn::IotaOp) { return true; })
      .Case([&](nn::ToFloatOp t) { return lanesWork(t.getInput(), lane, lanes, isLeaf); })
      .Default([&](Operation *) { return lane < 0; });
}

bool ElementEmitter::canUseLanes(Value value, int lanes, const IsLeaf &isLeaf) {
  int64_t last = lastDim(tensorOf(value));
  if (lanes == 1)
    return true;
  return last >= 0 && tensorOf(value).getDimSize(last) % lanes == 0 && lanesWork(value, last, lanes, isLeaf);
}

int ElementEmitter::lanesOf(ArrayRef<Value> values, int most, const IsLeaf &isLeaf) {
  for (int lanes = most; lanes > 1; lanes /= 2)
    if (llvm::all_of(values, [&](Value v) { return canUseLanes(v, lanes, isLeaf); }))
      return lanes;
  return 1;
}

//===----------------------------------------------------------------------===//
// Emission
//===----------------------------------------------------------------------===//

Element ElementEmitter::define(StringRef type, bool isVector, const Twine &formula) {
  Element element{text.name("x"), isVector};
  if (!isVector) {
    text.line("const " + type + " " + element.name + " = " + formula + ";");
    return element;
  }
  text.line(type + " " + element.name + "[" + Twine(lanes) + "];");
  text.line("#pragma unroll");
  text.line("for (int j = 0; j < " + Twine(lanes) + "; ++j)");
  text.line("  " + element.name + "[j] = " + formula + ";");
  return element;
}

Element ElementEmitter::load(StringRef load, StringRef type, const Twine &pointer) {
  Element element{text.name("x"), true};
  text.line(type + " " + element.name + "[" + Twine(lanes) + "];");
  text.line(load + "(" + element.name + ", " + pointer + ");");
  return element;
}

Element ElementEmitter::emit(Value value, ArrayRef<Index> index) {
  std::string key;
  llvm::raw_string_ostream os(key);
  os << value.getAsOpaquePointer();
  for (auto [d, i] : llvm::enumerate(index))
    os << "," << (tensorOf(value).getDimSize(d) == 1 ? "0" : i.at) << (i.isLane ? "+j" : "");
  if (auto it = known.find(key); it != known.end())
    return it->second;
  Element element = compute(value, index);
  known[key] = element;
  return element;
}

/// A float literal that reads back to the same float.
static std::string literal(double value) {
  if (std::isnan(value))
    return "bitsToFloat(0x7fc00000u)";
  if (std::isinf(value))
    return value > 0 ? "bitsToFloat(0x7f800000u)" : "bitsToFloat(0xff800000u)";
  std::string text;
  llvm::raw_string_ostream os(text);
  os << llvm::format("%.9g", double(float(value)));
  if (text.find_first_of(".e") == std::string::npos)
    text += ".0";
  return text + "f";
}

static std::string doubleLiteral(double value) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.17e", value);
  return text;
}

Element ElementEmitter::compute(Value value, ArrayRef<Index> index) {
  if (auto element = leaf(value, index))
    return *element;
  return text.of(value.getLoc(), [&] { return apply(value.getDefiningOp(), tensorOf(value), index); });
}

/// The op's own formula, behind those of its operands.
Element ElementEmitter::apply(Operation *op, RankedTensorType type, ArrayRef<Index> index) {
  if (auto constant = dyn_cast<nn::ConstantOp>(op))
    return {literal(constant.getValue().convertToDouble()), false};
  if (isa<ElementwiseOpInterface>(op)) {
    SmallVector<Element> operands;
    bool isVector = false;
    for (Value operand : op->getOperands()) {
      operands.push_back(emit(operand, broadcast(index, tensorOf(operand))));
      isVector |= operands.back().isVector;
    }
    std::string call = "op::" + op->getName().stripDialect().str() + "(";
    for (auto [i, operand] : llvm::enumerate(operands))
      call += (i ? ", " : "") + at(operand);
    if (auto angle = dyn_cast<nn::AngleOp>(op))
      call += ", " + doubleLiteral(std::log2(angle.getBase().convertToDouble()));
    return define("float", isVector, call + ")");
  }
  // What a lane index reads as where each lane computes for itself.
  auto own = [](const Index &i) { return i.isLane ? "(" + i.at + " + j)" : i.at; };
  auto idAt = [&] { return emit(op->getOperand(op->getNumOperands() - 1), index.drop_back()); };
  return llvm::TypeSwitch<Operation *, Element>(op)
      .Case([&](nn::BroadcastLikeOp b) { return emit(b.getInput(), broadcast(index, b.getInput().getType())); })
      .Case([&](nn::ReshapeOp r) {
        Offset offset = offsetOf(type.getShape(), index);
        Index at = offset.at;
        at.isLane = offset.laneStride != 0;
        return emit(r.getInput(), indicesOf(r.getInput().getType().getShape(), at));
      })
      .Case([&](nn::TransposeOp t) {
        Indices source(index.size());
        for (auto [d, s] : llvm::enumerate(t.getPermutation()))
          source[s] = index[d];
        return emit(t.getInput(), source);
      })
      .Case([&](nn::SliceOp s) {
        Indices source(index);
        Index &at = source[s.getDim()];
        bool isLane = at.isLane;
        at = plus(times(at, s.getStride()), s.getBegin());
        at.isLane = isLane;
        return emit(s.getInput(), source);
      })
      .Case([&](nn::PadOp p) -> Element {
        Indices source(index);
        Index &at = source[p.getDim()];
        const int64_t begin = p.getBegin(), stride = p.getStride(), size = p.getInput().getType().getDimSize(p.getDim());
        const bool isLane = at.isLane;
        if (at.number && !isLane) {
          int64_t shifted = *at.number - begin;
          if (shifted < 0 || shifted % stride || shifted / stride >= size)
            return {"0.0f", false};
          at = Index::of(shifted / stride);
          return emit(p.getInput(), source);
        }
        std::string shifted = "(" + at.at + " - " + std::to_string(begin) + ")";
        std::string inside = "unsigned" + shifted + " < " + std::to_string(size * stride) + "u";
        if (stride != 1)
          inside += " && " + shifted + " % " + std::to_string(stride) + " == 0";
        Element condition = define("bool", false, inside);
        std::string place = stride == 1 ? shifted : "(" + shifted + " / " + std::to_string(stride) + ")";
        at = Index::of(define("int", false, condition.name + " ? " + place + " : 0").name);
        at.isLane = isLane;
        Element x = emit(p.getInput(), source);
        return define("float", x.isVector, condition.name + " ? " + ElementEmitter::at(x) + " : 0.0f");
      })
      .Case([&](nn::PickOp p) {
        Element id = idAt();
        std::string size = std::to_string(p.getInput().getType().getShape().back());
        Indices source(index);
        Element inside = define("bool", false, "unsigned(" + id.name + ") < " + size + "u");
        source.back() = Index::of(define("int", false, inside.name + " ? " + id.name + " : 0").name);
        Element x = emit(p.getInput(), source);
        return define("float", false, inside.name + " ? " + x.name + " : 0.0f");
      })
      .Case([&](nn::PlaceOp p) {
        Element id = idAt();
        Indices source(index);
        source.back() = Index::of(0);
        Element x = emit(p.getInput(), source);
        return define("float", index.back().isLane || x.isVector,
                      at(id) + " == " + own(index.back()) + " ? " + at(x) + " : 0.0f");
      })
      .Case([&](nn::IsIndexOp) {
        Element id = idAt();
        return define("float", id.isVector, at(id) + " >= 0 ? 1.0f : 0.0f");
      })
      .Case([&](nn::ToFloatOp t) {
        Element x = emit(t.getInput(), index);
        return define("float", x.isVector, "float(" + at(x) + ")");
      })
      .Case([&](tile::RoundOp r) {
        Element x = emit(r.getInput(), index);
        return define("float", x.isVector, "toFloat(Converter<bf16>::from(" + at(x) + "))");
      })
      .Case([&](nn::IotaOp) { return define("float", index[0].isLane, "float(" + own(index[0]) + ")"); })
      .Case([&](tile::CausalOp c) {
        Element x = emit(c.getInput(), index);
        std::string before = "isBefore<" + placesType(c.getRowPositions()) + ", " + placesType(c.getColPositions()) +
                             ">(" + own(index[1]) + ", " + own(index[0]) + ")";
        std::string decayed = at(x);
        if (c.getRowGate()) {
          Element gq = emit(c.getRowGate(), {index[0], Index::of(0)});
          Element gk = emit(c.getColGate(), {index[1], Index::of(0)});
          decayed += " * expDecay(" + at(gq) + " - " + at(gk) + ")";
        }
        bool isVector = x.isVector || index[0].isLane || index[1].isLane;
        return define("float", isVector, before + " ? " + decayed + " : 0.0f");
      })
      .Case([&](rec::StrictlyLowerOp l) {
        Element x = emit(l.getInput(), index);
        bool isVector = x.isVector || index[0].isLane || index[1].isLane;
        return define("float", isVector, own(index[0]) + " > " + own(index[1]) + " ? " + at(x) + " : 0.0f");
      })
      .Default([&](Operation *) -> Element { llvm_unreachable("no rule for an element-wise op"); });
}
