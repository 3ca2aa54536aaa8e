// How everything in shims/sync waits and wakes: a futex whose waiters may be Gs, which park in the
// scheduler's lot, or threads that are none (1:1 mode, helper threads of libc, raw clones), which
// wait in the kernel on the same word. The protocols are templates over this class and Atom, so
// that the model checker can run them.
//
// Who wakes changes the word with a locked instruction and then wakes in the lot first, in the
// kernel what is left of n, and the latter only if a waiter can be there: threads are not Gs, or
// kernel_waiters says so. A waiter counts itself there before the kernel compares the word
// [SYNC-A], so either the waker sees the count or the kernel sees the new value.
//
// Nothing of the object is touched by a wake: the address is only a key. Calls may come from any
// thread of the program in user code; wakeFromHandler() from its signal handlers. No locks.
#pragma once

#include <time.h>

#include "core/sched/sched.h"

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

class Waits {
 public:
  using Until = Deadline;
  static constexpr uint32_t kAll = 0x7fffffff;

  explicit Waits(sched::Sched& s, bool shared = false) : s_(s), shared_(shared) {}

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

  // Whether it pays to look a few times before sleeping: somebody else may run meanwhile.
  bool maySpin() const { return !s_.on() || s_.procs() > 1; }
  bool onG() const { return s_.on() && sched::currentG() != nullptr; }
  sched::Sched& sched() const { return s_; }

 private:
  WaitResult waitInKernel(const Word& word, uint32_t expected, const Deadline& until,
                          uint32_t bits);
  uint32_t wakeInKernel(const void* word, uint32_t n, uint32_t bits);

  sched::Sched& s_;
  bool shared_;
};

// Threads of this process that wait in the kernel through the class above.
extern constinit Word kernel_waiters;

}  // namespace graft::shims
