//===- RowKernel.cpp - CUDA of nn.map ---------------------------*- C++ -*-===//
#include "compiler/CodeGen/CUDA/RowKernel.h"

#include "compiler/CodeGen/CUDA/Reduction.h"
#include "ir/Nn/Storage.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cuda;
using llvm::Twine;

namespace {
constexpr int kThreads = 256;
/// The widest row that one warp works on.
constexpr int64_t kWarpRow = 4096;
/// The most values of a costly op that are kept for a row.
constexpr int64_t kMostKept = 256;
/// Values of summed results that a thread can keep in registers.
constexpr int64_t kMostSums = 64;

int64_t sizeOf(Value v) { return tensorOf(v).getNumElements(); }

class RowEmitter {
public:
  RowEmitter(nn::MapOp map, std::string name, int64_t maxParts, bool isFast)
      : map(map), block(map.getBody().front()), maxParts(maxParts), isFast(isFast) {
    kernel.name = std::move(name);
    kernel.threads = kThreads;
  }

  FailureOr<KernelSource> run() {
    for (Operation &op : block.without_terminator())
      if (!isElementwise(&op) && !isReduction(&op))
        return op.emitOpError("has no rule in a CUDA row kernel"), failure();
    plan();
    SmallVector<std::string> types;
    for (unsigned i = 0; i < map.getInputs().size(); ++i)
      types.push_back("const " + storageType(nn::operandStorage(map, i)) + " *");
    for (unsigned i = 0; i < map.getNumResults(); ++i)
      types.push_back((map.getResultRows()[i] ? storageType(nn::resultStorage(map, i)) : "float") + " *");
    emitBody();
    kernel.itemsPerBlock = kThreads / team;
    kernel.maxBlocks = hasSums() ? maxParts : 0x7fffffff;
    kernel.sharedBytes = sharedBytes;
    wrapKernel(kernel, map, {"rows.cuh"}, types, text, isFast);
    return kernel;
  }

private:
  bool hasSums() { return llvm::is_contained(map.getResultRows(), false); }
  auto yields() { return block.getTerminator()->getOperands(); }
  bool isRowArgument(Value v) { return map.getOperandRows()[cast<BlockArgument>(v).getArgNumber()]; }

  /// The width of a team and, per reduction, where its result lies.
  void plan() {
    int64_t widest = 1;
    auto consider = [&](Value v) { widest = std::max(widest, sizeOf(v)); };
    for (Operation &op : block.without_terminator()) {
      if (isReduction(&op))
        consider(op.getOperand(0));
    }
    for (Value v : yields())
      consider(v);
    int64_t sums = 0; // all live at once
    for (auto [i, v] : llvm::enumerate(yields()))
      if (!map.getResultRows()[i])
        sums += sizeOf(v);
    if (widest > kWarpRow || sums > 32 * kMostSums) {
      team = kThreads;
    } else {
      // Eight elements a thread, but not so few threads that rows are read far apart.
      team = std::min<int64_t>(32, llvm::PowerOf2Ceil(llvm::divideCeil(widest, 8)));
    }
    int64_t floats = 0;
    for (Operation &op : block.without_terminator())
      if (isa<nn::CosOp, nn::SinOp>(op) && sizeOf(op.getResult(0)) <= std::min(widest / 2, kMostKept))
        kept.insert(op.getResult(0));
    for (Operation &op : block.without_terminator())
      if (kept.contains(op.getResult(0)) || (isReduction(&op) && sizeOf(op.getResult(0)) > 1)) {
        scratchAt[op.getResult(0)] = floats;
        floats += llvm::alignTo(sizeOf(op.getResult(0)), 8); // vectors stay aligned
      }
    scratchFloats = floats; // per team
    workFloats = hasSums() ? kThreads : kThreads / 32;
    sharedBytes = (workFloats + scratchFloats * (kThreads / team)) * sizeof(float);
  }

