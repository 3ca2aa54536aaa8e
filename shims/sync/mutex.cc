// The slow paths of mutexes: contended or timed, misused, owned by the caller already, and the
// kinds that only the kernel can do; see mutex.h.
#include "shims/sync/mutex.h"

#include "shims/sync/real.h"
#include "shims/sync/sync.h"

namespace graft::shims {
namespace {

using Lock = LockWord<base::RealAtom>;

uint32_t kindOf(pthread_mutex_t* m) {
  return static_cast<uint32_t>(__atomic_load_n(&m->__data.__kind, __ATOMIC_RELAXED));
}

// Only the kernel, or glibc's code with the kernel's help, can do these.
bool needsKernel(uint32_t kind) { return (kind & (kRobust | kCeiling | kShared)) != 0; }

bool destroyed(uint32_t kind) { return kind == ~0u; }

// Before the lock word is tried: true, the answer is in `result`.
bool settledByOwner(pthread_mutex_t* m, uint32_t kind, int tid, bool try_only, int& result) {
  auto& d = m->__data;
  if (d.__owner != tid) return false;
  if ((kind & kKindMask) == PTHREAD_MUTEX_RECURSIVE_NP) {
    bool full = d.__count + 1 == 0;
    if (!full) d.__count++;
    result = full ? EAGAIN : 0;
    return true;
  }
  result = EDEADLK;
  return (kind & kKindMask) == PTHREAD_MUTEX_ERRORCHECK_NP && (!try_only || (kind & kInherit) != 0);
}

void own(pthread_mutex_t* m, uint32_t kind, int tid, bool new_user) {
  auto& d = m->__data;
  if ((kind & kKindMask) == PTHREAD_MUTEX_RECURSIVE_NP) d.__count = 1;
  d.__owner = tid;
  if (new_user) d.__nusers++;
}

int lockPlain(sched::Sched& s, pthread_mutex_t* m, const Deadline& until, bool new_user) {
  uint32_t kind = kindOf(m);
  int tid = static_cast<int>(glibc::ownTid()), result;
  if (settledByOwner(m, kind, tid, false, result)) return result;
  Lock lock(wordOf(m->__data.__lock));
  if (!lock.tryTake()) {
    if (until.at != nullptr && !until.valid()) return EINVAL;
    Waits waits(s);
    if (!lock.take(waits, until)) return ETIMEDOUT;
  }
  own(m, kind, tid, new_user);
  return 0;
}

int tryLockPlain(pthread_mutex_t* m) {
  uint32_t kind = kindOf(m);
  int tid = static_cast<int>(glibc::ownTid()), result;
  if (settledByOwner(m, kind, tid, true, result)) return result;
  if (!Lock(wordOf(m->__data.__lock)).tryTake()) return EBUSY;
  own(m, kind, tid, true);
  return 0;
}

int unlockPlain(sched::Sched& s, pthread_mutex_t* m, bool user_leaves) {
  auto& d = m->__data;
  uint32_t kind = kindOf(m), type = kind & kKindMask;
  int tid = static_cast<int>(glibc::ownTid());
  if (type == PTHREAD_MUTEX_RECURSIVE_NP) {
    if (d.__owner != tid) return EPERM;
    if (--d.__count != 0) return 0;
  } else if (type == PTHREAD_MUTEX_ERRORCHECK_NP || (kind & kInherit) != 0) {
    if (d.__owner != tid || d.__lock == 0) return EPERM;
  }
  d.__owner = 0;
  if (user_leaves) d.__nusers--;
  Waits waits(s);
  Lock(wordOf(d.__lock)).release(waits);
  return 0;
}

constexpr Deadline kForEver{};

bool got(int result) { return result == 0 || result == EOWNERDEAD; }

struct KernelLock {
  pthread_mutex_t* m;
  const Deadline* until;

