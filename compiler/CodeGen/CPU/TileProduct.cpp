//===- TileProduct.cpp - Products of small matrices -------------*- C++ -*-===//
#include "compiler/CodeGen/CPU/TileProduct.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cpu;

namespace {
constexpr int64_t kVectorBits = 512; // narrower machines split it
constexpr int64_t kTileRows = 4;
constexpr int64_t kTileVectors = 2;

/// One product, its sizes and views.
struct Product {
  Code &code;
  Type type;
  Value k;
  MatrixView a, b;
  Value c;
  int64_t ldc;
  bool accumulate;

  Value element(const MatrixView &m, Value i, Value j) {
    return code.at(m.base, code.add(code.mul(i, m.rowStride), code.mul(j, m.colStride)), type);
  }

  /// Rows [i, i + rows) and columns [j, j + vectors * lanes).
  void block(Value i, Value j, int64_t rows, int64_t vectors, int64_t lanes) {
    auto vector = VectorType::get({lanes}, type);
    Value zero = arith::ConstantOp::create(
        code.b, code.loc, cast<TypedAttr>(code.b.getZeroAttr(vector)));
    SmallVector<Value> targets, inits;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < vectors; ++v) {
        Value row = code.add(i, code.i64(r)), col = code.add(j, code.i64(v * lanes));
        targets.push_back(code.at(c, code.add(code.mul(row, ldc), col), type));
        inits.push_back(accumulate ? code.load(vector, targets.back()) : zero);
      }
    auto sums = code.loopReduce(code.i64(0), k, 1, inits, [&](Value p, ValueRange acc) {
      SmallVector<Value> columns, next;
      for (int64_t v = 0; v < vectors; ++v)
        columns.push_back(code.load(vector, element(b, p, code.add(j, code.i64(v * lanes)))));
      for (int64_t r = 0; r < rows; ++r) {
        Value scalar = code.load(type, element(a, code.add(i, code.i64(r)), p));
        Value wide = vector::BroadcastOp::create(code.b, code.loc, vector, scalar);
        for (int64_t v = 0; v < vectors; ++v)
          next.push_back(math::FmaOp::create(code.b, code.loc, wide, columns[v], acc[r * vectors + v]));
      }
      return next;
    });
    for (auto [sum, target] : llvm::zip(sums, targets))
      code.store(sum, target);
  }

  /// All columns of rows [i, i + rows).
  void panel(Value i, int64_t rows, int64_t n) {
    int64_t lanes = kVectorBits / type.getIntOrFloatBitWidth(), wide = kTileVectors * lanes;
    int64_t full = n / wide * wide;
    code.loop(code.i64(0), code.i64(full), wide, [&](Value j) { block(i, j, rows, kTileVectors, lanes); });
    for (int64_t j = full; j < n;) {
      int64_t width = lanes;
      while (width > n - j)
        width /= 2;
      block(i, code.i64(j), rows, 1, width);
      j += width;
    }
  }
};
} // namespace

void cpu::emitTileProduct(Code &code, Type type, Value m, int64_t n, Value k, MatrixView a, MatrixView b, Value c,
                          int64_t ldc, bool accumulate) {
  if (n == 1 && b.colStride != 1)
    b.colStride = 1;
  Product product{code, type, k, a, b, c, ldc, accumulate};
  if (auto rows = Code::constantOf(m)) {
    int64_t full = *rows / kTileRows * kTileRows;
    code.loop(code.i64(0), code.i64(full), kTileRows, [&](Value i) { product.panel(i, kTileRows, n); });
    if (*rows > full)
      product.panel(code.i64(full), *rows - full, n);
    return;
  }
  Value four = code.i64(kTileRows);
  Value full = code.mul(arith::DivSIOp::create(code.b, code.loc, m, four), four);
  code.loop(code.i64(0), full, kTileRows, [&](Value i) { product.panel(i, kTileRows, n); });
  code.loop(full, m, 1, [&](Value i) { product.panel(i, 1, n); });
}

void cpu::emitTileProduct(Code &code, Type type, int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, Value c,
                          int64_t ldc, bool accumulate) {
  emitTileProduct(code, type, code.i64(m), n, code.i64(k), a, b, c, ldc, accumulate);
}

void cpu::emitTranspose(Code &code, Type type, int64_t rows, int64_t cols, Value from, int64_t fromStride, Value to,
                        int64_t toStride) {
  code.loop(cols, [&](Value j) {
    code.loop(rows, [&](Value i) {
      Value x = code.load(type, code.at(from, code.add(code.mul(i, fromStride), j), type));
      code.store(x, code.at(to, code.add(code.mul(j, toStride), i), type));
    });
  });
}

void cpu::emitProductCall(Code &code, Type type, int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, Value c,
                          int64_t ldc) {
  Operation *parent = code.b.getInsertionBlock()->getParentOp();
  while (!isa<ModuleOp>(parent))
    parent = parent->getParentOp();
  auto module = cast<ModuleOp>(parent);
  std::string name;
  llvm::raw_string_ostream(name) << "product_" << type << "_" << m << "x" << n << "x" << k << "_" << a.rowStride << "_"
                                 << a.colStride << "_" << b.rowStride << "_" << b.colStride << "_" << ldc;
  auto function = module.lookupSymbol<LLVM::LLVMFuncOp>(name);
  if (!function) {
    MLIRContext *context = module.getContext();
    OpBuilder builder(context);
    builder.setInsertionPointToStart(module.getBody());
    auto ptr = LLVM::LLVMPointerType::get(context);
    auto signature = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {ptr, ptr, ptr});
    function = LLVM::LLVMFuncOp::create(builder, code.loc, name, signature, LLVM::Linkage::Internal);
    function.setArgAttr(2, LLVM::LLVMDialect::getNoAliasAttrName(), builder.getUnitAttr());
    Block *entry = function.addEntryBlock(builder);
    builder.setInsertionPointToEnd(entry);
    Code inner{builder, code.loc};
    MatrixView left = a, right = b;
    left.base = entry->getArgument(0);
    right.base = entry->getArgument(1);
    emitTileProduct(inner, type, m, n, k, left, right, entry->getArgument(2), ldc, /*accumulate=*/false);
    LLVM::ReturnOp::create(builder, code.loc, ValueRange{});
  }
  LLVM::CallOp::create(code.b, code.loc, function, ValueRange{a.base, b.base, c});
}
