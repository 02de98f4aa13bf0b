//===- EntryLadder.h - One function's compiled forms ------------*- C++ -*-===//
// The rungs of Ladder.h that need no model: chunk form = token form, gradients
// of both = each other = finite differences, f32 = f64. Inputs are random, or
// given.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Driver/Driver.h"
#include "compiler/tools/tidegate/verify/Ladder.h"

namespace tidegate::tool {

/// The same entry, compiled several ways, each held to the token form in f64; those
/// that are null are left out. Their specs differ in type only.
struct LadderEntries {
  EntryProgram &token64;
  EntryProgram *chunk64 = nullptr, *chunk32 = nullptr;
  EntryProgram *chunk16 = nullptr; ///< bf16 on the GPU; null on the CPU.
};

/// What an entry is checked on: `given` tensors (f64 or i32, by name), or random
/// ones when that is empty. Those are normal, cut at three deviations of 0.3, and
/// less where a row has many numbers, and folded into `ranges`, so that long
/// recurrences neither vanish nor grow; integers are 0 or 1.
struct LadderInputs {
  EntryProgram::Tensors given = {};
  std::map<std::string, DrawRange> ranges = {};
};

/// Adds the rows of entry `name`.
void climbEntryLadder(const std::string &name, const LadderEntries &entries, const LadderSizes &sizes,
                      const LadderInputs &inputs, VerifyReport &report);

} // namespace tidegate::tool
