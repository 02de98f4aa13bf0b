//===- ChunkForm.cpp - The chunk scan of an event program -------*- C++ -*-===//
// One form for every program. With G_p the log decay from the chunk's start to
// place p, and adds m, n and reads j of the chunk as rows:
//
//   P_jm = sum_d q_jd k_md e^(G_pj - G_pm)    M_nm = sum_d w_nd k_md e^(G_rn - G_pm)
//   N  = (I - M)^-1 (V + (e^G_r w) S)         O = (e^G_p q) S + P N
//   S' = e^G_end S + (e^(G_end - G_p) k)^T N
//
// No exponent is positive if decays are at most 1. Log decays are clamped to a
// number whose exponential is 0, so that a decay of 0 stays finite.
//
// One decay near 0 makes all later G_p large, and differences of them would
// lose the digits of mild decays. So a log decay is split into a multiple of
// 1/256, whose sums G are exact, and a rest, whose sums L are small: e^L goes
// into q and w, e^-L into k. What is left of an add at the chunk's end comes
// from sums that start at the end.
//
// Where the gates' expressions bound every G of a chunk, e^G and e^-G go into
// the rows, and P and M are plain products (DecayScheme.h).
//
// Decays that may be below 0 carry a sign, (-1)^count of the negative ones.
//
// Scales along the values have sums H of their own, split like G. They do not enter
// P and M: an add reaches a read under e^(H_p - H_pm), value by value, so P N becomes
// a mix (rec.decay_mix) and the solve one under decay (rec.decay_solve). N is kept
// without the fine decay and the sign up to an add's place; what uses it puts them in.
//
// Where documents begin, P and M are cut to pairs of one document, S is what rows
// before the first begin see and what remains if none begins, and S' gets the
// adds of the last document. Rows behind a begin see the initial value instead,
// under the decay since then. All sums run on across documents: a difference of
// two places of one document does not notice.
//===----------------------------------------------------------------------===//
#include "passes/Rec/ChunkForm.h"

#include "passes/Rec/Arithmetic.h"
#include "passes/Rec/Decay.h"
#include "passes/Rec/DecayScheme.h"
#include "passes/Rec/DocumentMasks.h"
#include "llvm/ADT/MapVector.h"

#include <numbers>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

namespace {
/// Per-token tiles that take effect at places, summed along the chunk.
class Running {
public:
  void add(Arithmetic &a, int64_t place, Value tile) {
    parts.push_back({place, tile});
    total = a.plus(total, tile);
  }
  bool empty() const { return parts.empty(); }

  /// Sum of what takes effect from the chunk's start to `place` of each token, C x W; null for zero.
  Value before(Arithmetic &a, int64_t place) {
    return sum(a, [&](int64_t at) { return at < place; }, /*reverse=*/false);
  }
  /// From `place` of each token to the chunk's end.
  Value after(Arithmetic &a, int64_t place) {
    return sum(a, [&](int64_t at) { return at >= place; }, /*reverse=*/true);
  }
  /// To `place` of each token, where `ofEarlier(tile)` sums over those earlier tokens that count.
  template <typename F>
  Value before(Arithmetic &a, int64_t place, F ofEarlier) {
    Value result;
    for (auto [at, tile] : parts) {
      result = a.plus(result, ofEarlier(tile));
      if (at < place)
        result = a.plus(result, tile);
    }
    return result;
  }
  /// Over the chunk, 1 x W.
  Value whole(Arithmetic &a) {
    return empty() ? Value() : nn::ReduceSumOp::create(a.builder, a.loc, total, ArrayRef<int64_t>(0)).getResult();
  }

private:
  template <typename Pred>
  Value sum(Arithmetic &a, Pred isIn, bool reverse) {
    if (empty())
      return {};
    size_t count = llvm::count_if(parts, [&](auto &part) { return isIn(part.first); });
    bool inclusive = count == parts.size();
    Value &running = cumulative[reverse][inclusive];
    if (!running)
      running = CumsumOp::create(a.builder, a.loc, total, reverse, !inclusive);
    Value result = running;
    for (auto [at, tile] : parts)
      if (!inclusive && isIn(at))
        result = a.plus(result, tile);
    return result;
  }

