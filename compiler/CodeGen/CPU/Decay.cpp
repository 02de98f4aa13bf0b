//===- Decay.cpp - Causal products under decay on the CPU -------*- C++ -*-===//
// rec.decay_scores and rec.decay_mix. Rows and columns are events in time order,
// so the columns before a row are a prefix of known length.
//
// Without gates, or with one gate for all channels, a full product is masked (and
// scaled by e^(Gq_j - Gk_m)). With one gate per channel, blocks of 16 tokens are
// anchored: between a row block and an earlier column block both factors
//   e^(Gq_j - A)  and  e^(A - Gk_m),   A a gate between the two in time,
// are at most 1 and the product is a plain one; inside a block the exponent is
// taken per pair. Nothing overflows, whatever the gates.
//===----------------------------------------------------------------------===//
#include "compiler/CodeGen/CPU/Body.h"
#include "compiler/CodeGen/CPU/TileProduct.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cpu;

namespace {
constexpr int64_t kBlockTokens = 16;

/// Sizes of a decay op and its events.
struct Events {
  int64_t rows, cols, width, rowsPerToken, colsPerToken, tokens;
  int64_t gateWidth; // 0: none
  SmallVector<int64_t> rowPositions, colPositions;

  template <typename OpT>
  Events(OpT op, int64_t rows, int64_t cols, int64_t width)
      : rows(rows), cols(cols), width(width), rowsPerToken(op.getRowPositions().size()),
        colsPerToken(op.getColPositions().size()), tokens(rows / rowsPerToken),
        gateWidth(op.getRowGate() ? tensorOf(op.getRowGate()).getDimSize(1) : 0),
        rowPositions(op.getRowPositions()), colPositions(op.getColPositions()) {}

  static Events of(rec::DecayScoresOp op) {
    return {op, op.getRows().getType().getDimSize(0), op.getCols().getType().getDimSize(0),
            op.getRows().getType().getDimSize(1)};
  }
  static Events of(rec::DecayMixOp op) {
    auto scores = op.getScores().getType();
    return {op, scores.getDimSize(0), scores.getDimSize(1), op.getInput().getType().getDimSize(1)};
  }

  bool perChannel() const { return gateWidth > 1 || (gateWidth == 1 && width == 1); }
  /// Columns of the own token before row event `i` of a token.
  int64_t ownBefore(int64_t i) const {
    return llvm::count_if(colPositions, [&](int64_t p) { return p < rowPositions[i]; });
  }
  int64_t blocks() const { return (tokens + kBlockTokens - 1) / kBlockTokens; }
  int64_t blockTokens(int64_t block) const { return std::min(kBlockTokens, tokens - block * kBlockTokens); }
};

/// Emission for one decay op.
struct Decay {
  Code &code;
  Events e;
  Type type;
  DecayPointers p;
  Value to, workspace;

  Value at(Value base, Value row, int64_t width, Value col) {
    return code.at(base, code.add(code.mul(row, width), col), type);
  }
  Value load(Value base, Value row, int64_t width, Value col) { return code.load(type, at(base, row, width, col)); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(code.b, code.loc, x, y); }
  /// e^(a - b)
  Value decay(Value a, Value b) {
    return math::ExpOp::create(code.b, code.loc, arith::SubFOp::create(code.b, code.loc, a, b));
  }
  Value rowGate(Value row, Value d) { return load(p.rowGate, row, e.gateWidth, e.gateWidth == 1 ? code.i64(0) : d); }
  Value colGate(Value col, Value d) { return load(p.colGate, col, e.gateWidth, e.gateWidth == 1 ? code.i64(0) : d); }

  /// Calls `body(row, before)` for the rows of tokens [first, first + count):
  /// `before` is the number of columns before the row, counted from token `origin`.
  void forRows(int64_t first, int64_t count, int64_t origin, llvm::function_ref<void(Value, Value)> body) {
    code.loop(code.i64(first), code.i64(first + count), 1, [&](Value token) {
      for (int64_t i = 0; i < e.rowsPerToken; ++i) {
        Value row = code.add(code.mul(token, e.rowsPerToken), code.i64(i));
        Value earlier = code.mul(code.sub(token, code.i64(origin)), e.colsPerToken);
        body(row, code.add(earlier, code.i64(e.ownBefore(i))));
      }
    });
  }

