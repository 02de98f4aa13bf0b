//===- TileKernel.cpp - CUDA of a scan in tile form -------------*- C++ -*-===//
#include "compiler/CodeGen/CUDA/TileKernel.h"

#include "compiler/CodeGen/CUDA/Reduction.h"
#include "ir/SourcePlace.h"
#include "ir/Nn/Storage.h"
#include "ir/Tile/TileOps.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cuda;
using llvm::Twine;
using tile::Form;
using tile::Matrix;
using tile::PlaceAttr;
using tile::Space;

namespace {
std::string str(int64_t n) { return std::to_string(n); }

bool isProduct(Operation *op) { return isa<nn::DotOp, rec::DecayScoresOp, rec::DecayMixOp>(op); }

class TileEmitter {
public:
  TileEmitter(rec::ScanOp scan, std::string name, bool isFast)
      : scan(scan), body(scan.getBody().front()), isFast(isFast) {
    kernel.name = std::move(name);
    kernel.threads = 32 * cast<IntegerAttr>(scan->getDiscardableAttr("tile.warps")).getInt();
    kernel.sharedBytes = cast<IntegerAttr>(scan->getDiscardableAttr("tile.shared_bytes")).getInt();
    stateOffsets = cast<DenseI64ArrayAttr>(scan->getDiscardableAttr("tile.states")).asArrayRef();
  }

  FailureOr<KernelSource> run() {
    SmallVector<std::string> types;
    for (unsigned i = 0; i < scan->getNumOperands(); ++i)
      types.push_back("const " + storageType(nn::operandStorage(scan, i)) + " *");
    for (unsigned i = 0; i < scan->getNumResults(); ++i)
      types.push_back(storageType(nn::resultStorage(scan, i)) + " *");
    emitKernel();
    if (failed(status))
      return failure();
    wrapKernel(kernel, scan, {"chunk.cuh"}, types, text, isFast);
    return kernel;
  }

private:
  unsigned numInputs() { return scan.getInputs().size(); }
  unsigned numStates() { return scan.getNumStates(); }
  std::string result(unsigned i) { return "b" + str(scan->getNumOperands() + i); }
  bool inRegisters(unsigned state) { return stateOffsets[state] < 0; }
  static std::string fragmentType(Value v) {
    Matrix m(tensorOf(v));
    return "Fragment<" + str(m.paddedRows()) + ", " + str(m.paddedCols()) + ">";
  }
  static std::string tileType(RankedTensorType type, Type element) {
    Matrix m(type);
    return "SharedTile<" + storageType(element) + ", " + str(m.paddedRows()) + ", " + str(m.paddedCols()) + ">";
  }
  static int64_t restOf(Value outer, int64_t leading) {
    int64_t n = 1;
    for (int64_t size : tensorOf(outer).getShape().drop_front(leading))
      n *= size;
    return n;
  }

  //===--------------------------------------------------------------------===//
  // The frame: which work, states, steps
  //===--------------------------------------------------------------------===//

  void emitKernel() {
    const int64_t chunk = scan.getChunk(), inTurn = scan.getHeadsInTurn(), heads = scan.getHeads();
    text.line("  constexpr int kChunk = " + str(chunk) + ", kHeads = " + str(heads) + ", kInTurn = " + str(inTurn) + ";");
    text.line("  const long long steps = (T + kChunk - 1) / kChunk;");
    text.line("  float *const work = reinterpret_cast<float *>(grid.shared);");
    bool isParallel = numStates() == 0;
    text.line(isParallel ? "  const long long item = grid.block / steps;" : "  const long long item = grid.block;");
    text.line("  const long long batch = item / (kHeads / kInTurn);");
    text.block("  for (int turn = 0; turn < kInTurn; ++turn)", [&] {
      text.line("const int head = int(item % (kHeads / kInTurn)) * kInTurn + turn;");
      text.line("const long long row = batch * kHeads + head;");
      initialStates();
      if (isPipelined())
        emitStart();
      if (isParallel) {
        text.block("", [&] {
          text.line("const long long at = grid.block % steps;");
          emitStep();
        });
      } else {
        text.block("for (long long at = 0; at < steps; ++at)", [&] { emitStep(); });
      }
      finalStates();
    });
  }

  std::string state(unsigned i) { return "state" + str(i); }

  /// Whether the loads of the next step are under way while this one is computed.
  bool isPipelined() {
    return llvm::any_of(body.getOps<tile::LoadOp>(), [](tile::LoadOp load) { return load.getStages() > 1; });
  }

  /// Where step number `at` is, and its operands.
  void emitPosition() {
    text.line(scan.getReverse() && numStates() > 0 ? "const long long step = steps - 1 - at;" : "const long long step = at;");
    text.line("const long long first = step * kChunk;");
    text.line("const int valid = int(T - first < kChunk ? T - first : kChunk);");
    for (auto [i, v] : llvm::enumerate(scan.getInputs()))
      operandPointer(i, v);
  }

