//===- RunRecord.h - Programs in checkpoints --------------------*- C++ -*-===//
// Between the driver's ProgramSource and the trainer's ProgramRecord, and the
// choice of a checkpoint to go on from.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Driver/Driver.h"
#include "runtime/train/Checkpoint.h"

namespace tidegate::tool {

train::ProgramRecord recordOf(const ProgramSource &source);
ProgramSource sourceOf(const train::ProgramRecord &record);

/// The newest usable checkpoint at `path`; those passed over are named on
/// stderr. NotFound when there is none.
train::FoundCheckpoint findUsableCheckpoint(const std::string &path);

} // namespace tidegate::tool