  bool isLeaf(Value v) {
    return v != computed && (!v.getDefiningOp() || isReduction(v.getDefiningOp()) || kept.contains(v));
  }

  ElementEmitter emitter(int lanes) {
    return ElementEmitter(
        text, lanes, [this](Value v) { return isLeaf(v); },
        [this](Value v, ArrayRef<Index> index) { return leaf(v, index); });
  }

  std::optional<Element> leaf(Value v, ArrayRef<Index> index) {
    if (auto it = inRegister.find(v); it != inRegister.end())
      return Element{it->second, false};
    if (!isLeaf(v))
      return std::nullopt;
    Offset offset = offsetOf(tensorOf(v).getShape(), index);
    std::string type = "float", pointer;
    bool isFloat = true;
    if (auto argument = dyn_cast<BlockArgument>(v)) {
      type = storageType(nn::operandStorage(map, argument.getArgNumber()));
      isFloat = type != "int";
      pointer = "p" + std::to_string(argument.getArgNumber());
    } else {
      pointer = "(scratch + " + std::to_string(scratchAt.lookup(v)) + ")";
    }
    std::string variable = isFloat ? "float" : "int";
    if (offset.laneStride == 1)
      return current->load("loadVector", variable, pointer + " + " + offset.at.at);
    std::string value = pointer + "[" + offset.at.at;
    if (offset.laneStride)
      value += " + j * " + std::to_string(offset.laneStride);
    value += "]";
    return current->define(variable, offset.laneStride != 0, isFloat ? "toFloat(" + value + ")" : value);
  }

  void emitBody() {
    text.line("  constexpr int kTeam = " + Twine(team) + ", kTeams = kThreads / kTeam;");
    text.line("  const int member = threadIndex() % kTeam, team = threadIndex() / kTeam;");
    text.line("  float *const work = reinterpret_cast<float *>(grid.shared);");
    if (scratchFloats)
      text.line("  float *const scratch = work + " + Twine(workFloats) + " + team * " + Twine(scratchFloats) + ";");
    for (auto [i, v] : llvm::enumerate(yields()))
      if (!map.getResultRows()[i])
        declareSum(i, v);
    text.block("  for (long long first = grid.block * kTeams; first < items; first += grid.blocks * kTeams)", [&] {
      text.line("const bool isRow = first + team < items;");
      text.line("const long long row = isRow ? first + team : items - 1;");
      for (auto [i, v] : llvm::enumerate(map.getInputs())) {
        std::string n = std::to_string(i);
        int64_t rest = sizeOf(block.getArgument(i));
        text.line("const auto *const p" + n + " = b" + n +
                  (map.getOperandRows()[i] ? " + row * " + std::to_string(rest) : std::string()) + ";");
      }
      for (Operation &op : block.without_terminator())
        if (isReduction(&op))
          text.of(op.getLoc(), [&] { reduce(&op); });
        else if (kept.contains(op.getResult(0)))
          keep(op.getResult(0));
      storeRows();
      addSums();
      if (scratchFloats) // the next row writes it again
        text.line("syncTeam<kTeam>();");
    });
    for (auto [i, v] : llvm::enumerate(yields()))
      if (!map.getResultRows()[i])
        storeSum(i, v);
  }

  /// Runs `body` with an emitter of its own, inside a scope.
  template <typename F>
  void scope(int lanes, F body) {
    ElementEmitter own = emitter(lanes);
    ElementEmitter *outer = std::exchange(current, &own);
    body(own);
    current = outer;
  }

  /// A sum or maximum inside a row: into a register of every thread, or into scratch.
  void reduce(Operation *op) {
    Value result = op->getResult(0);
    Reduction reduction{text, team, "member", "work",
                        [this](int lanes, llvm::function_ref<void(ElementEmitter &)> body) { scope(lanes, body); },
                        [&](const Index &at, const std::string &value) {
                          text.line("scratch[" + Twine(scratchAt.lookup(result)) + " + " + at.at + "] = " + value + ";");
                        },
                        [this](Value v) { return isLeaf(v); }};
    if (auto variable = reduction.emit(op))
      inRegister[result] = *variable;
    else
      text.line("syncTeam<kTeam>();");
  }

