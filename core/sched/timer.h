// Timers of one P: a 4-ary heap of (when, timer, ticket, what to do). Cancelling is lazy: it
// disarms the timer with one CAS and leaves the entry behind; an entry whose ticket no longer fits
// is dropped when it comes to the top, or when the heap is cleaned because most of it is stale.
//
//   arm (owner M)                cancel (the G)              run (any M)
//   armed = ticket << 1 | 1      CAS ticket|1 -> ticket|0    pop what is due
//   push under mu                                            CAS ticket|1 -> ticket|0: fire it
//
// [TIMER-A] first_ is published before the armer looks for a sleeping poller, which looks at first_
//           after it said that it sleeps; a full barrier on both sides.
//
// INV-TIMER-1  A timer fires at most once per arming, and not after a cancel that returned true.
// INV-TIMER-2  first_ is the top entry's time (0: empty heap), so never later than a live timer.
//
// Timers live in objects that are never freed (Pool). Locks: mu, a leaf. Runtime code of any M.
// Source: Go's time.go before 1.23.
#pragma once

#include "core/base/atomic.h"
#include "core/os/mutex.h"

namespace graft::sched {

struct M;
class TimerHeap;

struct Timer {
  using Fire = void (*)(M* m, Timer* t, uint64_t ticket);

  base::Atomic<uint64_t> armed{0};  // ticket << 1, | 1 while armed
  TimerHeap* heap = nullptr;  // the one it was armed in last

  // True: it will not fire any more.
  bool cancel(uint64_t ticket);
};

class TimerHeap {
 public:
  struct Entry {
    uint64_t when;
    Timer* timer;
    uint64_t ticket;
    // Here, not in the timer: while one arming fires, its G may have armed the timer for something
    // else.
    Timer::Fire fire;
  };

  // False: no memory for one more entry.
  bool add(Timer* t, uint64_t when, uint64_t ticket, Timer::Fire fire);
  uint64_t first() const { return first_.loadRelaxed(); }
  // The next entry that is due by `now` and still armed; its timer is disarmed. False: none.
  bool popDue(uint64_t now, Entry& out);
  void countStale() { stale_.fetchAddRelaxed(1); }
  size_t size() { return size_.loadRelaxed(); }
  void release();  // fork's child: of a heap that nobody will use again
  bool valid();  // heap order and first_; tests only

 private:
  bool grow() GRAFT_REQUIRES(mu_);
  void clean() GRAFT_REQUIRES(mu_);
  void up(size_t i) GRAFT_REQUIRES(mu_);
  void down(size_t i) GRAFT_REQUIRES(mu_);
  void setSize(size_t n) GRAFT_REQUIRES(mu_) {
    size_.storeRelaxed(n);
    first_.storeRelease(n == 0 ? 0 : entries_[0].when);
  }

  os::Mutex mu_;
  Entry* entries_ GRAFT_GUARDED_BY(mu_) = nullptr;
  size_t room_ GRAFT_GUARDED_BY(mu_) = 0;
  base::Atomic<size_t> size_{0};  // written under mu_
  base::Atomic<uint64_t> first_{0};  // written under mu_
  base::Atomic<size_t> stale_{0};  // about how many entries are cancelled ones
};

}  // namespace graft::sched
