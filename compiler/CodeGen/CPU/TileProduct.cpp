//===- TileProduct.cpp - Products of small matrices -------------*- C++ -*-===//
#include "compiler/CodeGen/CPU/TileProduct.h"
#include "compiler/CodeGen/CPU/VectorUnit.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cpu;

namespace {
constexpr int64_t kUnrolled = 4;        ///< Terms of the sum in one turn of the loop.
constexpr int64_t kMostRows = 8;        ///< Of a block.
constexpr int64_t kInlineWork = 1 << 9; ///< Multiplications up to which a product is no call.

/// Emission of one product.
class Blocks {
public:
  Blocks(Code &code, Type type, const TileProduct &x) : code(code), type(type), x(x) {
    const VectorUnit &unit = VectorUnit::host();
    lanes = unit.lanes(type);
    // A quarter of the registers is left to rows of B and elements of A.
    int64_t accumulators = unit.registers * 3 / 4;
    int64_t most = std::clamp<int64_t>(accumulators / x.m, unit.registers / 8, kMostRows);
    if (x.causal.of == CausalPart::Result)
      most = 1; // narrow blocks end close behind the diagonal
    vectors = std::clamp<int64_t>(x.n / lanes, 1, most);
    int64_t rows = std::min(accumulators / vectors, kMostRows);
    panels = (x.m + rows - 1) / rows;
  }

  /// Rows in panels that differ in height by 1 at most.
  void emit() {
    int64_t high = (x.m + panels - 1) / panels, split = (x.m - panels * (high - 1)) * high;
    code.loop(code.i64(0), code.i64(split), high, [&](Value i) { panel(i, high); });
    if (split < x.m)
      code.loop(code.i64(split), code.i64(x.m), high - 1, [&](Value i) { panel(i, high - 1); });
  }

private:
  Value element(const MatrixView &m, Value i, Value j) {
    return code.at(m.base, code.add(code.mul(i, m.rowStride), code.mul(j, m.colStride)), type);
  }

  /// `i / count * other`, rounded down.
  Value perToken(Value i, int64_t count, int64_t other) {
    Value token = count == 1 ? i : code.b.createOrFold<arith::DivUIOp>(code.loc, i, code.i64(count));
    return code.mul(token, other);
  }
  /// The first column that row `i` of the causal matrix is without.
  Value end(Value i) {
    return code.add(perToken(i, x.causal.rowsPerToken, x.causal.colsPerToken), code.i64(x.causal.colsPerToken));
  }
  Value roundedUp(Value i, int64_t step, int64_t most) {
    Value up = code.mul(code.b.createOrFold<arith::DivUIOp>(code.loc, code.add(i, code.i64(step - 1)), code.i64(step)),
                        step);
    return code.min(up, code.i64(most));
  }

  /// All columns of rows [i, i + rows).
  void panel(Value i, int64_t rows) {
    Value last = code.add(i, code.i64(rows - 1)), kBegin = code.i64(0), kEnd = code.i64(x.k);
    // Ends that are known at run time only are moved outwards to whole turns.
    bool wholeTurns = x.k % kUnrolled == 0;
    if (x.causal.of == CausalPart::Left && wholeTurns)
      kEnd = roundedUp(end(last), kUnrolled, x.k);
    if (x.causal.of == CausalPart::LeftTransposed && wholeTurns)
      kBegin = perToken(perToken(i, x.causal.colsPerToken, x.causal.rowsPerToken), kUnrolled, kUnrolled);
    int64_t wide = vectors * lanes, full = x.n / wide * wide;
    Value jEnd = code.i64(full);
    if (x.causal.of == CausalPart::Result && full)
      jEnd = roundedUp(end(last), wide, full);
    code.loop(code.i64(0), jEnd, wide, [&](Value j) { block(i, j, rows, vectors, lanes, kBegin, kEnd); });
    for (int64_t j = full; j < x.n;) {
      int64_t width = lanes;
      while (width > x.n - j)
        width /= 2;
      block(i, code.i64(j), rows, 1, width, kBegin, kEnd);
      j += width;
    }
  }