  /// A function that starts the copies of a step, and a first call.
  void emitStart() {
    text.block("const auto start = [&](long long at)", [&] {
      emitPosition();
      for (auto load : body.getOps<tile::LoadOp>())
        text.of(load.getLoc(), [&] { emitLoad(load); });
      text.line("commitCopies();");
    }, "};");
    text.line("syncBlock();");
    text.line("start(0);");
  }

  void initialStates() {
    auto inits = scan.getInits();
    for (auto [i, v] : llvm::enumerate(scan.getBodyStates())) {
      Matrix m(tensorOf(v));
      std::string from;
      if (i < inits.size())
        from = "b" + str(numInputs() + i) + " + " +
               (scan.initKind(i) == rec::OperandKind::Head ? "head" : "row") + " * " +
               str(tensorOf(v).getNumElements());
      if (inRegisters(i)) {
        text.line(fragmentType(v) + " " + state(i) + ";");
        if (from.empty())
          text.line(state(i) + ".fill(0);");
        else
          text.line("loadGlobal(" + state(i) + ", " + from + ", " + str(m.cols) + ", " + str(m.rows) + ", " +
                    str(m.cols) + ");");
        continue;
      }
      text.line("float *const " + state(i) + " = reinterpret_cast<float *>(grid.shared + " + str(stateOffsets[i]) +
                ");");
      text.line("syncBlock();");
      text.line("for (int e = threadIndex(); e < " + str(tensorOf(v).getNumElements()) + "; e += kThreads)");
      text.line("  " + state(i) + "[e] = " + (from.empty() ? "0" : "toFloat((" + from + ")[e])") + ";");
    }
  }

  /// `result`: of the scan, which says the type.
  void storeState(unsigned i, unsigned result, const std::string &to) {
    Value v = scan.getBodyStates()[i];
    Matrix m(tensorOf(v));
    if (inRegisters(i)) {
      text.line("storeRows(" + to + ", " + str(m.cols) + ", " + str(m.rows) + ", " + state(i) + ", " + str(m.cols) +
                ");");
      return;
    }
    std::string type = storageType(nn::resultStorage(scan, result));
    text.line("for (int e = threadIndex(); e < " + str(tensorOf(v).getNumElements()) + "; e += kThreads)");
    text.line("  (" + to + ")[e] = Converter<" + type + ">::from(" + state(i) + "[e]);");
  }

  void finalStates() {
    for (unsigned i = 0; i < numStates(); ++i) {
      if (!inRegisters(i))
        text.line("syncBlock();");
      storeState(i, scan.getNumOutputs() + i, result(scan.getNumOutputs() + i) + " + row * " +
                        str(tensorOf(scan.getBodyStates()[i]).getNumElements()));
    }
  }

  void emitStep() {
    emitPosition();
    for (auto [i, v] : llvm::enumerate(scan.getOutputs()))
      outputPointer(i, v);
    const bool pipelined = isPipelined();
    if (pipelined) {
      text.line("waitCopies<0>();");
      text.line("syncBlock();");
      text.line("if (at + 1 < steps)");
      text.line("  start(at + 1);");
    } else {
      text.line("syncBlock();");
    }
    auto entries = scan.getEntryStates();
    for (unsigned i = 0; i < entries.size(); ++i)
      storeState(i, scan.getNumOutputs() + numStates() + i, result(scan.getNumOutputs() + numStates() + i) + " + ((batch * steps + step) * kHeads + head) * " +
                        str(tensorOf(scan.getBodyStates()[i]).getNumElements()));
    bool isLoading = false;
    for (Operation &op : body) {
      if (auto load = dyn_cast<tile::LoadOp>(op)) {
        if (pipelined) {
          declare(load.getResult(), load.getPlace());
        } else {
          text.of(load.getLoc(), [&] { emitLoad(load); });
          isLoading = true;
        }
        continue;
      }
      if (isLoading) {
        text.line("commitCopies();");
        text.line("waitCopies<0>();");
        text.line("syncBlock();");
        isLoading = false;
      }
      if (isa<tile::BarrierOp>(op))
        text.line("syncBlock();");
      else if (auto compute = dyn_cast<tile::ComputeOp>(op))
        text.of(op.getLoc(), [&] { emitCompute(compute); });
    }
    newStates();
  }

  void newStates() {
    auto yields = body.getTerminator()->getOperands().drop_front(scan.getNumOutputs());
    for (auto [i, v] : llvm::enumerate(yields))
      if (inRegisters(i))
        text.line(state(i) + " = " + names.lookup(v) + ";");
    bool isSynced = false;
    for (auto [i, v] : llvm::enumerate(yields)) {
      if (inRegisters(i))
        continue;
      if (!std::exchange(isSynced, true))
        text.line("syncBlock();");
      text.block("for (int e = threadIndex(); e < " + str(tensorOf(v).getNumElements()) + "; e += kThreads)", [&, &v = v, i = i] {
        scope(1, [&](ElementEmitter &emit) {
          Indices index = indicesOf(tensorOf(v).getShape(), Index::of("e"));
          text.line(state(i) + "[e] = " + emit.emit(v, index).name + ";");
        });
      });
    }
  }

