// The protocol of a condition variable whose waiters are Gs: a count of signals that waiters sleep
// on, and glibc's word of flags and waiters. A wake takes the longest waiting sleeper off its queue
// itself, so later arrivals cannot steal it and glibc's two groups are not needed.
//
//   waiter (mutex held)             signaller
//   refs += 8                       refs >> 3 == 0: nobody, done
//   s = signals                     signals++
//   unlock                          wake one sleeper of `signals`
//   sleep while signals == s
//   refs -= 8
//
// A waiter that was between unlock and sleep sees signals moved and returns; the signal may then
// have woken another one as well: the only spurious wake-up there is.
//
// INV-COND-1  A signal that follows a waiter's unlock wakes that waiter or one that came earlier.
// INV-COND-2  Nobody touches the object after its last `refs -= 8`, which destroy waits for.
//
// Any thread of the program; no locks.
#pragma once

#include "shims/sync/waits.h"

namespace graft::shims {

template <class Atom>
class CondWords {
 public:
  using Atomic = typename Atom::template Atomic<uint32_t>;
  static constexpr uint32_t kShared = 1, kMonotonic = 2, kDestroyed = 4, kOne = 8;

  CondWords(Atomic& signals, Atomic& refs) : signals_(signals), refs_(refs) {}

  // The mutex is held; unlock() lets it go, and returns false if it could not: no wait then.
  template <class W, class Unlock>
  WaitResult wait(W& waits, const typename W::Until& until, Unlock unlock) {
    bool late = base::planted(base::Plant::kCondCountsLate);
    if (!late) refs_.fetchAddRelaxed(kOne);
    uint32_t seen = signals_.loadRelaxed();
    bool unlocked = unlock();
    if (late) refs_.fetchAddRelaxed(kOne);
    if (base::planted(base::Plant::kCondSleepsOnNew)) seen = signals_.loadRelaxed();
    WaitResult r = unlocked ? waits.wait(signals_, seen, until) : WaitResult::kMismatch;
    leave(waits);
    return r;
  }
  // Ends a wait() that its thread will not return to. It may have been woken already: then that
  // signal is another waiter's.
  template <class W>
  void abandon(W& waits) {
    waits.wake(&signals_, 1);
    leave(waits);
  }
  template <class W>
  void signal(W& waits, uint32_t n) {
    if (refs_.loadRelaxed() < kOne) return;
    signals_.fetchAddRelease(1);
    waits.wake(&signals_, n);
  }
  template <class W>
  void destroy(W& waits) {
    uint32_t now = refs_.fetchOrAcqRel(kDestroyed) | kDestroyed;  // [COND-A]
    while (now >= kOne) {
      waits.wait(refs_, now, {});
      now = refs_.loadAcquire();
    }
  }

 private:
  template <class W>
  void leave(W& waits) {
    uint32_t old = refs_.fetchSubAcqRel(kOne);  // [COND-A]
    if (old >> 3 == 1 && (old & kDestroyed) != 0) waits.wake(&refs_, W::kAll);
  }

  Atomic& signals_;
  Atomic& refs_;
};

}  // namespace graft::shims
