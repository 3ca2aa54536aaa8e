// The 4-ary heap behind TimerHeap; see timer.h for who may call what. Memory comes from the kernel
// directly, in one reserved range per heap that doubles its committed part.
#include "core/sched/timer.h"

#include "core/base/plant.h"
#include "core/os/mem.h"

namespace graft::sched {
namespace {

constexpr size_t kMaxEntries = size_t{1} << 23;
constexpr size_t kReserve = kMaxEntries * sizeof(TimerHeap::Entry);

bool disarm(Timer* t, uint64_t ticket) {
  uint64_t seen = ticket << 1 | 1;
  return t->armed.casAcqRel(seen, ticket << 1);
}

bool armed(const TimerHeap::Entry& e) {
  return e.timer->armed.loadRelaxed() == (e.ticket << 1 | 1);
}

}  // namespace

bool Timer::cancel(uint64_t ticket) {
  TimerHeap* h = heap;
  if (!disarm(this, ticket)) return false;
  h->countStale();
  return true;
}

bool TimerHeap::add(Timer* t, uint64_t when, uint64_t ticket, Timer::Fire fire) {
  os::Lock lock(mu_);
  size_t n = size_.loadRelaxed();
  if (n >= 64 && stale_.loadRelaxed() > n / 2) {
    clean();
    n = size_.loadRelaxed();
  }
  if (n == room_ && !grow()) return false;
  t->heap = this;
  t->armed.storeRelease(ticket << 1 | 1);
  entries_[n] = {when, t, ticket, fire};
  size_.storeRelaxed(n + 1);
  up(n);
  setSize(n + 1);  // [TIMER-A]
  return true;
}

bool TimerHeap::popDue(uint64_t now, Entry& out) {
  os::Lock lock(mu_);
  for (;;) {
    size_t n = size_.loadRelaxed();
    if (n == 0 || (entries_[0].when > now && armed(entries_[0]))) return false;
    out = entries_[0];
    entries_[0] = entries_[n - 1];
    size_.storeRelaxed(n - 1);
    if (n > 1) down(0);
    setSize(n - 1);
    if (disarm(out.timer, out.ticket)) return true;
    if (stale_.loadRelaxed() > 0) stale_.fetchSubRelaxed(1);
  }
}

bool TimerHeap::grow() {
  if (entries_ == nullptr) {
    Addr at = os::reserve(kReserve, 0);
    if (at == 0) return false;
    entries_ = reinterpret_cast<Entry*>(at);
  }
  if (room_ == kMaxEntries) return false;
  size_t bytes = room_ == 0 ? 24_KiB : room_ * sizeof(Entry);
  if (room_ * sizeof(Entry) + bytes > kReserve) bytes = kReserve - room_ * sizeof(Entry);
  if (!os::commit(reinterpret_cast<Addr>(entries_ + room_), bytes)) return false;
  room_ += bytes / sizeof(Entry);
  return true;
}

// Drops the stale entries and builds the heap anew: paid for by the cancels that made them.
void TimerHeap::clean() {
  size_t kept = 0, n = size_.loadRelaxed();
  uint64_t last = base::planted(base::Plant::kLostTimer) ? 1 : 0;
  for (size_t i = 0; i < n; i++) {
    if (armed(entries_[i]) && !(last != 0 && i % 16 == 0)) entries_[kept++] = entries_[i];
  }
  stale_.storeRelaxed(0);
  size_.storeRelaxed(kept);
  for (size_t i = kept; i-- > 0;) down(i);
  setSize(kept);
}

void TimerHeap::up(size_t i) {
  Entry e = entries_[i];
  while (i > 0) {
    size_t parent = (i - 1) / 4;
    if (entries_[parent].when <= e.when) break;
    entries_[i] = entries_[parent];
    i = parent;
  }
  entries_[i] = e;
}

void TimerHeap::down(size_t i) {
  Entry e = entries_[i];
  size_t n = size_.loadRelaxed();
  for (;;) {
    size_t best = i * 4 + 1;
    if (best >= n) break;
    for (size_t c = best + 1; c < n && c < i * 4 + 5; c++) {
      if (entries_[c].when < entries_[best].when) best = c;
    }
    if (entries_[best].when >= e.when) break;
    entries_[i] = entries_[best];
    i = best;
  }
  entries_[i] = e;
}

void TimerHeap::release() GRAFT_NO_LOCK_ANALYSIS {
  if (entries_ != nullptr) os::release(reinterpret_cast<Addr>(entries_), kReserve);
  entries_ = nullptr;
}

bool TimerHeap::valid() {
  os::Lock lock(mu_);
  size_t n = size_.loadRelaxed();
  for (size_t i = 1; i < n; i++) {
    if (entries_[(i - 1) / 4].when > entries_[i].when) return false;
  }
  return first_.loadRelaxed() == (n == 0 ? 0 : entries_[0].when);
}

}  // namespace graft::sched