  //===--------------------------------------------------------------------===//
  // Operands
  //===--------------------------------------------------------------------===//

  /// "head" of an outer tensor that has fewer heads.
  std::string headOf(int64_t own) {
    return own == scan.getHeads() ? "head" : "head / " + str(scan.getHeads() / own);
  }

  void operandPointer(unsigned i, Value outer) {
    if (body.getArgument(i).use_empty())
      return;
    auto shape = tensorOf(outer).getShape();
    std::string at;
    switch (scan.kindOf(i)) {
    case rec::OperandKind::Token:
      at = "((batch * T + first) * " + str(shape[2]) + " + " + headOf(shape[2]) + ") * " + str(restOf(outer, 3));
      break;
    case rec::OperandKind::Step:
      at = "((batch * steps + step) * " + str(shape[2]) + " + " + headOf(shape[2]) + ") * " + str(restOf(outer, 3));
      break;
    case rec::OperandKind::Head:
      at = "head * " + str(restOf(outer, 1));
      break;
    case rec::OperandKind::Row:
      at = "row * " + str(restOf(outer, 2));
      break;
    case rec::OperandKind::Shared:
      at = "0";
      break;
    }
    text.line("const auto *const a" + str(i) + " = b" + str(i) + " + " + at + ";");
  }

  void outputPointer(unsigned i, Value outer) {
    auto shape = tensorOf(outer).getShape();
    std::string position = scan.outKindOf(i) == rec::OperandKind::Token ? "batch * T + first" : "batch * steps + step";
    text.line("auto *const o" + str(i) + " = " + result(i) + " + ((" + position + ") * " + str(shape[2]) + " + " +
              headOf(shape[2]) + ") * " + str(restOf(outer, 3)) + ";");
  }

  /// How the rows of an operand lie in memory.
  struct Rows {
    std::string stride, valid; ///< elements from row to row; rows that exist
    int64_t strideNumber;
  };
  Rows rowsOf(unsigned input) {
    Value outer = scan.getInputs()[input];
    Matrix m(tensorOf(body.getArgument(input)));
    if (scan.kindOf(input) != rec::OperandKind::Token)
      return {str(m.cols), str(m.rows), m.cols};
    int64_t rest = restOf(outer, 3), stride = tensorOf(outer).getDimSize(2) * rest;
    return {str(stride), "valid", stride};
  }

  void emitLoad(tile::LoadOp load) {
    unsigned i = cast<BlockArgument>(load.getOperand()).getArgNumber();
    PlaceAttr place = load.getPlace();
    auto type = tensorOf(load.getResult());
    std::string from = "a" + str(i), name = declare(load.getResult(), place);
    bool isToken = scan.kindOf(i) == rec::OperandKind::Token;
    if (!place.getSwizzled()) {
      if (!isToken) {
        text.line("for (int e = threadIndex(); e < " + str(type.getNumElements()) + "; e += kThreads)");
        text.line("  " + name + "[e] = " + from + "[e];");
        return;
      }
      int64_t rest = restOf(scan.getInputs()[i], 3);
      text.line("startVectors(" + name + ", " + from + ", " + str(rowsOf(i).strideNumber) + ", valid, " +
                str(scan.getChunk()) + ", " + str(rest) + ");");
      return;
    }
    // Tokens with several dimensions of their own are rows of the last one: one row then is not one token.
    Matrix m(type);
    Rows rows = rowsOf(i);
    if (isToken && m.rows != int64_t(scan.getChunk())) {
      status = scan.emitOpError("has an operand whose tokens are no rows of a matrix");
      return;
    }
    int64_t bytes = place.getElement().getIntOrFloatBitWidth() / 8;
    bool isAligned = m.cols * bytes % 16 == 0 && rows.strideNumber * bytes % 16 == 0;
    text.line(std::string(isAligned ? "startRows" : "loadRows") + "(" + name + ", " + from + ", " + rows.stride + ", " +
              rows.valid + ", " + str(m.cols) + ");");
  }

  /// Names the memory of a value in shared memory.
  std::string declare(Value v, PlaceAttr place) {
    std::string name = text.name("s"), at = str(place.getOffset());
    names[v] = name;
    places[v] = place;
    if (auto load = v.getDefiningOp<tile::LoadOp>(); load && load.getStages() > 1)
      at += " + at % " + str(load.getStages()) + " * " + str(tile::stageBytes(tensorOf(v), place));
    if (place.getSwizzled())
      text.line("const " + tileType(tensorOf(v), place.getElement()) + " " + name + "{grid.shared + " + at + "};");
    else
      text.line(storageType(place.getElement()) + " *const " + name + " = reinterpret_cast<" +
                storageType(place.getElement()) + " *>(grid.shared + " + at + ");");
    return name;
  }

