//===- Exponential.cpp - exp as plain arithmetic ----------------*- C++ -*-===//
#include "compiler/CodeGen/CPU/Exponential.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"

#include <cmath>
#include <numbers>

using namespace mlir;
using namespace tidegate;

namespace {
/// What differs between the types.
struct Format {
  int64_t bits, mantissa;
  double least, most;       ///< Below and above, exp is 0 and inf.
  double log2High, log2Low; ///< log 2 in two parts; multiples n of the first are exact.
  int degree;               ///< Of the series on [-log 2 / 2, log 2 / 2].
};
constexpr Format kSingle{32, 23, -104, 89, 0x1.62e4p-1, 0x1.7f7d1cf79abcap-20, 7};
constexpr Format kDouble{64, 52, -746, 710, 0x1.62e42fee00000p-1, 0x1.a39ef35793c76p-33, 13};

class Expansion {
public:
  explicit Expansion(math::ExpOp op)
      : b(op), loc(op.getLoc()), type(op.getType()), format(getElementTypeOrSelf(type).isF64() ? kDouble : kSingle) {
    integer = b.getIntegerType(format.bits);
    if (auto vector = dyn_cast<VectorType>(type))
      integer = vector.clone(integer);
  }

  Value of(Value x) {
    // Comparisons with NaN are false, so it stays.
    x = select(arith::CmpFPredicate::OLT, x, number(format.least));
    x = select(arith::CmpFPredicate::OGT, x, number(format.most));
    // 1.5 * 2^mantissa has a last place of 1: adding it rounds, and leaves n in the low bits.
    Value magic = number(std::ldexp(1.5, format.mantissa));
    Value shifted = fma(x, number(std::numbers::log2e), magic);
    Value n = arith::SubFOp::create(b, loc, shifted, magic);
    Value r = fma(n, number(-format.log2High), x);
    r = fma(n, number(-format.log2Low), r);
    double factorial = 1;
    SmallVector<double> coefficients{1};
    for (int i = 1; i <= format.degree; ++i)
      coefficients.push_back(1 / (factorial *= i));
    Value sum = number(coefficients.back());
    for (int i = format.degree - 1; i >= 0; --i)
      sum = fma(sum, r, number(coefficients[i]));
    // Times 2^n in two steps: 2^n itself may be out of range.
    Value whole = sub(arith::BitcastOp::create(b, loc, integer, shifted),
                      arith::BitcastOp::create(b, loc, integer, magic));
    Value half = arith::ShRSIOp::create(b, loc, whole, count(1));
    return times(times(sum, power(half)), power(sub(whole, half)));
  }

private:
  Value number(double c) {
    Attribute value = b.getFloatAttr(getElementTypeOrSelf(type), c);
    return constant(type, value);
  }
  Value count(int64_t c) { return constant(integer, b.getIntegerAttr(getElementTypeOrSelf(integer), c)); }
  Value constant(Type type, Attribute value) {
    if (auto vector = dyn_cast<VectorType>(type))
      value = DenseElementsAttr::get(vector, value);
    return arith::ConstantOp::create(b, loc, cast<TypedAttr>(value));
  }
  Value select(arith::CmpFPredicate p, Value x, Value bound) {
    return arith::SelectOp::create(b, loc, arith::CmpFOp::create(b, loc, p, x, bound), bound, x);
  }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, loc, x, y, z); }
  Value times(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubIOp::create(b, loc, x, y); }
  /// 2^n for an n whose power is a normal number.
  Value power(Value n) {
    int64_t bias = (int64_t(1) << (format.bits - format.mantissa - 2)) - 1;
    Value exponent = arith::AddIOp::create(b, loc, n, count(bias));
    return arith::BitcastOp::create(b, loc, type, arith::ShLIOp::create(b, loc, exponent, count(format.mantissa)));
  }

  OpBuilder b;
  Location loc;
  Type type, integer;
  Format format;
};
} // namespace

void cpu::expandExponentials(ModuleOp module) {
  SmallVector<math::ExpOp> ops;
  module.walk([&](math::ExpOp op) { ops.push_back(op); });
  for (math::ExpOp op : ops) {
    op.replaceAllUsesWith(Expansion(op).of(op.getOperand()));
    op.erase();
  }
}
