//===- InitAllPasses.h - Registration of every pass -------------*- C++ -*-===//
#pragma once

#include "passes/Autodiff/Passes.h"
#include "passes/Nn/Passes.h"
#include "passes/Rec/Passes.h"
#include "passes/Tile/Passes.h"

namespace tidegate {
inline void registerAllPasses() {
  autodiff::registerAutodiffPasses();
  nn::registerNnPasses();
  rec::registerRecPasses();
  tile::registerTilePasses();
}
} // namespace tidegate
