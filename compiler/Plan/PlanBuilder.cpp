//===- PlanBuilder.cpp - From a fused function to a plan --------*- C++ -*-===//
#include "compiler/Plan/PlanBuilder.h"

#include "ir/Nn/NnOps.h"
#include "ir/Nn/Storage.h"
#include "ir/Rec/RecOps.h"
#include "ir/SourcePlace.h"
#include "llvm/ADT/SmallSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tidegate;
using runtime::Extent;

namespace {
RankedTensorType tensorOf(Value v) { return cast<RankedTensorType>(v.getType()); }

int64_t bytesOf(Type element) { return element.getIntOrFloatBitWidth() / 8; }

/// A value of the program: its buffer and the sizes of its dimensions.
struct Place {
  int buffer = -1;
  SmallVector<Extent> dims;

  Extent elements() const { return product(0, dims.size()); }
  Extent product(size_t first, size_t last) const {
    Extent n;
    for (size_t d = first; d < last; ++d)
      n = n * dims[d];
    return n;
  }
};

Extent fixed(int64_t n) { return Extent{n, 0, 0, {}}; }

/// Multiply-adds times two of the products in a block that runs once.
double flopsOf(Block &block) {
  double flops = 0;
  auto count = [](Value v) { return double(tensorOf(v).getNumElements()); };
  for (Operation &op : block) {
    if (auto dot = dyn_cast<nn::DotOp>(op)) {
      double k = 1;
      for (int64_t d : dot.getLhsContract())
        k *= dot.getLhs().getType().getDimSize(d);
      flops += 2 * k * count(dot);
    } else if (auto scores = dyn_cast<rec::DecayScoresOp>(op)) {
      flops += 2 * count(scores) * scores.getRows().getType().getDimSize(1);
    } else if (auto mix = dyn_cast<rec::DecayMixOp>(op)) {
      flops += 2 * count(mix.getScores()) * mix.getInput().getType().getDimSize(1);
    } else if (isa<rec::SolveUnitLowerOp, rec::DecaySolveOp>(op)) {
      flops += count(op.getOperand(0)) * tensorOf(op.getResult(0)).getDimSize(1);
    }
  }
  return flops;
}

class PlanBuilder {
public:
  explicit PlanBuilder(KernelSink &kernels) : kernels(kernels) {}

  FailureOr<runtime::Plan> build(func::FuncOp entry) {
    DenseMap<Value, Place> places;
    for (BlockArgument arg : entry.getArguments()) {
      Type stored = nn::elementTypeOf(arg);
      if (auto type = entry.getArgAttrOfType<TypeAttr>(arg.getArgNumber(), nn::kStored))
        stored = type.getValue();
      if (auto element = dyn_cast<FloatType>(tensorOf(arg).getElementType()))
        plan.elementBytes = bytesOf(element);
      Place place;
      int dynamic = 0;
      for (int64_t size : tensorOf(arg).getShape()) {
        if (!ShapedType::isDynamic(size)) {
          place.dims.push_back(fixed(size));
          continue;
        }
        Extent symbol;
        (dynamic++ == 0 ? symbol.batch : symbol.tokens) = 1;
        place.dims.push_back(symbol);
      }
      place.buffer = addBuffer(place.elements(), tensorOf(arg), plan.bindings++);
      plan.buffers[place.buffer].elementBytes = bytesOf(stored);
      places[arg] = place;
    }
    for (Type type : entry.getResultTypes())
      if (auto element = dyn_cast<FloatType>(cast<RankedTensorType>(type).getElementType()))
        plan.elementBytes = bytesOf(element);
    SmallVector<Place> results;
    if (failed(follow(entry, places, results)))
      return failure();
    for (auto [i, place] : llvm::enumerate(results))
      bindResult(place, cast<RankedTensorType>(entry.getResultTypes()[i]));
    setLifetimes();
    return std::move(plan);
  }

private:
  int addBuffer(Extent elements, RankedTensorType type, int binding = -1) {
    plan.buffers.push_back({elements, bytesOf(type.getElementType()), binding, -1, -1});
    return plan.buffers.size() - 1;
  }

  /// A new arena value whose `?` dimensions have the sizes in `dynamic`, in order.
  Place newPlace(Value value, ArrayRef<Extent> dynamic) {
    Place place;
    for (int64_t size : tensorOf(value).getShape()) {
      if (ShapedType::isDynamic(size)) {
        place.dims.push_back(dynamic.front());
        dynamic = dynamic.drop_front();
      } else {
        place.dims.push_back(fixed(size));
      }
    }
    place.buffer = addBuffer(place.elements(), tensorOf(value));
    if (auto result = dyn_cast<OpResult>(value))
      plan.buffers[place.buffer].elementBytes = bytesOf(nn::resultStorage(result));
    return place;
  }

  static SmallVector<Extent> dynamicDims(const Place &place, RankedTensorType type) {
    SmallVector<Extent> dims;
    for (auto [d, size] : llvm::enumerate(type.getShape()))
      if (ShapedType::isDynamic(size))
        dims.push_back(place.dims[d]);
    return dims;
  }

  void addStep(Location loc, decltype(runtime::Step::what) what) {
    plan.steps.push_back({std::move(what), sourceLine(loc), loop});
  }

  LogicalResult follow(func::FuncOp function, DenseMap<Value, Place> &places, SmallVectorImpl<Place> &results) {
    Block &body = function.getBody().front();
    for (auto next = body.begin(); &*next != body.getTerminator();) {
      Operation &op = *next;
      auto equal = equalNeighbours(op);
      std::advance(next, equal.size());
      if (equal.size() > 1) {
        sortByPieces(equal, places);
        if (failed(addTogether(equal, places)))
          return failure();
        continue;
      }
      LogicalResult status =
          llvm::TypeSwitch<Operation *, LogicalResult>(&op)
              .Case<func::CallOp, nn::MapOp, rec::ScanOp, rec::LoopOp, nn::BlocksOp, nn::CastRowsOp, nn::DotOp,
                    nn::LookupOp, nn::LookupGradOp, nn::ReshapeOp, nn::ShortConvOp, nn::ShortConvInputGradOp,
                    nn::ShortConvWeightGradOp, nn::PositionsOp, nn::LastRowsOp, nn::AttentionOp, nn::AttentionGradOp>(
                  [&](auto typed) { return add(typed, places); })
              .Default(
                  [](Operation *op) { return op->emitOpError("is not in a map: nn-fuse has to run before planning"); });
      if (failed(status))
        return failure();
    }
    for (Value v : body.getTerminator()->getOperands())
      results.push_back(places.lookup(v));
    return success();
  }

