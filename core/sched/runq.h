// The local run queue of a P: a ring whose tail only the P's holder moves and whose head anybody
// advances by CAS, plus `next`, the item that runs next. Written over the Atom policy; T is a
// pointer.
//
// [RUNQ-A] put writes the slot, then releases the tail; get and steal acquire the tail, read slots,
//          then claim them with a CAS on the head. A claim that fails has read slots for nothing.
// [RUNQ-B] the head's CAS releases the slots to the owner: put acquires the head before it
//          overwrites one.
//
// INV-RUNQ-1  0 <= tail - head <= kSize, up to wrap-around; only the holder moves tail.
// INV-RUNQ-2  Every item that was put is taken exactly once: by get, steal or the overflow batch.
//
// Source: Go's runqput, runqget, runqgrab. Holder's M in runtime code, on any stack; steal: any M.
#pragma once

#include <stdint.h>

#include "core/base/plant.h"

namespace graft::sched {

template <class Atom, class T, uint32_t kSize = 256>
class RunQueue {
 public:
  static constexpr uint32_t kHalf = kSize / 2;

  // What did not fit: half of the ring and the new item, for the global queue.
  struct Overflow {
    uint32_t n = 0;
    T items[kHalf + 1];
  };

  // Holder only. Puts an item at the end; false: `over` must go to the global queue.
  bool put(T item, Overflow& over) {
    for (;;) {
      uint32_t h = head_.loadAcquire();  // [RUNQ-B]
      uint32_t t = tail_.loadRelaxed();
      if (t - h < kSize) {
        ring_[t % kSize].storeRelaxed(item);
        tail_.storeRelease(t + 1);  // [RUNQ-A]
        return true;
      }
      if (takeHalf(h, over)) {
        over.items[over.n++] = item;
        return false;
      }
    }
  }

  // Holder only. The item runs next; returns the one it displaces. A full barrier.
  T putNext(T item) { return next_.exchangeAcqRel(item); }

  // Holder only. `inherited`: it was `next` and goes on with the time slice of who put it there.
  // ring_first: the others have waited long enough.
  T get(bool& inherited, bool ring_first = false) {
    inherited = false;
    if (ring_first) {
      if (T item = getRing(); item != T{}) return item;
    }
    T next = next_.loadRelaxed();
    inherited = next != T{} && next_.casAcquire(next, T{});
    return inherited ? next : getRing();
  }

  // Holder of *this takes half of the victim's items, and `next` when there is nothing else and
  // next_too; returns one of them to run, the others stay in the ring.
  T steal(RunQueue& victim, bool next_too) {
    uint32_t t = tail_.loadRelaxed();
    uint32_t n = victim.grab(*this, t);
    if (n == 0) {
      if (!next_too) return T{};
      T next = victim.next_.loadRelaxed();
      return next != T{} && victim.next_.casAcquire(next, T{}) ? next : T{};
    }
    n--;
    T item = ring_[(t + n) % kSize].loadRelaxed();
    if (n > 0) tail_.storeRelease(t + n);  // [RUNQ-A]
    return item;
  }

  // Racy, except that an item put before the last barrier of the caller's protocol is seen.
  bool empty() const {
    // next_ may have been kicked into the ring between two loads: look at the ring's end again.
    for (;;) {
      uint32_t h = head_.loadAcquire();
      uint32_t t = tail_.loadAcquire();
      T next = next_.loadAcquire();
      if (t == tail_.loadAcquire()) return h == t && next == T{};
    }
  }
  bool hasNext() const { return next_.loadRelaxed() != T{}; }
  uint32_t size() const {
    uint32_t h = head_.loadAcquire();
    uint32_t n = tail_.loadAcquire() - h;
    return (n > kSize ? kSize : n) + (next_.loadRelaxed() != T{} ? 1 : 0);
  }

 private:
  T getRing() {
    for (;;) {
      uint32_t h = head_.loadAcquire();
      if (tail_.loadRelaxed() == h) return T{};
      T item = ring_[h % kSize].loadRelaxed();
      if (claim(h, 1)) return item;
    }
  }

  bool claim(uint32_t h, uint32_t n) {
    base::delayPoint();
    if (base::planted(base::Plant::kStealByStore)) {
      head_.storeRelease(h + n);
      return true;
    }
    return head_.casAcqRel(h, h + n);  // [RUNQ-B]
  }

  bool takeHalf(uint32_t h, Overflow& over) {
    for (uint32_t i = 0; i < kHalf; i++) over.items[i] = ring_[(h + i) % kSize].loadRelaxed();
    over.n = base::planted(base::Plant::kLostHalf) ? 0 : kHalf;
    return claim(h, kHalf);
  }

  // A thief's half: copies into the thief's ring from `at` on, without moving its tail.
  uint32_t grab(RunQueue& thief, uint32_t at) {
    for (;;) {
      uint32_t h = head_.loadAcquire();
      uint32_t t = tail_.loadAcquire();  // [RUNQ-A]
      uint32_t n = t - h;
      n -= n / 2;
      if (n == 0) return 0;
      if (n > kHalf) continue;  // head and tail belong to different moments
      for (uint32_t i = 0; i < n; i++) {
        thief.ring_[(at + i) % kSize].storeRelaxed(ring_[(h + i) % kSize].loadRelaxed());
      }
      if (claim(h, n)) return n;
    }
  }

  typename Atom::template Atomic<uint32_t> head_{0};
  typename Atom::template Atomic<uint32_t> tail_{0};
  typename Atom::template Atomic<T> next_{T{}};
  typename Atom::template Atomic<T> ring_[kSize]{};
};

}  // namespace graft::sched
