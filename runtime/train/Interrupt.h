//===- Interrupt.h - Stopping at the next step boundary ---------*- C++ -*-===//
// While an InterruptGuard lives, the first SIGINT or SIGTERM sets a flag that
// the trainer reads after each step; a second one ends the process as usual.
//===----------------------------------------------------------------------===//
#pragma once

#include <csignal>

namespace tidegate::train {

class InterruptGuard {
public:
  InterruptGuard();
  InterruptGuard(const InterruptGuard &) = delete;
  ~InterruptGuard();

  static bool requested();

private:
  struct sigaction oldInterrupt, oldTerminate;
};

} // namespace tidegate::train