  SmallVector<std::pair<int64_t, Value>> parts;
  Value total;
  Value cumulative[2][2];
};

/// The decays of one side of the state, K or V, by place.
struct SideDecays {
  Running gates;          ///< Log decays.
  Running coarse, fine;   ///< Their multiples of 1/256, and the rest; see coarseBefore.
  Running signs;          ///< 1 for each decay below 0.
  SmallVector<int64_t> places;

  bool empty() const { return places.empty(); }
  /// True if nothing decays between two places of a token.
  bool areEqual(int64_t from, int64_t to) const {
    return llvm::none_of(places, [&](int64_t place) { return from <= place && place < to; });
  }
};

class ChunkBuilder {
public:
  ChunkBuilder(OpBuilder &outside, ScanOp token, const EventProgram &program, Lifter &lifter,
               const ChunkOptions &options)
      : outside(outside), token(token), program(program), lifter(lifter), options(options), chunk(options.chunk),
        keyDim(options.valuesFirst ? 1 : 0), inside(outside.getContext()), a(inside, token.getLoc()) {
    element = Arithmetic::elementType(token.getBodyStates().front());
    body = new Block();
    region.push_back(body);
    inside.setInsertionPointToEnd(body);
  }

  ChunkResults run() {
    Location loc = token.getLoc();
    readOperands();
    int64_t sides[] = {program.values, program.values};
    sides[keyDim] = program.keys;
    auto stateType = RankedTensorType::get(sides, element);
    if (program.reset.init)
      first = body->addArgument(stateType, loc);
    Value state = body->addArgument(stateType, loc);
    Value pseudo = pseudoValues(state);
    SmallVector<Value> yields = readRows(state, pseudo);
    yields.push_back(nextState(state, pseudo));
    YieldOp::create(inside, loc, yields);

    SmallVector<Value> inits;
    for (Value init : token.getInits())
      inits.push_back(transposed(init));
    SmallVector<int64_t> kinds(operands.size(), int64_t(OperandKind::Token));
    SmallVector<int64_t> outKinds(program.reads.size(), int64_t(OperandKind::Token));
    SmallVector<Value> inputs;
    for (auto [outer, tile] : operands)
      inputs.push_back(outer);
    if (program.reset.init) {
      inputs.push_back(transposed(token.getInputs()[program.reset.init.getArgNumber()]));
      kinds.push_back(int64_t(token.kindOf(program.reset.init.getArgNumber())));
    }
    auto scan = ScanOp::create(outside, loc, inputs, kinds, inits, chunk, outKinds, /*numStates=*/1,
                               /*reverse=*/false, /*saveStates=*/false, &region);
    return {llvm::to_vector_of<Value>(scan.getOutputs()), transposed(scan.getFinalStates().front())};
  }

private:
  struct Tiles {
    Value key, value, reader, factor;
  };

  /// A state from outside brought to the sides inside, B x H x K x V (H x K x V) or V x K, or back.
  Value transposed(Value state) {
    if (program.keyDim == keyDim)
      return state;
    auto permutation = llvm::to_vector(llvm::seq<int64_t>(0, cast<RankedTensorType>(state.getType()).getRank()));
    std::swap(permutation.back(), permutation[permutation.size() - 2]);
    return nn::TransposeOp::create(outside, token.getLoc(), state, permutation);
  }

