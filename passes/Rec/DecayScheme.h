//===- DecayScheme.h - How products under decay are evaluated ---*- C++ -*-===//
#pragma once

#include "passes/Rec/GateRange.h"
#include "llvm/ADT/SmallVector.h"

namespace tidegate::rec {

/// One `scale` of a token, outside the scan.
struct ScaleGate {
  mlir::Value decay;  ///< As written.
  mlir::Value log;    ///< Its logarithm.
  bool isPerChannel;  ///< One number per key channel, not one for all.
};

/// The choice for `e^(G_j - G_m)` in a chunk, G the running sum of log decays.
struct DecayScheme {
  enum Kind {
    Matrix,   ///< One number for all channels: a C x C matrix of decays times a plain product.
    Factored, ///< Per channel, bounded: the plain product of e^G q and e^-G k.
    Blocks,   ///< Per channel: blocks of tokens between whose anchors no exponent is positive.
  };
  Kind kind = Matrix;
  llvm::SmallVector<Interval> perToken; ///< Of the log decay of each scale.
  Interval perChunk;                    ///< Of G.
};

/// Chooses from the ranges of the gates. `Factored` is safe when |G| stays
/// within a bound that leaves most of the type's exponents to keys and values:
/// 60 in f32, 500 in f64.
DecayScheme chooseDecayScheme(llvm::ArrayRef<ScaleGate> gates, int64_t chunk, bool isF64);

/// Says at each gate's place in the source what was chosen and why.
void remarkDecayScheme(llvm::ArrayRef<ScaleGate> gates, const DecayScheme &scheme, int64_t chunk, bool isF64);
/// The same for scales along the values, whose sums have one form.
void remarkValueDecays(llvm::ArrayRef<ScaleGate> gates);

} // namespace tidegate::rec
