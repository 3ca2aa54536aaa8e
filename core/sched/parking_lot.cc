// The queues of the parking lot; see parking_lot.h. Nothing here parks or readies: Sched::waitOn
// and wake (park.cc) do, with what these functions took off the queues.
#include "core/sched/parking_lot.h"

namespace graft::sched {

void Bucket::push(Waiter* w) {
  w->next = nullptr;
  w->prev = tail;
  (tail == nullptr ? head : tail->next) = w;
  tail = w;
  w->bucket.storeRelease(this);
}

void Bucket::unlink(Waiter* w) {
  (w->prev == nullptr ? head : w->prev->next) = w->next;
  (w->next == nullptr ? tail : w->next->prev) = w->prev;
  w->bucket.storeRelease(nullptr);
}

Waiter* ParkingLot::take(const void* addr, uint32_t n, uint32_t bits, uint32_t& taken) {
  Bucket& b = bucketOf(addr);
  os::Lock lock(b.mu);
  Waiter* first = nullptr;
  Waiter** end = &first;
  taken = 0;
  for (Waiter *w = b.head, *next; w != nullptr && taken < n; w = next) {
    next = w->next;
    if (w->addr != addr || (w->bits & bits) == 0) continue;
    b.unlink(w);
    w->result = WaitResult::kWoken;
    w->next = nullptr;
    *end = w;
    end = &w->next;
    taken++;
  }
  return first;
}

bool ParkingLot::takeOne(Waiter* w, uint64_t ticket, WaitResult result) {
  for (;;) {
    Bucket* b = w->bucket.loadAcquire();
    if (b == nullptr) return false;
    os::Lock lock(b->mu);
    if (w->bucket.loadRelaxed() != b) continue;  // woken, or moved to another queue
    if (w->ticket.loadRelaxed() != ticket) return false;
    b->unlink(w);
    w->result = result;
    return true;
  }
}

bool ParkingLot::requeue(const uint32_t* from, const uint32_t* expected, const void* to, uint32_t n,
                         uint32_t move, Waiter*& woken, uint32_t& taken, uint32_t& moved) {
  Bucket& a = bucketOf(from);
  Bucket& b = bucketOf(to);
  Bucket& first = &a < &b ? a : b;
  Bucket& second = &a < &b ? b : a;
  woken = nullptr;
  taken = moved = 0;
  first.mu.lock();
  if (&first != &second) second.mu.lock();
  bool same = expected == nullptr || __atomic_load_n(from, __ATOMIC_SEQ_CST) == *expected;
  Waiter** end = &woken;
  for (Waiter *w = same ? a.head : nullptr, *next; w != nullptr; w = next) {
    next = w->next;
    if (w->addr != from) continue;
    if (taken < n) {
      a.unlink(w);
      w->result = WaitResult::kWoken;
      w->next = nullptr;
      *end = w;
      end = &w->next;
      taken++;
    } else if (moved < move) {
      w->addr = to;
      if (&a != &b) {
        a.unlink(w);
        b.push(w);
      }
      moved++;
    } else {
      break;
    }
  }
  if (&first != &second) second.mu.unlock();
  first.mu.unlock();
  return same;
}

}  // namespace graft::sched
