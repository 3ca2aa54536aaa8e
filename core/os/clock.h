// Monotonic time by raw system call: coarse in milliseconds, for decay and rate limits, where a
// tick of 1-4 ms is enough; fine in nanoseconds for timers; and the processor's own counter, to
// decide cheaply whether asking is worth it. Any stack.
//
// The coarse clock asks the kernel only when the counter says that a good half of a millisecond may
// have passed: every large malloc and free wants to know.
#pragma once

#include <time.h>

#include "core/base/atomic.h"
#include "core/os/sys.h"

namespace graft::os {

inline uint64_t cycles() { return __builtin_ia32_rdtsc(); }

// Half a millisecond at 2 GHz. A counter that stands still or jumps (another CPU, a machine that
// was moved) costs one question too many or an answer that is a little old.
inline constexpr uint64_t kClockTicks = uint64_t{1} << 20;

struct ClockCache {
  base::Atomic<uint64_t> asked{0};  // cycles(); [CLOCK-A] released after ms
  base::Atomic<uint64_t> ms{0};
};
inline constinit ClockCache clock_cache;

inline uint64_t nowMs() {
  uint64_t now = cycles();
  if (uint64_t last = clock_cache.asked.loadAcquire(); last != 0 && now - last < kClockTicks) {
    return clock_cache.ms.loadRelaxed();  // [CLOCK-A]
  }
  timespec ts{};
  sys(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, arg(&ts));
  uint64_t ms =
      static_cast<uint64_t>(ts.tv_sec) * 1000 + static_cast<uint64_t>(ts.tv_nsec) / 1000000;
  clock_cache.ms.storeRelaxed(ms);
  clock_cache.asked.storeRelease(now);
  return ms;
}

inline uint64_t nowNs() {
  timespec ts{};
  sys(SYS_clock_gettime, CLOCK_MONOTONIC, arg(&ts));
  return static_cast<uint64_t>(ts.tv_sec) * 1000000000 + static_cast<uint64_t>(ts.tv_nsec);
}

// At least so long, as a rule 50 us more (the thread's timer slack); less if a signal comes.
inline void sleepNs(uint64_t ns) {
  timespec ts{static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
  sys(SYS_nanosleep, arg(&ts), 0);
}

}  // namespace graft::os