  /// Rows [i, i + rows) and columns [j, j + vectors * lanes), summed over [kBegin, kEnd).
  void block(Value i, Value j, int64_t rows, int64_t vectors, int64_t lanes, Value kBegin, Value kEnd) {
    auto vector = VectorType::get({lanes}, type);
    Value zero = arith::ConstantOp::create(code.b, code.loc, cast<TypedAttr>(code.b.getZeroAttr(vector)));
    SmallVector<Value> targets, inits;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < vectors; ++v) {
        Value row = code.add(i, code.i64(r)), col = code.add(j, code.i64(v * lanes));
        targets.push_back(code.at(x.c, code.add(code.mul(row, x.ldc), col), type));
        inits.push_back(x.accumulate ? code.load(vector, targets.back()) : zero);
      }
    auto term = [&](Value p, ValueRange sums) {
      SmallVector<Value> columns, next;
      for (int64_t v = 0; v < vectors; ++v)
        columns.push_back(code.load(vector, element(x.b, p, code.add(j, code.i64(v * lanes)))));
      for (int64_t r = 0; r < rows; ++r) {
        Value scalar = code.load(type, element(x.a, code.add(i, code.i64(r)), p));
        Value wide = vector::BroadcastOp::create(code.b, code.loc, vector, scalar);
        for (int64_t v = 0; v < vectors; ++v)
          next.push_back(math::FmaOp::create(code.b, code.loc, wide, columns[v], sums[r * vectors + v]));
      }
      return next;
    };
    Value turns = kEnd;
    if (auto first = Code::constantOf(kBegin), last = Code::constantOf(kEnd); first && last)
      turns = code.i64(*first + (*last - *first) / kUnrolled * kUnrolled);
    SmallVector<Value> sums = code.loopReduce(kBegin, turns, kUnrolled, inits, [&](Value p, ValueRange sums) {
      SmallVector<Value> next(sums);
      for (int64_t u = 0; u < kUnrolled; ++u)
        next = term(code.add(p, code.i64(u)), next);
      return next;
    });
    if (turns != kEnd)
      sums = code.loopReduce(turns, kEnd, 1, sums, term);
    for (auto [sum, target] : llvm::zip(sums, targets))
      code.store(sum, target);
  }

  Code &code;
  Type type;
  const TileProduct &x;
  int64_t lanes, vectors, panels;
};

ModuleOp moduleOf(Code &code) {
  Operation *parent = code.b.getInsertionBlock()->getParentOp();
  while (!isa<ModuleOp>(parent))
    parent = parent->getParentOp();
  return cast<ModuleOp>(parent);
}

/// Everything about a product but where its matrices lie.
std::string nameOf(Type type, const TileProduct &x) {
  std::string name;
  llvm::raw_string_ostream os(name);
  os << "product_" << type << "_" << x.m << "x" << x.n << "x" << x.k << "_" << x.a.rowStride << "_" << x.a.colStride
     << "_" << x.b.rowStride << "_" << x.b.colStride << "_" << x.ldc << (x.accumulate ? "_add" : "");
  if (x.causal.of != CausalPart::Nothing)
    os << "_causal" << int(x.causal.of) << "_" << x.causal.rowsPerToken << "_" << x.causal.colsPerToken;
  return name;
}

