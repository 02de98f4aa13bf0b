//===- ChannelDecay.cpp - Products under decay per channel ------*- C++ -*-===//
// Scores P[j, m] = sum_d q_jd k_md e^(Gq_jd - Gk_md) and mixes sum_m s_jm k_md e^(...)
// are sums over pairs of a target and the sources before it in a walk along time:
// rows and columns going forward, columns and rows going backward (a transposed
// mix). Only exponents of one step to the next are taken; products of them are the
// decay between two events, so nothing overflows, whatever the gates.
//
// A walk goes through a block of tokens with the block's sources in hand, each
// decayed up to the present target. A target moves them on by one factor per
// channel, takes in the sources since the target before, and uses them all. At the
// block's end they are moved on to the anchor of the next block, which is the gate
// of its first target. Then, block after block, the targets, decayed since their
// block's anchor, meet all sources of earlier blocks, decayed up to that anchor,
// in one plain product.
//===----------------------------------------------------------------------===//
#include "compiler/CodeGen/CPU/Decay.h"
#include "compiler/CodeGen/CPU/TileProduct.h"
#include "compiler/CodeGen/CPU/VectorUnit.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cpu;

namespace {
constexpr int64_t kBlockTokens = 8;
constexpr int64_t kVectorsInHand = 4; ///< Vectors of a mix that one turn over the sources sums.

int64_t blocksOf(const DecayEvents &e) { return (e.tokens + kBlockTokens - 1) / kBlockTokens; }

/// The events on one side: data and gates, `perToken` rows of `width` per token.
struct Side {
  Value data, gate;
  int64_t perToken;
  ArrayRef<int64_t> positions;
};

/// A target of a token, in the order of the walk.
struct TargetEvent {
  int64_t index;                  ///< Among the token's targets in memory.
  SmallVector<int64_t> inHand;    ///< The token's sources that an earlier target took in.
  SmallVector<int64_t> taken;     ///< Those that this one takes in.
};

/// What walks of either direction share.
class BlockWalk {
public:
  BlockWalk(Code &code, Type type, const DecayEvents &e, const DecayPointers &p, bool forward,
            int64_t blockTokens = kBlockTokens)
      : code(code), type(type), e(e), forward(forward), blockTokens(blockTokens) {
    Side rows{p.rows, p.rowGate, e.rowsPerToken, e.rowPositions}, cols{p.cols, p.colGate, e.colsPerToken, e.colPositions};
    source = forward ? cols : rows;
    target = forward ? rows : cols;
    orderEvents();
  }

protected:
  /// Values carried through the turns over the sources.
  using Carried = SmallVector<Value>;
  using Visit = llvm::function_ref<Carried(Value source, bool isTaken, ValueRange)>;

  Value at(Value base, Value row, Value col) { return code.at(base, code.add(code.mul(row, e.width), col), type); }
  Value load(VectorType v, Value base, Value row, Value col) { return code.load(v, at(base, row, col)); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(code.b, code.loc, x, y); }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(code.b, code.loc, x, y, z); }
  Value zero(Type v) { return arith::ConstantOp::create(code.b, code.loc, cast<TypedAttr>(code.b.getZeroAttr(v))); }
  Value row(Value base, int64_t row) { return code.at(base, code.i64(row * e.width), type); }

  /// The decay from gate `from` to gate `to`, later in the walk.
  Value decay(Value from, Value to) {
    Value difference = arith::SubFOp::create(code.b, code.loc, forward ? to : from, forward ? from : to);
    return math::ExpOp::create(code.b, code.loc, difference);
  }

  /// The next token in the walk is `token + direction()`.
  int64_t direction() const { return forward ? 1 : -1; }
  Value eventRow(const Side &side, Value token, int64_t index) {
    return code.add(code.mul(token, side.perToken), code.i64(index));
  }

