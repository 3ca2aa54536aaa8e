// Which G an M runs next, and the switch to it: findRunnable and execute, on g0 with the word of
// the M's P at `runtime`. Order as in Go: timers, every 61st time the global queue, the local
// queue, the global one, other Ps; then the P is given up and everything looked at once more
// [WAKE-B].
#include "core/os/clock.h"
#include "core/sched/sched.h"

namespace graft::sched {
namespace {

constexpr int kStealTries = 4;
// A pair that wakes each other goes on with one time slice: after so many turns the ring has its
// turn.
constexpr uint32_t kMaxInherits = 128;

uint64_t random(M* m) {
  m->rng ^= m->rng << 13;
  m->rng ^= m->rng >> 7;
  m->rng ^= m->rng << 17;
  return m->rng;
}

// The victim's next G is left alone while the victim is about to run it itself: only one whose
// victim has stayed where it was for some microseconds is stolen. Asleep, not spinning, as Go's
// runqgrab: two Gs that wake each other would share their queue's cache lines with a thief that
// looks all the time, and take half as long again.
bool nextIsStuck(P* victim) {
  OwnerValue before = victim->word.look();
  if (before.hold() == Hold::kIdle) return true;
  os::sleepNs(3000);
  return victim->word.look() == before;
}

}  // namespace

void Sched::loop(M* m) {
  for (;;) {
    bool inherited = false;
    G* g = findRunnable(m, inherited);
    execute(m, g, inherited);
  }
}

// The one writer of the slot: what code that runs with this FS base sees.
void Sched::show(uintptr_t fs, M* m, G* g) {
  heap::MCache* own = m->mcache;
  const heap::CacheHead* fast = own != nullptr && config_.fast_caches ? own : &heap::kEmptyCache;
  slotAt(fs) = {{const_cast<heap::CacheHead*>(fast), own, 0}, m, g};
}

void Sched::execute(M* m, G* g, bool inherited) {
  m->p->inherits = inherited ? m->p->inherits + 1 : 0;
  if (!inherited) m->p->tick.storeRelaxed(m->p->tick.loadRelaxed() + 1);
  g->m = m;
  m->g = g;
  g->state.set(GState::kRunning);
  uintptr_t fs = g->ctx.fs != 0 ? g->ctx.fs : m->fs;
  show(fs, m, g);
  if (config_.hooks.signals != nullptr) {
    if (__builtin_expect(!m->kernel.same(g->kernel), 0)) takeKernelState(m, g->kernel);
    if (__builtin_expect(g->signals.loadRelaxed() != 0, 0)) m->stop.request();
  }
  os::Context to{g->ctx.sp, fs == m->fs_now ? 0 : fs};
  m->fs_now = fs;
  os::graft_resume(&m->g0, &to);
  afterSwitch(m);
}

void Sched::afterSwitch(M* m) {
  G* g = m->g;
  m->g = nullptr;
  m->left(m, g);
}

G* Sched::findRunnable(M* m, bool& inherited) {
  for (;;) {
    inherited = false;
    if (m->locked_g != nullptr) {
      stopLockedM(m);
      return m->locked_g;
    }
    if (m->p == nullptr) stopM(m);
    G* g = findLocal(m, inherited);
    if (g == nullptr && net_.waiters() != 0 && readyNet(m)) continue;
    if (g == nullptr && (m->spinning || wake_.mayStart(static_cast<int32_t>(procs_)))) {
      m->spinning = true;
      g = stealWork(m);
    }
    if (g == nullptr && runTimers(m, m->p, true)) continue;
    if (g == nullptr && !giveUpP(m, g)) continue;
    if (m->spinning) resetSpinning(m);
    if (g->locked_m == nullptr || g->locked_m == m) return g;
    startLockedM(m, g);
  }
}

G* Sched::findLocal(M* m, bool& inherited) {
  P* p = m->p;
  runTimers(m, p, false);
  if (p->tick.loadRelaxed() % 61 == 0 && !globq_.empty()) {
    os::Lock lock(mu_);
    // A share, where Go takes one: a ring that never runs dry would keep the last of a long global
    // queue waiting for as many times 61 turns as there are Gs in it.
    if (G* g = getGlobal(m, RunQ::kHalf)) return g;
  }
  if (G* g = p->runq.get(inherited, p->inherits >= kMaxInherits)) return g;
  if (globq_.empty()) return nullptr;
  os::Lock lock(mu_);
  return getGlobal(m, RunQ::kHalf);
}

// A fair share of the global queue: one to run, the others into the local ring.
G* Sched::getGlobal(M* m, size_t most) {
  size_t n = globq_.size() / procs_ + 1;
  if (n > most) n = most;
  G* g = globq_.get();
  for (size_t i = 1; i < n; i++) {
    G* more = globq_.get();
    if (more == nullptr) break;
    RunQ::Overflow over;
    if (m->p->runq.put(more, over)) continue;
    for (uint32_t k = 0; k < over.n; k++) globq_.put(over.items[k]);
    break;
  }
  return g;
}

G* Sched::stealWork(M* m) {
  for (int tries = 0; tries < kStealTries; tries++) {
    bool last = tries == kStealTries - 1;
    uint32_t start = static_cast<uint32_t>(random(m) % procs_);
    for (uint32_t i = 0; i < procs_; i++) {
      P* victim = &ps_[(start + i) % procs_];
      if (victim == m->p) continue;
      bool inherited;
      if (last && runTimers(m, victim, true)) {
        if (G* g = m->p->runq.get(inherited)) return g;
      }
      bool next_too = last && victim->runq.hasNext() && nextIsStuck(victim);
      if (G* g = m->p->runq.steal(victim->runq, next_too)) return g;
    }
  }
  return nullptr;
}

// Nothing to run: the P becomes idle. True: at the last moment g was found on the global queue, and
// the P is still ours; false: look again from the start, with or without a P.
bool Sched::giveUpP(M* m, G*& g) {
  {
    os::Lock lock(mu_);
    g = getGlobal(m, RunQ::kHalf);
    if (g != nullptr) return true;
    idlePut(releaseP(m));
  }
  if (!m->spinning) return false;
  m->spinning = false;
  base::delayPoint();
  wake_.gaveUp();  // [WAKE-B]
  base::delayPoint();
  if (!base::planted(base::Plant::kNoRecheck)) lookAgain(m);
  return false;
}

// The global queue too: who put something there after we looked under the lock, and saw us
// spinning, relies on it.
bool Sched::lookAgain(M* m) {
  for (uint32_t i = 0; i < procs_; i++) {
    if (ps_[i].runq.empty() && globq_.empty()) continue;
    P* p;
    {
      os::Lock lock(mu_);
      p = idleGet();
    }
    if (p == nullptr) return false;
    acquireP(m, p);
    m->spinning = true;
    wake_.again();
    return true;
  }
  return false;
}

void Sched::put(M* m, G* g, bool next) {
  bool barrier = !next;
  if (next) {
    g = m->p->runq.putNext(g);
    barrier = g != nullptr;
  }
  if (g != nullptr) putRing(m->p->runq, g);
  base::delayPoint();
  wakep(barrier);  // [WAKE-A]
}

void Sched::putRing(RunQ& q, G* g) {
  RunQ::Overflow over;
  if (q.put(g, over)) return;
  os::Lock lock(mu_);
  for (uint32_t i = 0; i < over.n; i++) globq_.put(over.items[i]);
}

void Sched::resetSpinning(M* m) {
  m->spinning = false;
  if (wake_.found()) wakep(false);
}

}  // namespace graft::sched
