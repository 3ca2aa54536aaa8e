// Each synchronisation object between Gs, and between Gs and a thread that is none: exclusion,
// hand-over, time-outs, errors, and the moments at which an object may go away.
#include <linux/futex.h>
#include <signal.h>
#include <sys/time.h>

#include "tests/unit/sync/gs.h"

namespace graft::shims {
namespace {

INSTANTIATE_TEST_SUITE_P(Procs, Sync, testing::Values(1u, 2u));

using sched::go;

constexpr uint32_t kGs = 8, kRounds = 2000;

struct Guarded {
  pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
  uint64_t n = 0;
  Count done;
};

void init(pthread_mutex_t* m, int type, bool shared = false, int protocol = PTHREAD_PRIO_NONE) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_settype(&a, type);
  if (shared) pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setprotocol(&a, protocol);
  SCHED_CHECK(pthread_mutex_init(m, &a) == 0);
}

void countUp(void* arg) {
  Guarded& g = *static_cast<Guarded*>(arg);
  for (uint32_t i = 0; i < kRounds; i++) {
    lock(&g.m);
    uint64_t n = g.n;
    if (i % 16 == 0) s.yield();
    g.n = n + 1;
    unlock(&g.m);
  }
  g.done.add();
}

TEST_P(Sync, EveryKindOfMutexExcludes) {
  run([] {
    static Guarded all[7];
    init(&all[0].m, PTHREAD_MUTEX_NORMAL);
    init(&all[1].m, PTHREAD_MUTEX_RECURSIVE);
    init(&all[2].m, PTHREAD_MUTEX_ERRORCHECK);
    init(&all[3].m, PTHREAD_MUTEX_ADAPTIVE_NP);
    init(&all[4].m, PTHREAD_MUTEX_NORMAL, false, PTHREAD_PRIO_INHERIT);
    init(&all[5].m, PTHREAD_MUTEX_NORMAL, true);
    init(&all[6].m, PTHREAD_MUTEX_RECURSIVE, true);
    for (Guarded& g : all) {
      uint32_t gs = &g < &all[5] ? kGs : 3;
      for (uint32_t i = 0; i < gs; i++) go(countUp, &g);
      g.done.waitFor(gs);
      SCHED_CHECK(g.n == uint64_t{gs} * kRounds);
      SCHED_CHECK(pthread_mutex_destroy(&g.m) == 0);  // and so nobody counts as a user
    }
  });
}

TEST_P(Sync, MutexErrorsAreGlibcs) {
  run([] {
    static pthread_mutex_t m[3], inherit[2];
    static Count done;
    init(&inherit[0], PTHREAD_MUTEX_NORMAL, false, PTHREAD_PRIO_INHERIT);
    init(&inherit[1], PTHREAD_MUTEX_ERRORCHECK, false, PTHREAD_PRIO_INHERIT);
    for (auto& one : inherit) lock(&one);
    SCHED_CHECK(mutexTryLock(s, &inherit[0]) == EBUSY && mutexTryLock(s, &inherit[1]) == EDEADLK);
    init(&m[0], PTHREAD_MUTEX_NORMAL);
    init(&m[1], PTHREAD_MUTEX_RECURSIVE);
    init(&m[2], PTHREAD_MUTEX_ERRORCHECK);
    for (auto& one : m) lock(&one);
    lock(&m[1]);
    SCHED_CHECK(!lockFast(&m[2]) && mutexLock(s, &m[2]) == EDEADLK);
    SCHED_CHECK(mutexTryLock(s, &m[2]) == EBUSY && mutexTryLock(s, &m[0]) == EBUSY);
    m[1].__data.__count = ~0u;
    SCHED_CHECK(!lockFast(&m[1]) && mutexLock(s, &m[1]) == EAGAIN);
    m[1].__data.__count = 2;
    go(
        [](void*) {
          for (auto& one : inherit) SCHED_CHECK(mutexUnlock(s, &one) == EPERM);
          for (int i = 0; i < 3; i++) {
            SCHED_CHECK(!lockFast(&m[i]) && mutexTryLock(s, &m[i]) == EBUSY);
            timespec at = after(2 * kMs);
            SCHED_CHECK(mutexTimedLock(s, &m[i], {&at, CLOCK_REALTIME}) == ETIMEDOUT);
            at = after(2 * kMs, CLOCK_MONOTONIC);
            SCHED_CHECK(mutexTimedLock(s, &m[i], {&at, CLOCK_MONOTONIC}) == ETIMEDOUT);
            at.tv_nsec = 1'000'000'000;
            SCHED_CHECK(mutexTimedLock(s, &m[i], {&at, CLOCK_MONOTONIC}) == EINVAL);
            at = {-1, 0};
            SCHED_CHECK(mutexTimedLock(s, &m[i], {&at, CLOCK_REALTIME}) == ETIMEDOUT);
            if (i > 0) SCHED_CHECK(!unlockFast(s, &m[i]) && mutexUnlock(s, &m[i]) == EPERM);
          }
          done.add();
          timespec at = after(20'000 * kMs);
          SCHED_CHECK(mutexTimedLock(s, &m[0], {&at, CLOCK_REALTIME}) == 0);
          unlock(&m[0]);
          done.add();
        },
        nullptr);
    done.waitFor(1);
    s.sleepUntil(os::nowNs() + 2 * kMs);
    unlock(&m[0]);
    done.waitFor(2);
    unlock(&m[1]);
    SCHED_CHECK(pthread_mutex_destroy(&m[1]) == EBUSY);
    unlock(&m[1]);
    SCHED_CHECK(pthread_mutex_destroy(&m[1]) == 0);
  });
}

pthread_mutex_t* robustMutex(bool shared) {
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* m = static_cast<pthread_mutex_t*>(page);
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  if (shared) pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
  SCHED_CHECK(pthread_mutex_init(m, &a) == 0);
  return m;
}

TEST_P(Sync, ARobustMutexKnowsThatItsOwnerDied) {
  run([] {
    for (bool shared : {false, true}) {
      static pthread_mutex_t* m;
      static Count done, locked;
      m = robustMutex(shared);
      locked.n = done.n = 0;
      go(
          [](void*) {
            SCHED_CHECK(mutexLock(s, m) == 0 && mutexLock(s, m) == 0);
            locked.add();
            s.sleepUntil(os::nowNs() + 5 * kMs);
            endRobust();
          },
          nullptr);
      locked.waitFor(1);
      go(
          [](void*) {
            SCHED_CHECK(mutexLock(s, m) == EOWNERDEAD);
            SCHED_CHECK(mutexConsistent(m) == 0);
            SCHED_CHECK(mutexLock(s, m) == 0 && mutexUnlock(s, m) == 0 && mutexUnlock(s, m) == 0);
            SCHED_CHECK(mutexUnlock(s, m) == EPERM);
            done.add();
          },
          nullptr);
      done.waitFor(1);
    }
  });
}

TEST_P(Sync, ARobustMutexOfAnEndedProcess) {
  static pthread_mutex_t* m;
  m = robustMutex(true);
  run([] {
    static Count locked;
    go(
        [](void*) {
          SCHED_CHECK(mutexLock(s, m) == 0);
          locked.add();
          s.sleepUntil(os::nowNs() + 60'000 * kMs);
        },
        nullptr);
    locked.waitFor(1);
  });
  EXPECT_EQ(pthread_mutex_trylock(m), EOWNERDEAD);
}

// A bounded queue between producers and consumers.
TEST_P(Sync, CondsHandOver) {
  run([] {
    static struct {
      pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
      pthread_cond_t full, empty;
      uint32_t in = 0, out = 0;
    } q;
    static Count done;
    constexpr uint32_t kItems = 4000, kRoom = 3;
    // What glibc's functions may have left there.
    memset(&q.full, 0, sizeof q.full);
    memset(&q.empty, 0, sizeof q.empty);
    q.full.__data.__wseq.__value32.__low = ~0u;
    for (int i = 0; i < 3; i++) {
      go(
          [](void*) {
            for (uint32_t k = 0; k < kItems; k++) {
              lock(&q.m);
              while (q.in - q.out == kRoom) SCHED_CHECK(condWait(s, &q.empty, &q.m) == 0);
              q.in++;
              condSignal(s, &q.full);
              unlock(&q.m);
            }
            done.add();
          },
          nullptr);
      go(
          [](void*) {
            for (uint32_t k = 0; k < kItems; k++) {
              lock(&q.m);
              while (q.in == q.out) SCHED_CHECK(condWait(s, &q.full, &q.m) == 0);
              q.out++;
              unlock(&q.m);
              condSignal(s, &q.empty);
            }
            done.add();
          },
          nullptr);
    }
    done.waitFor(6);
    SCHED_CHECK(q.in == 3 * kItems && q.out == q.in);
    SCHED_CHECK(condDestroy(s, &q.full) == 0 && condDestroy(s, &q.empty) == 0);
  });
}

// The broadcaster destroys the object and writes over it at once.
TEST_P(Sync, ACondMayGoRightAfterItsBroadcast) {
  run([] {
    static struct {
      pthread_mutex_t m;
      pthread_cond_t c;
      uint32_t waiting, go_on;
    } o;
    static Count done;
    for (uint32_t round = 0; round < 300; round++) {
      o.m = PTHREAD_MUTEX_INITIALIZER;
      o.c = PTHREAD_COND_INITIALIZER;
      o.waiting = o.go_on = 0;
      for (int i = 0; i < 4; i++) {
        go(
            [](void*) {
              lock(&o.m);
              o.waiting++;
              while (o.go_on == 0) SCHED_CHECK(condWait(s, &o.c, &o.m) == 0);
              unlock(&o.m);
              done.add();
            },
            nullptr);
      }
      lock(&o.m);
      while (o.waiting < 4) {
        unlock(&o.m);
        s.yield();
        lock(&o.m);
      }
      o.go_on = 1;
      condBroadcast(s, &o.c);
      unlock(&o.m);
      condDestroy(s, &o.c);
      memset(&o.c, 0x5a, sizeof o.c);
      done.waitFor(4 * (round + 1));
      for (size_t i = 0; i < sizeof o.c; i++) {
        SCHED_CHECK(reinterpret_cast<char*>(&o.c)[i] == 0x5a);
      }
    }
  });
}

TEST_P(Sync, CondsTimeOutByEitherClock) {
  run([] {
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t real = PTHREAD_COND_INITIALIZER, mono;
    pthread_cond_init(&mono, &a);
    lock(&m);
    uint64_t begin = os::nowNs();
    timespec at = after(3 * kMs);
    SCHED_CHECK(condTimedWait(s, &real, &m, {&at, kOwnClock}) == ETIMEDOUT);
    at = after(3 * kMs, CLOCK_MONOTONIC);
    SCHED_CHECK(condTimedWait(s, &mono, &m, {&at, kOwnClock}) == ETIMEDOUT);
    SCHED_CHECK(condTimedWait(s, &real, &m, {&at, CLOCK_MONOTONIC}) == ETIMEDOUT);
    SCHED_CHECK(os::nowNs() - begin >= 6 * kMs);
    at.tv_nsec = -1;
    SCHED_CHECK(condTimedWait(s, &real, &m, {&at, kOwnClock}) == EINVAL);
    pthread_mutex_t checked;
    init(&checked, PTHREAD_MUTEX_ERRORCHECK);
    SCHED_CHECK(condWait(s, &real, &checked) == EPERM);
    SCHED_CHECK(mutexTryLock(s, &m) == EBUSY);  // still ours
    unlock(&m);
    SCHED_CHECK(condDestroy(s, &real) == 0 && pthread_mutex_destroy(&m) == 0);
  });
}

TEST_P(Sync, ReadWriteLocksExclude) {
  run([] {
    static struct Lock {
      pthread_rwlock_t l;
      uint32_t readers = 0, writers = 0;
      uint64_t n = 0;
      Count done;
    } all[2];
    for (Lock& l : all) {
      pthread_rwlockattr_t a;
      pthread_rwlockattr_init(&a);
      if (&l != all)
        pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
      pthread_rwlock_init(&l.l, &a);
      for (int i = 0; i < 6; i++) {
        auto body = i % 3 == 0
                        ? [](void* arg) {
                            Lock& k = *static_cast<Lock*>(arg);
                            for (uint32_t r = 0; r < kRounds; r++) {
                              timespec at = after((r % 3) * kMs / 10);
                              Deadline until{r % 2 == 0 ? &at : nullptr, CLOCK_REALTIME};
                              if (writeLock(s, &k.l, until) != 0) continue;
                              SCHED_CHECK(__atomic_load_n(&k.readers, __ATOMIC_SEQ_CST) == 0);
                              SCHED_CHECK(k.writers++ == 0);
                              if (r % 8 == 0) s.yield();
                              k.n++;
                              k.writers--;
                              SCHED_CHECK(rwUnlock(s, &k.l) == 0);
                            }
                            k.done.add();
                          }
                        : [](void* arg) {
                            Lock& k = *static_cast<Lock*>(arg);
                            for (uint32_t r = 0; r < kRounds; r++) {
                              SCHED_CHECK(readLock(s, &k.l, {}) == 0);
                              __atomic_fetch_add(&k.readers, 1, __ATOMIC_SEQ_CST);
                              SCHED_CHECK(k.writers == 0);
                              if (r % 8 == 0) s.yield();
                              __atomic_fetch_sub(&k.readers, 1, __ATOMIC_SEQ_CST);
                              SCHED_CHECK(rwUnlock(s, &k.l) == 0);
                            }
                            k.done.add();
                          };
        go(body, &l);
      }
      l.done.waitFor(6);
      SCHED_CHECK(l.n >= kRounds);
      SCHED_CHECK(tryWriteLock(&l.l) == 0 && tryReadLock(&l.l) == EBUSY);
      SCHED_CHECK(readLock(s, &l.l, {}) == EDEADLK && writeLock(s, &l.l, {}) == EDEADLK);
      SCHED_CHECK(rwUnlock(s, &l.l) == 0 && tryReadLock(&l.l) == 0 && tryReadLock(&l.l) == 0);
      timespec at = after(kMs);
      SCHED_CHECK(writeLock(s, &l.l, {&at, CLOCK_REALTIME}) == ETIMEDOUT);
      SCHED_CHECK(tryWriteLock(&l.l) == EBUSY);
      SCHED_CHECK(rwUnlock(s, &l.l) == 0 && rwUnlock(s, &l.l) == 0 && tryWriteLock(&l.l) == 0);
    }
  });
}

TEST_P(Sync, SemaphoresPassTokens) {
  run([] {
    static sem_t ping, pong;
    static Count done;
    sem_init(&ping, 0, 0);
    sem_init(&pong, 0, 0);
    go(
        [](void*) {
          for (int i = 0; i < 5000; i++) {
            SCHED_CHECK(semWait(s, &ping, {}) == 0);
            SCHED_CHECK(semPost(s, &pong) == 0);
          }
          done.add();
        },
        nullptr);
    for (int i = 0; i < 5000; i++) {
      SCHED_CHECK(semPost(s, &ping) == 0);
      SCHED_CHECK(semWait(s, &pong, {}) == 0);
    }
    done.waitFor(1);
    timespec at = after(2 * kMs);
    errno = 0;
    SCHED_CHECK(semWait(s, &ping, {&at, CLOCK_REALTIME}) == -1 && errno == ETIMEDOUT);
    SCHED_CHECK(semTryWait(&ping) == -1 && errno == EAGAIN);
    int value = -1;
    SCHED_CHECK(sem_getvalue(&ping, &value) == 0 && value == 0);
    sem_init(&ping, 0, SEM_VALUE_MAX);
    SCHED_CHECK(semPost(s, &ping) == -1 && errno == EOVERFLOW);
    // Another process's is waited for in the kernel.
    sem_init(&ping, 1, 0);
    go(
        [](void*) {
          s.yield();
          SCHED_CHECK(semPost(s, &ping) == 0);
          done.add();
        },
        nullptr);
    SCHED_CHECK(semWait(s, &ping, {}) == 0);
    done.waitFor(2);
  });
}

// The handler interrupts whatever the main thread does: Gs, wakes, the scheduler itself.
TEST_P(Sync, ASemaphoreIsPostedFromAHandler) {
  run([] {
    static sem_t sem;
    static uint32_t posted = 0, taken = 0, stop = 0;
    static Count done;
    sem_init(&sem, 0, 0);
    struct sigaction act = {};
    act.sa_handler = [](int) {
      __atomic_fetch_add(&posted, 1, __ATOMIC_SEQ_CST);
      SCHED_CHECK(semPost(s, &sem) == 0);
    };
    act.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &act, nullptr);
    timer_t timer;
    sigevent ev = {};
    ev.sigev_notify = SIGEV_SIGNAL;
    ev.sigev_signo = SIGUSR1;
    SCHED_CHECK(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
    itimerspec every{{0, 50'000}, {0, 50'000}};
    timer_settime(timer, 0, &every, nullptr);
    for (int i = 0; i < 3; i++) {
      go(
          [](void*) {
            while (__atomic_load_n(&stop, __ATOMIC_SEQ_CST) == 0) {
              if (semWait(s, &sem, {}) == 0) __atomic_fetch_add(&taken, 1, __ATOMIC_SEQ_CST);
            }
            semPost(s, &sem);
            done.add();
          },
          nullptr);
    }
    Count mine;
    for (uint64_t end = os::nowNs() + 500 * kMs; os::nowNs() < end;) {
      s.yield();
      mine.add();
      s.sleepUntil(os::nowNs() + kMs / 20);
    }
    every = {};
    timer_settime(timer, 0, &every, nullptr);
    uint32_t all = __atomic_load_n(&posted, __ATOMIC_SEQ_CST);
    SCHED_CHECK(all > 100);
    while (__atomic_load_n(&taken, __ATOMIC_SEQ_CST) < all) s.sleepUntil(os::nowNs() + kMs);
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    semPost(s, &sem);
    done.waitFor(3);
  });
}

TEST_P(Sync, BarriersOnceAndSpinLocks) {
  run([] {
    static struct {
      pthread_barrier_t b;
      pthread_spinlock_t spin;
      pthread_once_t once = PTHREAD_ONCE_INIT;
      uint32_t serial = 0, ran = 0;
      uint64_t n = 0;
    } o;
    static Count done;
    pthread_barrier_init(&o.b, nullptr, 5);
    pthread_spin_init(&o.spin, 0);
    for (int i = 0; i < 5; i++) {
      go(
          [](void*) {
            once(s, &o.once, [] {
              s.yield();
              o.ran++;
              s.sleepUntil(os::nowNs() + 2 * kMs);
            });
            SCHED_CHECK(o.ran == 1);
            for (int r = 0; r < 500; r++) {
              int got = barrierWait(s, &o.b);
              if (got != 0) __atomic_fetch_add(&o.serial, 1, __ATOMIC_SEQ_CST);
              if (__atomic_sub_fetch(&o.spin, 1, __ATOMIC_ACQUIRE) != 0) spinLockSlow(s, &o.spin);
              uint64_t n = o.n;
              if (r % 8 == 0) s.yield();
              o.n = n + 1;
              pthread_spin_unlock(&o.spin);
            }
            done.add();
          },
          nullptr);
    }
    done.waitFor(5);
    SCHED_CHECK(o.serial == 500 && o.n == 2500);
    SCHED_CHECK(barrierDestroy(s, &o.b) == 0);
    // Destroyed by whoever is first out.
    for (uint32_t round = 0; round < 200; round++) {
      pthread_barrier_init(&o.b, nullptr, 3);
      for (int i = 0; i < 3; i++) {
        go(
            [](void*) {
              if (barrierWait(s, &o.b) != 0) {
                SCHED_CHECK(barrierDestroy(s, &o.b) == 0);
                memset(&o.b, 0x5a, sizeof o.b);
              }
              done.add();
            },
            nullptr);
      }
      done.waitFor(5 + 3 * (round + 1));
      SCHED_CHECK(reinterpret_cast<char*>(&o.b)[8] == 0x5a);
    }
  });
}

long futex(uint32_t* word, int op, uint32_t value, const void* timeout = nullptr,
           uint32_t* other = nullptr, uint32_t last = 0) {
  long result = 99;
  const long args[6] = {os::arg(word),    op | FUTEX_PRIVATE_FLAG, static_cast<long>(value),
                        os::arg(timeout), os::arg(other),          static_cast<long>(last)};
  SCHED_CHECK(futexCall(s, args, result));
  return result;
}

TEST_P(Sync, FutexCallsMeanWhatTheKernelSays) {
  run([] {
    static uint32_t a = 0, b = 0;
    static Count done;
    timespec ms{0, kMs}, bad{0, 1'000'000'000};
    SCHED_CHECK(futex(&a, FUTEX_WAIT, 1) == -EAGAIN);
    SCHED_CHECK(futex(&a, FUTEX_WAIT, 0, &ms) == -ETIMEDOUT);
    SCHED_CHECK(futex(&a, FUTEX_WAIT, 0, &bad) == -EINVAL);
    SCHED_CHECK(futex(&a, FUTEX_WAIT_BITSET, 0, nullptr, nullptr, 0) == -EINVAL);
    SCHED_CHECK(futex(&a, FUTEX_WAIT_BITSET, 0, &ms, nullptr, 1) == -ETIMEDOUT);
    SCHED_CHECK(futex(&a, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &ms, nullptr, 1) ==
                -ETIMEDOUT);
    SCHED_CHECK(futex(&a, FUTEX_WAKE, 1) == 0);
    SCHED_CHECK(futex(nullptr, FUTEX_WAIT, 0) == -EFAULT);
    static auto sleepers = [](uint32_t n) {
      for (uint32_t i = 0; i < n; i++) {
        go(
            [](void*) {
              SCHED_CHECK(futex(&a, FUTEX_WAIT, 0) == 0);
              done.add();
            },
            nullptr);
      }
      uint32_t parked;
      do {
        s.yield();
        parked = 0;
        s.forEachG([&](sched::G& g) { parked += g.state.look() == sched::GState::kParked; });
      } while (parked != n);
    };
    sleepers(3);
    const void* one = reinterpret_cast<void*>(uintptr_t{1});
    SCHED_CHECK(futex(&a, FUTEX_CMP_REQUEUE, 1, one, &b, 7) == -EAGAIN);
    SCHED_CHECK(futex(&a, FUTEX_CMP_REQUEUE, 1, one, &b, 0) == 2);
    SCHED_CHECK(futex(&b, FUTEX_WAKE, 5) == 1 && futex(&a, FUTEX_WAKE, 5) == 1);
    done.waitFor(3);
    sleepers(2);
    SCHED_CHECK(futex(&a, FUTEX_WAKE, 0) == 1);  // as the kernel does
    SCHED_CHECK(futex(&a, FUTEX_WAKE, ~0u) == 1);
    done.waitFor(5);
    sleepers(2);
    // b = 3 was 0, which is not > 0: only a's sleepers are woken.
    SCHED_CHECK(
        futex(&a, FUTEX_WAKE_OP, 1, one, &b, FUTEX_OP(FUTEX_OP_SET, 3, FUTEX_OP_CMP_GT, 0)) == 1);
    SCHED_CHECK(b == 3);
    SCHED_CHECK(
        futex(&b, FUTEX_WAKE_OP, 1, one, &a, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0)) == 1);
    SCHED_CHECK(a == 5);
    done.waitFor(7);
  });
}

// Objects that another process may use: the waiters sleep in the kernel, and their Ps go on.
TEST_P(Sync, SharedObjectsBlockNobodyElse) {
  run([] {
    static pthread_mutex_t m;
    static pthread_rwlock_t rw;
    static uint32_t word = 0;
    static Count done;
    init(&m, PTHREAD_MUTEX_NORMAL, true);
    pthread_rwlockattr_t a;
    pthread_rwlockattr_init(&a);
    pthread_rwlockattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_rwlock_init(&rw, &a);
    lock(&m);
    SCHED_CHECK(writeLock(s, &rw, {}) == 0);
    go(
        [](void*) {
          lock(&m);
          unlock(&m);
          done.add();
        },
        nullptr);
    go(
        [](void*) {
          SCHED_CHECK(readLock(s, &rw, {}) == 0 && rwUnlock(s, &rw) == 0);
          done.add();
        },
        nullptr);
    go(
        [](void*) {
          long result, args[6] = {os::arg(&word), FUTEX_WAIT, 0, 0, 0, 0};
          while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) == 0) {
            SCHED_CHECK(futexCall(s, args, result));
          }
          done.add();
        },
        nullptr);
    while (s.counts().handoffs < 3) s.sleepUntil(os::nowNs() + kMs / 10);
    unlock(&m);
    SCHED_CHECK(rwUnlock(s, &rw) == 0);
    __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
    os::sys(SYS_futex, os::arg(&word), FUTEX_WAKE, 1);
    done.waitFor(3);
  });
}

// A thread that is no G locks, waits and signals on the same objects.
TEST(SyncForeign, AForeignThreadTakesPart) {
  static struct {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    sem_t start, sem;
    pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
    uint64_t n = 0;
    uint32_t turn = 0;
  } o;
  static auto play = [](uint32_t me) {
    for (uint32_t i = 0; i < 2000; i++) {
      lock(&o.m);
      while (o.turn != me) SCHED_CHECK(condWait(s, &o.c, &o.m) == 0);
      o.turn = 1 - me;
      condSignal(s, &o.c);
      unlock(&o.m);
      SCHED_CHECK(writeLock(s, &o.rw, {}) == 0);
      o.n++;
      SCHED_CHECK(rwUnlock(s, &o.rw) == 0);
      SCHED_CHECK(readLock(s, &o.rw, {}) == 0 && rwUnlock(s, &o.rw) == 0);
    }
  };
  sched::Config c = withBlocks(2);
  sem_init(&o.start, 0, 0);
  sem_init(&o.sem, 0, 0);
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    pthread_t t;
    pthread_create(
        &t, nullptr,
        [](void*) -> void* {
          semWait(s, &o.start, {});
          play(1);
          semPost(s, &o.sem);
          return nullptr;
        },
        nullptr);
    if (!sched::startScheduler(c)) _exit(4);
    semPost(s, &o.start);
    static Count done;
    go(
        [](void*) {
          play(0);
          done.add();
        },
        nullptr);
    done.waitFor(1);
    SCHED_CHECK(semWait(s, &o.sem, {}) == 0);
    SCHED_CHECK(o.n == 4000);
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

// Its handler may interrupt it while it readies a G.
TEST(SyncForeign, AForeignThreadPostsFromItsHandler) {
  static sem_t start, plain, handled;
  static uint32_t posted = 0;
  constexpr uint32_t kPosts = 200000;
  sem_init(&start, 0, 0);
  sem_init(&plain, 0, 0);
  sem_init(&handled, 0, 0);
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) {
    alarm(20);
    sched::Config c = withBlocks(2);
    struct sigaction act = {};
    act.sa_handler = [](int) {
      __atomic_fetch_add(&posted, 1, __ATOMIC_SEQ_CST);
      SCHED_CHECK(semPost(s, &handled) == 0);
    };
    sigaction(SIGUSR1, &act, nullptr);
    pthread_t t;
    pthread_create(
        &t, nullptr,
        [](void*) -> void* {
          while (semWait(s, &start, {}) != 0) {
          }
          sigevent ev = {};
          ev.sigev_notify = SIGEV_THREAD_ID;
          ev.sigev_signo = SIGUSR1;
          ev._sigev_un._tid = gettid();
          timer_t timer;
          SCHED_CHECK(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
          itimerspec every{{0, 20'000}, {0, 20'000}}, never{};
          timer_settime(timer, 0, &every, nullptr);
          for (uint32_t i = 0; i < kPosts; i++) semPost(s, &plain);
          timer_settime(timer, 0, &never, nullptr);
          semPost(s, &start);
          return nullptr;
        },
        nullptr);
    if (!sched::startScheduler(c)) _exit(4);
    static Count done;
    static uint32_t taken = 0;
    go(
        [](void*) {
          for (uint32_t i = 0; i < kPosts; i++) SCHED_CHECK(semWait(s, &plain, {}) == 0);
          done.add();
        },
        nullptr);
    go(
        [](void*) {
          for (;; __atomic_fetch_add(&taken, 1, __ATOMIC_SEQ_CST)) {
            SCHED_CHECK(semWait(s, &handled, {}) == 0);
          }
        },
        nullptr);
    semPost(s, &start);
    done.waitFor(1);
    SCHED_CHECK(semWait(s, &start, {}) == 0);
    uint32_t all = __atomic_load_n(&posted, __ATOMIC_SEQ_CST);
    SCHED_CHECK(all > 100);
    while (__atomic_load_n(&taken, __ATOMIC_SEQ_CST) < all) s.sleepUntil(os::nowNs() + kMs);
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace graft::shims
