//===- PlayedKernels.h - CUDA kernels run on the CPU ------------*- C++ -*-===//
// Compiles the text of generated kernels with the host's compiler against the
// software warp and puts them into a plan, so that the CPU's executor runs the
// very program that a GPU would, with its tiles, masks and barriers.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/CodeGen/CUDA/KernelSource.h"
#include "runtime/core/Plan.h"

#include <vector>

namespace tidegate::played {

/// Fills in the kernels of a plan. With `findsRaces` they throw at races in shared memory, and run slower. Throws
/// runtime_error with the compiler's messages.
void playKernels(runtime::Plan &plan, const std::vector<cuda::KernelSource> &kernels, bool findsRaces = false);

/// Which of the schedules of the software warp the next runs use.
void setSchedule(int number);
int numSchedules();

} // namespace tidegate::played