  //===--------------------------------------------------------------------===//
  // Equal steps of a loop side by side: one step over several pieces
  //===--------------------------------------------------------------------===//

  /// `first` and the products (maps) behind it that do the same to other values; alone outside of loops, and in blocks
  /// of rows, whose sizes differ. What the function returns stays alone: it lies elsewhere.
  SmallVector<Operation *> equalNeighbours(Operation &first) {
    SmallVector<Operation *> equal{&first};
    auto mayJoin = [&](Operation &op) {
      auto map = dyn_cast<nn::MapOp>(op);
      if (!isa<nn::DotOp>(op) && !(map && !llvm::is_contained(map.getResultRows(), false)))
        return false;
      return llvm::none_of(op.getUsers(), [](Operation *user) { return user->hasTrait<OpTrait::IsTerminator>(); });
    };
    if (loop < 0 || plan.loops[loop].blocks || !mayJoin(first))
      return equal;
    const std::string key = cpu::kernelKey(&first);
    for (Operation *op = first.getNextNode(); mayJoin(*op) && op->getName() == first.getName(); op = op->getNextNode()) {
      auto dependsOn = [&](Operation *other) { return llvm::is_contained(other->getUsers(), op); };
      if (cpu::kernelKey(op) != key || llvm::any_of(equal, dependsOn))
        break;
      equal.push_back(op);
    }
    return equal;
  }

  /// The buffer of which these are the pieces, in order; values of the loop's body become that. None if they lie apart.
  std::optional<int> together(ArrayRef<int> buffers) {
    const runtime::Buffer first = plan.buffers[buffers.front()];
    auto isPiece = [&](auto indexed) {
      const runtime::View &view = plan.buffers[indexed.value()].view;
      return view.of == first.view.of && view.isFixed() && view.shift == int64_t(indexed.index()) &&
             view.stride.text() == first.elements.text();
    };
    if (first.isView()) {
      const Extent all = first.elements * fixed(buffers.size());
      const bool isWhole = plan.buffers[first.view.of].elements.text() == all.text();
      return isWhole && llvm::all_of(llvm::enumerate(buffers), isPiece) ? std::optional(first.view.of) : std::nullopt;
    }
    if (first.elements.constant * first.elementBytes % 16) // pieces begin where vectors may
      return std::nullopt;
    for (auto [i, b] : llvm::enumerate(buffers)) {
      const runtime::Buffer &buffer = plan.buffers[b];
      if (b < firstOwn || buffer.isBound() || buffer.isView() || buffer.elements.text() != first.elements.text() ||
          buffer.elementBytes != first.elementBytes || llvm::is_contained(buffers.take_front(i), b))
        return std::nullopt;
    }
    plan.buffers.push_back({first.elements * fixed(buffers.size()), first.elementBytes});
    const int whole = plan.buffers.size() - 1;
    for (auto [i, b] : llvm::enumerate(buffers))
      plan.buffers[b].view = {.of = whole, .stride = first.elements, .shift = int64_t(i)};
    return whole;
  }

  /// Puts ops into the order in which an operand of theirs lies in one buffer already: the backward comes the other
  /// way.
  void sortByPieces(SmallVectorImpl<Operation *> &ops, const DenseMap<Value, Place> &places) {
    for (unsigned i = 0; i < ops.front()->getNumOperands(); ++i) {
      auto viewOf = [&](Operation *op) -> const runtime::View & {
        return plan.buffers[places.lookup(op->getOperand(i)).buffer].view;
      };
      const int whole = viewOf(ops.front()).of;
      if (whole < 0 || !llvm::all_of(ops, [&](Operation *op) { return viewOf(op).of == whole && viewOf(op).isFixed(); }))
        continue;
      llvm::stable_sort(ops, [&](Operation *a, Operation *b) { return viewOf(a).shift < viewOf(b).shift; });
      return;
    }
  }

  LogicalResult addTogether(ArrayRef<Operation *> ops, DenseMap<Value, Place> &places) {
    if (isa<nn::DotOp>(ops.front())) {
      std::vector<runtime::Product> products;
      for (Operation *op : ops) {
        auto product = productOf(cast<nn::DotOp>(op), places);
        if (failed(product))
          return failure();
        products.push_back(*product);
      }
      auto side = [&](int runtime::Product::*buffer) {
        return together(llvm::map_to_vector(products, [&](const runtime::Product &p) { return p.*buffer; }));
      };
      auto a = side(&runtime::Product::a), b = side(&runtime::Product::b), c = side(&runtime::Product::c);
      if (a && b && c) {
        runtime::Product all = products.front();
        all.count = all.count * fixed(ops.size());
        all.a = *a, all.b = *b, all.c = *c;
        addStep(ops.front()->getLoc(), all);
        return success();
      }
      for (auto [op, product] : llvm::zip(ops, products))
        addStep(op->getLoc(), product);
      return success();
    }
    std::vector<runtime::Launch> launches;
    for (Operation *op : ops) {
      auto launch = launchOf(cast<nn::MapOp>(op), places);
      if (failed(launch))
        return failure();
      launches.push_back(std::move(*launch));
    }
    auto map = cast<nn::MapOp>(ops.front());
    runtime::Launch all = launches.front();
    all.items = all.items * fixed(ops.size());
    bool fits = map.getRowRank() > 0;
    for (unsigned i = 0; fits && i < all.buffers.size(); ++i) {
      auto buffers = llvm::map_to_vector(launches, [&](const runtime::Launch &l) { return l.buffers[i]; });
      const bool isSliced = i >= map.getInputs().size() || map.getOperandRows()[i];
      auto whole = isSliced ? together(buffers) : llvm::all_equal(buffers) ? std::optional(buffers[0]) : std::nullopt;
      fits = whole.has_value();
      all.buffers[i] = whole.value_or(-1);
    }
    if (fits)
      addStep(map.getLoc(), std::move(all));
    else
      for (auto [op, launch] : llvm::zip(ops, launches))
        addStep(op->getLoc(), std::move(launch));
    return success();
  }

