// The sleeping of Gs: a wait on a word that nobody changes, so that a signal or a cancellation can
// end it. See threads.h.
#include <errno.h>

#include "core/os/clock.h"
#include "shims/threads/threads.h"

namespace graft::shims {
namespace {

constexpr long kSecond = 1'000'000'000;

timespec now(clockid_t clock) {
  timespec t{};
  os::sys(SYS_clock_gettime, clock, os::arg(&t));
  return t;
}

timespec sum(const timespec& a, const timespec& b) {
  timespec t;
  long ns = a.tv_nsec + b.tv_nsec;
  if (__builtin_add_overflow(a.tv_sec, b.tv_sec + ns / kSecond, &t.tv_sec)) {
    t.tv_sec = static_cast<time_t>(~uint64_t{0} >> 1);
  }
  t.tv_nsec = ns % kSecond;
  return t;
}

timespec difference(const timespec& a, const timespec& b) {
  timespec t{a.tv_sec - b.tv_sec, a.tv_nsec - b.tv_nsec};
  if (t.tv_nsec < 0) t = {t.tv_sec - 1, t.tv_nsec + kSecond};
  return t.tv_sec < 0 ? timespec{} : t;
}

}  // namespace

// 0 or an error number, as clock_nanosleep.
int sleepFor(clockid_t clock, int flags, const timespec* time, timespec* left) {
  pthread_testcancel();
  if (time->tv_nsec < 0 || time->tv_nsec >= kSecond) return EINVAL;
  bool absolute = (flags & TIMER_ABSTIME) != 0;
  if (!absolute && time->tv_sec < 0) return EINVAL;
  timespec at = *time;
  if (!absolute) {
    clock = CLOCK_MONOTONIC;  // a change of the time of day does not matter
    at = sum(now(clock), *time);
  }
  Waits waits(runtime::rt.sched);
  Word& never = wordOf(graft_thread.never);
  uint32_t handled = sched::currentG()->handled;
  for (;;) {
    WaitResult r = waits.wait(never, 0, {&at, clock});
    if (r == WaitResult::kTimedOut) return 0;
    if (r != WaitResult::kInterrupted) continue;
    pthread_testcancel();
    if (sched::currentG()->handled == handled) continue;  // woken for nothing
    if (!absolute && left != nullptr) *left = difference(at, now(clock));
    return EINTR;
  }
}

}  // namespace graft::shims
