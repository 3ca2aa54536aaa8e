// Condition variables over cond_words.h: which words of glibc's object are used, clocks, errors,
// cancellation. See sync.h.
#include <errno.h>

#include "shims/sync/cond_words.h"
#include "shims/sync/mutex.h"
#include "shims/sync/real.h"
#include "shims/sync/sync.h"

namespace graft::shims {
namespace {

using Cond = CondWords<base::RealAtom>;

Word& refsOf(pthread_cond_t* c) { return wordOf(c->__data.__wrefs); }
Cond condOf(pthread_cond_t* c) { return Cond(wordOf(c->__data.__wseq.__value32.__low), refsOf(c)); }

bool sharedCond(pthread_cond_t* c) { return (refsOf(c).loadRelaxed() & Cond::kShared) != 0; }

// A signal handler that ran does not end the wait, as in glibc; a cancellation does.
class CondWaits : public Waits {
 public:
  using Waits::Waits;
  WaitResult wait(const Word& word, uint32_t expected, const Deadline& until) {
    for (;;) {
      WaitResult r = Waits::wait(word, expected, until);
      if (r != WaitResult::kInterrupted || glibc::cancelPending()) return r;
    }
  }
};

struct Wait {
  sched::Sched& s;
  Cond cond;
  CondWaits waits;
  pthread_mutex_t* m;

  static void undo(void* self) {
    auto* w = static_cast<Wait*>(self);
    w->cond.abandon(w->waits);
    mutexLockAfterWait(w->s, w->m);
  }
};

int wait(sched::Sched& s, pthread_cond_t* c, pthread_mutex_t* m, const Deadline& until) {
  pthread_testcancel();
  Wait w{s, condOf(c), CondWaits(s, false, WaitKind::kCancellable), m};
  int error = 0;
  auto unlock = [&] { return (error = mutexUnlockForWait(s, m)) == 0; };
  WaitResult r;
  if (w.waits.onG()) {
    r = w.cond.wait(w.waits, until, unlock);
  } else {
    OnCancel cancelled(Wait::undo, &w);
    r = w.cond.wait(w.waits, until, unlock);
  }
  if (error != 0) return error;
  int locked = mutexLockAfterWait(s, m);
  if (r == WaitResult::kInterrupted) pthread_testcancel();
  if (locked != 0) return locked;
  return r == WaitResult::kTimedOut ? ETIMEDOUT : 0;
}

// glibc's functions, for objects that other processes wait on: their waiters sleep in the kernel.
struct RealWait {
  pthread_cond_t* c;
  pthread_mutex_t* m;
  const Deadline* until;

  int run() const {
    const RealSync& real = realSync();
    if (until == nullptr) return real.condWait(c, m);
    if (until->clock == kOwnClock) return real.condTimedWait(c, m, until->at);
    return real.condClockWait(c, m, until->clock, until->at);
  }
  static long call(void* self) { return static_cast<const RealWait*>(self)->run(); }
};

// The mutex may be one that others wait for through our code.
int realWait(sched::Sched& s, const RealWait& wait) {
  if (!Waits(s).onG()) {
    kernel_waiters.fetchAddAcqRel(1);
    OnCancel cancelled([](void*) { kernel_waiters.fetchSubAcqRel(1); }, nullptr);
    int result = wait.run();
    kernel_waiters.fetchSubAcqRel(1);
    return result;
  }
  kernel_waiters.fetchAddAcqRel(1);
  s.lockThread();
  long result;
  {
    glibc::KernelTid tid;
    result = s.blocking(RealWait::call, const_cast<RealWait*>(&wait));
  }
  s.unlockThread();
  kernel_waiters.fetchSubAcqRel(1);
  return static_cast<int>(result);
}

}  // namespace

int condWait(sched::Sched& s, pthread_cond_t* c, pthread_mutex_t* m) {
  if (sharedCond(c)) return realWait(s, {c, m, nullptr});
  return wait(s, c, m, {});
}

int condTimedWait(sched::Sched& s, pthread_cond_t* c, pthread_mutex_t* m, Deadline until) {
  if (sharedCond(c)) return realWait(s, {c, m, &until});
  if (!until.valid()) return EINVAL;
  if (until.clock == kOwnClock) {
    bool monotonic = (refsOf(c).loadRelaxed() & Cond::kMonotonic) != 0;
    until.clock = monotonic ? CLOCK_MONOTONIC : CLOCK_REALTIME;
  }
  if (!clockSupported(until.clock)) return EINVAL;
  return wait(s, c, m, until);
}

int condSignal(sched::Sched& s, pthread_cond_t* c) {
  if (sharedCond(c)) return realSync().condSignal(c);
  Waits waits(s);
  condOf(c).signal(waits, 1);
  return 0;
}

int condBroadcast(sched::Sched& s, pthread_cond_t* c) {
  if (sharedCond(c)) return realSync().condBroadcast(c);
  Waits waits(s);
  condOf(c).signal(waits, Waits::kAll);
  return 0;
}

int condDestroy(sched::Sched& s, pthread_cond_t* c) {
  if (sharedCond(c)) return realSync().condDestroy(c);
  Waits waits(s);
  condOf(c).destroy(waits);
  return 0;
}

}  // namespace graft::shims
