//===- SteadyInputs.cpp - Inputs under which no state grows -----*- C++ -*-===//
// From the events of a token: the range of each decay, and of key times reader
// of each add that reads, for every choice of sides of the arguments behind them.
//===----------------------------------------------------------------------===//
#include "passes/Rec/SteadyInputs.h"

#include "passes/Rec/Events.h"
#include "passes/Rec/SeparateStates.h"

#include <cmath>

using namespace mlir;
using namespace tidegate;
using namespace tidegate::rec;

namespace {
constexpr Interval kBoth{-1, 1}, kAbove{0, 1}, kBelow{-1, 0};
constexpr size_t kMostArguments = 5; // Behind one requirement; 3 choices for each are tried.

/// A product that has to stay within bounds.
struct Requirement {
  SmallVector<Value> factors;
  Interval bounds;
};

class SideChoice {
public:
  explicit SideChoice(func::FuncOp function) : ranges(function.getNumArguments(), kBoth), function(function) {}

  void meet(const Requirement &requirement) {
    if (holds(requirement, ranges))
      return;
    const SmallVector<unsigned> arguments = argumentsOf(requirement);
    if (arguments.size() > kMostArguments)
      return;
    for (size_t sided = 1; sided <= arguments.size(); ++sided)
      if (meetWith(requirement, arguments, ranges, sided))
        return;
  }

  SmallVector<Interval> ranges;

private:
  bool holds(const Requirement &requirement, ArrayRef<Interval> ranges) {
    RangeAnalysis::Ranges known;
    for (auto [argument, range] : llvm::zip(function.getArguments(), ranges))
      known[argument] = range;
    return RangeAnalysis(std::move(known)).rangeOfProduct(requirement.factors).isWithin(requirement.bounds);
  }

  /// Those that its range depends on.
  SmallVector<unsigned> argumentsOf(const Requirement &requirement) {
    RangeAnalysis analysis;
    analysis.rangeOfProduct(requirement.factors);
    SmallVector<unsigned> numbers;
    for (BlockArgument argument : function.getArguments())
      if (analysis.ranges().contains(argument))
        numbers.push_back(argument.getArgNumber());
    return numbers;
  }

  /// Keeps `sided` of the arguments that are on both sides yet to one, if that does.
  bool meetWith(const Requirement &requirement, ArrayRef<unsigned> arguments, SmallVector<Interval> chosen,
                size_t sided) {
    if (sided == 0) {
      if (!holds(requirement, chosen))
        return false;
      ranges = chosen;
      return true;
    }
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (chosen[arguments[i]] != kBoth)
        continue;
      for (Interval side : {kAbove, kBelow}) {
        SmallVector<Interval> next = chosen;
        next[arguments[i]] = side;
        if (meetWith(requirement, arguments.drop_front(i + 1), std::move(next), sided - 1))
          return true;
      }
    }
    return false;
  }

  func::FuncOp function;
};
} // namespace

SmallVector<Interval> rec::steadyRanges(func::FuncOp function) {
  SmallVector<ScanOp> scans;
  function.walk([&](ScanOp scan) {
    if (scan.getChunk() == 1 && hasStatesToSeparate(scan))
      scans.push_back(scan);
  });
  for (ScanOp scan : scans) {
    Refusal refusal; // it is left as it is
    (void)separateStates(scan, refusal);
  }
  SideChoice choice(function);
  function.walk([&](ScanOp scan) {
    if (scan.getChunk() != 1 || scan.getNumStates() != 1 ||
        cast<RankedTensorType>(scan.getBodyStates().front().getType()).getRank() != 2)
      return;
    OwningOpRef<ScanOp> copy = copyToRead(scan);
    Refusal refusal;
    auto program = readEvents(*copy, refusal);
    if (failed(program))
      return;
    for (const EventProgram::Scale &scale : program->scales)
      choice.meet({{scale.decay}, {-1, 1}});
    for (const EventProgram::Add &add : program->adds) {
      Requirement requirement{{add.key, add.reader}, {-INFINITY, 0}};
      if (add.factor) // Of another side of the state, but its sign counts as much.
        requirement.factors.push_back(add.factor);
      if (add.reader)
        choice.meet(requirement);
    }
  });
  return choice.ranges;
}