  /// `visit` for each source of the block that target event `i` of `token` sees. `first` is
  /// the block's first token in the walk.
  Carried forSources(Value first, Value token, size_t i, Carried carried, Visit visit) {
    // Of the token before, the first target takes in what its targets left over.
    bool hasLeft = i == 0 && !left.empty();
    Value before = code.sub(token, code.i64(direction()));
    Value whole = hasLeft ? before : token; // Tokens from `first` up to here, without it, are all in hand.
    Value lo = forward ? first : code.add(whole, code.i64(1)), hi = forward ? whole : code.add(first, code.i64(1));
    carried = code.loopReduce(code.mul(lo, source.perToken), code.mul(hi, source.perToken), 1, carried,
                              [&](Value s, ValueRange c) { return visit(s, false, c); });
    if (hasLeft) {
      Value isFirst = arith::CmpIOp::create(code.b, code.loc, arith::CmpIPredicate::eq, token, first);
      Value none = arith::SelectOp::create(code.b, code.loc, isFirst, code.i64(0), code.i64(1));
      carried = code.loopReduce(code.i64(0), none, 1, carried, [&](Value, ValueRange c) {
        Carried inner(c);
        for (int64_t s = 0; s < source.perToken; ++s)
          inner = visit(eventRow(source, before, s), llvm::is_contained(left, s), inner);
        return inner;
      });
    }
    for (int64_t s : events[i].inHand)
      carried = visit(eventRow(source, token, s), false, carried);
    for (int64_t s : events[i].taken)
      carried = visit(eventRow(source, token, s), true, carried);
    return carried;
  }

  /// A source decayed up to a target: moved by the factor at `move`, or taken in.
  Value inHand(VectorType v, Value s, bool isTaken, Value targetRow, Value d, bool sameToken) {
    if (!e.gateWidth)
      return load(v, source.data, s, d);
    if (!isTaken)
      return mul(load(v, hand, s, d), code.load(v, code.at(move, d, type)));
    Value x = load(v, source.data, s, d);
    if (e.sameGate && e.rowsPerToken == 1 && e.colsPerToken == 1) // its gate is that of its token's target
      return sameToken ? x : mul(x, code.load(v, code.at(move, d, type)));
    return mul(x, decay(load(v, source.gate, s, d), load(v, target.gate, targetRow, d)));
  }
  bool takesOwnTokens(size_t i) const { return !(i == 0 && !left.empty()); }

  /// The walk through all blocks: `use(first, token, i, row)` for each target, with
  /// `move` and `since` (the decay since the block's anchor) set.
  void walkBlocks(llvm::function_ref<void(Value, Value, size_t, Value)> use) {
    int64_t blocks = (e.tokens + blockTokens - 1) / blockTokens;
    code.loop(blocks, [&](Value block) {
      Value begin = code.mul(block, blockTokens);
      Value end = code.min(code.add(begin, code.i64(blockTokens)), code.i64(e.tokens));
      Value first = forward ? begin : code.sub(end, code.i64(1));
      code.loop(begin, end, 1, [&](Value step) {
        Value token = forward ? step : code.sub(code.sub(code.add(begin, end), code.i64(1)), step);
        for (size_t i = 0; i < events.size(); ++i) {
          Value targetRow = eventRow(target, token, events[i].index);
          if (e.gateWidth)
            moveOn(first, token, i, targetRow);
          use(first, token, i, targetRow);
        }
      });
      if (blocks > 1)
        leaveBlock(block, begin, end);
    });
  }

  Code &code;
  Type type;
  const DecayEvents &e;
  bool forward;
  int64_t blockTokens;
  Side source, target;
  SmallVector<TargetEvent> events;
  SmallVector<int64_t> left; ///< Sources of a token behind its last target.
  Value hand;                ///< Sources x width: decayed as far as the walk is.
  Value move, since;         ///< Width: factors from the last target to this; from the anchor to this.
  Value blockDecay;          ///< Blocks x width: from a block's anchor to the next one's.

private:
  /// Sorts a token's events; of equal places a column is not before the row.
  void orderEvents() {
    struct Event {
      int64_t place;
      bool isRow;
      int64_t index;
    };
    SmallVector<Event> all;
    for (auto [i, place] : llvm::enumerate(e.rowPositions))
      all.push_back({place, true, int64_t(i)});
    for (auto [i, place] : llvm::enumerate(e.colPositions))
      all.push_back({place, false, int64_t(i)});
    llvm::stable_sort(all, [](const Event &a, const Event &b) {
      return a.place != b.place ? a.place < b.place : a.isRow > b.isRow;
    });
    if (!forward)
      std::reverse(all.begin(), all.end());
    SmallVector<int64_t> seen;
    for (const Event &event : all) {
      if (event.isRow != forward) {
        left.push_back(event.index);
        continue;
      }
      events.push_back({event.index, seen, left});
      llvm::append_range(seen, left);
      left.clear();
    }
  }