  LogicalResult add(func::CallOp call, DenseMap<Value, Place> &places) {
    auto callee = call->getParentOfType<ModuleOp>().lookupSymbol<func::FuncOp>(call.getCallee());
    if (!callee || callee.isExternal())
      return call.emitOpError("calls '") << call.getCallee() << "', which has no body";
    DenseMap<Value, Place> inner;
    for (auto [arg, operand] : llvm::zip(callee.getArguments(), call.getOperands()))
      inner[arg] = places.lookup(operand);
    SmallVector<Place> results;
    if (failed(follow(callee, inner, results)))
      return failure();
    for (auto [result, place] : llvm::zip(call.getResults(), results))
      places[result] = place;
    return success();
  }

  LogicalResult add(nn::ReshapeOp op, DenseMap<Value, Place> &places) {
    const Place from = places.lookup(op.getInput());
    Place place;
    auto dynamic = dynamicDims(from, op.getInput().getType());
    for (int64_t size : op.getType().getShape())
      place.dims.push_back(ShapedType::isDynamic(size) ? dynamic[place.dims.size()] : fixed(size));
    place.buffer = from.buffer;
    places[op] = place;
    return success();
  }

  LogicalResult add(nn::CastRowsOp op, DenseMap<Value, Place> &places) {
    places[op] = places.lookup(op.getInput());
    return success();
  }

  /// The plan's number of the kernel of `op`.
  FailureOr<int> kernelOf(Operation *op) {
    auto kernel = kernels.add(op);
    if (failed(kernel))
      return failure();
    for (auto [i, known] : llvm::enumerate(plan.kernels))
      if (known.name == kernel->name)
        return int(i);
    plan.kernels.push_back(*kernel);
    return int(plan.kernels.size() - 1);
  }

  /// Whether a map only adds large pieces of float, one for each batch row.
  bool isSumOfPieces(nn::MapOp op, const DenseMap<Value, Place> &places) {
    constexpr int64_t kLarge = 4096; // as many sums side by side
    if (op.getNumResults() != 1 || op.getInputs().size() != 1 || op.getResultRows()[0] || !op.getOperandRows()[0] ||
        op.getBody().front().getTerminator()->getOperand(0) != op.getBody().getArgument(0) ||
        tensorOf(op.getResult(0)).getNumElements() < kLarge)
      return false;
    const Place from = places.lookup(op.getInputs()[0]);
    const Extent rows = from.product(0, op.getRowRank());
    return rows.tokens == 0 && rows.chunks.empty() && plan.buffers[from.buffer].elementBytes >= 4 &&
           plan.buffers[from.buffer].elementBytes == bytesOf(nn::resultStorage(op->getResult(0)));
  }

  LogicalResult add(nn::MapOp op, DenseMap<Value, Place> &places) {
    if (isSumOfPieces(op, places)) {
      const Place from = places.lookup(op.getInputs()[0]);
      places[op.getResult(0)] = newPlace(op.getResult(0), {});
      addStep(op.getLoc(),
              runtime::SumPieces{from.buffer, places[op.getResult(0)].buffer, from.product(0, op.getRowRank()),
                                 from.product(op.getRowRank(), from.dims.size())});
      return success();
    }
    auto launch = launchOf(op, places);
    if (failed(launch))
      return failure();
    addStep(op.getLoc(), std::move(*launch));
    return success();
  }

  /// The launch of a map, whose results get places.
  FailureOr<runtime::Launch> launchOf(nn::MapOp op, DenseMap<Value, Place> &places) {
    auto kernel = kernelOf(op);
    if (failed(kernel))
      return failure();
    runtime::Launch launch;
    launch.kernel = *kernel;
    SmallVector<Extent> rows;
    for (auto [i, v] : llvm::enumerate(op.getInputs())) {
      const Place &place = places[v];
      launch.buffers.push_back(place.buffer);
      if (op.getOperandRows()[i] && rows.empty())
        rows.assign(place.dims.begin(), place.dims.begin() + op.getRowRank());
    }
    for (const Extent &size : rows)
      launch.items = launch.items * size;
    launch.flopsPerToken = flopsOf(op.getBody().front());
    for (auto [i, v] : llvm::enumerate(op.getResults())) {
      Place place = newPlace(v, rows);
      places[v] = place;
      if (op.getResultRows()[i]) {
        launch.buffers.push_back(place.buffer);
        continue;
      }
      int64_t elements = tensorOf(v).getNumElements();
      int parts = addBuffer(fixed(elements * kernels.sumParts()), tensorOf(v));
      plan.buffers[parts].elementBytes = std::max<int64_t>(4, plan.buffers[parts].elementBytes);
      launch.sums.push_back({int(launch.buffers.size()), place.buffer, elements});
      launch.buffers.push_back(parts);
    }
    return launch;
  }

  LogicalResult add(rec::ScanOp op, DenseMap<Value, Place> &places) {
    auto kernel = kernelOf(op);
    if (failed(kernel))
      return failure();
    runtime::Launch launch;
    launch.kernel = *kernel;
    launch.isScan = true;
    for (Value v : op.getOperands())
      launch.buffers.push_back(places[v].buffer);
    const Place &first = places[op.getInputs().front()];
    Extent batch = first.dims[0], tokens = first.dims[1];
    Extent steps = tokens;
    if (op.getChunk() > 1) {
      if (tokens.tokens != 1 || tokens.batch || tokens.constant != 1 || !tokens.chunks.empty())
        return op.emitOpError("expects the tokens of the batch as its time axis");
      steps = Extent{1, 0, 0, {int64_t(op.getChunk())}};
    }
    launch.items = batch * fixed(op.getHeads() / op.getHeadsInTurn());
    if (op.getNumStates() == 0 && kernels.splitsSteps())
      launch.items = launch.items * steps;
    launch.flopsPerToken = flopsOf(op.getBody().front()) * double(op.getHeads()) / double(op.getChunk());
    for (auto [i, v] : llvm::enumerate(op.getResults())) {
      bool isOutput = i < op.getNumOutputs(), isFinal = !isOutput && i < op.getNumOutputs() + op.getNumStates();
      SmallVector<Extent> leading;
      if (isFinal)
        leading = {batch};
      else
        leading = {batch, isOutput && op.outKindOf(i) == rec::OperandKind::Token ? tokens : steps};
      // Static sizes of a leading dimension are in the type already.
      SmallVector<Extent> dynamic;
      for (auto [d, size] : llvm::enumerate(leading))
        if (tensorOf(v).isDynamicDim(d))
          dynamic.push_back(size);
      places[v] = newPlace(v, dynamic);
      launch.buffers.push_back(places[v].buffer);
    }
    addStep(op.getLoc(), std::move(launch));
    return success();
  }

