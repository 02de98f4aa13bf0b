//===- InitAllPasses.h - Registration of every pass -------------*- C++ -*-===//
#pragma once

namespace tidegate {
inline void registerAllPasses() {}
} // namespace tidegate