  /// Sets `move`, the factors from the target before to this one, and `since`.
  void moveOn(Value first, Value token, size_t i, Value targetRow) {
    Value isFirst = arith::CmpIOp::create(code.b, code.loc, arith::CmpIPredicate::eq, token, first);
    Value from = targetRow;
    if (i > 0)
      from = eventRow(target, token, events[i - 1].index);
    else // at the block's first target the decay is that from itself
      from = arith::SelectOp::create(code.b, code.loc, isFirst, targetRow,
                                     eventRow(target, code.sub(token, code.i64(direction())), events.back().index));
    forVectors(code, type, e.width, [&](Value d, VectorType v) {
      Value factor = decay(load(v, target.gate, from, d), load(v, target.gate, targetRow, d));
      code.store(factor, code.at(move, d, type));
      Value before = code.load(v, code.at(since, d, type));
      if (i == 0) {
        auto one = DenseElementsAttr::get(v, code.b.getFloatAttr(type, 1));
        before = arith::SelectOp::create(code.b, code.loc, isFirst,
                                         arith::ConstantOp::create(code.b, code.loc, cast<TypedAttr>(one)), before);
      }
      code.store(mul(before, factor), code.at(since, d, type));
    });
  }

  /// Moves the block's sources on to the anchor of the next block, if there is one.
  void leaveBlock(Value block, Value begin, Value end) {
    Value last = forward ? code.i64(blocksOf(e) - 1) : code.i64(0);
    Value hasNext = arith::CmpIOp::create(code.b, code.loc, arith::CmpIPredicate::ne, block, last);
    Value turns = arith::SelectOp::create(code.b, code.loc, hasNext, code.i64(1), code.i64(0));
    code.loop(code.i64(0), turns, 1, [&](Value) {
      Value next = forward ? end : code.sub(begin, code.i64(1)), lastToken = code.sub(next, code.i64(direction()));
      Value anchor = eventRow(target, next, events.front().index);
      Value from = eventRow(target, lastToken, events.back().index);
      forVectors(code, type, e.width, [&](Value d, VectorType v) {
        Value to = load(v, target.gate, anchor, d);
        Value factor = decay(load(v, target.gate, from, d), to);
        code.store(factor, code.at(move, d, type));
        code.store(mul(factor, code.load(v, code.at(since, d, type))), at(blockDecay, block, d));
      });
      for (int64_t s : left)
        forVectors(code, type, e.width, [&](Value d, VectorType v) {
          Value sourceRow = eventRow(source, lastToken, s);
          Value factor = decay(load(v, source.gate, sourceRow, d), load(v, target.gate, anchor, d));
          code.store(mul(load(v, source.data, sourceRow, d), factor), at(hand, sourceRow, d));
        });
      auto moveRow = [&](Value s) {
        forVectors(code, type, e.width, [&](Value d, VectorType v) {
          Value x = load(v, hand, s, d);
          code.store(mul(x, code.load(v, code.at(move, d, type))), at(hand, s, d));
        });
      };
      Value lo = begin, hi = end;
      if (!left.empty()) { // the last token's own are partly there already
        lo = forward ? begin : code.add(begin, code.i64(1));
        hi = forward ? code.sub(end, code.i64(1)) : end;
        for (int64_t s = 0; s < source.perToken; ++s)
          if (!llvm::is_contained(left, s))
            moveRow(eventRow(source, lastToken, s));
      }
      code.loop(code.mul(lo, source.perToken), code.mul(hi, source.perToken), 1, moveRow);
    });
  }
};

/// Static tile sizes of a block.
struct BlockTokens {
  int64_t first, count;
  BlockTokens(const DecayEvents &e, int64_t block)
      : first(block * kBlockTokens), count(std::min(kBlockTokens, e.tokens - first)) {}
};