  /// to = masked and scaled `from` (both rows x cols; may be the same).
  void maskScores(Value from, Value target) {
    forRows(0, e.tokens, 0, [&](Value row, Value before) {
      Value gate = e.gateWidth ? rowGate(row, code.i64(0)) : Value();
      code.loop(code.i64(0), before, 1, [&](Value m) {
        Value x = load(from, row, e.cols, m);
        if (gate)
          x = mul(x, decay(gate, colGate(m, code.i64(0))));
        code.store(x, at(target, row, e.cols, m));
      });
      Value zero = code.number(0, type);
      code.loop(before, code.i64(e.cols), 1, [&](Value m) { code.store(zero, at(target, row, e.cols, m)); });
    });
  }

  /// scaled[i, d] = x[i, d] e^(a[i, d] - anchor[d]) or e^(anchor[d] - a[i, d]) for `count` rows from `first`.
  void scale(Value x, int64_t first, int64_t count, bool isRow, Value anchorRow, bool anchorIsRow, Value scaled,
             bool transposed) {
    code.loop(count, [&](Value i) {
      Value row = code.add(code.i64(first), i);
      code.loop(e.width, [&](Value d) {
        Value anchor = anchorIsRow ? rowGate(anchorRow, d) : colGate(anchorRow, d);
        Value factor = isRow ? decay(rowGate(row, d), anchor) : decay(anchor, colGate(row, d));
        Value y = mul(load(x, row, e.width, d), factor);
        code.store(y, transposed ? at(scaled, d, count, i) : at(scaled, i, e.width, d));
      });
    });
  }
};
} // namespace

int64_t cpu::decayWorkspace(Operation *op) {
  if (auto scores = dyn_cast<rec::DecayScoresOp>(op)) {
    Events e = Events::of(scores);
    if (!e.perChannel())
      return e.cols * e.width;
    return (e.rowsPerToken * kBlockTokens + e.cols * 2) * e.width;
  }
  if (auto mix = dyn_cast<rec::DecayMixOp>(op)) {
    Events e = Events::of(mix);
    if (!e.perChannel())
      return e.rows * e.cols;
    return std::max(e.rows, e.cols) * e.width;
  }
  return 0;
}

void cpu::emitDecayScores(Code &code, rec::DecayScoresOp op, DecayPointers p, Value to, Value workspace) {
  Decay x{code, Events::of(op), op.getType().getElementType(), p, to, workspace};
  const Events &e = x.e;
  if (!e.perChannel()) {
    emitTranspose(code, x.type, e.cols, e.width, p.cols, e.width, workspace, e.cols);
    emitTileProduct(code, x.type, e.rows, e.cols, e.width, {p.rows, e.width, 1}, {workspace, e.cols, 1}, to, e.cols,
                    /*accumulate=*/false);
    x.maskScores(to, to);
    return;
  }
  Value scaledRows = workspace;
  Value scaledCols = code.at(workspace, code.i64(e.rowsPerToken * kBlockTokens * e.width), x.type);
  Value turned = code.at(scaledCols, code.i64(e.cols * e.width), x.type);
  for (int64_t block = 0; block < e.blocks(); ++block) {
    int64_t token = block * kBlockTokens, count = e.blockTokens(block);
    int64_t row = token * e.rowsPerToken, earlier = token * e.colsPerToken;
    if (earlier) {
      Value anchor = code.i64(row);
      x.scale(p.rows, row, count * e.rowsPerToken, /*isRow=*/true, anchor, /*anchorIsRow=*/true, scaledRows,
              /*transposed=*/false);
      x.scale(p.cols, 0, earlier, /*isRow=*/false, anchor, /*anchorIsRow=*/true, scaledCols, /*transposed=*/false);
      emitTranspose(code, x.type, earlier, e.width, scaledCols, e.width, turned, earlier);
      emitTileProduct(code, x.type, count * e.rowsPerToken, earlier, e.width, {scaledRows, e.width, 1},
                      {turned, earlier, 1}, code.at(to, code.i64(row * e.cols), x.type), e.cols,
                      /*accumulate=*/false);
    }
    x.forRows(token, count, token, [&](Value r, Value before) {
      Value end = code.add(code.i64(earlier), before);
      code.loop(code.i64(earlier), end, 1, [&](Value m) {
        Value sum = code.loopReduce(code.i64(0), code.i64(e.width), 1, code.number(0, x.type),
                                    [&](Value d, ValueRange acc) {
                                      Value product = x.mul(x.load(p.rows, r, e.width, d), x.load(p.cols, m, e.width, d));
                                      Value decay = x.decay(x.rowGate(r, d), x.colGate(m, d));
                                      return SmallVector<Value>{code.accumulate(acc[0], x.mul(product, decay))};
                                    })[0];
        code.store(sum, x.at(to, r, e.cols, m));
      });
      Value zero = code.number(0, x.type);
      code.loop(end, code.i64(e.cols), 1, [&](Value m) { code.store(zero, x.at(to, r, e.cols, m)); });
    });
  }
}

