//===- EntryLadder.h - One function's compiled forms ------------*- C++ -*-===//
// The rungs of Ladder.h that need no model: chunk form = token form, gradients
// of both = each other = finite differences, f32 = f64. Inputs are random, or
// given.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Driver/Driver.h"
#include "compiler/tools/tidegate/verify/Ladder.h"

namespace tidegate::tool {

/// The same entry, compiled several ways. Their specs differ in type only.
struct LadderEntries {
  EntryProgram &token64, &chunk64, &chunk32;
  EntryProgram *chunk16 = nullptr; ///< bf16 on the GPU; null on the CPU.
};

/// Adds the rows of entry `name`. Random inputs are normal, with deviation 0.3
/// and less where a row has many numbers, so that long recurrences neither vanish
/// nor grow much; integers are 0 or 1.
/// `given` inputs (f64 or i32, by name) are taken instead when not empty.
void climbEntryLadder(const std::string &name, const LadderEntries &entries, const LadderSizes &sizes,
                      const EntryProgram::Tensors &given, VerifyReport &report);

} // namespace tidegate::tool