class Scores : BlockWalk {
public:
  static int64_t workspace(const DecayEvents &e) {
    return (e.rows + 2 * e.cols + blocksOf(e) + 2) * e.width;
  }

  Scores(Code &code, Type type, const DecayEvents &e, const DecayPointers &p, Value to, Value workspace)
      : BlockWalk(code, type, e, p, /*forward=*/true), to(to) {
    int64_t next = 0;
    auto reserve = [&](int64_t rows) {
      Value base = row(workspace, next);
      next += rows;
      return base;
    };
    move = reserve(1), since = reserve(1), blockDecay = reserve(blocksOf(e));
    hand = reserve(e.cols), scaled = reserve(e.rows), turned = reserve(e.cols);
  }

  void emit() {
    walkBlocks([&](Value first, Value token, size_t i, Value targetRow) { ownBlock(first, token, i, targetRow); });
    for (int64_t block = 1; block < blocksOf(e); ++block)
      earlierBlocks(block);
  }

private:
  Value score(Value r, Value m) { return code.at(to, code.add(code.mul(r, e.cols), m), type); }

  void ownBlock(Value first, Value token, size_t i, Value r) {
    Value begin = code.mul(first, e.colsPerToken);
    code.loop(begin, code.i64(e.cols), 1, [&](Value m) { code.store(code.number(0, type), score(r, m)); });
    forVectors(code, type, e.width, [&](Value d, VectorType v) {
      code.store(mul(load(v, target.data, r, d), code.load(v, code.at(since, d, type))), at(scaled, r, d));
    });
    forSources(first, token, i, {}, [&](Value s, bool isTaken, ValueRange) {
      product(r, s, isTaken, takesOwnTokens(i));
      return Carried();
    });
  }

  /// The score of one pair.
  void product(Value r, Value s, bool isTaken, bool sameToken) {
    int64_t lanes = VectorUnit::host().lanes(type), full = e.width / lanes * lanes;
    auto vector = VectorType::get({lanes}, type);
    auto term = [&](VectorType v, Value d, Value sum) {
      Value x = inHand(v, s, isTaken, r, d, sameToken);
      code.store(x, at(hand, s, d));
      return fma(x, load(v, target.data, r, d), sum);
    };
    auto sumOf = [&](Value v) -> Value {
      return vector::ReductionOp::create(code.b, code.loc, vector::CombiningKind::ADD, v,
                                         arith::FastMathFlags::reassoc);
    };
    Value sum;
    auto add = [&](Value part) { sum = sum ? code.accumulate(sum, part) : part; };
    if (full) {
      auto sums = code.loopReduce(code.i64(0), code.i64(full), lanes, {zero(vector)}, [&](Value d, ValueRange acc) {
        return Carried{term(vector, d, acc[0])};
      });
      add(sumOf(sums[0]));
    }
    for (int64_t d = full; d < e.width; d += lanes) {
      while (lanes > e.width - d)
        lanes /= 2;
      auto v = VectorType::get({lanes}, type);
      add(sumOf(term(v, code.i64(d), zero(v))));
    }
    code.store(sum, score(r, s));
  }

  /// The targets of a block against the sources of all blocks before it.
  void earlierBlocks(int64_t block) {
    BlockTokens before(e, block - 1), own(e, block);
    int64_t known = before.first * e.colsPerToken, cols = own.first * e.colsPerToken;
    if (known)
      code.loop(e.width, [&](Value d) {
        Value factor = code.load(type, at(blockDecay, code.i64(block - 1), d));
        forVectors(code, type, known, [&](Value m, VectorType v) {
          Value place = code.at(turned, code.add(code.mul(d, e.cols), m), type);
          code.store(mul(code.load(v, place), vector::BroadcastOp::create(code.b, code.loc, v, factor)), place);
        });
      });
    emitTranspose(code, type, cols - known, e.width, row(hand, known), e.width, code.at(turned, code.i64(known), type),
                  e.cols);
    int64_t first = own.first * e.rowsPerToken;
    emitTileProduct(code, type,
                    {own.count * e.rowsPerToken, cols, e.width, {row(scaled, first), e.width, 1}, {turned, e.cols, 1},
                     score(code.i64(first), code.i64(0)), e.cols});
  }

  Value to, scaled, turned;
};