  //===--------------------------------------------------------------------===//
  // Loops
  //===--------------------------------------------------------------------===//

  /// What the two loops of a rec.loop share.
  struct LoopPlaces {
    Extent batch, tokens, steps, whole; ///< B, T, N, M = B * H
    SmallVector<Place> arguments;       ///< Of a step's function: operands, then entry states.
    SmallVector<int> results;           ///< Where outputs and new states go: a buffer, -1 if nobody reads it.
  };

  /// A buffer of one piece of `of`, of the size of `like`.
  int addView(const Place &like, int of, runtime::View view) {
    view.of = of;
    view.stride = like.elements();
    plan.buffers.push_back({like.elements(), plan.buffers[of].elementBytes, -1, -1, -1, view});
    return plan.buffers.size() - 1;
  }

  /// `dims`, then the dimensions of `type` behind the first `outer`; no buffer yet.
  static Place sizedPlace(ArrayRef<Extent> dims, RankedTensorType type, size_t outer) {
    Place place;
    place.dims.assign(dims.begin(), dims.end());
    for (int64_t size : type.getShape().drop_front(outer))
      place.dims.push_back(fixed(size));
    return place;
  }

  /// An operand as a step's function sees it; rows of tokens get a buffer that each step fills.
  Place loopArgument(rec::LoopOp op, unsigned i, const LoopPlaces &loop, DenseMap<Value, Place> &places) {
    const Place from = places.lookup(op.getInputs()[i]);
    auto outer = tensorOf(op.getInputs()[i]);
    Place place;
    switch (op.kindOf(i)) {
    case rec::OperandKind::Token:
      place = sizedPlace({loop.whole, fixed(op.getChunk())}, outer, 3);
      place.buffer = addBuffer(place.elements(), outer);
      plan.buffers[place.buffer].elementBytes = plan.buffers[from.buffer].elementBytes;
      return place;
    case rec::OperandKind::Step:
      place = sizedPlace(loop.whole, outer, 3);
      place.buffer = addView(place, from.buffer, {.stride = {}, .perChunk = true});
      return place;
    case rec::OperandKind::Head:
      place = sizedPlace(loop.whole, outer, 1);
      place.buffer = addBuffer(place.elements(), outer);
      plan.buffers[place.buffer].elementBytes = plan.buffers[from.buffer].elementBytes;
      addStep(op.getLoc(), runtime::Repeat{from.buffer, place.buffer, loop.batch, from.elements()});
      return place;
    case rec::OperandKind::Row:
      place = sizedPlace(loop.whole, outer, 2);
      place.buffer = from.buffer;
      return place;
    case rec::OperandKind::Shared:
      return from;
    }
    llvm_unreachable("all kinds are named");
  }

  /// State `s`: one buffer has what it is before, between and after the steps, each step reads a piece and writes the
  /// next.
  void addLoopState(rec::LoopOp op, unsigned s, LoopPlaces &loop, DenseMap<Value, Place> &places) {
    Value final = op.getFinalStates()[s];
    Place piece = sizedPlace(loop.whole, tensorOf(final), 2);
    const bool isReverse = op.getReverse();
    const int64_t chunk = op.getChunk();
    Extent bounds;
    bounds.bounds = {chunk};
    const int all = addBuffer(bounds * piece.elements(), tensorOf(final));
    plan.buffers[all].elementBytes = bytesOf(nn::resultStorage(cast<OpResult>(final)));

    const runtime::View atBegin{}, atEnd{.stride = {}, .chunk = chunk, .fromEnd = true};
    const int first = addView(piece, all, isReverse ? atEnd : atBegin);
    if (s < op.getInits().size()) {
      const Place init = places.lookup(op.getInits()[s]);
      const bool isShared = tensorOf(op.getInits()[s]).getRank() + 1 == tensorOf(final).getRank();
      addStep(op.getLoc(),
              runtime::Repeat{init.buffer, first, isShared ? loop.batch : fixed(1), init.elements()});
    } else {
      addStep(op.getLoc(), runtime::Repeat{-1, first, fixed(1), piece.elements()});
    }
    piece.buffer = addView(piece, all, {.stride = {}, .perChunk = true, .shift = isReverse});
    loop.arguments.push_back(piece);
    loop.results.push_back(addView(piece, all, {.stride = {}, .perChunk = true, .shift = !isReverse}));

    places[final] = sizedPlace({loop.batch, fixed(op.getHeads())}, tensorOf(final), 2);
    places[final].buffer = addView(piece, all, isReverse ? atBegin : atEnd);
    if (!op.getSaveStates())
      return;
    Value entries = op.getEntryStates()[s];
    Place entry = sizedPlace({loop.steps, loop.batch, fixed(op.getHeads())}, tensorOf(entries), 3);
    entry.buffer = addView(entry, all, {});
    plan.buffers[entry.buffer].view.stride = piece.elements();
    plan.buffers[entry.buffer].view.shift = isReverse;
    places[entries] = entry;
  }

  runtime::ChunkRows rowsStep(rec::LoopOp op, const LoopPlaces &loop, Value outside, int rows, int heads, bool isBack) {
    auto shape = tensorOf(outside).getShape();
    int64_t width = 1;
    for (int64_t size : shape.drop_front(3))
      width *= size;
    return {isBack, rows, heads, loop.batch, loop.tokens, op.getHeads(), shape[2], int64_t(op.getChunk()), width};
  }