  /// The tile `C x width` of a value B x T x H x width.
  Value tileOf(Value outer) {
    if (auto neg = outer.getDefiningOp<nn::NegOp>()) // cheaper here than as another tensor
      return a.negated(tileOf(neg.getInput()));
    if (auto mul = outer.getDefiningOp<nn::MulOp>(); mul && options.innerScales)
      for (auto [whole, scale] : {std::pair(mul.getLhs(), mul.getRhs()), std::pair(mul.getRhs(), mul.getLhs())})
        if (whole.getType() == outer.getType() && isPerToken(scale)) {
          Value tile = tileOf(whole);
          return a.times(tileOf(scale), tile);
        }
    Value &tile = operands[outer];
    if (!tile)
      tile = body->addArgument(ScanOp::innerType(cast<RankedTensorType>(outer.getType()), OperandKind::Token, chunk),
                               outer.getLoc());
    return tile;
  }
  /// One number per token and head, B x T x H x 1.
  static bool isPerToken(Value outer) {
    auto type = cast<RankedTensorType>(outer.getType());
    return type.getRank() == 4 && type.getDimSize(3) == 1;
  }
  Value tileOfInner(Value inner) { return inner ? tileOf(lifter.toTokens(inner)) : Value(); }

  void readOperands() {
    for (const auto &read : program.reads) {
      Value query = tileOfInner(read.query);
      queries.push_back(read.scale == 1 ? query : a.times(query, a.number(read.scale, element)));
    }
    for (const auto &add : program.adds) {
      Tiles tiles;
      tiles.key = tileOfInner(add.key);
      tiles.value = tileOfInner(add.value);
      tiles.reader = tileOfInner(add.reader);
      tiles.factor = tileOfInner(add.factor);
      adds.push_back(tiles);
    }
    SmallVector<ScaleGate> ofKeys, ofValues;
    for (const auto &scale : program.scales) {
      Value decay = lifter.lift(scale.decay);
      LogDecay log = logOfDecay(outside, decay);
      bool isPerChannel = cast<RankedTensorType>(scale.decay.getType()).getNumElements() > 1;
      (scale.onValues ? ofValues : ofKeys).push_back({decay, log.log, isPerChannel});
      readScale(scale, log, scale.onValues ? values : keys);
    }
    DecayScheme scheme = chooseDecayScheme(ofKeys, chunk, element.isF64());
    isFactored = scheme.kind == DecayScheme::Factored;
    if (options.remarks) {
      remarkDecayScheme(ofKeys, scheme, chunk, element.isF64());
      remarkValueDecays(ofValues);
    }
    if (program.reset.flag)
      documents.emplace(a, tileOfInner(program.reset.flag));
  }

  void readScale(const EventProgram::Scale &scale, const LogDecay &log, SideDecays &side) {
    Value tile = tileOf(lifter.toTokens(scale.decay, log.log));
    tile = nn::MaximumOp::create(inside, tile.getLoc(), tile, leastLog());
    Value coarse = rounded(tile, 256), fine = nn::SubOp::create(inside, tile.getLoc(), tile, coarse);
    if (scale.onValues && options.halfProducts) {
      // The gradient reaches a gate through one of the two. Through the fine one it sums N dN - Z Y, where N solves for
      // Y and Z for dN: behind a token that cancels only if both do so exactly. Through the coarse one both sides of a
      // difference are the same products of N and Z, rounded alike, for two mixes more.
      fine = nn::StopGradientOp::create(inside, tile.getLoc(), fine);
      coarse = nn::SubOp::create(inside, tile.getLoc(), tile, fine);
    }
    side.places.push_back(scale.place);
    side.gates.add(a, scale.place, tile);
    side.coarse.add(a, scale.place, coarse);
    side.fine.add(a, scale.place, fine);
    if (log.negative)
      side.signs.add(a, scale.place, tileOf(lifter.toTokens(scale.decay, log.negative)));
  }

  /// A logarithm whose exponential is 0 in this type.
  Value leastLog() { return a.number(element.isF64() ? -746 : -104, element); }

  /// The nearest multiple of 1/parts, a power of two; for gradients a constant. The
  /// last place of a sum with 1.5 * 2^digits / parts is worth that much.
  Value rounded(Value x, double parts) {
    Value large = a.number((element.isF64() ? 0x1.8p52 : 0x1.8p23) / parts, element);
    Value multiple = nn::SubOp::create(inside, a.loc, a.plus(x, large), large);
    return nn::StopGradientOp::create(inside, a.loc, multiple);
  }