/// Weighted sums of the sources of a block, target by target.
class WeightedWalk : protected BlockWalk {
protected:
  WeightedWalk(Code &code, Type type, const DecayEvents &e, const DecayPointers &p, bool forward,
               int64_t blockTokens = kBlockTokens)
      : BlockWalk(code, type, e, p, forward, blockTokens), scores(p.scores) {}

  Value score(Value t, Value s) {
    Value r = forward ? t : s, m = forward ? s : t;
    return code.at(scores, code.add(code.mul(r, e.cols), m), type);
  }

  /// `use(vector type, channel, sum)` for all channels of target `t`, event `i` of `token`.
  void sumSources(Value first, Value token, size_t i, Value t, llvm::function_ref<void(VectorType, Value, Value)> use) {
    auto sum = [&](Value begin, ArrayRef<VectorType> vectors) {
      SmallVector<Value> offsets, zeros;
      int64_t offset = 0;
      for (VectorType v : vectors) {
        offsets.push_back(code.add(begin, code.i64(offset)));
        offset += v.getNumElements();
        zeros.push_back(zero(v));
      }
      auto sums = forSources(first, token, i, zeros, [&](Value s, bool isTaken, ValueRange carried) {
        Value weight = code.load(type, score(t, s));
        Carried next;
        for (auto [v, d, sum] : llvm::zip(vectors, offsets, carried)) {
          Value x = inHand(v, s, isTaken, t, d, takesOwnTokens(i));
          if (e.gateWidth)
            code.store(x, at(hand, s, d));
          next.push_back(fma(vector::BroadcastOp::create(code.b, code.loc, v, weight), x, sum));
        }
        return next;
      });
      for (auto [v, d, sum] : llvm::zip(vectors, offsets, sums))
        use(v, d, sum);
    };
    int64_t lanes = VectorUnit::host().lanes(type), wide = kVectorsInHand * lanes, full = e.width / wide * wide;
    SmallVector<VectorType> group(kVectorsInHand, VectorType::get({lanes}, type)), rest;
    code.loop(code.i64(0), code.i64(full), wide, [&](Value d) { sum(d, group); });
    for (int64_t d = full; d < e.width; d += lanes) {
      while (lanes > e.width - d)
        lanes /= 2;
      rest.push_back(VectorType::get({lanes}, type));
    }
    if (!rest.empty())
      sum(code.i64(full), rest);
  }

  Value scores;
};

class Mix : WeightedWalk {
public:
  static int64_t workspace(const DecayEvents &e) {
    int64_t most = std::max(e.rows, e.cols), perToken = std::max(e.rowsPerToken, e.colsPerToken);
    return (2 * most + kBlockTokens * perToken + blocksOf(e) + 2) * e.width;
  }

  Mix(Code &code, Type type, const DecayEvents &e, const DecayPointers &p, bool transposed, Value to, Value workspace)
      : WeightedWalk(code, type, e, p, /*forward=*/!transposed), to(to) {
    int64_t next = 0;
    auto reserve = [&](int64_t rows) {
      Value base = row(workspace, next);
      next += rows;
      return base;
    };
    move = reserve(1), since = reserve(1), blockDecay = reserve(blocksOf(e));
    hand = reserve(e.tokens * source.perToken), sinceAnchor = reserve(e.tokens * target.perToken);
    far = reserve(kBlockTokens * target.perToken);
  }

  void emit() {
    walkBlocks([&](Value first, Value token, size_t i, Value targetRow) { ownBlock(first, token, i, targetRow); });
    int64_t blocks = blocksOf(e);
    for (int64_t n = 1; n < blocks; ++n)
      otherBlocks(forward ? n : blocks - 1 - n);
  }

private:
  void ownBlock(Value first, Value token, size_t i, Value t) {
    sumSources(first, token, i, t, [&](VectorType v, Value d, Value sum) {
      code.store(sum, at(to, t, d));
      code.store(code.load(v, code.at(since, d, type)), at(sinceAnchor, t, d));
    });
  }

