//===- Interrupt.cpp - Signal handling of the trainer -----------*- C++ -*-===//
// The handler only sets a flag and gives the signal its usual meaning back.
//===----------------------------------------------------------------------===//
#include "runtime/train/Interrupt.h"

using namespace tidegate::train;

namespace {
volatile std::sig_atomic_t stopRequested = 0;

void requestStop(int) { stopRequested = 1; }
} // namespace

InterruptGuard::InterruptGuard() {
  stopRequested = 0;
  struct sigaction action = {};
  action.sa_handler = requestStop;
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  sigaction(SIGINT, &action, &oldInterrupt);
  sigaction(SIGTERM, &action, &oldTerminate);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &oldInterrupt, nullptr);
  sigaction(SIGTERM, &oldTerminate, nullptr);
}

bool InterruptGuard::requested() { return stopRequested != 0; }
