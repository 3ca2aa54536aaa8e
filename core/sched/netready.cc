// What the scheduler does with events of the netpoller (netpoll.h): the counters move, and the Gs
// that wait for them become runnable, on the P of the M that polled or, if it has none, on the
// global queue. Who polls: an M whose queues are empty, without waiting; the poller, the one
// sleeping M that wakes by itself (timers.cc); sysmon, when for a while nobody did.
#include "core/os/clock.h"
#include "core/sched/sched.h"
#include "core/sched/sysmon.h"

namespace graft::sched {
namespace {

constexpr uint64_t kLongestNap = 1'000'000;
constexpr uint64_t kLongUnpolled = 10'000'000;  // Go's sysmon

uint32_t directions(uint32_t events) {
  constexpr uint32_t kBoth = EPOLLHUP | EPOLLERR;
  uint32_t d = 1u << Netpoll::kAny;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | kBoth)) != 0) d |= 1u << Netpoll::kRead;
  if ((events & (EPOLLOUT | kBoth)) != 0) d |= 1u << Netpoll::kWrite;
  return d;
}

}  // namespace

// Calls ready(G*) for each G that the caller has to queue.
template <class F>
void Sched::takeWaitersOf(int fd, uint32_t which, F ready) {
  Netpoll::Slot* slot = net_.slot(fd);
  if (slot == nullptr) return;
  for (uint32_t d = 0; d < Netpoll::kDirections; d++) {
    if ((which >> d & 1) == 0) continue;
    slot->moved[d].fetchAddAcqRel(1);  // [NET-A]
    uint32_t taken;
    for (Waiter* w = lot_.take(&slot->moved[d], ~0u, ~0u, taken); w != nullptr;) {
      Waiter* next = w->next;  // w is gone once its G is ready
      G* g = G::of(w);
      if (g->state.ready()) ready(g);  // [PARK-B]
      w = next;
    }
  }
  // Whoever links a watch looks at the descriptor after that: an event that it waits for is later.
  if (slot->watches.loadAcquire() != nullptr) takeWatchersOf(slot, fd, which, ready);
}

// A watch and its word are gone when the lock is, but for those whose G is taken here.
template <class F>
void Sched::takeWatchersOf(Netpoll::Slot* slot, int fd, uint32_t which, F ready) {
  Waiter* all = nullptr;
  {
    os::Lock lock(net_.watchLock(fd));
    for (Watch* w = slot->watches.loadRelaxed(); w != nullptr; w = w->next) {
      if ((which >> w->direction & 1) == 0) continue;
      w->moved->fetchAddAcqRel(1);  // [NET-A]
      uint32_t taken;
      Waiter* g = lot_.take(w->moved, 1, ~0u, taken);  // its own word: nobody else's G
      if (g == nullptr) continue;
      g->next = all;
      all = g;
    }
  }
  while (all != nullptr) {
    Waiter* next = all->next;
    G* g = G::of(all);
    if (g->state.ready()) ready(g);  // [PARK-B]
    all = next;
  }
}

void Sched::watch(Watch* all, size_t n) {
  M* m = enter();
  for (size_t i = 0; i < n; i++) net_.link(all[i]);
  leave(m);
}

void Sched::unwatch(Watch* all, size_t n) {
  M* m = enter();
  for (size_t i = 0; i < n; i++) net_.unlink(all[i]);
  leave(m);
}

template <class F>
void Sched::takeReady(const Netpoll::Events& events, F ready) {
  for (int i = 0; i < events.n; i++) {
    takeWaitersOf(static_cast<int>(events.of[i].data.u64), directions(events.of[i].events), ready);
  }
}

// The set is gone: all look again, and enter a new one when they have to wait.
void Sched::netLost(GlobalQueue& out) {
  net_.reopen();
  for (int fd = 0; fd < net_.armedBelow(); fd++) {
    takeWaitersOf(fd, (1u << Netpoll::kDirections) - 1, [&](G* g) { out.put(g); });
  }
}

void Sched::pollNet(GlobalQueue& out) {
  Netpoll::Events events;
  if (net_.poll(0, false, events)) {
    takeReady(events, [&](G* g) { out.put(g); });
  } else {
    netLost(out);
  }
}

// m has a P and nothing to run. True: now it has.
bool Sched::readyNet(M* m) {
  GlobalQueue ready;
  pollNet(ready);
  if (ready.empty()) return false;
  while (G* g = ready.get()) putRing(m->p->runq, g);
  wakep(true);  // [WAKE-A]
  return true;
}

void Sysmon::pollNet(uint64_t now) {
  uint32_t polls = s_.net_.polls();
  if (!s_.net_.isOpen() || polls != polls_ || s_.poll_until_.loadRelaxed() != 0) {
    polls_ = polls;
    polls_at_ = now;
  } else if (now - polls_at_ >= kLongUnpolled) {
    s_.readyNetFromSysmon();
  }
}

void Sched::readyNetFromSysmon() {
  GlobalQueue ready;
  pollNet(ready);
  if (ready.empty()) return;
  {
    os::Lock lock(mu_);
    while (G* g = ready.get()) globq_.put(g);
  }
  wakep(true);
}

// Somebody must poll: the M that this G leaves, if it finds nothing else to run; a sleeping one, if
// there is a P for it and no poller yet.
void Sched::netWaitBegins() {
  net_.waiterBegins();
  bool first = net_.openFirst();
  if (!first && (poll_until_.loadRelaxed() != 0 || wake_.idle() == 0)) return;
  M* m = enter();
  if (first) {
    os::Lock lock(mu_);
    if (poller_ != nullptr) unparkM(poller_, 2);  // it sleeps without looking at the set
  }
  wakep(true);
  leave(m);
}

// m, the poller, parked: sleeps so long at most, until something happens or it is kicked. What is
// ready then is moved to the global queue; not in a stopped world (INV-STW-2).
//
// While others run, they look for events themselves whenever they run dry, and an M that woke for
// each would only take their work to another CPU: it naps instead, and looks in case they do not.
// Whoever goes to sleep last ends the nap (stopM).
void Sched::sleepInNet(M* m, uint64_t timeout_ns, uint64_t& nap_ns) {
  Netpoll::Events events;
  poller_naps_.storeSeqCst(1);
  if (wake_.idle() != static_cast<int32_t>(procs_)) {
    os::futexWaitNs(&m->wake_word, 0, timeout_ns < nap_ns ? timeout_ns : nap_ns);
    nap_ns = nap_ns * 2 < kLongestNap ? nap_ns * 2 : kLongestNap;
    timeout_ns = 0;
  }
  poller_naps_.storeRelaxed(0);
  bool alive = net_.poll(timeout_ns, true, events);
  if (alive && events.n == 0) return;
  leaveParked(m);
  GlobalQueue ready;
  if (alive) {
    takeReady(events, [&](G* g) { ready.put(g); });
  } else {
    netLost(ready);
  }
  os::Lock lock(mu_);
  while (G* g = ready.get()) globq_.put(g);
  m->parked = true;
  parked_++;
}

}  // namespace graft::sched
