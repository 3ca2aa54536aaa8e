// Waiting by address, with the semantics of a private futex: one sharded table of wait queues on
// which mutexes, condition variables, semaphores and futex(2) itself park their Gs. An address
// hashes to a bucket; a bucket is a lock and a list in order of arrival.
//
// wait: the G enters the runtime, compares the word and queues itself under the bucket's lock, so a
// waker that changed the word before it took the lock is never missed; then it parks (park.h).
// Exactly one of wake, time-out and interrupt takes the G off its queue, under the bucket's lock,
// writes the result there, and readies it: one ready per park (INV-PARK-1).
//
// INV-LOT-1  A G is in at most one queue, and wait.bucket says which.
// INV-LOT-2  A time-out or interrupt names the wait by its ticket and finds only that one.
//
// Locks: bucket (two: by address), a leaf, taken in runtime code, or by a thread that is no M;
// never held over a switch or a ready. Source: Linux kernel/futex/waitwake.c and requeue.c; WTF
// ParkingLot.
#pragma once

#include "core/os/mutex.h"
#include "core/sched/g.h"

namespace graft::sched {

struct alignas(64) Bucket {
  os::Mutex mu;
  Waiter* head GRAFT_GUARDED_BY(mu) = nullptr;
  Waiter* tail GRAFT_GUARDED_BY(mu) = nullptr;

  void push(Waiter* w) GRAFT_REQUIRES(mu);
  void unlink(Waiter* w) GRAFT_REQUIRES(mu);
};

class ParkingLot {
 public:
  static constexpr size_t kBuckets = 4096;

  Bucket& bucketOf(const void* addr) {
    return buckets_[(reinterpret_cast<uintptr_t>(addr) >> 2) * 0x9e3779b97f4a7c15u >> 52];
  }
  // Takes up to n waiters of addr whose bits meet `bits` off their queue, in order; returns them
  // linked by Waiter::next.
  Waiter* take(const void* addr, uint32_t n, uint32_t bits, uint32_t& taken);
  // Takes this waiter if it still is in the wait with this ticket.
  bool takeOne(Waiter* w, uint64_t ticket, WaitResult result);
  // If *from == expected: takes `n` as take() does, moves up to `move` of the others over to `to`.
  // False: *from has changed.
  bool requeue(const uint32_t* from, const uint32_t* expected, const void* to, uint32_t n,
               uint32_t move, Waiter*& woken, uint32_t& taken,
               uint32_t& moved) GRAFT_NO_LOCK_ANALYSIS;

 private:
  Bucket buckets_[kBuckets];
};

}  // namespace graft::sched
