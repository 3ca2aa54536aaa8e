// Coarse monotonic time in milliseconds by raw system call; for decay and rate limits, where
// a tick of 1-4 ms is enough. Any stack.
#pragma once

#include <time.h>

#include "core/os/sys.h"

namespace graft::os {

inline uint64_t nowMs() {
  timespec ts{};
  sys(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, arg(&ts));
  return static_cast<uint64_t>(ts.tv_sec) * 1000 + static_cast<uint64_t>(ts.tv_nsec) / 1000000;
}

}  // namespace graft::os