  /// (-1)^count
  Value signOf(Value count) {
    return count ? Value(nn::CosOp::create(inside, a.loc, a.times(a.number(std::numbers::pi, element), count)))
                 : Value();
  }
  Value expOf(Value log) { return log ? a.exp(log) : Value(); }

  /// Tiles C x W of the events of a token as rows, token-major; null is zero.
  Value rows(ArrayRef<Value> tiles) {
    if (tiles.size() == 1)
      return tiles.front();
    int64_t count = tiles.size(), width = 0;
    Value result;
    for (auto [i, tile] : llvm::enumerate(tiles)) {
      if (!tile)
        continue;
      width = cast<RankedTensorType>(tile.getType()).getDimSize(1);
      auto type = RankedTensorType::get({chunk, count, width}, element);
      Value row = a.reshaped(tile, {chunk, 1, width});
      result = a.plus(result, nn::PadOp::create(inside, a.loc, type, row, /*dim=*/1, /*begin=*/i, /*stride=*/1));
    }
    return result ? a.reshaped(result, {chunk * count, width}) : Value();
  }

  /// One tile per event, made by `make`, as rows.
  template <typename Events, typename Make>
  Value rowsOf(const Events &events, Make make) {
    SmallVector<Value> tiles;
    for (size_t i = 0; i < events.size(); ++i)
      tiles.push_back(make(i));
    return rows(tiles);
  }

  SmallVector<int64_t> addPlaces() {
    return llvm::map_to_vector(program.adds, [](const auto &add) { return add.place; });
  }

  /// Sums of coarse and of fine log decays from the chunk's start to a place; null for zero. Where products round, fine
  /// sums are below 1/4096: rows under them round to what they were, the same for all channels, so that q . k is as
  /// exact where it cancels. The rest of the fine sums is coarse, and exact too: of less than 2^24 parts.
  Value coarseBefore(SideDecays &side, int64_t place) {
    Value coarse = side.coarse.before(a, place);
    return coarse && options.halfProducts ? a.plus(coarse, roundedFine(side, place)) : coarse;
  }
  Value fineBefore(SideDecays &side, int64_t place) {
    Value fine = side.fine.before(a, place);
    return fine && options.halfProducts
               ? Value(nn::SubOp::create(inside, a.loc, fine, roundedFine(side, place)))
               : fine;
  }
  Value roundedFine(SideDecays &side, int64_t place) { return rounded(side.fine.before(a, place), 2048); }

  /// The sign and the fine decay of a side at a place; null for one.
  Value fineDecay(SideDecays &side, int64_t place) {
    return a.times(signOf(side.signs.before(a, place)), expOf(fineBefore(side, place)));
  }
  Value inverseFineDecay(SideDecays &side, int64_t place) {
    return a.times(signOf(side.signs.before(a, place)), expOf(a.negated(fineBefore(side, place))));
  }
  /// Sign and decay from the chunk's start to a place; null for one.
  Value decayBefore(SideDecays &side, int64_t place) {
    return a.times(fineDecay(side, place), expOf(coarseBefore(side, place)));
  }
  /// From a place to the chunk's end.
  Value decayAfter(SideDecays &side, int64_t place) {
    return a.times(expOf(side.gates.after(a, place)), signOf(side.signs.after(a, place)));
  }
  /// Over the chunk, 1 x W.
  Value wholeDecay(SideDecays &side) {
    return a.times(expOf(side.gates.whole(a)), signOf(side.signs.whole(a)));
  }

  /// The signs and the fine log decays of the keys up to places, as rows; null for zero.
  Value keySignRows(ArrayRef<int64_t> places) {
    return rowsOf(places, [&](size_t i) { return keys.signs.before(a, places[i]); });
  }
  Value keyFineRows(ArrayRef<int64_t> places) {
    return rowsOf(places, [&](size_t i) { return fineBefore(keys, places[i]); });
  }
  /// Tiles of queries or readers at places as rows, with their sign and fine decay. The rows are multiplied, not the
  /// tiles: the gradient of the decay needs the very numbers that products with these rows took.
  Value decayedRows(ArrayRef<Value> tiles, ArrayRef<int64_t> places) {
    Value all = rows(tiles);
    if (!all)
      return {};
    Value sign = signOf(keySignRows(places)), fine = expOf(keyFineRows(places));
    return a.times(all, a.times(sign, fine));
  }