  /// A costly value that many elements of the row use, once for all of them: into scratch.
  void keep(Value v) {
    computed = v;
    text.block("for (int e = member; e < " + Twine(sizeOf(v)) + "; e += kTeam)", [&] {
      scope(1, [&](ElementEmitter &emit) {
        Element x = emit.emit(v, indicesOf(tensorOf(v).getShape(), Index::of("e")));
        text.line("scratch[" + Twine(scratchAt.lookup(v)) + " + e] = " + x.name + ";");
      });
    });
    computed = {};
    text.line("syncTeam<kTeam>();");
  }

  //===--------------------------------------------------------------------===//
  // Results
  //===--------------------------------------------------------------------===//

  int lanesFor(ArrayRef<Value> values) {
    int64_t widest = 1;
    for (Value v : values)
      widest = std::max(widest, sizeOf(v));
    int most = 8; // as many as leave every thread of the team something to do
    while (most > 1 && widest < most * team)
      most /= 2;
    return ElementEmitter::lanesOf(values, most, [this](Value v) { return isLeaf(v); });
  }

  /// Row results of one shape share a loop: what they read is loaded once, and a
  /// result may stand where an operand stood.
  void storeRows() {
    SmallVector<bool> isDone(yields().size(), false);
    for (unsigned i = 0; i < yields().size(); ++i) {
      if (isDone[i] || !map.getResultRows()[i])
        continue;
      SmallVector<unsigned> group;
      SmallVector<Value> values;
      for (unsigned k = i; k < yields().size(); ++k)
        if (map.getResultRows()[k] && tensorOf(yields()[k]).getShape() == tensorOf(yields()[i]).getShape()) {
          group.push_back(k);
          values.push_back(yields()[k]);
          isDone[k] = true;
        }
      int lanes = lanesFor(values);
      int64_t size = sizeOf(yields()[i]);
      text.line("#pragma unroll " + Twine(group.size() > 2 ? 1 : 2));
      text.block("for (int e = member * " + Twine(lanes) + "; e < " + Twine(size) + "; e += kTeam * " + Twine(lanes) +
                     ")",
                 [&] {
                   scope(lanes, [&](ElementEmitter &emit) {
                     Index offset = Index::of("e");
                     offset.isLane = lanes > 1;
                     Indices index = indicesOf(tensorOf(yields()[i]).getShape(), offset);
                     SmallVector<Element> elements;
                     for (Value v : values)
                       elements.push_back(emit.emit(v, index));
                     text.block("if (isRow)", [&] {
                       for (auto [k, x] : llvm::zip(group, elements))
                         storeElement("b" + std::to_string(map.getInputs().size() + k) + " + row * " +
                                          std::to_string(size) + " + e",
                                      x, lanes);
                     });
                   });
                 });
    }
  }

  void storeElement(const std::string &pointer, const Element &x, int lanes) {
    std::string name = x.name;
    if (!x.isVector) {
      name = text.name("x");
      text.line("float " + name + "[" + Twine(lanes) + "];");
      text.line("#pragma unroll");
      text.line("for (int j = 0; j < " + Twine(lanes) + "; ++j)");
      text.line("  " + name + "[j] = " + x.name + ";");
    }
    text.line("storeVector(" + pointer + ", " + name + ");");
  }

  //===--------------------------------------------------------------------===//
  // Sums over rows
  //===--------------------------------------------------------------------===//

  struct Sum {
    int lanes = 1;
    int64_t steps = 1; ///< per thread
    std::string name;
    bool inMemory = false; ///< Too many for registers: added up in the block's own part.
  };

