// The synchronisation functions of a process whose threads are Gs; see sync_gs.h. The uncontended
// case of mutexes and spin locks is inline, everything else one forward to shims/sync. init
// functions and what only reads an object (sem_getvalue) stay glibc's: the layout is the same.
#include "preload/sync_gs.h"

#include <errno.h>

#include "core/runtime/runtime.h"
#include "shims/sync/mutex.h"
#include "shims/sync/rwlock.h"
#include "shims/sync/sem.h"
#include "shims/sync/sync.h"

namespace graft::preload::gs {

using runtime::rt;
using shims::Deadline;

namespace {

int toC11(int error) {
  switch (error) {
    case 0: return thrd_success;
    case ENOMEM: return thrd_nomem;
    case ETIMEDOUT: return thrd_timedout;
    case EBUSY: return thrd_busy;
    default: return thrd_error;
  }
}

pthread_mutex_t* plain(mtx_t* m) { return reinterpret_cast<pthread_mutex_t*>(m); }
pthread_cond_t* plain(cnd_t* c) { return reinterpret_cast<pthread_cond_t*>(c); }

}  // namespace

// --- Mutexes

int pthread_mutex_lock(pthread_mutex_t* m) {
  return __builtin_expect(shims::lockFast(m), 1) ? 0 : shims::mutexLock(rt.sched, m);
}
int pthread_mutex_unlock(pthread_mutex_t* m) {
  return __builtin_expect(shims::unlockFast(rt.sched, m), 1) ? 0 : shims::mutexUnlock(rt.sched, m);
}
int pthread_mutex_trylock(pthread_mutex_t* m) {
  return shims::lockFast(m) ? 0 : shims::mutexTryLock(rt.sched, m);
}
int pthread_mutex_timedlock(pthread_mutex_t* m, const timespec* at) {
  return shims::lockFast(m) ? 0 : shims::mutexTimedLock(rt.sched, m, {at, CLOCK_REALTIME});
}
int pthread_mutex_clocklock(pthread_mutex_t* m, clockid_t clock, const timespec* at) {
  return shims::mutexTimedLock(rt.sched, m, {at, clock});
}

int pthread_mutex_consistent(pthread_mutex_t* m) { return shims::mutexConsistent(m); }
int pthread_mutex_setprioceiling(pthread_mutex_t* m, int ceiling, int* old) {
  return shims::mutexSetCeiling(rt.sched, m, ceiling, old);
}

int mtx_lock(mtx_t* m) { return toC11(gs::pthread_mutex_lock(plain(m))); }
int mtx_unlock(mtx_t* m) { return toC11(gs::pthread_mutex_unlock(plain(m))); }
int mtx_trylock(mtx_t* m) { return toC11(gs::pthread_mutex_trylock(plain(m))); }
int mtx_timedlock(mtx_t* m, const timespec* at) {
  return toC11(gs::pthread_mutex_timedlock(plain(m), at));
}

// --- Condition variables

int pthread_cond_wait(pthread_cond_t* c, pthread_mutex_t* m) {
  return shims::condWait(rt.sched, c, m);
}
int pthread_cond_timedwait(pthread_cond_t* c, pthread_mutex_t* m, const timespec* at) {
  return shims::condTimedWait(rt.sched, c, m, {at, shims::kOwnClock});
}
int pthread_cond_clockwait(pthread_cond_t* c, pthread_mutex_t* m, clockid_t clock,
                           const timespec* at) {
  if (!shims::clockSupported(clock)) return EINVAL;
  return shims::condTimedWait(rt.sched, c, m, {at, clock});
}
int pthread_cond_signal(pthread_cond_t* c) {
  return shims::condHasWaiters(c) ? shims::condSignal(rt.sched, c) : 0;
}
int pthread_cond_broadcast(pthread_cond_t* c) {
  return shims::condHasWaiters(c) ? shims::condBroadcast(rt.sched, c) : 0;
}
int pthread_cond_destroy(pthread_cond_t* c) { return shims::condDestroy(rt.sched, c); }

int cnd_wait(cnd_t* c, mtx_t* m) { return toC11(shims::condWait(rt.sched, plain(c), plain(m))); }
int cnd_timedwait(cnd_t* c, mtx_t* m, const timespec* at) {
  return toC11(shims::condTimedWait(rt.sched, plain(c), plain(m), {at, shims::kOwnClock}));
}
int cnd_signal(cnd_t* c) { return toC11(shims::condSignal(rt.sched, plain(c))); }
int cnd_broadcast(cnd_t* c) { return toC11(shims::condBroadcast(rt.sched, plain(c))); }
void cnd_destroy(cnd_t* c) { shims::condDestroy(rt.sched, plain(c)); }

// --- Read-write locks

int pthread_rwlock_rdlock(pthread_rwlock_t* l) {
  return shims::readLockFast(l) ? 0 : shims::readLock(rt.sched, l, {});
}
int pthread_rwlock_wrlock(pthread_rwlock_t* l) {
  return shims::writeLockFast(l) ? 0 : shims::writeLock(rt.sched, l, {});
}
int pthread_rwlock_timedrdlock(pthread_rwlock_t* l, const timespec* at) {
  return shims::readLock(rt.sched, l, {at, CLOCK_REALTIME});
}
int pthread_rwlock_timedwrlock(pthread_rwlock_t* l, const timespec* at) {
  return shims::writeLock(rt.sched, l, {at, CLOCK_REALTIME});
}
int pthread_rwlock_clockrdlock(pthread_rwlock_t* l, clockid_t clock, const timespec* at) {
  return shims::readLock(rt.sched, l, {at, clock});
}
int pthread_rwlock_clockwrlock(pthread_rwlock_t* l, clockid_t clock, const timespec* at) {
  return shims::writeLock(rt.sched, l, {at, clock});
}
int pthread_rwlock_tryrdlock(pthread_rwlock_t* l) { return shims::tryReadLock(l); }
int pthread_rwlock_trywrlock(pthread_rwlock_t* l) { return shims::tryWriteLock(l); }
int pthread_rwlock_unlock(pthread_rwlock_t* l) { return shims::rwUnlock(rt.sched, l); }

// --- Semaphores

int sem_wait(sem_t* s) {
  pthread_testcancel();
  return shims::semTakeFast(s) ? 0 : shims::semWait(rt.sched, s, {});
}
int sem_timedwait(sem_t* s, const timespec* at) {
  return shims::semWait(rt.sched, s, {at, CLOCK_REALTIME});
}
int sem_clockwait(sem_t* s, clockid_t clock, const timespec* at) {
  return shims::semWait(rt.sched, s, {at, clock});
}
int sem_trywait(sem_t* s) { return shims::semTakeFast(s) ? 0 : shims::semTryWait(s); }
int sem_post(sem_t* s) { return shims::semPost(rt.sched, s); }

// --- Barriers, once, spin locks

int pthread_barrier_wait(pthread_barrier_t* b) { return shims::barrierWait(rt.sched, b); }
int pthread_barrier_destroy(pthread_barrier_t* b) { return shims::barrierDestroy(rt.sched, b); }

int pthread_once(pthread_once_t* control, RoutineOfOnce* routine) {
  if (__builtin_expect((__atomic_load_n(control, __ATOMIC_ACQUIRE) & 2) != 0, 1)) return 0;
  return shims::once(rt.sched, control, routine);
}
void call_once(once_flag* flag, RoutineOfOnce* routine) {
  gs::pthread_once(reinterpret_cast<pthread_once_t*>(flag), routine);
}

// 1 free, anything below taken; init, destroy, trylock and unlock are glibc's.
int pthread_spin_lock(pthread_spinlock_t* l) {
  if (__builtin_expect(__atomic_sub_fetch(l, 1, __ATOMIC_ACQUIRE) != 0, 0)) {
    shims::spinLockSlow(rt.sched, l);
  }
  return 0;
}

}  // namespace graft::preload::gs
