//===- InitAllPasses.h - Registration of every pass -------------*- C++ -*-===//
#pragma once

#include "passes/Autodiff/Passes.h"

namespace tidegate {
inline void registerAllPasses() {
  autodiff::registerAutodiffPasses();
}
} // namespace tidegate