  /// Adds to the targets of a block what comes from the blocks before it in the walk.
  void otherBlocks(int64_t block) {
    BlockTokens before(e, forward ? block - 1 : block + 1), own(e, block);
    auto sourceRows = [&](int64_t tokens) { return tokens * source.perToken; };
    int64_t begin = forward ? 0 : sourceRows(before.first), end = forward ? sourceRows(own.first) : sourceRows(e.tokens);
    // Those of the block just left stand at this block's anchor already.
    int64_t knownBegin = forward ? 0 : sourceRows(before.first + before.count);
    int64_t knownEnd = forward ? sourceRows(before.first) : end;
    int64_t left = before.first / kBlockTokens;
    code.loop(code.i64(knownBegin), code.i64(knownEnd), 1, [&](Value s) {
      forVectors(code, type, e.width, [&](Value d, VectorType v) {
        code.store(mul(load(v, hand, s, d), load(v, blockDecay, code.i64(left), d)), at(hand, s, d));
      });
    });
    int64_t first = own.first * target.perToken, rows = own.count * target.perToken;
    Value corner = score(code.i64(first), code.i64(begin));
    MatrixView weights{corner, e.cols, 1};
    if (!forward)
      weights = {corner, 1, e.cols};
    emitTileProduct(code, type,
                    {rows, e.width, end - begin, weights, {row(hand, begin), e.width, 1}, far, e.width});
    code.loop(rows, [&](Value r) {
      Value t = code.add(code.i64(first), r);
      forVectors(code, type, e.width, [&](Value d, VectorType v) {
        Value near = load(v, to, t, d);
        code.store(fma(load(v, far, r, d), load(v, sinceAnchor, t, d), near), at(to, t, d));
      });
    });
  }

  Value to, sinceAnchor, far;
};

/// A solve is a mix whose sources are the targets solved so far. Every channel has a
/// matrix of its own, so no product of blocks helps: one block walks the chunk.
class Solve : WeightedWalk {
public:
  static int64_t workspace(const DecayEvents &e) { return (2 * e.rows + 2) * e.width; }

  Solve(Code &code, Type type, const DecayEvents &e, const DecayPointers &p, bool transposed, Value rhs, Value factor,
        Value to, Value workspace)
      : WeightedWalk(code, type, e, p, /*forward=*/!transposed, e.tokens), rhs(rhs), factor(factor), to(to) {
    move = row(workspace, 0), since = row(workspace, 1), hand = row(workspace, 2);
    // The factor belongs to a row event: to the target, or transposed to the source.
    source.data = transposed && factor ? row(workspace, 2 + e.rows) : to;
  }

  void emit() {
    walkBlocks([&](Value first, Value token, size_t i, Value t) {
      sumSources(first, token, i, t, [&](VectorType v, Value d, Value sum) {
        Value x = load(v, rhs, t, d);
        if (!factor)
          return code.store(arith::AddFOp::create(code.b, code.loc, x, sum), at(to, t, d));
        Value f = load(v, factor, t, d);
        x = forward ? fma(f, sum, x) : Value(arith::AddFOp::create(code.b, code.loc, x, sum));
        code.store(x, at(to, t, d));
        if (!forward)
          code.store(mul(f, x), at(source.data, t, d));
      });
    });
  }

private:
  Value rhs, factor, to;
};
} // namespace

int64_t cpu::solveWorkspace(const DecayEvents &e) { return Solve::workspace(e); }

void cpu::emitDecaySolve(Code &code, rec::DecaySolveOp op, DecayPointers p, Value rhs, Value factor, Value to,
                         Value workspace) {
  auto e = DecayEvents::of(op);
  Solve(code, op.getType().getElementType(), e, p, op.getTransposed(), rhs, factor, to, workspace).emit();
}

int64_t cpu::channelScoresWorkspace(const DecayEvents &e) { return Scores::workspace(e); }
int64_t cpu::channelMixWorkspace(const DecayEvents &e) { return Mix::workspace(e); }

void cpu::emitChannelScores(Code &code, Type type, const DecayEvents &e, const DecayPointers &p, Value to,
                            Value workspace) {
  Scores(code, type, e, p, to, workspace).emit();
}

void cpu::emitChannelMix(Code &code, Type type, const DecayEvents &e, const DecayPointers &p, bool transposed, Value to,
                         Value workspace) {
  Mix(code, type, e, p, transposed, to, workspace).emit();
}