void emitCall(Code &code, Type type, const TileProduct &x) {
  ModuleOp module = moduleOf(code);
  std::string name = nameOf(type, x);
  auto function = module.lookupSymbol<LLVM::LLVMFuncOp>(name);
  if (!function) {
    MLIRContext *context = module.getContext();
    OpBuilder builder(context);
    builder.setInsertionPointToStart(module.getBody());
    auto ptr = LLVM::LLVMPointerType::get(context);
    auto signature = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {ptr, ptr, ptr});
    function = LLVM::LLVMFuncOp::create(builder, code.loc, name, signature, LLVM::Linkage::Internal);
    function.setArgAttr(2, LLVM::LLVMDialect::getNoAliasAttrName(), builder.getUnitAttr());
    function.setNoInline(true);
    Block *entry = function.addEntryBlock(builder);
    builder.setInsertionPointToEnd(entry);
    Code inner{builder, code.loc};
    TileProduct own = x;
    own.a.base = entry->getArgument(0);
    own.b.base = entry->getArgument(1);
    own.c = entry->getArgument(2);
    Blocks(inner, type, own).emit();
    LLVM::ReturnOp::create(builder, code.loc, ValueRange{});
  }
  LLVM::CallOp::create(code.b, code.loc, function, ValueRange{x.a.base, x.b.base, x.c});
}

/// The t x t block of `from` at `source` to `target`, transposed in registers: the
/// halves of rows that are t / 2 apart change places, then the quarters, and so on.
void transposeBlock(Code &code, Type type, int64_t t, Value source, int64_t fromStride, Value target,
                    int64_t toStride) {
  auto vector = VectorType::get({t}, type);
  SmallVector<Value> rows;
  for (int64_t r = 0; r < t; ++r)
    rows.push_back(code.load(vector, code.at(source, code.i64(r * fromStride), type)));
  for (int64_t half = t / 2; half > 0; half /= 2) {
    SmallVector<int64_t> upper, lower; // lanes of the pair that make the first and the second row
    for (int64_t lane = 0; lane < t; ++lane) {
      upper.push_back(lane & half ? t + lane - half : lane);
      lower.push_back(lane & half ? t + lane : lane + half);
    }
    for (int64_t r = 0; r < t; ++r) {
      if (r & half)
        continue;
      Value a = rows[r], b = rows[r + half];
      rows[r] = vector::ShuffleOp::create(code.b, code.loc, a, b, upper);
      rows[r + half] = vector::ShuffleOp::create(code.b, code.loc, a, b, lower);
    }
  }
  for (int64_t r = 0; r < t; ++r)
    code.store(rows[r], code.at(target, code.i64(r * toStride), type));
}
} // namespace

void cpu::emitTileProduct(Code &code, Type type, const TileProduct &product) {
  TileProduct x = product;
  if (x.n == 1)
    x.b.colStride = 1;
  if (x.k == 1 || x.m * x.n * x.k <= kInlineWork)
    Blocks(code, type, x).emit();
  else
    emitCall(code, type, x);
}

void cpu::emitTranspose(Code &code, Type type, int64_t rows, int64_t cols, Value from, int64_t fromStride, Value to,
                        int64_t toStride) {
  const int64_t t = 256 / type.getIntOrFloatBitWidth(); // of AVX; wider shuffles are no faster
  int64_t fullRows = rows / t * t, fullCols = cols / t * t;
  auto source = [&](Value i, Value j) { return code.at(from, code.add(code.mul(i, fromStride), j), type); };
  auto target = [&](Value i, Value j) { return code.at(to, code.add(code.mul(j, toStride), i), type); };
  auto scalars = [&](int64_t firstRow, int64_t endRow, int64_t firstCol, int64_t endCol) {
    code.loop(code.i64(firstRow), code.i64(endRow), 1, [&](Value i) {
      code.loop(code.i64(firstCol), code.i64(endCol), 1,
                [&](Value j) { code.store(code.load(type, source(i, j)), target(i, j)); });
    });
  };
  if (fullRows && fullCols)
    code.loop(code.i64(0), code.i64(fullCols), t, [&](Value j) {
      code.loop(code.i64(0), code.i64(fullRows), t,
                [&](Value i) { transposeBlock(code, type, t, source(i, j), fromStride, target(i, j), toStride); });
    });
  else
    fullRows = fullCols = 0;
  scalars(0, fullRows, fullCols, cols);
  scalars(fullRows, rows, 0, cols);
}