  //===--------------------------------------------------------------------===//
  // Elements
  //===--------------------------------------------------------------------===//

  bool isLeaf(Value v) {
    return isa<BlockArgument>(v) || isa<tile::LoadOp, tile::StreamOp, tile::ComputeOp>(v.getDefiningOp()) ||
           accumulators.contains(v);
  }

  template <typename F>
  void scope(int lanes, F inside) {
    ElementEmitter own(
        text, lanes, [this](Value v) { return isLeaf(v); },
        [this](Value v, ArrayRef<Index> index) { return leaf(v, index); });
    ElementEmitter *outer = std::exchange(current, &own);
    inside(own);
    current = outer;
  }

  std::optional<Element> leaf(Value v, ArrayRef<Index> index) {
    if (auto it = accumulators.find(v); it != accumulators.end())
      return ofFragment(it->second);
    if (!isLeaf(v))
      return std::nullopt;
    auto type = tensorOf(v);
    if (auto argument = dyn_cast<BlockArgument>(v)) {
      unsigned i = argument.getArgNumber();
      if (i >= numInputs() && inRegisters(i - numInputs()))
        return ofFragment(state(i - numInputs()));
      if (i < numInputs() && scan.kindOf(i) == rec::OperandKind::Token)
        return ofToken(i, type, index);
      Offset offset = offsetOf(type.getShape(), index);
      return ofMemory(i < numInputs() ? "a" + str(i) : state(i - numInputs()), offset);
    }
    PlaceAttr place = places.lookup(v);
    std::string name = names.lookup(v);
    if (!place.getSwizzled())
      return ofMemory(name, offsetOf(type.getShape(), index));
    auto [row, col] = matrixIndex(type, index);
    if (col.isLane)
      return current->load("loadLanes", "float", name + ", " + row.at + ", " + col.at);
    return current->define("float", row.isLane, name + ".get(" + row.at + (row.isLane ? " + j" : "") + ", " + col.at + ")");
  }

  /// Row and column of an element of a value that is kept as a matrix.
  static std::pair<Index, Index> matrixIndex(RankedTensorType type, ArrayRef<Index> index) {
    if (type.getRank() == 0)
      return {Index::of(0), Index::of(0)};
    Offset row = offsetOf(type.getShape().drop_back(), index.drop_back());
    Index r = row.at, c = type.getShape().back() == 1 ? Index::of(0) : index.back();
    r.isLane = row.laneStride == 1;
    return {r, c};
  }

  Element ofFragment(const std::string &fragment) {
    if (fragmentLanes == 1)
      return current->define("float", false, fragment + ".v[bi][bj][e]");
    return current->define("float", true, fragment + ".v[bi][bj][2 * p + j]");
  }

  /// An element of a row of a token, in global memory; 0 beyond the last token.
  Element ofToken(unsigned input, RankedTensorType type, ArrayRef<Index> index) {
    Offset inRow = offsetOf(type.getShape().drop_front(), index.drop_front());
    const std::string row = index.front().at, exists = row + " < valid";
    const std::string pointer = "a" + str(input) + " + (long long)" + row + " * " + rowsOf(input).stride + " + " + inRow.at.at;
    if (inRow.laneStride == 1)
      return current->load("loadOrZero", "float", pointer + ", " + exists);
    return current->define("float", false, exists + " ? toFloat(*(" + pointer + ")) : 0.0f");
  }

  Element ofMemory(const std::string &pointer, const Offset &offset) {
    if (offset.laneStride == 1)
      return current->load("loadVector", "float", pointer + " + " + offset.at.at);
    std::string value = pointer + "[" + offset.at.at;
    if (offset.laneStride)
      value += " + j * " + str(offset.laneStride);
    return current->define("float", offset.laneStride != 0, "toFloat(" + value + "])");
  }

  //===--------------------------------------------------------------------===//
  // Statements
  //===--------------------------------------------------------------------===//

  void emitCompute(tile::ComputeOp op) {
    std::string where = sourceLine(op.getLoc());
    text.line("// " + stringifyForm(op.getForm()) + (where.empty() ? "" : ", " + where));
    for (auto [i, v] : llvm::enumerate(op.getResults())) {
      PlaceAttr place = op.placeOf(i);
      places[v] = place;
      if (place.getSpace() == Space::Shared)
        declare(v, place);
      if (place.getSpace() == Space::Registers) {
        names[v] = text.name("next");
        text.line(fragmentType(v) + " " + names[v] + ";");
      }
    }
    text.block("", [&] {
      switch (op.getForm()) {
      case Form::Fragment:
        return emitFragment(op);
      case Form::Elements:
        return emitElements(op, op.getYielded().front(), llvm::to_vector_of<Value>(op.getResults()));
      case Form::Reduce:
        return emitReduce(op);
      case Form::Cumsum:
        return emitCumsum(op);
      case Form::Invert:
        return emitInvert(op);
      case Form::Solve:
        return emitSolve(op);
      }
    });
    accumulators.clear();
  }

