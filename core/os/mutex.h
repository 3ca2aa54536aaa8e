// Three-state futex mutex (Drepper, "Futexes are tricky", mutex 2) for the heap's slow paths, with
// clang thread-safety annotations and the rule of HZ-FORK: between the prepare and the parent or
// child handler of fork the forking thread owns every heap lock, and its own lock and unlock calls
// pass through. Slow paths of any thread; never on a signal handler's stack.
#pragma once

#include <stdint.h>

#include "core/base/atomic.h"
#include "core/os/sys.h"

#ifdef __clang__
#define GRAFT_CAPABILITY(x) __attribute__((capability(x)))
#define GRAFT_SCOPED_CAPABILITY __attribute__((scoped_lockable))
#define GRAFT_GUARDED_BY(x) __attribute__((guarded_by(x)))
#define GRAFT_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define GRAFT_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define GRAFT_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define GRAFT_TRY_ACQUIRE(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define GRAFT_NO_LOCK_ANALYSIS __attribute__((no_thread_safety_analysis))
#define GRAFT_RETURNS_LOCK(x) __attribute__((lock_returned(x)))
#else
#define GRAFT_CAPABILITY(x)
#define GRAFT_SCOPED_CAPABILITY
#define GRAFT_GUARDED_BY(x)
#define GRAFT_REQUIRES(...)
#define GRAFT_ACQUIRE(...)
#define GRAFT_RELEASE(...)
#define GRAFT_TRY_ACQUIRE(...)
#define GRAFT_NO_LOCK_ANALYSIS
#define GRAFT_RETURNS_LOCK(x)
#endif

namespace graft::os {

// Thread pointer of the thread that is inside fork and owns all heap locks; 0 otherwise.
extern constinit base::Atomic<uintptr_t> fork_owner;
void beginOwnFork();
void endOwnFork();
// A thread pointer is not enough: code on an M's g0 runs with that of the G which ran last.
bool isForkingThread();

inline bool insideOwnFork() {
  uintptr_t owner = fork_owner.loadRelaxed();
  return __builtin_expect(owner != 0, 0) && owner == threadPointer() && isForkingThread();
}

class GRAFT_CAPABILITY("mutex") Mutex {
 public:
  constexpr Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() GRAFT_ACQUIRE() GRAFT_NO_LOCK_ANALYSIS {
    uint32_t expected = 0;
    if (!state_.casAcquire(expected, 1)) lockSlow();
  }
  bool tryLock() GRAFT_TRY_ACQUIRE(true) GRAFT_NO_LOCK_ANALYSIS {
    uint32_t expected = 0;
    return state_.casAcquire(expected, 1) || passes();
  }
  void unlock() GRAFT_RELEASE() GRAFT_NO_LOCK_ANALYSIS {
    if (__builtin_expect(passes(), 0)) return;
    if (state_.exchangeAcqRel(0) == 2) wakeOne();
  }
  // fork child only: no other thread exists, whoever held or waited is gone.
  void reset() {
    for_fork_.storeRelaxed(0);
    state_.storeRelaxed(0);
  }
  // fork handlers: the real operation, past the rule above.
  void lockForFork() GRAFT_NO_LOCK_ANALYSIS {
    lock();
    for_fork_.storeRelaxed(1);
  }
  void unlockAfterFork() GRAFT_NO_LOCK_ANALYSIS {
    for_fork_.storeRelaxed(0);
    if (state_.exchangeAcqRel(0) == 2) wakeOne();
  }

 private:
  // Only what fork itself holds: a lock that a signal handler takes on the forking thread is real.
  bool passes() const { return for_fork_.loadRelaxed() != 0 && insideOwnFork(); }
  [[gnu::noinline, gnu::cold]] void lockSlow();
  [[gnu::noinline, gnu::cold]] void wakeOne();

  base::Atomic<uint32_t> for_fork_{0};  // held by fork; written by the forking thread
  base::Atomic<uint32_t> state_{0};  // 0 free, 1 held, 2 held and someone may wait
};

class GRAFT_SCOPED_CAPABILITY Lock {
 public:
  explicit Lock(Mutex& m) GRAFT_ACQUIRE(m) : m_(m) { m_.lock(); }
  ~Lock() GRAFT_RELEASE() { m_.unlock(); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  Mutex& m_;
};

}  // namespace graft::os