  /// Keys, as the columns of M and P.
  Value cols() {
    if (!colKeys) {
      const SmallVector<int64_t> places = addPlaces();
      Value all = rowsOf(adds, [&](size_t i) { return adds[i].key; });
      Value sign = signOf(keySignRows(places)), fine = expOf(a.negated(keyFineRows(places)));
      colKeys = a.times(all, a.times(sign, fine));
    }
    return colKeys;
  }
  /// Coarse sums at the adds' places.
  Value colGate(SideDecays &side) {
    return rowsOf(adds, [&](size_t i) { return coarseBefore(side, program.adds[i].place); });
  }
  Value keyColGate() {
    if (!colGates)
      colGates = colGate(keys);
    return colGates;
  }

  Value scores(Value rows, Value rowGate, ArrayRef<int64_t> rowPlaces) {
    auto sizeOf = [](Value v) { return cast<RankedTensorType>(v.getType()).getDimSize(0); };
    auto type = RankedTensorType::get({sizeOf(rows), sizeOf(this->cols())}, element);
    Value cols = this->cols(), columnGate = rowGate ? keyColGate() : Value();
    if (rowGate && isFactored) {
      rows = a.times(expOf(rowGate), rows);
      cols = a.times(expOf(a.negated(columnGate)), cols);
      rowGate = columnGate = Value();
    }
    Value scores = DecayScoresOp::create(inside, a.loc, type, rows, cols, rowGate, columnGate,
                                         inside.getDenseI64ArrayAttr(rowPlaces),
                                         inside.getDenseI64ArrayAttr(addPlaces()));
    return documents ? documents->kept(documents->same(rowPlaces.size(), adds.size()), scores) : scores;
  }

  /// Sign and decay since the token's document began, at a place of each token.
  Value decaySinceBegin(SideDecays &side, int64_t place) {
    auto sum = [&](Value tile) { return a.dot(documents->earlier(), tile, 1, 0); };
    if (!options.halfProducts)
      return a.times(expOf(side.gates.before(a, place, sum)), signOf(side.signs.before(a, place, sum)));
    // bf16 has 8 digits. Multiples of 1/256 of at most 104 have 15, so they enter as a whole number and a rest, each of
    // which bf16 holds.
    auto exactSum = [&](Value tile) {
      Value wholes = rounded(tile, 1);
      return a.plus(sum(wholes), sum(nn::SubOp::create(inside, a.loc, tile, wholes)));
    };
    Value fine = a.times(expOf(side.fine.before(a, place, sum)), signOf(side.signs.before(a, place, sum)));
    return a.times(fine, expOf(side.coarse.before(a, place, exactSum)));
  }

  /// What rows at places see of the state that their document had before the
  /// chunk, or of its initial value if it began in it. `rows` are `tiles` with
  /// their sign and fine decay, `gate` is their coarse one.
  template <typename Places>
  Value ofEntry(Value rows, Value gate, ArrayRef<Value> tiles, Places placeOf, Value state) {
    Value decayed = a.times(expOf(gate), rows);
    auto onValues = [&](auto decayAt) {
      return values.empty() ? Value() : rowsOf(tiles, [&](size_t i) { return decayAt(placeOf(i)); });
    };
    Value decayOfValues = onValues([&](int64_t place) { return orOne(decayBefore(values, place)); });
    if (!documents)
      return a.times(decayOfValues, a.dot(decayed, state, 1, keyDim));
    Value before = documents->beforeFirst(tiles.size());
    Value result = a.times(decayOfValues, a.dot(documents->kept(before, decayed), state, 1, keyDim));
    if (!first)
      return result;
    Value sinceBegins = rowsOf(tiles, [&](size_t i) -> Value {
      return tiles[i] ? a.times(tiles[i], decaySinceBegin(keys, placeOf(i))) : Value();
    });
    decayOfValues = onValues([&](int64_t place) { return orOne(decaySinceBegin(values, place)); });
    return a.plus(result, a.times(decayOfValues, a.dot(documents->dropped(before, sinceBegins), first, 1, keyDim)));
  }

