//===- DecayScheme.cpp - How products under decay are evaluated -*- C++ -*-===//
// (e^G q)(e^-G k)^T is one plain product, but e^-G overflows when a channel
// decays strongly within a chunk. Bounds on the gates tell when it cannot.
//===----------------------------------------------------------------------===//
#include "passes/Rec/DecayScheme.h"

#include "ir/Nn/NnOps.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"

#include <sstream>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

static double limitOf(bool isF64) { return isF64 ? 500 : 60; }

DecayScheme rec::chooseDecayScheme(ArrayRef<ScaleGate> gates, int64_t chunk, bool isF64) {
  RangeAnalysis ranges;
  DecayScheme scheme;
  // Places within a chunk see any share of its decays, none included.
  scheme.perChunk = {0, 0};
  for (const ScaleGate &gate : gates) {
    // The two say the same of one number; either may know more.
    Interval direct = ranges.rangeOf(gate.log), ofDecay = logOfRange(ranges.rangeOf(gate.decay));
    Interval range{std::max(direct.low, ofDecay.low), std::min(direct.high, ofDecay.high)};
    scheme.perToken.push_back(range);
    scheme.perChunk.low += std::min(range.low, 0.0) * chunk;
    scheme.perChunk.high += std::max(range.high, 0.0) * chunk;
  }
  if (llvm::none_of(gates, [](const ScaleGate &gate) { return gate.isPerChannel; }))
    return scheme;
  bool isSafe = scheme.perChunk.low >= -limitOf(isF64) && scheme.perChunk.high <= limitOf(isF64);
  scheme.kind = isSafe ? DecayScheme::Factored : DecayScheme::Blocks;
  return scheme;
}

/// Four significant digits.
static std::string textOf(double x) {
  std::ostringstream text;
  text.precision(4);
  text << (x == 0 ? 0 : x);
  return text.str();
}

/// "in [-0.6065, 0]", "at most 0", "not bounded".
static std::string textOf(Interval range) {
  if (range.isBounded())
    return "in [" + textOf(range.low) + ", " + textOf(range.high) + "]";
  if (std::isfinite(range.high))
    return "at most " + textOf(range.high) + ", with no lower bound";
  return std::isfinite(range.low) ? "at least " + textOf(range.low) + ", with no upper bound" : "not bounded";
}

/// Where the gate's arithmetic ends, behind what only shapes it.
static Location placeOf(Value gate) {
  while (Operation *op = gate.getDefiningOp()) {
    if (!isa<nn::ReshapeOp, nn::BroadcastLikeOp, nn::TransposeOp>(op))
      return op->getLoc();
    gate = op->getOperand(0);
  }
  return gate.getLoc();
}

void rec::remarkDecayScheme(ArrayRef<ScaleGate> gates, const DecayScheme &scheme, int64_t chunk, bool isF64) {
  const std::string tokens = std::to_string(chunk), limit = textOf(limitOf(isF64));
  for (auto [gate, range] : llvm::zip(gates, scheme.perToken)) {
    InFlightDiagnostic remark = emitRemark(placeOf(gate.decay)) << "log decay " << textOf(range) << " per token: ";
    switch (scheme.kind) {
    case DecayScheme::Matrix:
      remark << "one number for all channels, so a " << tokens << " x " << tokens
             << " matrix of decays multiplies a plain product";
      break;
    case DecayScheme::Factored:
      remark << "over " << tokens << " tokens in [" << textOf(scheme.perChunk.low) << ", "
             << textOf(scheme.perChunk.high) << "], within " << limit << ", so decays are factored into plain products";
      break;
    case DecayScheme::Blocks:
      remark << "over " << tokens << " tokens beyond " << limit
             << " or not known to be within, so products run in blocks of tokens with an anchor each";
      break;
    }
  }
}

void rec::remarkValueDecays(ArrayRef<ScaleGate> gates) {
  for (const ScaleGate &gate : gates)
    emitRemark(placeOf(gate.decay)) << "decay along the values: what earlier tokens added is summed value by value, "
                                       "under decays of one token to the next";
}