  LogicalResult add(rec::LoopOp op, DenseMap<Value, Place> &places) {
    const Place first = places.lookup(op.getInputs().front());
    LoopPlaces shared;
    shared.batch = first.dims[0];
    shared.tokens = first.dims[1];
    shared.whole = shared.batch * fixed(op.getHeads());
    if (shared.tokens.text() == fixed(op.getChunk()).text())
      return addOnlyStep(op, shared, places);
    if (loop >= 0 || shared.tokens.text() != "T")
      return op.emitOpError("expects the tokens of the batch as its time axis");
    shared.steps = Extent{1, 0, 0, {int64_t(op.getChunk())}};
    for (unsigned i = 0; i < op.getInputs().size(); ++i)
      shared.arguments.push_back(loopArgument(op, i, shared, places));
    for (auto [i, v] : llvm::enumerate(op.getOutputs())) {
      const bool isToken = op.outKindOf(i) == rec::OperandKind::Token;
      Place place = isToken ? sizedPlace({shared.batch, shared.tokens}, tensorOf(v), 2)
                            : sizedPlace({shared.steps, shared.batch}, tensorOf(v), 2);
      place.buffer = addBuffer(place.elements(), tensorOf(v));
      plan.buffers[place.buffer].elementBytes = bytesOf(nn::resultStorage(v));
      places[v] = place;
      shared.results.push_back(isToken ? place.buffer
                                       : addView(sizedPlace(shared.whole, tensorOf(v), 3), place.buffer, {.stride = {}, .perChunk = true}));
    }
    for (unsigned s = 0; s < op.getNumStates(); ++s)
      addLoopState(op, s, shared, places);

    for (bool isLast : {bool(op.getReverse()), !op.getReverse()})
      if (failed(addLoop(op, isLast, shared, places)))
        return failure();
    return success();
  }

  /// A loop over the rows of one chunk, which only updates states: its step, by itself.
  LogicalResult addOnlyStep(rec::LoopOp op, LoopPlaces &shared, DenseMap<Value, Place> &places) {
    if (op.getNumOutputs() || op.getSaveStates() || op.getInits().size() != op.getNumStates())
      return op.emitOpError("expects states of the caller's, and no outputs, where its tokens are those of one chunk");
    auto function = op->getParentOfType<ModuleOp>().lookupSymbol<func::FuncOp>(op.getLast());
    DenseMap<Value, Place> inner;
    for (auto [i, argument] : llvm::enumerate(function.getArguments().drop_back(op.getNumStates()))) {
      inner[argument] = loopArgument(op, i, shared, places);
      if (op.kindOf(i) == rec::OperandKind::Token && !argument.use_empty())
        addStep(op.getLoc(), rowsStep(op, shared, op.getInputs()[i], places.lookup(op.getInputs()[i]).buffer,
                                      inner[argument].buffer, /*isBack=*/false));
    }
    for (auto [init, final, argument] : llvm::zip(op.getInits(), op.getFinalStates(),
                                                  function.getArguments().take_back(op.getNumStates()))) {
      inner[argument] = sizedPlace(shared.whole, tensorOf(final), 2);
      inner[argument].buffer = places.lookup(init).buffer;
    }
    SmallVector<Place> results;
    if (failed(follow(function, inner, results)))
      return failure();
    for (auto [final, place] : llvm::zip(op.getFinalStates(), results)) {
      places[final] = sizedPlace({shared.batch, fixed(op.getHeads())}, tensorOf(final), 2);
      places[final].buffer = place.buffer;
    }
    return success();
  }

  /// The steps of the last chunk, or of the others.
  LogicalResult addLoop(rec::LoopOp op, bool isLast, const LoopPlaces &shared, DenseMap<Value, Place> &places) {
    auto function = op->getParentOfType<ModuleOp>().lookupSymbol<func::FuncOp>(isLast ? op.getLast() : op.getStep());
    loop = plan.loops.size();
    plan.loops.push_back({int64_t(op.getChunk()), isLast, op.getReverse()});
    DenseMap<Value, Place> inner;
    for (auto [i, arg] : llvm::enumerate(function.getArguments())) {
      inner[arg] = shared.arguments[i];
      if (i < op.getInputs().size() && op.kindOf(i) == rec::OperandKind::Token && !arg.use_empty())
        addStep(op.getLoc(), rowsStep(op, shared, op.getInputs()[i], places.lookup(op.getInputs()[i]).buffer,
                                      shared.arguments[i].buffer, /*isBack=*/false));
    }
    firstOwn = plan.buffers.size();
    SmallVector<Place> results;
    if (failed(follow(function, inner, results)))
      return failure();
    for (auto [i, place] : llvm::enumerate(results)) {
      if (i < op.getNumOutputs() && op.outKindOf(i) == rec::OperandKind::Token)
        addStep(op.getLoc(),
                rowsStep(op, shared, op.getOutputs()[i], shared.results[i], place.buffer, /*isBack=*/true));
      else if (!isLast || op.getReverse() || i < op.getNumOutputs() || !op.getResult(i).use_empty())
        if (failed(bindPiece(op, place, shared.results[i])))
          return failure();
    }
    loop = -1;
    return success();
  }

  /// What a step computed becomes a piece of a buffer outside; what is not its own, or leaves twice, is copied.
  LogicalResult bindPiece(Operation *op, const Place &place, int piece) {
    runtime::Buffer &buffer = plan.buffers[place.buffer];
    const runtime::Buffer &to = plan.buffers[piece];
    if (buffer.elementBytes != to.elementBytes)
      return op->emitOpError("expects what a step computes in the element type in which it is kept");
    if (place.buffer < firstOwn || buffer.isBound() || buffer.isView())
      addStep(op->getLoc(), runtime::Copy{place.buffer, piece});
    else
      buffer.view = to.view;
    return success();
  }

  //===--------------------------------------------------------------------===//
  // Blocks of rows
  //===--------------------------------------------------------------------===//

  static bool hasRows(Value v) { return nn::rowRank(tensorOf(v)) > 0; }

  /// The product that a function returns and uses for nothing else.
  static nn::DotOp returnedProduct(Value v) {
    for (; v.hasOneUse() && v.getDefiningOp<nn::ReshapeOp>(); v = v.getDefiningOp()->getOperand(0)) {
    }
    return v.hasOneUse() ? v.getDefiningOp<nn::DotOp>() : nn::DotOp();
  }