  void declareSum(unsigned i, Value v) {
    Sum &sum = sums[i];
    sum.lanes = lanesFor({v});
    sum.steps = llvm::divideCeil(sizeOf(v), int64_t(sum.lanes) * team);
    sum.name = "total" + std::to_string(i);
    sum.inMemory = sum.steps * sum.lanes > kMostSums;
    if (!sum.inMemory)
      return text.line("  float " + sum.name + "[" + Twine(sum.steps * sum.lanes) + "] = {};");
    std::string size = std::to_string(sizeOf(v));
    text.line("  float *const " + sum.name + " = b" + Twine(map.getInputs().size() + i) + " + grid.block * " + size + ";");
    text.line("  for (int e = member * " + Twine(sum.lanes) + "; e < " + size + "; e += kTeam * " + Twine(sum.lanes) + ")");
    text.line("    for (int j = 0; j < " + Twine(sum.lanes) + "; ++j)");
    text.line("      " + sum.name + "[e + j] = 0;");
  }

  void addSums() {
    for (auto [i, v] : llvm::enumerate(yields())) {
      if (map.getResultRows()[i])
        continue;
      const Sum &sum = sums[i];
      const std::string place = sum.inMemory ? "e" : "s * " + std::to_string(sum.lanes);
      text.line("#pragma unroll " + Twine(sum.inMemory ? "1" : ""));
      text.block("for (int s = 0; s < " + Twine(sum.steps) + "; ++s)", [&] {
        text.line("const int e = (s * kTeam + member) * " + Twine(sum.lanes) + ";");
        std::string condition = "if (isRow && e < " + std::to_string(sizeOf(v)) + ")";
        text.block(condition, [&] {
          scope(sum.lanes, [&, &v = v](ElementEmitter &emit) {
            Index offset = Index::of("e");
            offset.isLane = sum.lanes > 1;
            Element x = emit.emit(v, indicesOf(tensorOf(v).getShape(), offset));
            text.line("#pragma unroll");
            text.line("for (int j = 0; j < " + Twine(sum.lanes) + "; ++j)");
            text.line("  " + sum.name + "[" + place + " + j] += " + ElementEmitter::at(x) + ";");
          });
        });
      });
    }
  }

  void storeSum(unsigned i, Value v) {
    const Sum &sum = sums[i];
    if (sum.inMemory)
      return;
    text.line("  sumTeams<kTeam>(" + sum.name + ", work);");
    text.line("  if (team == 0)");
    text.line("#pragma unroll");
    text.block("  for (int s = 0; s < " + Twine(sum.steps) + "; ++s)", [&] {
      text.line("const int e = (s * kTeam + member) * " + Twine(sum.lanes) + ";");
      text.line("if (e < " + Twine(sizeOf(v)) + ")");
      text.line("#pragma unroll");
      text.line("  for (int j = 0; j < " + Twine(sum.lanes) + "; ++j)");
      text.line("    b" + Twine(map.getInputs().size() + i) + "[grid.block * " + Twine(sizeOf(v)) + " + e + j] = " +
                sum.name + "[s * " + Twine(sum.lanes) + " + j];");
    });
  }

  nn::MapOp map;
  Block &block;
  int64_t maxParts;
  bool isFast;
  KernelSource kernel;
  Text text;
  ElementEmitter *current = nullptr;
  int64_t team = 32, scratchFloats = 0, workFloats = 0, sharedBytes = 0;
  DenseMap<Value, int64_t> scratchAt;
  DenseSet<Value> kept; ///< Computed once per row.
  Value computed;       ///< The one of them that is being computed.
  DenseMap<Value, std::string> inRegister;
  DenseMap<unsigned, Sum> sums;
};
} // namespace

FailureOr<KernelSource> cuda::rowKernel(nn::MapOp map, std::string name, int64_t maxParts, bool isFast) {
  return RowEmitter(map, std::move(name), maxParts, isFast).run();
}