  /// A tile C x V, ones for null: what rows without decay are among others.
  Value orOne(Value tile) { return tile ? tile : a.number(1, element, {chunk, program.values}); }

  /// What each add adds, given the state at the chunk's entry: N. Null without adds.
  /// Under decays of the values, without sign and fine decay at the adds' places.
  Value pseudoValues(Value state) {
    if (adds.empty())
      return {};
    Value given = rowsOf(adds, [&](size_t i) { return adds[i].value; });
    auto tiles = llvm::map_to_vector(adds, [](const Tiles &add) { return add.reader; });
    auto places = llvm::map_to_vector(program.adds, [](const auto &add) { return add.readPlace; });
    Value readers = decayedRows(tiles, places);
    auto normalised = [&](Value rows) {
      return values.empty() ? rows : a.times(rowsOf(adds, [&](size_t i) {
        return orOne(inverseFineDecay(values, program.adds[i].place));
      }), rows);
    };
    if (!readers)
      return normalised(given);
    auto readPlaceOf = [&](size_t i) { return program.adds[i].readPlace; };
    Value gate = rowsOf(adds, [&](size_t i) { return coarseBefore(keys, readPlaceOf(i)); });
    Value matrix = scores(readers, gate, places);
    Value ofState = ofEntry(readers, gate, tiles, readPlaceOf, state);
    bool hasFactors = llvm::any_of(adds, [](const Tiles &add) { return bool(add.factor); });
    if (hasFactors)
      ofState = a.times(rowsOf(adds, [&](size_t i) { return orOne(adds[i].factor); }), ofState);
    Value rhs = normalised(a.plus(given, ofState));
    if (values.empty() && !hasFactors)
      return SolveUnitLowerOp::create(inside, a.loc, rhs.getType(), matrix, rhs, /*transposed=*/false);
    Value readGate =
        values.empty() ? Value() : rowsOf(adds, [&](size_t i) { return coarseBefore(values, readPlaceOf(i)); });
    return DecaySolveOp::create(inside, a.loc, rhs.getType(), matrix, rhs, readFactor(), readGate,
                                values.empty() ? Value() : colGate(values), places, addPlaces(), /*transposed=*/false);
  }

  /// What multiplies the reads of adds beside coarse decays: factors, and sign and fine
  /// decay of the values from the place of a read to that of its add. Null for one.
  Value readFactor() {
    auto isInPlace = [&](const EventProgram::Add &add) { return values.areEqual(add.readPlace, add.place); };
    if (llvm::all_of(program.adds, [&](const auto &add) { return !add.factor && isInPlace(add); }))
      return {};
    return rowsOf(adds, [&](size_t i) {
      const auto &add = program.adds[i];
      Value moved;
      if (!isInPlace(add))
        moved = a.times(fineDecay(values, add.readPlace), inverseFineDecay(values, add.place));
      return orOne(a.times(adds[i].factor, moved));
    });
  }

  /// One C x V tile per read.
  SmallVector<Value> readRows(Value state, Value pseudo) {
    if (queries.empty())
      return {};
    auto placeOf = [&](size_t i) { return program.reads[i].place; };
    auto places = llvm::map_to_vector(program.reads, [](const auto &read) { return read.place; });
    Value rowQueries = decayedRows(queries, places);
    Value gate = rowsOf(queries, [&](size_t i) { return coarseBefore(keys, placeOf(i)); });
    Value result = ofEntry(rowQueries, gate, queries, placeOf, state);
    if (pseudo)
      result = a.plus(result, ofAdds(scores(rowQueries, gate, places), pseudo, places));
    int64_t count = queries.size();
    if (count == 1)
      return {result};
    SmallVector<Value> tiles;
    Value all = a.reshaped(result, {chunk, count, program.values});
    auto type = RankedTensorType::get({chunk, 1, program.values}, element);
    for (int64_t i = 0; i < count; ++i)
      tiles.push_back(a.reshaped(nn::SliceOp::create(inside, a.loc, type, all, /*dim=*/1, i, /*stride=*/1),
                                 {chunk, program.values}));
    return tiles;
  }