  /// A value as a block has it: one batch row of the rows of `block`.
  Place blockPlace(Value v, Extent block, int of) {
    Place place = sizedPlace({fixed(1), block}, tensorOf(v), 2);
    place.buffer = addView(place, of, {.stride = {}, .perChunk = true});
    return place;
  }

  /// Rows are pieces of buffers. Sums start at zero outside of the loop: a product adds to its sum in each block; of
  /// other sums there is a piece per block, and the pieces are added behind the loop.
  LogicalResult add(nn::BlocksOp op, DenseMap<Value, Place> &places) {
    const Place first = places.lookup(*llvm::find_if(op.getInputs(), hasRows));
    if (loop >= 0 || first.product(0, 2).text() != "B T")
      return op.emitOpError("expects the tokens of the batch as its rows");
    auto function = op->getParentOfType<ModuleOp>().lookupSymbol<func::FuncOp>(op.getCallee());
    Block &body = function.getBody().front();
    Extent block;
    block.blocks = {int64_t(op.getCount())};
    DenseMap<Value, Place> inner;
    for (auto [v, argument] : llvm::zip(op.getInputs(), body.getArguments())) {
      const Place from = places.lookup(v);
      inner[argument] = hasRows(v) ? blockPlace(v, block, from.buffer) : from;
    }
    SmallVector<int> pieces; // per result
    for (auto [v, returned] : llvm::zip(op.getResults(), body.getTerminator()->getOperands())) {
      places[v] = newPlace(v, hasRows(v) ? first.dims : ArrayRef<Extent>());
      const Place place = places[v];
      if (hasRows(v)) {
        pieces.push_back(blockPlace(v, block, place.buffer).buffer);
        continue;
      }
      int zeros = place.buffer;
      if (!returnedProduct(returned)) {
        zeros = addBuffer(fixed(op.getCount()) * place.elements(), tensorOf(v));
        plan.buffers[zeros].elementBytes = plan.buffers[place.buffer].elementBytes;
      }
      addStep(op.getLoc(), runtime::Repeat{-1, zeros, fixed(1), plan.buffers[zeros].elements});
      pieces.push_back(zeros == place.buffer ? zeros : addView(place, zeros, {.stride = {}, .perChunk = true}));
    }

    loop = plan.loops.size();
    plan.loops.push_back({.blocks = int64_t(op.getCount())});
    firstOwn = plan.buffers.size();
    const size_t firstStep = plan.steps.size();
    SmallVector<Place> results;
    if (failed(follow(function, inner, results)))
      return failure();
    for (auto [place, piece] : llvm::zip(results, pieces)) {
      if (plan.buffers[piece].isView()) {
        if (failed(bindPiece(op, place, piece)))
          return failure();
        continue;
      }
      for (runtime::Step &step : llvm::drop_begin(plan.steps, firstStep))
        if (auto *product = std::get_if<runtime::Product>(&step.what); product && product->c == place.buffer) {
          product->c = piece;
          product->adds = true;
        }
    }
    loop = -1;
    for (auto [v, piece] : llvm::zip(op.getResults(), pieces))
      if (!hasRows(v) && plan.buffers[piece].isView())
        addStep(op.getLoc(), runtime::SumPieces{plan.buffers[piece].view.of, places[v].buffer, fixed(op.getCount()),
                                                places[v].elements()});
    return success();
  }

  /// `batch`, `outer`, then `inner` cover 0 .. rank-1 in order.
  static bool isSplit(ArrayRef<int64_t> batch, ArrayRef<int64_t> outer, ArrayRef<int64_t> inner) {
    int64_t next = 0;
    for (ArrayRef<int64_t> dims : {batch, outer, inner})
      for (int64_t d : dims)
        if (d != next++)
          return false;
    return true;
  }

  LogicalResult add(nn::DotOp op, DenseMap<Value, Place> &places) {
    auto product = productOf(op, places);
    if (failed(product))
      return failure();
    addStep(op.getLoc(), *product);
    return success();
  }

  /// A product, whose result gets a place.
  FailureOr<runtime::Product> productOf(nn::DotOp op, DenseMap<Value, Place> &places) {
    const Place a = places.lookup(op.getLhs()), b = places.lookup(op.getRhs());
    auto lhsFree = op.getLhsFree(), rhsFree = op.getRhsFree();
    auto batchA = op.getLhsBatch(), batchB = op.getRhsBatch();
    bool plainA = isSplit(batchA, lhsFree, op.getLhsContract()), turnedA = isSplit(batchA, op.getLhsContract(), lhsFree);
    bool plainB = isSplit(batchB, op.getRhsContract(), rhsFree), turnedB = isSplit(batchB, rhsFree, op.getRhsContract());
    if ((!plainA && !turnedA) || (!plainB && !turnedB))
      return op.emitOpError("is not a matrix product of contiguous operands"), failure();
    runtime::Product product;
    product.transA = !plainA;
    product.transB = !plainB;
    SmallVector<Extent> dynamic;
    auto role = [&](const Place &place, RankedTensorType type, ArrayRef<int64_t> dims, bool isResult) {
      Extent size;
      for (int64_t d : dims) {
        size = size * place.dims[d];
        if (isResult && type.isDynamicDim(d))
          dynamic.push_back(place.dims[d]);
      }
      return size;
    };
    product.count = role(a, op.getLhs().getType(), batchA, true);
    product.m = role(a, op.getLhs().getType(), lhsFree, true);
    product.k = role(a, op.getLhs().getType(), op.getLhsContract(), false);
    product.n = role(b, op.getRhs().getType(), rhsFree, true);
    product.a = a.buffer;
    product.b = b.buffer;
    places[op] = newPlace(op, dynamic);
    product.c = places[op].buffer;
    return product;
  }

  LogicalResult add(nn::LookupOp op, DenseMap<Value, Place> &places) {
    const Place ids = places.lookup(op.getIds());
    auto table = op.getTable().getType();
    places[op] = newPlace(op, dynamicDims(ids, op.getIds().getType()));
    addStep(op.getLoc(), runtime::Lookup{places[op.getTable()].buffer, ids.buffer, places[op].buffer, ids.elements(),
                                         table.getDimSize(0), table.getDimSize(1)});
    return success();
  }