void cpu::emitDecayMix(Code &code, rec::DecayMixOp op, DecayPointers p, Value to, Value workspace) {
  Decay x{code, Events::of(op), op.getType().getElementType(), p, to, workspace};
  const Events &e = x.e;
  bool transposed = op.getTransposed();
  int64_t outRows = transposed ? e.cols : e.rows;
  if (!e.perChannel()) {
    x.maskScores(p.scores, workspace);
    if (transposed)
      emitTileProduct(code, x.type, e.cols, e.width, e.rows, {workspace, 1, e.cols}, {p.rows, e.width, 1}, to, e.width,
                      /*accumulate=*/false);
    else
      emitTileProduct(code, x.type, e.rows, e.width, e.cols, {workspace, e.cols, 1}, {p.cols, e.width, 1}, to, e.width,
                      /*accumulate=*/false);
    return;
  }
  code.zero(to, code.i64(outRows * e.width), x.type);
  for (int64_t block = 0; block < e.blocks(); ++block) {
    int64_t token = block * kBlockTokens, count = e.blockTokens(block);
    if (!transposed) {
      // Rows of this block over the columns of earlier blocks.
      int64_t row = token * e.rowsPerToken, rows = count * e.rowsPerToken, earlier = token * e.colsPerToken;
      if (!earlier)
        continue;
      Value anchor = code.i64(row), out = code.at(to, code.i64(row * e.width), x.type);
      x.scale(p.cols, 0, earlier, /*isRow=*/false, anchor, /*anchorIsRow=*/true, workspace, /*transposed=*/false);
      emitTileProduct(code, x.type, rows, e.width, earlier,
                      {code.at(p.scores, code.i64(row * e.cols), x.type), e.cols, 1}, {workspace, e.width, 1}, out,
                      e.width, /*accumulate=*/false);
      x.scale(to, row, rows, /*isRow=*/true, anchor, /*anchorIsRow=*/true, out, /*transposed=*/false);
      continue;
    }
    // Columns of this block over the rows of later blocks, anchored at the block's last column.
    int64_t col = token * e.colsPerToken, cols = count * e.colsPerToken;
    int64_t later = (token + count) * e.rowsPerToken, rows = e.rows - later;
    if (!rows)
      continue;
    Value anchor = code.i64(col + cols - 1), out = code.at(to, code.i64(col * e.width), x.type);
    x.scale(p.rows, later, rows, /*isRow=*/true, anchor, /*anchorIsRow=*/false, workspace, /*transposed=*/false);
    emitTileProduct(code, x.type, cols, e.width, rows,
                    {code.at(p.scores, code.i64(later * e.cols + col), x.type), 1, e.cols}, {workspace, e.width, 1},
                    out, e.width, /*accumulate=*/false);
    x.scale(to, col, cols, /*isRow=*/false, anchor, /*anchorIsRow=*/false, out, /*transposed=*/false);
  }
  // Pairs inside a block.
  for (int64_t block = 0; block < e.blocks(); ++block) {
    int64_t token = block * kBlockTokens, count = e.blockTokens(block), col = token * e.colsPerToken;
    x.forRows(token, count, token, [&](Value r, Value before) {
      code.loop(code.i64(col), code.add(code.i64(col), before), 1, [&](Value m) {
        Value score = x.load(p.scores, r, e.cols, m);
        Value target = transposed ? m : r, source = transposed ? r : m;
        code.loop(e.width, [&](Value d) {
          Value decay = x.decay(x.rowGate(r, d), x.colGate(m, d));
          Value input = x.load(transposed ? p.rows : p.cols, source, e.width, d);
          Value address = x.at(to, target, e.width, d);
          Value product = x.mul(score, x.mul(input, decay));
          code.store(code.accumulate(code.load(x.type, address), product), address);
        });
      });
    });
  }
}