  /// P N for reads at places.
  Value ofAdds(Value scores, Value pseudo, ArrayRef<int64_t> places) {
    if (values.empty())
      return a.dot(scores, pseudo, 1, 0);
    auto rowsAt = [&](auto tileAt) { return rowsOf(places, [&](size_t i) { return tileAt(places[i]); }); };
    Value gate = rowsAt([&](int64_t place) { return coarseBefore(values, place); });
    Value fine = rowsAt([&](int64_t place) { return orOne(fineDecay(values, place)); });
    Value columnGate = colGate(values);
    auto type = RankedTensorType::get({chunk * int64_t(places.size()), program.values}, element);
    return a.times(fine, DecayMixOp::create(inside, a.loc, type, scores, pseudo, gate, columnGate, places, addPlaces(),
                                            /*transposed=*/false));
  }

  Value nextState(Value state, Value pseudo) {
    Value next = scaled(state, wholeDecay(keys), wholeDecay(values));
    if (documents) {
      Value anew = a.number(0, element);
      if (first) {
        auto sinceLast = [&](SideDecays &side) {
          Value factor = decayAfter(side, 0);
          return factor ? a.dot(documents->lastBegin(), factor, 0, 0) : factor;
        };
        anew = scaled(first, sinceLast(keys), sinceLast(values));
      }
      next = nn::SelectOp::create(inside, a.loc, documents->noneBegins(), next, anew);
    }
    if (!pseudo)
      return next;
    auto after = [&](Running &sums) {
      return rowsOf(adds, [&](size_t i) { return sums.after(a, program.adds[i].place); });
    };
    Value left = a.times(a.times(expOf(after(keys.gates)), signOf(after(keys.signs))),
                         rowsOf(adds, [&](size_t i) { return adds[i].key; }));
    if (documents)
      left = documents->kept(documents->afterLast(adds.size()), left);
    if (!values.empty())
      pseudo = a.times(rowsOf(adds, [&](size_t i) {
        int64_t place = program.adds[i].place;
        return orOne(a.times(fineDecay(values, place), decayAfter(values, place)));
      }), pseudo);
    return a.plus(next, keyDim == 0 ? a.dot(left, pseudo, 0, 0) : a.dot(pseudo, left, 0, 0));
  }

  /// A state under decays of 1 x K and 1 x V; null is 1.
  Value scaled(Value state, Value ofKeys, Value ofValues) {
    auto along = [&](int64_t dim, Value decay) {
      if (!decay)
        return decay;
      int64_t sides[] = {1, 1};
      sides[dim] = cast<RankedTensorType>(decay.getType()).getNumElements();
      return a.reshaped(decay, sides);
    };
    return a.times(along(1 - keyDim, ofValues), a.times(along(keyDim, ofKeys), state));
  }

  OpBuilder &outside;
  ScanOp token;
  const EventProgram &program;
  Lifter &lifter;
  ChunkOptions options;
  int64_t chunk;
  int64_t keyDim; ///< The dimension of the state inside that is K.
  OpBuilder inside;
  Arithmetic a;
  Type element;
  Region region;
  Block *body;
  llvm::MapVector<Value, Value> operands; ///< Outside to tile.
  SmallVector<Value> queries;
  SmallVector<Tiles> adds;
  SideDecays keys, values;
  Value colKeys, colGates;
  bool isFactored = false; ///< Decays go into both sides of plain products.
  std::optional<DocumentMasks> documents; ///< Where the program resets.
  Value first;                            ///< The value it resets to, K x V; null for zero.
};
} // namespace

ChunkResults rec::buildChunkScan(OpBuilder &builder, ScanOp token, const EventProgram &program, Lifter &lifter,
                                 const ChunkOptions &options) {
  return ChunkBuilder(builder, token, program, lifter, options).run();
}