  LogicalResult add(nn::LookupGradOp op, DenseMap<Value, Place> &places) {
    const Place ids = places.lookup(op.getIds());
    places[op] = newPlace(op, {});
    addStep(op.getLoc(), runtime::LookupGrad{places[op.getInput()].buffer, ids.buffer, places[op].buffer,
                                             ids.elements(), op.getType().getDimSize(0), op.getType().getDimSize(1)});
    return success();
  }

  LogicalResult add(nn::ShortConvOp op, DenseMap<Value, Place> &places) {
    auto step = convolution(op, runtime::ShortConv::Kind::Forward, op.getWeight().getType(), places);
    step.outEdge = edgePlace(op.getInput(), op.getNext(), places);
    addStep(op.getLoc(), step);
    return success();
  }

  LogicalResult add(nn::ShortConvInputGradOp op, DenseMap<Value, Place> &places) {
    auto step = convolution(op, runtime::ShortConv::Kind::InputGrad, op.getWeight().getType(), places);
    step.outEdge = edgePlace(op.getInput(), op.getPastGrad(), places);
    addStep(op.getLoc(), step);
    return success();
  }

  LogicalResult add(nn::ShortConvWeightGradOp op, DenseMap<Value, Place> &places) {
    addStep(op.getLoc(), convolution(op, runtime::ShortConv::Kind::WeightGrad, op.getType(), places));
    return success();
  }

  /// What the three convolution ops have in common: two operands, maybe an edge and positions, the first result.
  runtime::ShortConv convolution(Operation *op, runtime::ShortConv::Kind kind, RankedTensorType weight,
                                 DenseMap<Value, Place> &places) {
    const Place rows = places.lookup(op->getOperand(0));
    runtime::ShortConv step;
    step.kind = kind;
    step.rows = rows.buffer;
    step.with = places.lookup(op->getOperand(1)).buffer;
    for (Value optional : op->getOperands().drop_front(2))
      (isa<FloatType>(tensorOf(optional).getElementType()) ? step.edge : step.positions) =
          places.lookup(optional).buffer;
    step.batch = rows.dims[0];
    step.tokens = rows.dims[1];
    step.channels = weight.getDimSize(0);
    step.width = weight.getDimSize(1);
    Place out = newPlace(op->getResult(0), dynamicDims(rows, tensorOf(op->getOperand(0))));
    places[op->getResult(0)] = out;
    step.out = out.buffer;
    return step;
  }

  /// The buffer of a convolution's edge rows, -1 if nobody reads them.
  int edgePlace(Value rows, Value edge, DenseMap<Value, Place> &places) {
    if (edge.use_empty())
      return -1;
    const Extent batch = places.lookup(rows).dims[0];
    Place place = newPlace(edge, batch);
    places[edge] = place;
    return place.buffer;
  }

  LogicalResult add(nn::PositionsOp op, DenseMap<Value, Place> &places) {
    const Place like = places.lookup(op.getLike());
    runtime::Positions step;
    step.batch = like.dims[0];
    step.tokens = like.dims[1];
    step.first = bufferOf(op.getFirst(), places);
    step.out = placeIfUsed(op.getResult(), {step.batch, step.tokens}, places);
    step.next = placeIfUsed(op.getNext(), step.batch, places);
    addStep(op.getLoc(), step);
    return success();
  }

  LogicalResult add(nn::LastRowsOp op, DenseMap<Value, Place> &places) {
    const Place rows = places.lookup(op.getInput());
    runtime::LastRows step;
    step.rows = rows.buffer;
    step.past = bufferOf(op.getPast(), places);
    step.batch = rows.dims[0];
    step.tokens = rows.dims[1];
    step.count = op.getType().getDimSize(1);
    for (int64_t size : op.getType().getShape().drop_front(2))
      step.width *= size;
    step.out = placeOf(op, step.batch, places);
    addStep(op.getLoc(), step);
    return success();
  }

  /// The buffer of a value that may be missing.
  static int bufferOf(Value value, DenseMap<Value, Place> &places) {
    return value ? places.lookup(value).buffer : -1;
  }

  /// A buffer for a value whose leading dimensions have the sizes `leading`; -1 if nobody reads it.
  int placeIfUsed(Value value, ArrayRef<Extent> leading, DenseMap<Value, Place> &places) {
    return value.use_empty() ? -1 : placeOf(value, leading, places);
  }
  int placeOf(Value value, ArrayRef<Extent> leading, DenseMap<Value, Place> &places) {
    SmallVector<Extent> dynamic;
    for (auto [d, size] : llvm::enumerate(leading))
      if (tensorOf(value).isDynamicDim(d))
        dynamic.push_back(size);
    Place place = newPlace(value, dynamic);
    places[value] = place;
    return place.buffer;
  }

  /// What attention and its gradient read, and their sizes.
  template <typename OpT>
  runtime::Attention attentionOf(OpT op, DenseMap<Value, Place> &places) {
    const Place query = places.lookup(op.getQuery());
    runtime::Attention step;
    step.query = query.buffer;
    step.key = bufferOf(op.getKey(), places);
    step.value = bufferOf(op.getValue(), places);
    step.positions = bufferOf(op.getPositions(), places);
    step.pastKey = bufferOf(op.getPastKey(), places);
    step.pastValue = bufferOf(op.getPastValue(), places);
    step.batch = query.dims[0];
    step.tokens = query.dims[1];
    step.heads = op.getQuery().getType().getDimSize(2);
    step.keyHeads = op.getKey().getType().getDimSize(2);
    step.keyWidth = op.getKey().getType().getDimSize(3);
    step.valueWidth = op.getValue().getType().getDimSize(3);
    step.window = op.getWindow();
    return step;
  }

  LogicalResult add(nn::AttentionOp op, DenseMap<Value, Place> &places) {
    runtime::Attention step = attentionOf(op, places);
    const Extent rows[] = {step.batch, step.tokens};
    step.out = placeOf(op.getResult(), rows, places);
    step.lse = placeIfUsed(op.getLse(), rows, places);
    step.nextKey = placeIfUsed(op.getNextKey(), step.batch, places);
    step.nextValue = placeIfUsed(op.getNextValue(), step.batch, places);
    addStep(op.getLoc(), step);
    return success();
  }

