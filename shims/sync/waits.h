// How everything in shims/sync waits and wakes: a futex whose waiters may be Gs, which park in the
// scheduler's lot, or threads that are none (1:1 mode, helper threads of libc, raw clones), which
// wait in the kernel on the same word. The protocols are templates over this class and Atom, so
// that the model checker can run them.
//
// Who wakes changes the word with a locked instruction and then wakes in the lot first, in the
// kernel what is left of n, and the latter only if kernel_waiters says that a waiter can be there.
// A waiter counts itself there before the kernel compares the word [SYNC-A], so either the waker
// sees the count or the kernel sees the new value.
//
// Nothing of the object is touched by a wake: the address is only a key. Calls may come from any
// thread of the program in user code; wakeFromHandler() from its signal handlers. No locks.
#pragma once

#include <pthread.h>
#include <time.h>

#include "core/sched/sched.h"

// As glibc exports them, though no header of its declares them any more.
extern "C" void _pthread_cleanup_push(_pthread_cleanup_buffer* buffer, void (*routine)(void*),
                                      void* arg);
extern "C" void _pthread_cleanup_pop(_pthread_cleanup_buffer* buffer, int execute);

namespace graft::shims {

using Word = base::Atomic<uint32_t>;

template <class T>
Word& wordOf(T& field) {
  static_assert(sizeof(T) == sizeof(Word));
  return *reinterpret_cast<Word*>(&field);
}

// An absolute time on CLOCK_REALTIME or CLOCK_MONOTONIC; none: for ever.
struct Deadline {
  const timespec* at = nullptr;
  clockid_t clock = CLOCK_REALTIME;

  bool valid() const { return at->tv_nsec >= 0 && at->tv_nsec < 1'000'000'000; }
};

inline bool clockSupported(clockid_t clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
}

using sched::WaitResult;

// What may end a wait besides a wake and the time, of a thread that is no G: nothing; cancellation;
// that and a signal handler. On a G both end every wait with kInterrupted.
enum class WaitKind : uint8_t { kPlain, kCancellable, kInterruptible };

// undo(arg) is called if the thread is cancelled in its scope.
class OnCancel {
 public:
  OnCancel(void (*undo)(void*), void* arg) { _pthread_cleanup_push(&buffer_, undo, arg); }
  ~OnCancel() { _pthread_cleanup_pop(&buffer_, 0); }
  OnCancel(const OnCancel&) = delete;
  OnCancel& operator=(const OnCancel&) = delete;

 private:
  _pthread_cleanup_buffer buffer_;
};

class Waits {
 public:
  using Until = Deadline;
  static constexpr uint32_t kAll = 0x7fffffff;

  explicit Waits(sched::Sched& s, bool shared = false, WaitKind kind = WaitKind::kPlain)
      : s_(s), shared_(shared), kind_(kind) {}

  // Sleeps while word == expected.
  WaitResult wait(const Word& word, uint32_t expected, const Deadline& until = {},
                  uint32_t bits = ~0u);
  // The same on the low half of a longer word.
  WaitResult waitLow(const base::Atomic<uint64_t>& word, uint32_t expected,
                     const Deadline& until = {}) {
    return wait(*reinterpret_cast<const Word*>(&word), expected, until);
  }
  uint32_t wake(const void* word, uint32_t n, uint32_t bits = ~0u);
  uint32_t wakeFromHandler(const void* word, uint32_t n);

  // Whether it pays to look a few times before sleeping: the holder may run meanwhile, and nobody
  // else waits for this P.
  bool maySpin() const { return s_.procs() > 1 && (!onG() || s_.nobodyWaits()); }
  bool onG() const { return s_.on() && sched::currentG() != nullptr; }
  sched::Sched& sched() const { return s_; }

 private:
  WaitResult waitInKernel(const Word& word, uint32_t expected, const Deadline& until,
                          uint32_t bits);
  uint32_t wakeInKernel(const void* word, uint32_t n, uint32_t bits);

  sched::Sched& s_;
  bool shared_;
  WaitKind kind_;
};

// Threads of this process that wait in the kernel through the class above, or through glibc on an
// object that others use through it.
extern constinit Word kernel_waiters;

}  // namespace graft::shims