  /// True for values that are products and sums of products alone: they share one accumulator.
  static bool isSumOfProducts(Value v) {
    Operation *op = v.getDefiningOp();
    if (!op || isa<tile::LoadOp, tile::StreamOp, tile::ComputeOp>(op))
      return false;
    if (auto add = dyn_cast<nn::AddOp>(op))
      return add.getLhs().getType() == v.getType() && add.getRhs().getType() == v.getType() &&
             isSumOfProducts(add.getLhs()) && isSumOfProducts(add.getRhs());
    return isProduct(op);
  }

  void findAccumulators(Value v) {
    Operation *op = v.getDefiningOp();
    if (!op || isa<tile::LoadOp, tile::StreamOp, tile::ComputeOp>(op) || accumulators.contains(v))
      return;
    if (!isSumOfProducts(v)) {
      for (Value operand : op->getOperands())
        findAccumulators(operand);
      return;
    }
    std::string name = text.name("acc");
    text.line(fragmentType(v) + " " + name + ";");
    text.line(name + ".fill(0);");
    SmallVector<Operation *> products;
    std::function<void(Value)> collect = [&](Value at) {
      if (auto add = at.getDefiningOp<nn::AddOp>()) {
        collect(add.getLhs());
        collect(add.getRhs());
      } else {
        products.push_back(at.getDefiningOp());
      }
    };
    collect(v);
    // Scores start an accumulator anew.
    llvm::stable_sort(products, [](Operation *a, Operation *b) {
      return isa<rec::DecayScoresOp>(a) > isa<rec::DecayScoresOp>(b);
    });
    for (Operation *product : products)
      emitProduct(product, name);
    accumulators[v] = name;
  }

  void emitProduct(Operation *op, const std::string &to) {
    auto name = [&](Value v) { return names.lookup(v); };
    if (auto dot = dyn_cast<nn::DotOp>(op)) {
      auto as = [](bool isStored) { return isStored ? "As::Stored" : "As::Transposed"; };
      const std::string sides =
          Twine(Twine(as(dot.getLhsContract()[0] == 1)) + ", " + as(dot.getRhsContract()[0] == 0)).str();
      if (auto stream = dot.getRhs().getDefiningOp<tile::StreamOp>())
        text.line("streamedProduct<" + sides + ", " + str(stream.getSlice()) + ">(" + to + ", " + name(dot.getLhs()) +
                  ", a" + str(cast<BlockArgument>(stream.getOperand()).getArgNumber()) + ", grid.shared + " +
                  str(stream.getPlace().getOffset()) + ");");
      else
        text.line("product<" + sides + ">(" + to + ", " + name(dot.getLhs()) + ", " + name(dot.getRhs()) + ");");
    } else if (auto scores = dyn_cast<rec::DecayScoresOp>(op)) {
      text.line("decayScores<" + placesType(scores.getRowPositions()) + ", " + placesType(scores.getColPositions()) +
                ">(" + to + ", " + name(scores.getRows()) + ", " + name(scores.getCols()) + ", " +
                name(scores.getRowGate()) + ", " + name(scores.getColGate()) + ");");
    } else {
      auto mix = cast<rec::DecayMixOp>(op);
      text.line(std::string(mix.getTransposed() ? "decayMixTransposed<" : "decayMix<") +
                placesType(mix.getRowPositions()) + ", " + placesType(mix.getColPositions()) + ">(" + to + ", " +
                name(mix.getScores()) + ", " + name(mix.getInput()) + ", " + name(mix.getRowGate()) + ", " +
                name(mix.getColGate()) + ");");
    }
  }

