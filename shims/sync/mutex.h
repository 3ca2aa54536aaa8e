// Mutexes: what each kind means, over glibc's layout and word protocol, so that static
// initialisers, gdb and libc itself agree. The uncontended case of the kinds that need no kernel is
// inline here, for the exports; the rest is in mutex.cc.
//
// Private mutexes, priority inheritance included, park in the lot; process-shared, robust and
// priority-ceiling ones stay glibc's, with the G wired as long as it holds one and the kernel's
// thread id in its thread block during the call (HZ-TID).
//
// Any thread of the program in user code. No locks.
#pragma once

#include <errno.h>
#include <pthread.h>

#include "shims/glibc/own_tid.h"
#include "shims/sync/lock_word.h"

namespace graft::shims {

// Bits of __kind that pthread.h keeps to itself. The lowest two are the public type.
inline constexpr uint32_t kKindMask = 3, kRobust = 16, kInherit = 32, kCeiling = 64, kShared = 128,
                          kElided = 256, kNeverElided = 512;

int mutexLock(sched::Sched& s, pthread_mutex_t* m);
int mutexTryLock(sched::Sched& s, pthread_mutex_t* m);
int mutexTimedLock(sched::Sched& s, pthread_mutex_t* m, const Deadline& until);
int mutexUnlock(sched::Sched& s, pthread_mutex_t* m);
// glibc's function, with the id that the mutex was locked with as its owner.
int mutexConsistent(pthread_mutex_t* m);
int mutexSetCeiling(sched::Sched& s, pthread_mutex_t* m, int ceiling, int* old);
// For condition variables: a waiter counts as a user of the mutex.
int mutexUnlockForWait(sched::Sched& s, pthread_mutex_t* m);
int mutexLockAfterWait(sched::Sched& s, pthread_mutex_t* m);

// glibc, too, leaves the lock prefix out as long as there is one thread.
[[gnu::always_inline]] inline bool takeFree(pthread_mutex_t* m) {
  auto& d = m->__data;
  if (glibc::singleThreaded()) {
    if (d.__lock != 0) return false;
    d.__lock = 1;
    return true;
  }
  int none = 0;
  return __atomic_compare_exchange_n(&d.__lock, &none, 1, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED);
}
// False: somebody may wait.
[[gnu::always_inline]] inline bool freeUncontended(pthread_mutex_t* m) {
  auto& d = m->__data;
  if (glibc::singleThreaded() && d.__lock == 1) {
    d.__lock = 0;
    return true;
  }
  return __atomic_exchange_n(&d.__lock, 0, __ATOMIC_RELEASE) <= 1;
}

// False: the slow path has to look.
[[gnu::always_inline]] inline bool lockFast(pthread_mutex_t* m) {
  auto& d = m->__data;
  uint32_t kind = static_cast<uint32_t>(d.__kind) & ~kNeverElided;
  int64_t offset = glibc::tidOffset();
  if (__builtin_expect(kind > kKindMask || offset == 0, 0)) return false;
  int tid = static_cast<int>(glibc::tidAt(offset));
  if (kind == PTHREAD_MUTEX_RECURSIVE_NP) {
    if (d.__owner == tid) {
      if (d.__count + 1 == 0) return false;
      d.__count++;
      return true;
    }
    if (!takeFree(m)) return false;
    d.__count = 1;
  } else if (__builtin_expect(!takeFree(m), 0)) {
    return false;
  }
  d.__owner = tid;
  d.__nusers++;
  return true;
}

void wakeMutexWaiter(sched::Sched& s, pthread_mutex_t* m);

[[gnu::always_inline]] inline bool unlockFast(sched::Sched& s, pthread_mutex_t* m) {
  auto& d = m->__data;
  uint32_t kind = static_cast<uint32_t>(d.__kind) & ~kNeverElided;
  if (__builtin_expect(kind > kKindMask, 0)) return false;
  if (kind == PTHREAD_MUTEX_RECURSIVE_NP) {
    int64_t offset = glibc::tidOffset();
    if (offset == 0 || d.__owner != static_cast<int>(glibc::tidAt(offset))) return false;
    if (--d.__count != 0) return true;
  } else if (kind == PTHREAD_MUTEX_ERRORCHECK_NP) {
    int64_t offset = glibc::tidOffset();
    if (offset == 0 || d.__lock == 0 || d.__owner != static_cast<int>(glibc::tidAt(offset))) {
      return false;
    }
  }
  d.__owner = 0;
  d.__nusers--;
  if (__builtin_expect(!freeUncontended(m), 0)) wakeMutexWaiter(s, m);
  return true;
}

}  // namespace graft::shims
