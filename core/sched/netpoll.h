// The netpoller: turns the readiness of descriptors into wakes of the parking lot. Per descriptor
// number there are three counters, for reading, writing and anything; every event moves them, and
// a G that found nothing to read waits while the counter is what it was before it looked:
//
//   G                                          whoever polls
//   seen = counter
//   the call, without waiting: EAGAIN          epoll_wait: an event of this number
//   arm: in the epoll set, edge-triggered      counter++                          [NET-A]
//   wait(counter, seen)                        wake all who wait for the counter
//
// [NET-A] The lot compares the counter under the lock that a wake takes, so an event between the
// look and the sleep is not missed; and an event from before the look left the call something.
//
// A registration belongs to the open file and the number: a file that is closed leaves the set by
// itself. So arm() is called before each sleep, and that it is there already is no error: no table
// of what is registered can be wrong, whoever closes and opens descriptors behind our back. An
// event that comes for a number's former file is one wake for nothing.
//
// Who waits for several descriptors at once sleeps on a word of its own, and a Watch of that word
// is on the list of each: an event moves the word as it moves the counters [NET-A].
//
// poll: by an M in runtime code or on g0, by sysmon; slot, arm, close: by Gs in user code. The two
// descriptors of its own sit high and are guarded from the program's close() by shims/io. Locks:
// mu_ (opening), a leaf; one per group of numbers for their lists, before a bucket of the lot's, in
// runtime code or by sysmon. Source: Go's netpoll_epoll.go for the place in the scheduler.
#pragma once

#include <stdint.h>
#include <sys/epoll.h>

#include "core/base/atomic.h"
#include "core/os/mutex.h"

namespace graft::sched {

struct Watch {
  Watch* next = nullptr;
  Watch* prev = nullptr;
  base::Atomic<uint32_t>* moved = nullptr;
  int fd = -1;
  uint32_t direction = 0;
};

class Netpoll {
 public:
  static constexpr size_t kMostFds = size_t{1} << 20;
  static constexpr uint64_t kForEver = ~uint64_t{0};
  enum Direction : uint32_t { kRead, kWrite, kAny, kDirections };

  struct Slot {
    base::Atomic<uint32_t> moved[kDirections];
    base::Atomic<uint32_t> facts;  // shims/io's, about what has this number
    base::Atomic<Watch*> watches;  // written under watchLock()
  };
  struct Events {
    static constexpr int kMost = 128;
    int n = 0;
    epoll_event of[kMost];
  };

  // The counters of a number; null: too large, or no memory.
  Slot* slot(int fd) {
    if (static_cast<unsigned>(fd) >= kMostFds) return nullptr;
    Slot* all = slots_.loadAcquire();
    if (__builtin_expect(all == nullptr, 0)) all = map();
    return all != nullptr ? all + fd : nullptr;
  }
  os::Mutex& watchLock(int fd) { return watch_mu_[static_cast<unsigned>(fd) % kWatchLocks]; }
  void link(Watch& w);
  void unlink(Watch& w);
  // Before the first arm(). True: just now.
  bool openFirst() { return !isOpen() && open(); }
  // 0: its events are seen from now on; 1: they were before, it is the same file since then. Else
  // -errno: EPERM, it is nothing that can be waited for.
  // Its events come as those of `number`, which is fd but for a duplicate made in its place.
  int arm(int fd, int number);
  void disarm(int fd);
  // What has happened, waiting for it up to so long; any thread. False: the set is gone, for the
  // program has closed it after all. Who is told so makes it anew and lets all look again.
  // interruptible: by the one whom interruptPoll() is for; the others leave that word to it.
  bool poll(uint64_t timeout_ns, bool interruptible, Events& out);
  void reopen();
  int armedBelow() const { return armed_below_.loadRelaxed(); }  // every number that ever was
  void interruptPoll();  // ends an interruptible poll(), or the next one
  bool isOpen() const { return epoll_.loadAcquire() > 0; }
  // The lowest of its own in this range; ~0: none.
  unsigned firstOwn(unsigned first, unsigned last) const {
    unsigned lowest = ~0u;
    const int own[] = {epoll_.loadRelaxed(), wakeup_.loadRelaxed()};
    for (int fd : own) {
      unsigned n = static_cast<unsigned>(fd);
      if (fd > 0 && n >= first && n <= last && n < lowest) lowest = n;
    }
    return lowest;
  }
  bool owns(int fd) const {
    return fd > 0 && (fd == epoll_.loadRelaxed() || fd == wakeup_.loadRelaxed());
  }

  // Gs that are about to wait for a counter, or do.
  void waiterBegins() { waiters_.fetchAddAcqRel(1); }
  void waiterEnds() { waiters_.fetchSubAcqRel(1); }
  uint32_t waiters() const { return waiters_.loadRelaxed(); }
  uint32_t polls() const { return polls_.loadRelaxed(); }  // so far

  void forkChild();

 private:
  Slot* map();
  bool open();

  static constexpr size_t kWatchLocks = 64;

  os::Mutex mu_;
  os::Mutex watch_mu_[kWatchLocks];
  base::Atomic<Slot*> slots_{nullptr};
  base::Atomic<int> epoll_{0}, wakeup_{0};  // 0: none
  base::Atomic<int> armed_below_{0};
  base::Atomic<uint32_t> waiters_{0};
  base::Atomic<uint32_t> polls_{0};
};

}  // namespace graft::sched
