//===- Advance.h - How far an evaluation is ---------------------*- C++ -*-===//
// Evaluations take minutes to hours; whoever waits is told between batches.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <functional>

namespace tidegate::eval {

/// Called after each batch with the rows done and the rows there are.
using Advance = std::function<void(int64_t done, int64_t all)>;

} // namespace tidegate::eval