  static long call(void* self) {
    auto* k = static_cast<KernelLock*>(self);
    const RealSync& real = realSync();
    if (k->until->at == nullptr) return real.mutexLock(k->m);
    return real.mutexClockLock(k->m, k->until->clock, k->until->at);
  }
};

// A G that holds a mutex of the kernel's stays on its M. until: null, do not wait.
int lockInKernel(sched::Sched& s, pthread_mutex_t* m, const Deadline* until) {
  KernelLock call{m, until};
  if (sched::currentG() == nullptr) {
    return until == nullptr ? realSync().mutexTryLock(m)
                            : static_cast<int>(KernelLock::call(&call));
  }
  s.lockThread();
  if ((kindOf(m) & kRobust) != 0) announceRobust();
  int result;
  {
    glibc::KernelTid tid;
    result = realSync().mutexTryLock(m);
    if (result == EBUSY && until != nullptr) {
      result = static_cast<int>(s.blocking(KernelLock::call, &call));
    }
  }
  if (!got(result)) s.unlockThread();
  return result;
}

int unlockInKernel(sched::Sched& s, pthread_mutex_t* m) {
  if (sched::currentG() == nullptr) return realSync().mutexUnlock(m);
  int result;
  {
    glibc::KernelTid tid;
    result = realSync().mutexUnlock(m);
  }
  if (result == 0) s.unlockThread();
  return result;
}

}  // namespace

int mutexLock(sched::Sched& s, pthread_mutex_t* m) {
  uint32_t kind = kindOf(m);
  if (destroyed(kind)) return realSync().mutexLock(m);
  return needsKernel(kind) ? lockInKernel(s, m, &kForEver) : lockPlain(s, m, {}, true);
}

int mutexTryLock(sched::Sched& s, pthread_mutex_t* m) {
  uint32_t kind = kindOf(m);
  if (destroyed(kind)) return realSync().mutexTryLock(m);
  return needsKernel(kind) ? lockInKernel(s, m, nullptr) : tryLockPlain(m);
}

int mutexTimedLock(sched::Sched& s, pthread_mutex_t* m, const Deadline& until) {
  uint32_t kind = kindOf(m);
  if (destroyed(kind) || !clockSupported(until.clock)) {
    return realSync().mutexClockLock(m, until.clock, until.at);
  }
  return needsKernel(kind) ? lockInKernel(s, m, &until) : lockPlain(s, m, until, true);
}

int mutexUnlock(sched::Sched& s, pthread_mutex_t* m) {
  uint32_t kind = kindOf(m);
  if (destroyed(kind)) return realSync().mutexUnlock(m);
  return needsKernel(kind) ? unlockInKernel(s, m) : unlockPlain(s, m, true);
}

int mutexConsistent(pthread_mutex_t* m) {
  if (sched::currentG() == nullptr) return realSync().mutexConsistent(m);
  glibc::KernelTid tid;
  return realSync().mutexConsistent(m);
}

int mutexSetCeiling(sched::Sched& s, pthread_mutex_t* m, int ceiling, int* old) {
  if (sched::currentG() == nullptr) return realSync().mutexSetCeiling(m, ceiling, old);
  s.lockThread();
  int result;
  {
    glibc::KernelTid tid;
    result = realSync().mutexSetCeiling(m, ceiling, old);
  }
  s.unlockThread();
  return result;
}

int mutexUnlockForWait(sched::Sched& s, pthread_mutex_t* m) {
  return needsKernel(kindOf(m)) ? unlockInKernel(s, m) : unlockPlain(s, m, false);
}

int mutexLockAfterWait(sched::Sched& s, pthread_mutex_t* m) {
  return needsKernel(kindOf(m)) ? lockInKernel(s, m, &kForEver) : lockPlain(s, m, {}, false);
}

// Waiters of glibc's own code are among those in the kernel as long as threads are kernel threads.
void wakeMutexWaiter(sched::Sched& s, pthread_mutex_t* m) { Waits(s).wake(&m->__data.__lock, 1); }

}  // namespace graft::shims
