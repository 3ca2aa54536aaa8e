// The doors between user code and runtime code, and the ways a G stops running: it parks, yields,
// sleeps, waits by address. The picture and the rules are in park.h [PARK-A] [PARK-B], owner.h and
// parking_lot.h. On the G's stack, but for the left* functions, which run on g0.
#include "core/os/clock.h"
#include "core/sched/sched.h"

namespace graft::sched {

thread_local constinit Current graft_current{
    {const_cast<heap::CacheHead*>(&heap::kEmptyCache), nullptr, 0}, nullptr, nullptr};
thread_local constinit uint32_t in_lot = 0;

M* Sched::enter() {
  M* m = currentM();
  m->stop.enter(noStep);
  base::delayPoint();
  if (__builtin_expect(m->p->word.enter(m->held), 1)) return m;
  return enterSlow(m);
}

void Sched::leave(M* m) {
  m->p->word.leave(m->held);
  base::delayPoint();
  if (__builtin_expect(m->stop.leave(noStep), 0)) leaveRequested(m);
}

void Sched::switchToG0(M* m, void (*left)(M*, G*)) {
  m->left = left;
  if (__builtin_expect(config_.times, 0)) m->g->since.storeRelaxed(os::cycles());
  if (__builtin_expect(m->g->handlers != 0, 0)) readMask(m, m->g);
  os::graft_leave(&m->g->ctx, &m->g0);
}

void Sched::leftParked(M* m, G* g) {
  base::delayPoint();
  if (!g->state.commit()) m->sched->put(m, g, true);  // [PARK-B]
}

void Sched::leftYield(M* m, G* g) {
  g->state.set(GState::kRunnable);
  m->sched->put(m, g, false);
}

// The M may have no P.
void Sched::leftToGlobal(M* m, G* g) {
  g->state.set(GState::kRunnable);
  {
    os::Lock lock(m->sched->mu_);
    m->sched->globq_.put(g);
  }
  m->sched->wakep(false);
}

void Sched::readyOn(M* m, G* g) {
  if (!g->state.ready()) return;  // [PARK-B]
  put(m, g, true);
}

// From a thread that holds no P.
void Sched::ready(G* g) {
  if (!g->state.ready()) return;
  {
    os::Lock lock(mu_);
    globq_.put(g);
  }
  wakep(false);
}

// The locks of the lot and of the queues are held in runtime code only, or by threads that say so
// (late.cc).
M* Sched::enterLot() {
  M* m = currentM();
  // Inside already: a blocking call's own code, which holds no P.
  if (m != nullptr && !m->stop.inside()) return enter();
  in_lot++;
  base::compilerBarrier();
  return nullptr;
}

// Readies what was taken off the queues; the end of what enterLot began.
uint32_t Sched::readyAll(M* m, Waiter* list) {
  uint32_t n = 0;
  for (Waiter* w = list; w != nullptr; n++) {
    Waiter* next = w->next;  // w is gone once its G is ready
    if (m != nullptr) {
      readyOn(m, G::of(w));
    } else {
      ready(G::of(w));
    }
    w = next;
  }
  if (m != nullptr) {
    leave(m);
  } else {
    base::compilerBarrier();
    in_lot--;
  }
  return n;
}

bool Sched::nobodyWaits() {
  P* p = currentM()->p;  // another M's by now, perhaps
  return globq_.empty() && (p == nullptr || p->runq.empty());
}

void Sched::yield() {
  M* m = enter();
  runTimers(m, m->p, false);
  if (!m->p->runq.empty() || !globq_.empty()) {
    switchToG0(m, leftYield);
    m = currentM();
  }
  leave(m);
}

WaitResult Sched::wait(const uint32_t* addr, uint32_t expected, uint64_t deadline_ns,
                       uint32_t bits) {
  if (__atomic_load_n(addr, __ATOMIC_SEQ_CST) != expected) return WaitResult::kMismatch;
  M* m = enter();
  G* g = m->g;
  Waiter& w = g->wait;
  uint64_t ticket = w.ticket.loadRelaxed() + 1;
  Bucket& b = lot_.bucketOf(addr);
  b.mu.lock();
  if (__atomic_load_n(addr, __ATOMIC_SEQ_CST) != expected) {
    b.mu.unlock();
    leave(m);
    return WaitResult::kMismatch;
  }
  w.addr = addr;
  w.bits = bits;
  w.ticket.storeRelaxed(ticket);
  g->state.prepare();  // [PARK-A]
  b.push(&w);
  b.mu.unlock();  // [POKE-A] A locked instruction: who does not see us parking has poked before.
  if (__builtin_expect(g->poked.loadRelaxed() != 0, 0)) {
    g->poked.storeRelaxed(0);
    if (lot_.takeOne(&w, ticket, WaitResult::kInterrupted)) g->state.ready();
  }
  if (deadline_ns != kNoDeadline && !addTimer(m, &g->timer, deadline_ns, ticket, waitTimedOut)) {
    // No memory for a timer: the wait ends at once, as a spurious time-out would.
    if (lot_.takeOne(&w, ticket, WaitResult::kTimedOut)) g->state.ready();
  }
  base::delayPoint();
  switchToG0(m, leftParked);
  m = currentM();
  if (deadline_ns != kNoDeadline) g->timer.cancel(ticket);
  WaitResult result = w.result;
  leave(m);
  return result;
}

// On the M that found the timer due; the G may long be elsewhere.
void Sched::waitTimedOut(M* m, Timer* t, uint64_t ticket) {
  G* g = G::of(t);
  Sched* s = m->sched;
  if (s->lot_.takeOne(&g->wait, ticket, WaitResult::kTimedOut)) s->readyOn(m, g);
}

void Sched::sleepOver(M* m, Timer* t, uint64_t) { m->sched->readyOn(m, G::of(t)); }

void Sched::sleepUntil(uint64_t deadline_ns) {
  M* m = enter();
  G* g = m->g;
  uint64_t ticket = g->wait.ticket.loadRelaxed() + 1;
  g->wait.ticket.storeRelaxed(ticket);
  g->state.prepare();
  if (!addTimer(m, &g->timer, deadline_ns, ticket, sleepOver)) {
    g->state.cancel();
    leave(m);
    return;
  }
  switchToG0(m, leftParked);
  leave(currentM());
}

uint32_t Sched::wake(const void* addr, uint32_t n, uint32_t bits) {
  uint32_t taken;
  M* m = enterLot();
  return readyAll(m, lot_.take(addr, n, bits, taken));
}

uint32_t Sched::wakeOnG0(M* m, const void* addr, uint32_t n) {
  uint32_t taken;
  for (Waiter* w = lot_.take(addr, n, ~0u, taken); w != nullptr;) {
    Waiter* next = w->next;
    readyOn(m, G::of(w));
    w = next;
  }
  return taken;
}

int64_t Sched::requeue(const uint32_t* addr, const uint32_t* expected, const void* to, uint32_t n,
                       uint32_t move) {
  Waiter* woken;
  uint32_t taken, moved;
  M* m = enterLot();
  bool same = lot_.requeue(addr, expected, to, n, move, woken, taken, moved);
  readyAll(m, woken);
  return same ? int64_t{taken} + moved : -1;
}

bool Sched::interrupt(G* g, uint64_t ticket) {
  M* m = enterLot();
  bool found = lot_.takeOne(&g->wait, ticket, WaitResult::kInterrupted);
  if (found) g->wait.next = nullptr;
  readyAll(m, found ? &g->wait : nullptr);
  return found;
}

}  // namespace graft::sched
