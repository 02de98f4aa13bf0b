//===- Substitution.cpp - Unit lower triangular solves ----------*- C++ -*-===//
#include "compiler/CodeGen/CPU/Substitution.h"
#include "compiler/CodeGen/CPU/TileProduct.h"
#include "compiler/CodeGen/CPU/VectorUnit.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace tidegate;
using namespace tidegate::cpu;

/// Rows that are solved in registers.
constexpr int64_t kBlockRows = 8;

void cpu::emitSubstitution(Code &code, Type type, int64_t rows, int64_t width, bool transposed, Value matrix,
                           Value rhs, Value to) {
  auto at = [&](Value base, int64_t row, Value col) {
    return code.at(base, code.add(code.i64(row * width), col), type);
  };
  auto entry = [&](int64_t i, int64_t j) { return code.at(matrix, code.i64(i * rows + j), type); };

  code.copy(to, rhs, code.i64(rows * width), type);
  int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  for (int64_t n = 0; n < blocks; ++n) {
    int64_t first = (transposed ? blocks - 1 - n : n) * kBlockRows, count = std::min(kBlockRows, rows - first);
    int64_t solvedFirst = transposed ? first + count : 0, solved = transposed ? rows - solvedFirst : first;
    if (solved) {
      MatrixView part{entry(first, 0), rows, 1};
      if (transposed)
        part = {entry(solvedFirst, first), 1, rows};
      emitTileProduct(code, type,
                      {count, width, solved, part, {at(to, solvedFirst, code.i64(0)), width, 1},
                       at(to, first, code.i64(0)), width, /*accumulate=*/true});
    }
    forVectors(code, type, width, [&](Value d, VectorType v) {
      SmallVector<Value> x;
      for (int64_t i = 0; i < count; ++i)
        x.push_back(code.load(v, at(to, first + i, d)));
      for (int64_t step = 1; step < count; ++step) {
        int64_t i = transposed ? count - 1 - step : step;
        for (int64_t before = 0; before < step; ++before) {
          int64_t j = transposed ? count - 1 - before : before;
          Value m = code.load(type, transposed ? entry(first + j, first + i) : entry(first + i, first + j));
          x[i] = math::FmaOp::create(code.b, code.loc, vector::BroadcastOp::create(code.b, code.loc, v, m), x[j], x[i]);
        }
        code.store(x[i], at(to, first + i, d));
      }
    });
  }
}
