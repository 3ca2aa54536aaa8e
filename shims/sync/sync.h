// The synchronisation objects of pthread.h, semaphore.h and threads.h besides mutexes, and
// futex(2), as the exports in preload call them; each takes the scheduler underneath, so that tests
// can bring their own. Error numbers are glibc's; pthread functions return them and leave errno
// alone, sem_ functions set errno.
//
// One protocol for Gs and for threads that are none, from the start of a process whose threads may
// become Gs and whether or not they ever do; processes whose threads are kernel threads do not come
// here at all. Process-shared objects are glibc's. Any thread of the program in user code, semPost
// and futexCall in its signal handlers as well.
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "shims/sync/waits.h"

namespace graft::shims {

int condWait(sched::Sched& s, pthread_cond_t* c, pthread_mutex_t* m);
// until.clock < 0: the clock that the condition variable was made with.
int condTimedWait(sched::Sched& s, pthread_cond_t* c, pthread_mutex_t* m, Deadline until);
// glibc counts them in the same place.
inline bool condHasWaiters(pthread_cond_t* c) {
  return wordOf(c->__data.__wrefs).loadRelaxed() >> 3 != 0;
}
int condSignal(sched::Sched& s, pthread_cond_t* c);
int condBroadcast(sched::Sched& s, pthread_cond_t* c);
int condDestroy(sched::Sched& s, pthread_cond_t* c);
inline constexpr clockid_t kOwnClock = -1;

int readLock(sched::Sched& s, pthread_rwlock_t* l, const Deadline& until);
int writeLock(sched::Sched& s, pthread_rwlock_t* l, const Deadline& until);
int tryReadLock(pthread_rwlock_t* l);
int tryWriteLock(pthread_rwlock_t* l);
int rwUnlock(sched::Sched& s, pthread_rwlock_t* l);

int semWait(sched::Sched& s, sem_t* sem, const Deadline& until);
int semTryWait(sem_t* sem);
int semPost(sched::Sched& s, sem_t* sem);

int barrierWait(sched::Sched& s, pthread_barrier_t* b);
int barrierDestroy(sched::Sched& s, pthread_barrier_t* b);

int once(sched::Sched& s, pthread_once_t* control, void (*routine)());

// Robust mutexes (robust.cc). findRobustHead: once, on a kernel thread; the others on a wired G.
void findRobustHead();
void* robustHead();  // of the calling G; null: not known
void announceRobust();  // before it locks one
void endRobust();  // a G that ends for good, before it leaves its M: its robust mutexes' owner died

void spinLockSlow(sched::Sched& s, pthread_spinlock_t* l);

// futex(2) on words of this process. True: `result` is its value or -errno; false: not ours, the
// kernel's. op as passed.
bool futexCall(sched::Sched& s, const long (&args)[6], long& result);

}  // namespace graft::shims
