// pthread_once and the waiting half of spin locks; see sync.h. The routine of a once is run by
// glibc's function, which undoes it when the routine is left by an exception, by cancellation or by
// fork; here is only the waiting for somebody else's routine. Because nobody tells us of such an
// undoing, waiters look again after a while.
#include <errno.h>

#include "shims/sync/real.h"
#include "shims/sync/sync.h"

namespace graft::shims {
namespace {

constexpr uint32_t kRunning = 1, kDone = 2;
constexpr uint64_t kFirstLook = 1'000'000;  // then twice as long each time
constexpr int kLooks = 7;
constexpr int kSpins = 100;

timespec fromNow(uint64_t ns) {
  timespec t{};
  os::sys(SYS_clock_gettime, CLOCK_MONOTONIC, os::arg(&t));
  uint64_t sum = static_cast<uint64_t>(t.tv_nsec) + ns;
  return {t.tv_sec + static_cast<time_t>(sum / 1'000'000'000),
          static_cast<long>(sum % 1'000'000'000)};
}

}  // namespace

int once(sched::Sched& s, pthread_once_t* control, void (*routine)()) {
  Word& word = wordOf(*control);
  Waits waits(s);
  if (!waits.onG()) return realSync().last(control, routine);
  uint64_t patience = kFirstLook;
  for (int i = 0; i < kLooks; i++, patience *= 2) {
    uint32_t now = word.loadAcquire();
    if ((now & kDone) != 0) return 0;
    if ((now & kRunning) == 0) break;
    timespec until = fromNow(patience);
    waits.wait(word, now, {&until, CLOCK_MONOTONIC});
  }
  // A routine that runs for long is waited for on the M: sysmon passes its P on.
  int result = realSync().last(control, routine);
  waits.wake(control, Waits::kAll);
  return result;
}

// The holder may be a G that does not run: whoever has looked a while lets others go first.
void spinLockSlow(sched::Sched& s, pthread_spinlock_t* l) {
  bool g = Waits(s).onG();
  do {
    for (int i = 0; __atomic_load_n(l, __ATOMIC_RELAXED) <= 0; i++) {
      if (g && i >= kSpins) {
        s.yield();
        i = 0;
      } else {
        base::cpuRelax();
      }
    }
  } while (__atomic_sub_fetch(l, 1, __ATOMIC_ACQUIRE) != 0);
}

}  // namespace graft::shims