  void emitFragment(tile::ComputeOp op) {
    // What the threads compute in the layout of accumulators: values, and those whose rows are summed.
    llvm::SmallMapVector<Value, std::string, 4> values;
    auto inFragment = [](Value yielded) {
      auto sum = yielded.getDefiningOp<nn::ReduceSumOp>();
      return sum ? sum.getInput() : yielded;
    };
    for (Value yielded : op.getYielded()) {
      findAccumulators(inFragment(yielded));
      values[inFragment(yielded)] = "";
    }
    Matrix m(tensorOf(values.front().first));
    std::string f = text.name("F");
    text.line("using " + f + " = " + fragmentType(values.front().first) + ";");
    fragmentLanes = llvm::all_of(values, [&](auto &value) {
      return ElementEmitter::canUseLanes(value.first, 2, [this](Value v) { return isLeaf(v); });
    }) ? 2 : 1;
    std::vector<std::string> sums(op.getNumResults()); // of rows
    for (auto [i, yielded] : llvm::enumerate(op.getYielded()))
      if (inFragment(yielded) != yielded) {
        sums[i] = text.name("sums");
        text.line("float " + sums[i] + "[" + f + "::kBlockRows][2] = {};");
      }
    text.line("#pragma unroll");
    text.block("for (int bi = 0; bi < " + f + "::kBlockRows; ++bi)", [&] {
      text.line("#pragma unroll");
      text.block("for (int bj = 0; bj < " + f + "::kBlockCols; ++bj)", [&] {
        text.line("if (!" + f + "::owns(bi, bj))");
        text.line("  continue;");
        text.line("#pragma unroll");
        std::string pair = fragmentLanes == 2 ? "2 * p" : "e";
        text.block(fragmentLanes == 2 ? "for (int p = 0; p < 4; ++p)" : "for (int e = 0; e < 8; ++e)", [&] {
          text.line("const int row = " + f + "::blockRow(bi) + " + f + "::rowIn(" + pair + "), col = " + f +
                    "::blockCol(bj) + " + f + "::colIn(" + pair + ");");
          std::string l = str(fragmentLanes);
          for (auto &[value, y] : values) {
            y = text.name("y");
            text.line("float " + y + "[" + l + "] = {};");
          }
          bool isPadded = m.rows % 16 || m.cols % 16;
          auto compute = [&] {
            scope(fragmentLanes, [&](ElementEmitter &emit) {
              for (auto &[value, y] : values) {
                Element x = emit.emit(value, fragmentIndex(tensorOf(value)));
                text.line("#pragma unroll");
                text.line("for (int j = 0; j < " + l + "; ++j)");
                text.line("  " + y + "[j] = " + ElementEmitter::at(x) + ";");
              }
            });
          };
          if (isPadded)
            text.block("if (row < " + str(m.rows) + " && col < " + str(m.cols) + ")", compute);
          else
            compute();
          for (auto [i, v] : llvm::enumerate(op.getResults())) {
            const std::string &y = values[inFragment(op.getYielded()[i])];
            if (!sums[i].empty()) {
              text.line(sums[i] + "[bi][" + (fragmentLanes == 2 ? "p % 2] += " + y + "[0] + " + y + "[1];"
                                                                : "e / 2 % 2] += " + y + "[0];"));
            } else if (op.placeOf(i).getSpace() == Space::Registers) {
              text.line("#pragma unroll");
              text.line("for (int j = 0; j < " + l + "; ++j)");
              text.line("  " + names.lookup(v) + ".v[bi][bj][" + (fragmentLanes == 2 ? "2 * p + j" : "e") + "] = " + y +
                        "[j];");
            } else {
              store(v, "row", "col", y, fragmentLanes);
            }
          }
        });
      });
    });
    for (auto [i, v] : llvm::enumerate(op.getResults()))
      if (!sums[i].empty())
        text.line("sumRows<" + f + ">(" + names.lookup(v) + ", work, " + sums[i] + ", " + str(m.rows) + ");");
  }

  Indices fragmentIndex(RankedTensorType type) {
    Index col = fragmentLanes == 2 ? Index::lane("col") : Index::of("col");
    if (type.getRank() == 2)
      return {type.getDimSize(0) == 1 ? Index::of(0) : Index::of("row"),
              type.getDimSize(1) == 1 ? Index::of(0) : col};
    Indices index = indicesOf(type.getShape().drop_back(), Index::of("row"));
    index.push_back(col);
    return index;
  }

  /// Stores y, `lanes` neighbours of a row of a value, where it belongs. Padding is written as given.
  void store(Value v, const std::string &row, const std::string &col, const std::string &y, int lanes) {
    PlaceAttr place = places.lookup(v);
    Matrix m(tensorOf(v));
    if (place.getSpace() == Space::Shared && place.getSwizzled())
      return text.line("storeLanes(" + names.lookup(v) + ", " + row + ", " + col + ", " + y + ");");
    std::string inside;
    if (m.rows % 16)
      inside = row + " < " + str(m.rows);
    if (m.cols % 16)
      inside += (inside.empty() ? "" : " && ") + col + " < " + str(m.cols);
    std::string to;
    if (place.getSpace() == Space::Shared) {
      to = names.lookup(v) + " + " + row + " * " + str(m.cols) + " + " + col;
    } else {
      to = resultPointer(place.getOffset(), m, row, col, inside);
      if (isSummed(place.getOffset()) && m.cols % lanes == 0) {
        text.line((inside.empty() ? "" : "if (" + inside + ") ") + "addVector(" + to + ", " + y + ", turn == 0);");
        return;
      }
    }
    if (m.cols % lanes) { // Rows of odd length are no vectors: neighbours may belong to the next one.
      for (int j = 0; j < lanes; ++j) {
        const std::string exists = "if (" + (inside.empty() ? "" : inside + " && ") + col + " + " + str(j) + " < " + str(m.cols) + ") ";
        const bool isAdded = place.getSpace() == Space::Result && isSummed(place.getOffset());
        text.line(exists + (isAdded ? "addElement(" : "storeElement(") + to + " + " + str(j) + ", " + y + "[" + str(j) + "]" +
                  (isAdded ? ", turn == 0);" : ");"));
      }
      return;
    }
    text.line((inside.empty() ? "" : "if (" + inside + ") ") + "storeVector(" + to + ", " + y + ");");
  }

