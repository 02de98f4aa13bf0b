//===- Code.h - Short words for emitting loops and memory -------*- C++ -*-===//
// A thin layer over the builder for kernels: i64 arithmetic that folds, counted
// loops, and typed loads and stores on bare pointers.
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Builders.h"

namespace tidegate::cpu {

inline mlir::RankedTensorType tensorOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType());
}

struct Code {
  mlir::OpBuilder &b;
  mlir::Location loc;

  using Value = mlir::Value;
  using Type = mlir::Type;
  template <typename... Args>
  using Fn = llvm::function_ref<void(Args...)>;

  Value i64(int64_t n) { return mlir::arith::ConstantIntOp::create(b, loc, n, 64); }
  Value add(Value x, Value y) { return b.createOrFold<mlir::arith::AddIOp>(loc, x, y); }
  Value sub(Value x, Value y) { return b.createOrFold<mlir::arith::SubIOp>(loc, x, y); }
  Value mul(Value x, Value y) { return b.createOrFold<mlir::arith::MulIOp>(loc, x, y); }
  Value mul(Value x, int64_t n) { return n == 1 ? x : mul(x, i64(n)); }
  Value min(Value x, Value y) { return mlir::arith::MinSIOp::create(b, loc, x, y); }
  Value max(Value x, Value y) { return mlir::arith::MaxSIOp::create(b, loc, x, y); }
  Value less(Value x, Value y) {
    return mlir::arith::CmpIOp::create(b, loc, mlir::arith::CmpIPredicate::slt, x, y);
  }
  Value number(double c, Type type) { return mlir::arith::ConstantOp::create(b, loc, b.getFloatAttr(type, c)); }

  /// Additions that may be reordered: the accumulators of reductions.
  Value accumulate(Value sum, Value x) {
    return mlir::arith::AddFOp::create(b, loc, sum, x, mlir::arith::FastMathFlags::reassoc);
  }

  /// for (i = lo; i < hi; i += step). A loop of one known iteration is unrolled.
  void loop(Value lo, Value hi, int64_t step, Fn<Value> body) {
    loopReduce(lo, hi, step, {}, [&](Value i, mlir::ValueRange) {
      body(i);
      return llvm::SmallVector<Value>{};
    });
  }
  void loop(int64_t count, Fn<Value> body) { loop(i64(0), i64(count), 1, body); }

  /// A loop that carries values; `body` returns the next ones.
  llvm::SmallVector<Value>
  loopReduce(Value lo, Value hi, int64_t step, mlir::ValueRange inits,
             llvm::function_ref<llvm::SmallVector<Value>(Value, mlir::ValueRange)> body) {
    auto first = constantOf(lo), last = constantOf(hi);
    if (first && last && *first + step >= *last) {
      if (*first >= *last)
        return llvm::SmallVector<Value>(inits);
      return body(lo, inits);
    }
    auto op = mlir::scf::ForOp::create(b, loc, lo, hi, i64(step), inits);
    mlir::OpBuilder::InsertionGuard guard(b);
    if (!inits.empty()) {
      b.setInsertionPointToEnd(op.getBody());
      auto next = body(op.getInductionVar(), op.getRegionIterArgs());
      mlir::scf::YieldOp::create(b, loc, next);
    } else {
      b.setInsertionPoint(op.getBody()->getTerminator());
      body(op.getInductionVar(), {});
    }
    return llvm::SmallVector<Value>(op.getResults());
  }

  static std::optional<int64_t> constantOf(Value v) {
    llvm::APInt n;
    if (mlir::matchPattern(v, mlir::m_ConstantInt(&n)))
      return n.getSExtValue();
    return std::nullopt;
  }

  /// Address of element `index` of an array of `type` at `base`.
  Value at(Value base, Value index, Type type) {
    auto ptr = mlir::LLVM::LLVMPointerType::get(b.getContext());
    return mlir::LLVM::GEPOp::create(b, loc, ptr, type, base, llvm::ArrayRef<mlir::LLVM::GEPArg>{index},
                                     mlir::LLVM::GEPNoWrapFlags::inbounds);
  }
  /// Element-aligned access, also for vectors.
  Value load(Type type, Value address) {
    return mlir::LLVM::LoadOp::create(b, loc, type, address, alignmentOf(type));
  }
  void store(Value value, Value address) {
    mlir::LLVM::StoreOp::create(b, loc, value, address, alignmentOf(value.getType()));
  }
  static unsigned alignmentOf(Type type) { return mlir::getElementTypeOrSelf(type).getIntOrFloatBitWidth() / 8; }

  /// Copies (fills) `count` elements; both sides are contiguous.
  void copy(Value to, Value from, Value count, Type type) {
    loop(i64(0), count, 1, [&](Value i) { store(load(type, at(from, i, type)), at(to, i, type)); });
  }
  void zero(Value to, Value count, Type type) {
    Value nought = number(0, type);
    loop(i64(0), count, 1, [&](Value i) { store(nought, at(to, i, type)); });
  }
};

} // namespace tidegate::cpu