  LogicalResult add(nn::AttentionGradOp op, DenseMap<Value, Place> &places) {
    runtime::AttentionGrad step;
    step.of = attentionOf(op, places);
    step.of.out = bufferOf(op.getResult(), places);
    step.of.lse = bufferOf(op.getLse(), places);
    step.outGrad = bufferOf(op.getResultGrad(), places);
    step.lseGrad = bufferOf(op.getLseGrad(), places);
    const Extent rows[] = {step.of.batch, step.of.tokens};
    step.queryGrad = placeOf(op.getQueryGrad(), rows, places);
    step.keyGrad = placeOf(op.getKeyGrad(), rows, places);
    step.valueGrad = placeOf(op.getValueGrad(), rows, places);
    step.pastKeyGrad = placeIfUsed(op.getPastKeyGrad(), step.of.batch, places);
    step.pastValueGrad = placeIfUsed(op.getPastValueGrad(), step.of.batch, places);
    addStep(op.getLoc(), step);
    return success();
  }

  /// The result's buffer becomes the caller's; a value that is an argument, or
  /// leaves twice, is copied.
  void bindResult(const Place &place, RankedTensorType type) {
    runtime::Buffer &buffer = plan.buffers[place.buffer];
    if (!buffer.isBound() && !buffer.isView()) {
      buffer.binding = plan.bindings++;
      return;
    }
    const int64_t elementBytes = buffer.elementBytes;
    int to = addBuffer(place.elements(), type, plan.bindings++);
    plan.buffers[to].elementBytes = elementBytes;
    plan.steps.push_back({runtime::Copy{place.buffer, to}, ""});
  }

  void setLifetimes() {
    auto touch = [&](int buffer, size_t step) {
      for (; plan.buffers[buffer].isView(); buffer = plan.buffers[buffer].view.of)
        if (!plan.buffers[buffer].view.isFixed())
          carried.insert(plan.buffers[buffer].view.of);
      runtime::Buffer &b = plan.buffers[buffer];
      if (b.first < 0)
        b.first = step;
      b.last = step;
    };
    auto touchIfThere = [&](int buffer, size_t step) {
      if (buffer >= 0)
        touch(buffer, step);
    };
    auto touchAttention = [&](const runtime::Attention &a, size_t step) {
      for (int b : {a.query, a.key, a.value, a.positions, a.pastKey, a.pastValue, a.out, a.lse, a.nextKey, a.nextValue})
        touchIfThere(b, step);
    };
    for (auto [i, step] : llvm::enumerate(plan.steps)) {
      if (auto *launch = std::get_if<runtime::Launch>(&step.what)) {
        for (int b : launch->buffers)
          touch(b, i);
        for (const auto &sum : launch->sums)
          touch(sum.total, i);
      } else if (auto *p = std::get_if<runtime::Product>(&step.what)) {
        for (int b : {p->a, p->b, p->c})
          touch(b, i);
      } else if (auto *l = std::get_if<runtime::Lookup>(&step.what)) {
        for (int b : {l->table, l->ids, l->out})
          touch(b, i);
      } else if (auto *g = std::get_if<runtime::LookupGrad>(&step.what)) {
        for (int b : {g->in, g->ids, g->out})
          touch(b, i);
      } else if (auto *s = std::get_if<runtime::ShortConv>(&step.what)) {
        for (int b : {s->rows, s->with, s->edge, s->positions, s->out, s->outEdge})
          if (b >= 0)
            touch(b, i);
      } else if (auto *p = std::get_if<runtime::Positions>(&step.what)) {
        for (int b : {p->first, p->out, p->next})
          touchIfThere(b, i);
      } else if (auto *l = std::get_if<runtime::LastRows>(&step.what)) {
        for (int b : {l->rows, l->past, l->out})
          touchIfThere(b, i);
      } else if (auto *a = std::get_if<runtime::Attention>(&step.what)) {
        touchAttention(*a, i);
      } else if (auto *g = std::get_if<runtime::AttentionGrad>(&step.what)) {
        touchAttention(g->of, i);
        for (int b : {g->outGrad, g->lseGrad, g->queryGrad, g->keyGrad, g->valueGrad, g->pastKeyGrad, g->pastValueGrad})
          touchIfThere(b, i);
      } else if (auto *c = std::get_if<runtime::Copy>(&step.what)) {
        for (int b : {c->from, c->to})
          touch(b, i);
      } else if (auto *r = std::get_if<runtime::Repeat>(&step.what)) {
        touchIfThere(r->from, i);
        touch(r->to, i);
      } else if (auto *s = std::get_if<runtime::SumPieces>(&step.what)) {
        for (int b : {s->from, s->to})
          touch(b, i);
      } else if (auto *c = std::get_if<runtime::ChunkRows>(&step.what)) {
        for (int b : {c->rows, c->heads})
          touch(b, i);
      }
    }
    for (auto [l, ignored] : llvm::enumerate(plan.loops))
      setLifetimesAround(l);
  }

  /// What a loop shares with the steps outside, or one of its rounds with the next, is there for all its rounds.
  void setLifetimesAround(int l) {
    auto isInside = [&](const runtime::Step &step) { return step.loop == l; };
    auto begin = llvm::find_if(plan.steps, isInside);
    if (begin == plan.steps.end())
      return;
    const int first = begin - plan.steps.begin();
    const int last = std::find_if_not(begin, plan.steps.end(), isInside) - plan.steps.begin() - 1;
    for (runtime::Buffer &b : plan.buffers) {
      const bool meets = b.first >= 0 && b.first <= last && b.last >= first;
      if (meets && (b.first < first || b.last > last || carried.contains(&b - plan.buffers.data()))) {
        b.first = std::min(b.first, first);
        b.last = std::max(b.last, last);
      }
    }
  }

  KernelSink &kernels;
  runtime::Plan plan;
  int loop = -1;                   ///< The one that steps are added to.
  int firstOwn = 0;                ///< From here on buffers belong to one round of it.
  llvm::SmallSet<int, 16> carried; ///< Buffers of which each round of a loop has another piece.
};
} // namespace

FailureOr<runtime::Plan> tidegate::buildPlan(func::FuncOp entry, KernelSink &kernels) {
  return PlanBuilder(kernels).build(entry);
}