  bool isSummed(unsigned output) { return scan.headsOfOutput(output) != scan.getHeads(); }

  /// Address of an element of an output of this step; `inside` gets the condition that its token exists.
  std::string resultPointer(unsigned output, const Matrix &m, const std::string &row, const std::string &col,
                            std::string &inside) {
    if (scan.outKindOf(output) != rec::OperandKind::Token)
      return "o" + str(output) + " + " + row + " * " + str(m.cols) + " + " + col;
    // Rows of the matrix that belong to one token follow each other in memory.
    int64_t perToken = std::max<int64_t>(1, m.rows / scan.getChunk());
    int64_t stride = tensorOf(scan.getOutputs()[output]).getDimSize(2) * restOf(scan.getOutputs()[output], 3);
    bool isVector = m.rows == 1; // one number per token: the columns are the tokens
    std::string token = isVector ? col : perToken == 1 ? row : "(" + row + " / " + str(perToken) + ")";
    inside += (inside.empty() ? "" : " && ") + token + " < valid";
    std::string at = "o" + str(output) + " + (long long)" + token + " * " + str(stride);
    if (isVector)
      return at;
    if (perToken > 1)
      at += " + " + row + " % " + str(perToken) + " * " + str(m.cols);
    return at + " + " + col;
  }

  /// `root`, element by element, into each of `to`.
  void emitElements(Operation *op, Value root, ArrayRef<Value> to) {
    Matrix m(tensorOf(root));
    auto leaf = [this](Value v) { return isLeaf(v); };
    int most = 8;
    while (most > 1 && m.rows * m.cols < most * kernel.threads)
      most /= 2;
    bool isVectorOfTokens = m.rows == 1 && llvm::any_of(to, [&](Value v) {
      return places.lookup(v).getSpace() == Space::Result && scan.outKindOf(places.lookup(v).getOffset()) == rec::OperandKind::Token;
    });
    int lanes = isVectorOfTokens || m.cols == 1 ? 1 : ElementEmitter::lanesOf({root}, most, leaf);
    bool swizzled = llvm::any_of(to, [&](Value v) { return places.lookup(v).getSwizzled(); });
    int64_t rows = swizzled ? m.paddedRows() : m.rows, cols = swizzled ? m.paddedCols() : m.cols;
    std::string l = str(lanes);
    text.line("#pragma unroll " + str(lanes > 2 ? 2 : 1));
    text.block("for (int u = threadIndex(); u < " + str(rows * cols / lanes) + "; u += kThreads)", [&] {
      text.line("const int row = u / " + str(cols / lanes) + ", col = u % " + str(cols / lanes) + " * " + l + ";");
      std::string y = text.name("y");
      text.line("float " + y + "[" + l + "] = {};");
      auto compute = [&] {
        scope(lanes, [&](ElementEmitter &emit) {
          Index offset = Index::of(m.rows == 1 ? "col" : "(row * " + str(m.cols) + " + col)");
          offset.isLane = lanes > 1;
          auto type = tensorOf(root);
          Indices index;
          if (type.getRank() >= 1) {
            index = indicesOf(type.getShape().drop_back(), Index::of("row"));
            index.push_back(type.getShape().back() == 1 ? Index::of(0)
                            : lanes > 1                 ? Index::lane("col")
                                                        : Index::of("col"));
          }
          // Lanes along an earlier dimension, where the last ones are 1: by the offset.
          if (type.getRank() > 0 && type.getShape().back() == 1 && lanes > 1)
            index = indicesOf(type.getShape(), offset);
          Element x = emit.emit(root, index);
          text.line("#pragma unroll");
          text.line("for (int j = 0; j < " + l + "; ++j)");
          text.line("  " + y + "[j] = " + ElementEmitter::at(x) + ";");
        });
      };
      if (rows != m.rows || cols != m.cols)
        text.block("if (row < " + str(m.rows) + " && col < " + str(m.cols) + ")", compute);
      else
        compute();
      for (Value v : to)
        store(v, "row", "col", y, lanes);
    });
  }

  void emitReduce(tile::ComputeOp op) {
    Operation *root = op.getYielded().front().getDefiningOp();
    auto type = tensorOf(root->getResult(0));
    auto storeAll = [&](const Index &at, const std::string &value) {
      Matrix m(type);
      std::string y = text.name("y");
      text.line("const float " + y + "[1] = {" + value + "};");
      std::string row = m.cols == 1 ? at.at : m.rows == 1 ? "0" : "(" + at.at + " / " + str(m.cols) + ")";
      std::string col = m.cols == 1 ? "0" : m.rows == 1 ? at.at : "(" + at.at + " % " + str(m.cols) + ")";
      for (Value v : op.getResults())
        store(v, row, col, y, 1);
    };
    for (Value v : op.getResults())
      if (places.lookup(v).getSwizzled() && (Matrix(type).rows % 16 || Matrix(type).cols % 16)) {
        text.line("zeroTile(" + names.lookup(v) + ");");
        text.line("syncBlock();");
      }
    Reduction reduction{text, kernel.threads, "threadIndex()", "work",
                        [this](int lanes, llvm::function_ref<void(ElementEmitter &)> body) { scope(lanes, body); },
                        storeAll, [this](Value v) { return isLeaf(v); }};
    if (auto variable = reduction.emit(root))
      text.block("if (threadIndex() == 0)", [&] { storeAll(Index::of(0), *variable); });
  }

  void emitCumsum(tile::ComputeOp op) {
    auto cumsum = cast<rec::CumsumOp>(op.getYielded().front().getDefiningOp());
    std::string running = std::string("Running{") + (cumsum.getReverse() ? "true" : "false") + ", " +
                          (cumsum.getExclusive() ? "true" : "false") + "}";
    auto type = tensorOf(cumsum);
    int64_t rows = type.getDimSize(0), cols = type.getNumElements() / rows;
    emitInPlace(op, cumsum.getInput(), [&](Value in) {
      if (places.lookup(in).getSwizzled())
        text.line("cumsum(" + names.lookup(in) + ", " + running + ", work);");
      else if (cols == 1)
        text.line("cumsum<" + str(rows) + ">(" + names.lookup(in) + ", " + running + ");");
      else
        text.line("cumsumRows(" + names.lookup(in) + ", " + str(rows) + ", " + str(cols) + ", " + running + ");");
    });
  }

  void emitSolve(tile::ComputeOp op) {
    auto solve = cast<rec::DecaySolveOp>(op.getYielded().front().getDefiningOp());
    auto name = [&](Value v) { return names.lookup(v); };
    const std::string factor = solve.getFactor() ? name(solve.getFactor()) : "NoFactor()";
    Matrix m(tensorOf(solve));
    std::string gates = "NoGates()";
    if (solve.getRowGate())
      gates = "Gates<" + str(m.paddedRows()) + ", " + str(m.paddedCols()) + ">{" + name(solve.getRowGate()) + ", " +
              name(solve.getColGate()) + "}";
    emitInPlace(op, solve.getRhs(), [&](Value in) {
      text.line(std::string("decaySolve<") + (solve.getTransposed() ? "true" : "false") + ", " +
                placesType(solve.getRowPositions()) + ", " + placesType(solve.getColPositions()) + ", " +
                str(m.rows) + ">(" + name(in) + ", " + name(solve.getMatrix()) + ", " + factor + ", " +
                gates + ", work);");
    });
  }

  /// `operand` in the first result in float, where `compute` turns it into the root, ending with a barrier; the others
  /// are copies.
  void emitInPlace(tile::ComputeOp op, Value operand, llvm::function_ref<void(Value)> compute) {
    SmallVector<Value> rest(op.getResults());
    auto *exact = llvm::find_if(rest, [&](Value v) {
      return places.lookup(v).getSpace() == Space::Shared && places.lookup(v).getElement().isF32();
    });
    if (exact == rest.end()) {
      status = op.emitOpError("of form ") << stringifyForm(op.getForm()) << " expects a result in shared memory in f32";
      return;
    }
    Value in = *exact;
    rest.erase(exact);
    emitElements(op, operand, {in});
    text.line("syncBlock();");
    compute(in);
    if (!rest.empty())
      emitElements(op, in, rest);
  }

  void emitInvert(tile::ComputeOp op) {
    auto solve = cast<rec::SolveUnitLowerOp>(op.getYielded().front().getDefiningOp());
    auto type = tensorOf(solve);
    Matrix m(type);
    std::string n = str(m.paddedRows()), inverse = text.name("s");
    text.line("const SharedTile<float, " + n + ", " + n + "> " + inverse + "{grid.shared};");
    text.line("syncBlock();");
    text.line("invertUnitLower(" + inverse + ", " + names.lookup(solve.getMatrix()) + ");");
    text.line("#pragma unroll 2");
    text.block("for (int u = threadIndex(); u < " + n + " * " + n + " / 4; u += kThreads)", [&] {
      text.line("const int row = u / (" + n + " / 4), col = u % (" + n + " / 4) * 4;");
      text.line("float y[4];");
      text.line("loadLanes(y, " + inverse + ", row, col);");
      for (Value to : op.getResults())
        store(to, "row", "col", "y", 4);
    });
    text.line("syncBlock();");
  }

  rec::ScanOp scan;
  Block &body;
  bool isFast;
  KernelSource kernel;
  ArrayRef<int64_t> stateOffsets;
  Text text;
  ElementEmitter *current = nullptr;
  int fragmentLanes = 2;
  LogicalResult status = success();
  DenseMap<Value, std::string> names;
  DenseMap<Value, PlaceAttr> places;
  DenseMap<Value, std::string> accumulators; ///< Of the present statement.
};
} // namespace

FailureOr<KernelSource> cuda::tileKernel(rec::ScanOp scan, std::string name, bool isFast) {
  return TileEmitter(scan, std::move(name), isFast).run();
}
